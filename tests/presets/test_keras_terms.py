# SPDX-License-Identifier: Apache-2.0
"""Keras' presets as terms of an objective: the call's number, which is Keras'."""

from typing import Any

import keras_by_hand as hand
import numpy as np
import pytest
from conformance import SINGLE
from keras_cases import keras_call

import lossledger as ll
from lossledger.presets import keras as presets
from lossledger.presets._base import AbstractPreset

RNG = np.random.default_rng(11)
ONES = (
    "MeanSquaredError", "LogCosh", "CategoricalHinge", "KLDivergence", "BinaryCrossentropy",
    "SparseCategoricalCrossentropy", "CategoricalCrossentropy",
)  # fmt: skip


def by_term(
    preset: AbstractPreset, z: Any, t: Any, axes: str | None = None, **weights: Any
) -> tuple[Any, Any]:
    """Return (total, slope) of a term, whose ledger adds up to the total."""
    objective = ll.Objective(preset.term("y", axes=axes))
    total, ledger, slopes = objective.value_and_grad({"y": z}, {"y": t}, **weights)
    assert float(ledger.total) == pytest.approx(float(total), rel=1e-12)
    assert sum(r.contribution for r in ledger.rows) == pytest.approx(float(total), abs=1e-9)
    return total, slopes["y"]


def same(found: tuple[Any, Any], wanted: tuple[Any, Any], within: float = 1e-11) -> None:
    """Require values and slopes to agree."""
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=within, atol=within)


def by_keras(kind: str, z: Any, t: Any, weight: Any = None, mask: Any = None, **o: Any) -> Any:
    """Return value and slope of Keras itself, which averages in float32 on PyTorch."""
    value, slopes = keras_call(kind, dtype="float64", **o)((z,), t, weight, mask)
    return value, slopes[0]


@pytest.mark.parametrize("convention", ["keras3", "keras2.11", "keras2.3", "keras1"])
@pytest.mark.parametrize("kind", ONES)
def test_weights_and_masks(kind: str, convention: str) -> None:
    """Named by axis they give what the call gives, in every convention."""
    preset = getattr(presets, kind)(convention=convention)
    last = "unit" if preset.default_axes.endswith("unit") else "class"
    z, t = next(iter(hand.batches(kind, (4, 3, 2), logits=False)))
    w, narrow = np.array([0.5, 0.0, 2.0, 1.0]), np.array([[0.5], [0.0], [2.0], [1.0]])
    wide, mask = RNG.uniform(0.2, 2, (4, 3)), RNG.random((4, 3)) < 0.6
    mask[0] = True
    for passed, named in ((narrow, (w, ["batch"])), (wide, (wide, ["batch", "time"])), (None,) * 2):
        for m in (mask, None):
            weights: dict[str, Any] = {}
            if named is not None:
                weights["sample_weight"] = ll.NamedArray(named[0], tuple(named[1]))
            if m is not None:
                weights["mask"] = ll.NamedArray(m, ("batch", "time"))
            found = by_term(preset, z, t, f"batch time {last}", **weights)
            same(found, preset.value_and_grad(z, t, passed, m))


def test_keras_1_by_hand() -> None:
    """A mask and weights divide apart, in the call and in a term."""
    z, t = RNG.normal(size=(4, 3, 2)), RNG.normal(size=(4, 3, 2))
    w, mask = np.array([0.5, 0.0, 2.0, 1.0]), RNG.random((4, 3)) < 0.6
    preset = presets.MeanSquaredError(convention="keras1")
    named = {
        "sample_weight": ll.NamedArray(w, ("batch",)),
        "mask": ll.NamedArray(mask, ("batch", "time")),
    }
    found, _ = by_term(preset, z, t, "batch time unit", **named)
    score = ((z - t) ** 2).mean(-1)
    assert found == pytest.approx(hand.weighted_masked(score, w, mask), rel=1e-12)
    assert found != pytest.approx((score * w[:, None] * mask).sum() / mask.sum(), rel=1e-3)


def test_keras_1_in_parts() -> None:
    """The sums of two parts give the number of the whole, whatever each part masks."""
    z, t = RNG.normal(size=(6, 3)), np.eye(3)[RNG.integers(0, 3, 6)]
    w, mask = np.array([0.5, 0, 2, 1, 0, 3]), np.array([1, 1, 0, 1, 0, 0], bool)
    preset = presets.CategoricalHinge(convention="keras1")
    objective = ll.Objective(preset.term("y"))
    whole = None
    for cut in (slice(0, 2), slice(2, 6)):
        part = objective.statistics(
            {"y": z[cut]}, {"y": t[cut]}, sample_weight=w[cut], mask=mask[cut]
        )
        whole = part if whole is None else whole + part
    assert whole is not None
    assert float(whole.total()) == pytest.approx(float(preset(z, t, w, mask)), rel=1e-12)
    _, ledger = objective({"y": z}, {"y": t}, sample_weight=w, mask=mask)
    assert "divisor 2" in str(ledger)  # 3 in the mask · 4 with a weight / 6 samples


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_circle(reduction: str, weighted: bool, masked: bool) -> None:
    """Samples without both kinds of pairs are left out, with weights and masks and without."""
    x = RNG.normal(size=(7, 4))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = np.array([0, 1, 0, 2, 1, 3, 0])
    w = RNG.uniform(0.2, 2, 7) if weighted else None
    mask = np.array([1, 1, 0, 1, 1, 0, 1], bool) if masked else None
    preset = presets.Circle(gamma=8.0, reduction=reduction)
    weights = {"sample_weight": w, "mask": mask}
    found = by_term(preset, x, y, **{n: a for n, a in weights.items() if a is not None})
    same(found, preset.value_and_grad(x, y, w, mask))
    same(found, by_keras("Circle", x, y, w, mask, gamma=8.0, reduction=reduction), SINGLE)


def test_circle_without_pairs() -> None:
    """If no sample has both kinds, the number is 0, as Keras' is."""
    x = np.eye(4)
    found = by_term(presets.Circle(), x, np.zeros(4, int))
    same(found, by_keras("Circle", x, np.zeros(4, int)), SINGLE)


def test_circle_counts_the_samples_that_have_pairs() -> None:
    """The ledger has as many elements as Keras divides by."""
    x = RNG.normal(size=(5, 3))
    objective = ll.Objective(presets.Circle().term("y"))
    _, ledger = objective({"y": x}, {"y": np.array([0, 0, 1, 2, 1])})
    assert [row.count for row in ledger.rows] == [4]


def test_lone_samples_need_bystanders() -> None:
    """What is left out could be no other sample's negative."""
    with pytest.raises(ll.DomainError, match="alone"):
        ll.losses.Circle(alone="skip")


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("kind", ["CategoricalCrossentropy", "CategoricalFocalCrossentropy"])
def test_label_smoothing(kind: str, axis: int, logits: bool) -> None:
    """Keras smooths by the length of the last axis, wherever the classes are."""
    z = RNG.normal(size=(3, 4, 5)) if logits else RNG.uniform(0.05, 0.9, (3, 4, 5))
    index = RNG.integers(0, z.shape[axis], (3, 4) if axis == -1 else (3, 5))
    t = np.moveaxis(np.eye(z.shape[axis])[index], -1, axis)
    options = {"from_logits": logits, "label_smoothing": 0.2, "axis": axis}
    axes = "batch time class" if axis == -1 else "batch class width"
    preset = getattr(presets, kind)(**options)
    found = by_term(preset, z, t, axes)
    same(found, preset.value_and_grad(z, t))
    same(found, by_keras(kind, z, t, **options), SINGLE)


def test_label_smoothing_of_keras_2_3() -> None:
    """It divides by the length of the second axis, in a term too."""
    z, t = RNG.uniform(0.05, 0.9, (3, 4, 2)), np.eye(2)[RNG.integers(0, 2, (3, 4))]
    preset = presets.CategoricalCrossentropy(label_smoothing=0.2, convention="keras2.3")
    found, _ = by_term(preset, z, t, "batch time class")
    wanted = hand.categorical_crossentropy(t, z, "keras2.3", False, 0.2).mean()
    assert found == pytest.approx(wanted, rel=1e-12)


def test_smoothing_needs_rows() -> None:
    """Class indices have no place for it."""
    preset = presets.CategoricalFocalCrossentropy(label_smoothing=0.1)
    with pytest.raises(ll.MatchError, match="one-hot"):
        by_term(preset, RNG.uniform(0.1, 0.9, (4, 3)), np.array([0, 1, 2, 0]))


def test_alpha_by_class_needs_classes_last() -> None:
    """Keras multiplies it along the last axis, in a term as in a call."""
    preset = presets.CategoricalFocalCrossentropy(alpha=[1.0, 2.0], axis=1)
    with pytest.raises(ll.MatchError, match="last place"):
        preset.term("y", axes="batch class width")


def test_traced_terms() -> None:
    """Under jit the counts are arrays: the same number, and NaN where nothing is left."""
    import jax

    z, t = RNG.normal(size=(6, 3)), np.eye(3)[RNG.integers(0, 3, 6)]
    w, mask = np.array([0.5, 0, 2, 1, 0, 3]), np.array([1, 1, 0, 1, 0, 0], bool)
    preset = presets.CategoricalHinge(convention="keras1")
    objective = ll.Objective(preset.term("y"))
    x, labels = RNG.normal(size=(5, 3)), np.array([0, 0, 1, 2, 1])
    circle = ll.Objective(presets.Circle(gamma=4.0).term("y"))
    with jax.enable_x64(True):

        @jax.jit
        def number(z: Any, w: Any, mask: Any) -> Any:
            return objective.loss({"y": z}, {"y": t}, sample_weight=w, mask=mask)

        found = jax.value_and_grad(number)(z, w, mask)
        empty = number(z, 0 * w, mask)
        pairs = jax.jit(lambda x, y: circle.loss({"y": x}, {"y": y}))(x, labels)
    same(found, preset.value_and_grad(z, t, w, mask))
    assert np.isnan(empty)
    assert float(pairs) == pytest.approx(float(circle.loss({"y": x}, {"y": labels})), rel=1e-9)


@pytest.mark.parametrize("narrow", ["batch", "batch time"])
@pytest.mark.parametrize("masked", [False, True])
def test_mean_with_sample_weight(narrow: str, masked: bool) -> None:
    """A weight is counted once along the axes that it lacks, in a term as in Keras."""
    z, t = RNG.normal(size=(4, 5, 3)), RNG.normal(size=(4, 5, 3))
    w = RNG.uniform(0.2, 2, (4, 5) if narrow == "batch time" else (4,))
    mask = RNG.random((4, 5)) < 0.7 if masked else None
    preset = presets.MeanSquaredError(reduction="mean_with_sample_weight")
    weights = {"sample_weight": w} if mask is None else {"sample_weight": w, "mask": mask}
    axes = {n: ("batch", "time")[: a.ndim] for n, a in weights.items()}
    named = {n: ll.NamedArray(a, axes[n]) for n, a in weights.items()}
    found = by_term(preset, z, t, "batch time feature", **named)
    passed = w.reshape(4, -1)  # Keras lines up the last axes
    same(found, preset.value_and_grad(z, t, passed, mask))
    options = {"reduction": "mean_with_sample_weight"}
    if mask is None or narrow != "batch":  # Keras on torch cannot multiply (4, 1) by (4, 5)
        same(found, by_keras("MeanSquaredError", z, t, passed, mask, **options), SINGLE)
    halves = [slice(0, 1), slice(1, 4)]
    objective = ll.Objective(preset.term("y", axes="batch time feature"))
    whole = sum(
        objective.statistics(
            z[s], t[s], **{n: ll.NamedArray(a[s], axes[n]) for n, a in weights.items()}
        )
        for s in halves
    )
    assert float(whole.total()) == pytest.approx(float(found[0]), rel=1e-12)
