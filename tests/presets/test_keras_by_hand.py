# SPDX-License-Identifier: Apache-2.0
"""Keras' presets under the conventions of Keras 2.3 and 1, against formulas written by hand."""

from dataclasses import replace
from typing import Any

import keras_by_hand as hand
import numpy as np
import pytest
from conformance import deviations

import lossledger as ll
from lossledger.presets import keras as presets

VALUE, SLOPE = 1e-11, 1e-6
"""Central differences lose some digits where a wide float has 64 bits."""

SHAPES = ((5, 3), (4, 3, 2))
IMAGES = ((2, 3, 2, 3),)
BOTH = ("keras2.3", "keras1")
LOGITS = {
    "BinaryCrossentropy": hand.binary_crossentropy,
    "CategoricalCrossentropy": hand.categorical_crossentropy,
    "SparseCategoricalCrossentropy": hand.sparse_crossentropy,
}
LATER = {
    "keras2.3": (
        "BinaryFocalCrossentropy", "CategoricalFocalCrossentropy", "Circle", "CosineSimilarity",
        "CategoricalGeneralizedCrossEntropy", "Dice", "Tversky",
    ),
}  # fmt: skip
LATER["keras1"] = ("Huber", *LATER["keras2.3"])


def check(
    kind: str, score: Any, shapes: Any = SHAPES, left: Any = lambda s: s[:-1], **options: Any
) -> None:
    """Check a loss on every shape with every form of weights, some of them in PyTorch too."""
    logits, tried = options.get("from_logits", False), 0
    for shape in shapes:
        for z, t in hand.batches(kind, shape, logits):
            for weight, mask in hand.weights(left(shape), options["convention"]):
                case = hand.case(kind, score, z, t, weight, mask, **options)
                agree(case if tried % 5 == 0 else replace(case, ours=("numpy",)))
                tried += 1


def agree(case: Any) -> None:
    """Require value and gradient in every array library."""
    for name, (value, slope) in deviations(case).items():
        shown = [None if a is None else a.shape for a in (case.sample_weight, case.mask)]
        assert value <= VALUE, (name, case.id, shown, value)
        assert slope is None or slope <= SLOPE, (name, case.id, shown, slope)


@pytest.mark.parametrize("convention", BOTH)
@pytest.mark.parametrize("kind", hand.PLAIN)
def test_plain_losses(kind: str, convention: str) -> None:
    """Losses without options."""
    check(kind, hand.PLAIN[kind], convention=convention)


@pytest.mark.parametrize("convention", BOTH)
def test_images(convention: str) -> None:
    """Weights and masks of values with three axes."""
    check("MeanSquaredError", hand.PLAIN["MeanSquaredError"], IMAGES, convention=convention)


@pytest.mark.parametrize("convention", BOTH)
@pytest.mark.parametrize("kind", LOGITS)
def test_crossentropies_of_probabilities(kind: str, convention: str) -> None:
    """Clipped as that version of Keras does."""
    formula = LOGITS[kind]
    check(kind, lambda y, z: formula(y, z, convention, False, 0.0), convention=convention)


@pytest.mark.parametrize("smooth", [0.0, 0.2])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("kind", LOGITS)
def test_options_of_crossentropies(kind: str, logits: bool, smooth: float) -> None:
    """Logits and label smoothing, which Keras 2.3 has and Keras 1 has not."""
    formula, options = LOGITS[kind], {"from_logits": logits, "label_smoothing": smooth}
    if kind == "SparseCategoricalCrossentropy":
        options.pop("label_smoothing")
    score = lambda y, z: formula(y, z, "keras2.3", logits, smooth)  # noqa: E731
    check(kind, score, convention="keras2.3", **options)
    for name, value in options.items():
        if value:
            with pytest.raises(ll.MatchError, match="not one of keras1"):
                getattr(presets, kind)(convention="keras1", **{name: value})


@pytest.mark.parametrize("convention", BOTH)
def test_hinges(convention: str) -> None:
    """Hinge, its square, and that of rows."""
    check("Hinge", lambda y, z: hand.hinge(y, z, convention), convention=convention)
    check("SquaredHinge", lambda y, z: hand.hinge(y, z, convention, 2), convention=convention)
    formula = lambda y, z: hand.categorical_hinge(y, z, convention)  # noqa: E731
    check("CategoricalHinge", formula, convention=convention)


@pytest.mark.parametrize("delta", [1.0, 0.3])
def test_huber(delta: float) -> None:
    """Keras 2.3's values keep the last axis, and weights may have it too."""
    score = lambda y, z: hand.huber(y, z, "keras2.3", delta)  # noqa: E731
    check("Huber", score, left=lambda s: s, convention="keras2.3", delta=delta)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("kind", ["MeanAbsoluteError", "KLDivergence", "SquaredHinge"])
def test_other_reductions(kind: str, reduction: str) -> None:
    """Sums and arrays of Keras 2.3; Keras 1 has neither."""
    scores = hand.PLAIN | {"SquaredHinge": lambda y, z: hand.hinge(y, z, "keras2.3", 2)}
    check(kind, scores[kind], convention="keras2.3", reduction=reduction)
    with pytest.raises(ll.MatchError, match="not one of keras1"):
        getattr(presets, kind)(convention="keras1", reduction=reduction)


def test_every_loss_is_checked() -> None:
    """A loss is written out above, or that version did not have it."""
    kinds = {n for n in presets.__all__ if hasattr(getattr(presets, n), "library")}
    checked = {*hand.PLAIN, *LOGITS, "Hinge", "SquaredHinge", "CategoricalHinge"}
    assert checked | {"Huber"} | set(LATER["keras2.3"]) == kinds
    assert checked | set(LATER["keras1"]) == kinds


@pytest.mark.parametrize("convention", BOTH)
def test_losses_that_came_later(convention: str) -> None:
    """They say so, and what to use."""
    for kind in LATER[convention]:
        with pytest.raises(ll.MatchError) as caught:
            getattr(presets, kind)(convention=convention)
        error = caught.value
        assert error.rule.startswith(f"{kind} has the conventions keras3")
        assert repr(convention) in error.found
        assert "did not have this loss" in error.cause
        assert error.remedy.startswith("Use 'keras")


@pytest.mark.parametrize(
    ("convention", "weight", "mask"),
    [
        ("keras1", None, (4,)),
        ("keras1", None, (4, 3, 1)),
        ("keras1", (4, 3, 1), None),
        ("keras1", (3,), None),
        ("keras2.3", (3,), None),
        ("keras2.3", (4, 3), (4,)),
    ],
)
def test_weights_that_keras_misreads(convention: str, weight: Any, mask: Any) -> None:
    """Shapes that it lines up along other axes, or refuses, are errors."""
    made = [None if s is None else np.ones(s) for s in (weight, mask)]
    loss = presets.MeanSquaredError(convention=convention)
    with pytest.raises(ll.ShapeError, match="Keras"):
        loss(np.ones((4, 3, 2)), np.zeros((4, 3, 2)), *made)


def test_weights_with_too_few_axes_beside_a_mask() -> None:
    """Keras 2.3 multiplies weights of (batch,) by a mask of three axes along the last one."""
    loss = presets.MeanSquaredError(convention="keras2.3")
    ones = np.ones((2, 3, 2, 2))
    with pytest.raises(ll.ShapeError, match="one axis less"):
        loss(ones, 0 * ones, np.ones(2), np.ones((2, 3, 2), bool))


@pytest.mark.parametrize("which", ["weight", "mask"])
def test_nothing_left_in_keras_1(which: str) -> None:
    """Where Keras divides by 0, nothing is made up."""
    loss = presets.MeanSquaredError(convention="keras1")
    ones = np.ones((4, 3))
    given = (0 * ones[:, 0], None) if which == "weight" else (None, ones[:, 0] < 0)
    with pytest.raises(ll.ReductionError, match="empty"):
        loss(ones, 0 * ones, *given)
