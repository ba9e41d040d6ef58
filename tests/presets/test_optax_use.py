# SPDX-License-Identifier: Apache-2.0
"""Presets of optax in use: as terms of an objective, and what they refuse."""

from typing import Any

import numpy as np
import pytest

import lossledger as ll
from lossledger.presets import optax as presets
from lossledger.presets._base import AbstractPreset

RNG = np.random.default_rng(3)
ROWS, PLACES = (6, 4), (2, 3, 2, 4)
Z, IMAGE = RNG.normal(size=ROWS), RNG.normal(size=PLACES)
SOFT = np.exp(Z[::-1]) / np.exp(Z[::-1]).sum(1, keepdims=True)
LABELS = RNG.integers(0, 4, 6)
HARD = (SOFT > 0.25) * 1.0
HOT = np.eye(4)[RNG.integers(0, 4, PLACES[:-1])]
WHERE = RNG.random(ROWS) < 0.7
MEAN: dict[str, Any] = {"reduction": "mean"}
P = presets

# A preset, outputs, targets, axes of the term.
USES: tuple[tuple[AbstractPreset, Any, Any, str], ...] = (
    (P.squared_error(**MEAN), Z, SOFT, "batch unit"),
    (P.l2_loss(**MEAN), Z, SOFT, "batch unit"),
    (P.huber_loss(delta=0.3, reduction="sum"), Z, SOFT, "batch unit"),
    (P.log_cosh(**MEAN), Z, SOFT, "batch unit"),
    (P.sigmoid_binary_cross_entropy(**MEAN), Z, HARD, "batch class"),
    (P.sigmoid_focal_loss(alpha=0.25, **MEAN), Z, HARD, "batch class"),
    (P.hinge_loss(**MEAN), Z, 2 * HARD - 1, "batch class"),
    (P.perceptron_loss(**MEAN), Z, 2 * HARD - 1, "batch class"),
    (P.sparsemax_loss(reduction="sum"), Z, HARD, "batch class"),
    (P.softmax_cross_entropy(**MEAN), Z, SOFT, "batch class"),
    (P.softmax_cross_entropy(where=WHERE, **MEAN), Z, SOFT, "batch class"),
    (P.softmax_cross_entropy_with_integer_labels(**MEAN), Z, LABELS, "batch class"),
    (P.softmax_cross_entropy_with_integer_labels(where=WHERE, **MEAN), Z, LABELS, "batch class"),
    (P.safe_softmax_cross_entropy(**MEAN), Z, SOFT, "batch class"),
    (P.poly_loss_cross_entropy(where=WHERE, **MEAN), Z, SOFT, "batch class"),
    (P.make_fenchel_young_loss(np.max, **MEAN), Z, SOFT, "batch class"),
    (P.multiclass_hinge_loss(**MEAN), Z, LABELS, "batch class"),
    (P.multiclass_perceptron_loss(**MEAN), Z, LABELS, "batch class"),
    (P.multiclass_sparsemax_loss(**MEAN), Z, LABELS, "batch class"),
    (P.kl_divergence(**MEAN), np.log(SOFT[::-1]), SOFT, "batch class"),
    (P.kl_divergence(where=WHERE, **MEAN), np.log(SOFT[::-1]), SOFT, "batch class"),
    (P.kl_divergence_with_log_targets(**MEAN), Z, np.log(SOFT), "batch class"),
    (P.generalized_kl_divergence(where=WHERE, **MEAN), Z, SOFT, "batch class"),
    (P.convex_kl_divergence(axis=None, **MEAN), Z, SOFT, "batch unit"),
    (P.cosine_similarity(**MEAN), Z, SOFT, "batch class"),
    (P.cosine_distance(where=WHERE, epsilon=0.5, **MEAN), Z, SOFT, "batch class"),
    (P.ntxent(temperature=0.5), Z, LABELS, "batch feature"),
    (P.triplet_margin_loss(**MEAN), (Z, SOFT, Z[::-1].copy()), None, "batch feature"),
    (P.dice_loss(batch_reduction="mean"), IMAGE, HOT, "batch height width class"),
    (
        P.dice_loss(class_weights=[1.0, 2.0, 0.5, 1.0], axis=(1, 2), batch_reduction="sum"),
        IMAGE, HOT, "batch height width class",
    ),
    (
        P.binary_dice_loss(batch_reduction="mean"),
        IMAGE[..., :1], HOT[..., :1], "batch height width class",
    ),
    (P.multiclass_generalized_dice_loss(), IMAGE, HOT, "batch height width class"),
)  # fmt: skip


@pytest.mark.parametrize("turn", range(len(USES)))
def test_term(turn: int) -> None:
    """As a term of an objective it is the same number, and its rows add up to it."""
    preset, outputs, targets, axes = USES[turn]
    several = isinstance(outputs, tuple)
    names = tuple("abc") if several else "y"
    given = dict(zip("abc", outputs, strict=True)) if several else {"y": outputs}
    options = {} if targets is None else {"target": "t"}
    term = preset.term(names, axes=axes, name="term", **options)
    goal = None if targets is None else {"t": targets}
    total, ledger = ll.Objective(term)(given, goal)
    assert float(total) == pytest.approx(float(preset(outputs, targets)), rel=1e-12)
    rows = sum(row.contribution for row in ledger.rows)
    assert float(rows) == pytest.approx(float(total), rel=1e-9)


def test_every_preset_is_used() -> None:
    """The table above leaves none out."""
    assert {type(preset).__name__ for preset, *_ in USES} == set(presets.__all__)


@pytest.mark.parametrize(
    ("preset", "outputs", "targets", "found"),
    [
        (lambda: P.huber_loss(delta=-1.0), Z, SOFT, "delta"),
        (lambda: P.squared_error(reduction="average"), Z, SOFT, "average"),
        (lambda: P.kl_divergence(axis=2), Z, SOFT, "axis=2"),
        (lambda: P.kl_divergence(axis=(1, -1)), Z, SOFT, "axis"),
        (lambda: P.cosine_distance(epsilon=-1.0), Z, SOFT, "epsilon"),
        (lambda: P.triplet_margin_loss(norm_degree=3), (Z, Z, Z), None, "3"),
        (lambda: P.dice_loss(reduction="batch"), IMAGE, HOT, "batch"),
        (lambda: P.dice_loss(axis=-1), IMAGE, HOT, "axis=-1"),
        (lambda: P.make_fenchel_young_loss("max"), Z, SOFT, "callable"),
        (lambda: P.make_fenchel_young_loss(np.max), Z, SOFT[:, :1], r"\(6, 1\)"),
        (lambda: P.make_fenchel_young_loss(np.square), Z, SOFT, r"shape \(4,\) for a row"),
        (lambda: P.squared_error(), Z, SOFT[:, :1], r"\(6, 1\)"),
        (lambda: P.hinge_loss(), Z, HARD, "−1 and 1"),
        (lambda: P.softmax_cross_entropy(), Z, LABELS, r"\(6,\)"),
        (lambda: P.softmax_cross_entropy_with_integer_labels(), Z, SOFT, r"\(6, 4\)"),
        (lambda: P.softmax_cross_entropy_with_integer_labels(), Z, LABELS - 1, "labels from -1"),
        (lambda: P.multiclass_perceptron_loss(), Z, np.full(6, 4), "to 4"),
        (lambda: P.multiclass_sparsemax_loss(), IMAGE, LABELS, "batch and class"),
        (lambda: P.softmax_cross_entropy(where=WHERE[0]), IMAGE, HOT, "where"),
        (lambda: P.ntxent(), Z, SOFT, r"\(6, 4\)"),
        (lambda: P.binary_dice_loss(), IMAGE, HOT[..., 0], "one shape"),
        (lambda: P.multiclass_generalized_dice_loss(), IMAGE, HOT.argmax(-1), r"\(2, 3, 2\)"),
    ],
)
def test_refused(preset: Any, outputs: Any, targets: Any, found: str) -> None:
    """A bad option, or arrays that optax misreads, are an error that says what was found."""
    with pytest.raises(ll.LossLedgerError, match=found):
        preset()(outputs, targets)


def test_no_term_of_several_axes() -> None:
    """A term names one class axis; a preset over several has none."""
    with pytest.raises(ll.LossLedgerError, match="one class axis"):
        P.softmax_cross_entropy(axis=(1, 2), **MEAN).term(axes="batch height class")
