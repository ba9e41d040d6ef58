# SPDX-License-Identifier: Apache-2.0
"""Keras' presets in objectives, and what they refuse."""

from typing import Any

import keras
import numpy as np
import pytest

import lossledger as ll
from lossledger.presets import keras as presets

LOSSES = [n for n in presets.__all__ if hasattr(getattr(presets, n), "library")]
RNG = np.random.default_rng(0)
PROBABILITIES = RNG.uniform(0.1, 0.9, (6, 3))
LABELS = np.array([0, 1, 2, 0, 1, 2])
ROWS = np.eye(3)[LABELS]
NUMBERS = RNG.uniform(0.2, 2, (6, 3))
DIRECTIONS = NUMBERS / np.linalg.norm(NUMBERS, axis=1, keepdims=True)
SPARSE = ("SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy")
FREE = (
    "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "Huber", "LogCosh",
    "MeanSquaredLogarithmicError", "CosineSimilarity", "Poisson",
)  # fmt: skip


def batch(name: str) -> tuple[Any, Any]:
    """Return outputs and targets that a loss takes."""
    if name == "Circle":
        return DIRECTIONS, LABELS
    if name in FREE:
        return NUMBERS, RNG.uniform(0.2, 2, (6, 3))
    return PROBABILITIES, LABELS if name in SPARSE else ROWS


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_term_is_the_call(name: str, reduction: str) -> None:
    """A term gives the preset's number, and its ledger adds up to it."""
    loss = getattr(presets, name)(reduction=reduction)
    outputs, targets = batch(name)
    objective = ll.Objective(loss.term("y"))
    total, ledger = objective({"y": outputs}, {"y": targets})
    assert total == pytest.approx(loss(outputs, targets), rel=1e-12)
    assert float(ledger.total) == pytest.approx(float(total), rel=1e-12)
    rows = [row.contribution for row in ledger.rows]
    assert sum(rows) == pytest.approx(float(total), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MeanSquaredError", {"reduction": "batchmean"}),
        ("MeanSquaredError", {"dtype": "float16"}),
        ("MeanSquaredError", {"label_smoothing": 0.1}),
        ("BinaryCrossentropy", {"label_smoothing": 2.0}),
        ("CategoricalGeneralizedCrossEntropy", {"q": 1.0}),
        ("Huber", {"delta": -1.0}),
    ],
)
def test_bad_options(name: str, options: dict[str, Any]) -> None:
    """Options that Keras lacks or refuses are errors."""
    with pytest.raises(ll.LossLedgerError):
        getattr(presets, name)(**options)(*batch(name))


@pytest.mark.parametrize(
    ("name", "options", "shapes", "says"),
    [
        ("MeanSquaredError", {}, ((4, 4, 2), (4, 4, 2), (4,)), "lines up the last axes"),
        ("MeanSquaredError", {}, ((4, 3), (4, 1), None), "axes"),
        ("MeanSquaredError", {}, ((4, 1), (4, 1), (4, 3)), "lines up the last axes"),
        ("Dice", {}, ((4, 3), (4, 3), (4,)), "whole number"),
        ("MeanSquaredError", {}, ((4,), (4,), (4,)), "whole number"),
        ("CosineSimilarity", {}, ((4,), (4,), None), "batch axis"),
        ("MeanSquaredError", {"reduction": "mean_with_sample_weight"}, ((4, 3), (4, 3), ()), "Σ l"),
        ("CategoricalCrossentropy", {}, ((4, 3), (4,), None), "one number a class"),
        ("CategoricalGeneralizedCrossEntropy", {}, ((4, 3), (4, 1), None), "broadcasts"),
    ],
)
def test_misread_inputs(name: str, options: dict[str, Any], shapes: Any, says: str) -> None:
    """What Keras would weigh or broadcast along another axis is an error that says so."""
    outputs, targets = RNG.uniform(0.1, 0.9, shapes[0]), RNG.integers(0, 2, shapes[1])
    weight = None if shapes[2] is None else np.ones(shapes[2])
    with pytest.raises(ll.LossLedgerError, match=says):
        getattr(presets, name)(**options)(outputs, targets, weight)


def test_every_loss_has_a_preset() -> None:
    """All losses of keras.losses but CTC."""
    theirs = {n for n in dir(keras.losses) if n[0].isupper()} - {"CTC", "Loss"}
    assert set(LOSSES) == theirs


def test_labels_out_of_range() -> None:
    """A label that Keras would turn into a row of zeros is an error."""
    with pytest.raises(ll.LossLedgerError):
        presets.CategoricalGeneralizedCrossEntropy()(PROBABILITIES, LABELS + 1)


def test_dtype_casts() -> None:
    """A dtype rounds as Keras does."""
    value = presets.MeanSquaredError(dtype="float32")(NUMBERS, 0 * NUMBERS)
    assert value.dtype == np.float32
    assert presets.MeanSquaredError()(NUMBERS, 0 * NUMBERS).dtype == np.float64


def test_positional_order() -> None:
    """Arguments stand in Keras' order."""
    assert presets.Tversky(0.3, 0.7, "sum", "t", (1, 2)).axis == (1, 2)
    assert presets.SparseCategoricalCrossentropy(True, 1, "sum", 1).axis == 1
    assert presets.Dice("sum", "dice", 1).axis == 1
