# SPDX-License-Identifier: Apache-2.0
"""Losses of Keras, called alone: recognized, and compared with other libraries and versions."""

import inspect

import keras
import numpy as np
import pytest

import lossledger as ll
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._recognize import recognize

DRAW = np.random.default_rng(0)
SCORES = DRAW.normal(size=(6, 3)).astype("float32")
YES = ((DRAW.random((6, 3)) < 0.4) * 1.0).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 1])
SHARES = (np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)).astype("float32")
IMAGE = DRAW.random((2, 4, 4, 1)).astype("float32")
PLANE = ((DRAW.random((2, 4, 4, 1)) < 0.4) * 1.0).astype("float32")

CASES = {
    "BinaryCrossentropy": (keras.losses.BinaryCrossentropy(from_logits=True), SCORES, YES),
    "BinaryFocalCrossentropy": (keras.losses.BinaryFocalCrossentropy(gamma=1.5), SHARES, YES),
    "CategoricalCrossentropy": (keras.losses.CategoricalCrossentropy(), SHARES, SHARES[::-1]),
    "CategoricalFocalCrossentropy": (
        keras.losses.CategoricalFocalCrossentropy(), SHARES, np.eye(3)[LABELS],
    ),
    "CategoricalGeneralizedCrossEntropy": (
        keras.losses.CategoricalGeneralizedCrossEntropy(), SHARES, LABELS,
    ),
    "CategoricalHinge": (keras.losses.CategoricalHinge(), SCORES, np.eye(3)[LABELS]),
    "Circle": (keras.losses.Circle(), SHARES / np.linalg.norm(SHARES, axis=1)[:, None], LABELS),
    "CosineSimilarity": (keras.losses.CosineSimilarity(), SCORES, SHARES),
    "Dice": (keras.losses.Dice(), IMAGE, PLANE),
    "Hinge": (keras.losses.Hinge(), SCORES, 2 * YES - 1),
    "Huber": (keras.losses.Huber(delta=0.3), SCORES, YES),
    "KLDivergence": (keras.losses.KLDivergence(), SHARES, SHARES[::-1]),
    "LogCosh": (keras.losses.LogCosh(), SCORES, YES),
    "MeanAbsoluteError": (keras.losses.MeanAbsoluteError(), SCORES, YES),
    "MeanAbsolutePercentageError": (
        keras.losses.MeanAbsolutePercentageError(), SCORES, SHARES,
    ),
    "MeanSquaredError": (keras.losses.MeanSquaredError(reduction="sum"), SCORES, YES),
    "MeanSquaredLogarithmicError": (
        keras.losses.MeanSquaredLogarithmicError(), SHARES, SHARES[::-1],
    ),
    "Poisson": (keras.losses.Poisson(), SHARES, YES),
    "SparseCategoricalCrossentropy": (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True), SCORES, LABELS,
    ),
    "SquaredHinge": (keras.losses.SquaredHinge(), SCORES, 2 * YES - 1),
    "Tversky": (keras.losses.Tversky(alpha=0.3), IMAGE, PLANE),
}  # fmt: skip
UNKNOWN = {"CTC": "it sums over alignments of two sequences"}


@pytest.mark.parametrize("name", CASES)
def test_total_is_keras(name):
    """Every loss class: pieces add up to Keras' own number, in its float32."""
    loss, outputs, targets = CASES[name]
    found = ll.explain(loss, outputs, targets)
    assert isinstance(recognize(loss), Known)
    assert found.deviation <= 5e-6, (found.total, found.number)
    assert next(e.convention for e in found.elsewhere) == "keras3"


def test_every_keras_loss_is_known_or_named():
    """Every public loss class of Keras has a case, or a reason."""
    classes = {
        n
        for n, c in vars(keras.losses).items()
        if inspect.isclass(c) and issubclass(c, keras.losses.Loss) and c is not keras.losses.Loss
    }
    assert classes == {*CASES, *UNKNOWN}
    for name in UNKNOWN:
        assert not isinstance(recognize(getattr(keras.losses, name)()), Known)


def test_function_returns_an_array():
    """A function of Keras keeps one value a sample: it is explained as an array."""
    found = ll.explain(keras.losses.mean_squared_error, SCORES, YES)
    assert found.notes[0].rule == "unreduced"
    assert "(6,)" in found.notes[0].found


def test_sample_weight():
    """By hand: Keras 3 divides Σ w·l by the number of samples, whatever they weigh."""
    weight = np.array([1, 0, 2, 1, 1, 5], "float32")
    loss = keras.losses.MeanSquaredError()
    found = ll.explain(loss, SCORES, YES, sample_weight=weight)
    assert found.pieces[0].denominator == 6
    hand = float((((SCORES - YES) ** 2).mean(1) * weight).sum() / 6)
    assert found.number == pytest.approx(hand, rel=1e-6)


def test_older_version():
    """`convention` explains the number of an older version, where the loss had it."""
    loss = keras.losses.MeanSquaredError()
    weight = np.array([1, 0, 2, 1, 1, 5], "float32")
    found = ll.explain(loss, SCORES, YES, sample_weight=weight, convention="keras1")
    hand = float((((SCORES - YES) ** 2).mean(1) * weight).sum() / 5)
    assert found.total == pytest.approx(hand, rel=1e-6)
    with pytest.raises(ll.MatchError, match="version of Keras"):
        ll.explain(ll.presets.torch.MSELoss(), SCORES, YES, convention="keras1")


def test_compared_with_torch():
    """Keras' sparse cross entropy of logits and torch's: equal as they are."""
    import torch

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = ll.compare(torch.nn.CrossEntropyLoss(), loss, torch.from_numpy(SCORES), LABELS)
    assert found.equal
    assert found.layout == ""


def test_loss_of_ones_own():
    """A subclass of `Loss` is measured; it is called with targets first, as Keras does."""

    class Mine(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(keras.ops.maximum(y_pred - y_true, 0.0) ** 3, axis=-1)

    found = ll.explain(Mine(), SCORES, YES)
    assert found.pieces[0].measured
    hand = float((np.maximum(SCORES - YES, 0) ** 3).mean())
    assert found.number == pytest.approx(hand, rel=1e-5)
