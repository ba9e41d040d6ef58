# SPDX-License-Identifier: Apache-2.0
"""Traps of losses: each is real on the Keras that runs, and found; its twin is neither."""

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import host, to_tensor
from keras_traps import (
    BACKEND,
    ERRORS,
    GOALS,
    LABELS,
    RNG,
    ROWS,
    L,
    fitted,
    found,
    near,
    plain,
    says,
    two,
)

# Keras 3.15 converts PyTorch's tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_second_loss_is_dropped() -> None:
    """One output, two losses: the second is in neither total nor gradient."""
    model, y = plain(["mse", "mae"]), GOALS[:, None]
    near(fitted(model, ROWS, y), ERRORS.mean())
    log = model.evaluate(ROWS, y, verbose=0, return_dict=True)
    assert log["mae_loss"] == 0
    note = found(model, ROWS, y)["second-loss-dropped"]
    says(note, ERRORS.mean(), np.sqrt(ERRORS).mean())

    def both(y_true: Any, y_pred: Any) -> Any:
        return L.mean_squared_error(y_true, y_pred) + L.mean_absolute_error(y_true, y_pred)

    near(fitted(plain(both), ROWS, y), ERRORS.mean() + np.sqrt(ERRORS).mean())
    assert "second-loss-dropped" not in found(plain(both), ROWS, y)
    assert "second-loss-dropped" not in found(two(["mse", "mae"]), ROWS, [y, y])


class Own(L.Loss):
    """The pattern of Keras' own documentation."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return a mean over the last axis."""
        return keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1)


def test_targets_broadcast() -> None:
    """(batch,) targets in a class of one's own meet (batch, 1) outputs: all against all."""
    wrong = ((ROWS.sum(-1)[:, None] - GOALS[None]) ** 2).mean()
    near(fitted(plain(Own()), ROWS, GOALS), wrong)
    note = found(plain(Own()), ROWS, GOALS)["targets-broadcast"]
    says(note, wrong, ERRORS.mean())
    near(fitted(plain(Own()), ROWS, GOALS.reshape(-1, 1)), ERRORS.mean())
    assert "targets-broadcast" not in found(plain(Own()), ROWS, GOALS.reshape(-1, 1))
    assert "targets-broadcast" not in found(plain(), ROWS, GOALS)
    near(fitted(plain(), ROWS, GOALS), ERRORS.mean())


def test_unreduced_loss() -> None:
    """Without a reduction `fit` raises, or on TensorFlow takes the steps of the sum."""
    loss, y = L.MeanSquaredError(reduction="none"), GOALS[:, None]
    note = found(plain(loss), ROWS, y)["unreduced-loss"]
    assert "unreduced-loss" not in found(plain(L.MeanSquaredError(reduction="sum")), ROWS, y)
    if BACKEND != "tensorflow":
        with pytest.raises((RuntimeError, TypeError), match="scalar"):
            fitted(plain(loss), ROWS, y)
        assert "raises" in note.found
        return
    says(note, ERRORS.sum(), ERRORS.mean())
    weights = []
    for each in (loss, L.MeanSquaredError(reduction="sum")):
        model = plain(each, optimizer=keras.optimizers.SGD(0.01))
        number = fitted(model, ROWS, y)
        weights.append((number, host(model.layers[-1].kernel)))
    near(weights[0][0], ERRORS.mean())
    near(weights[1][0], ERRORS.sum())
    np.testing.assert_allclose(weights[0][1], weights[1][1], rtol=1e-6)


def test_sum_grows_with_the_batch() -> None:
    """Under 'sum' the logged number depends on the batch size."""
    model = plain(L.MeanSquaredError(reduction="sum"))
    once = model.evaluate(ROWS, GOALS, batch_size=6, verbose=0)
    thrice = model.evaluate(ROWS, GOALS, batch_size=2, verbose=0)
    near(once, ERRORS.sum())
    near(thrice, ERRORS.sum() / 3)
    says(found(model, ROWS, GOALS)["sum-grows-with-batch"], ERRORS.sum(), ERRORS.mean())
    near(plain().evaluate(ROWS, GOALS, batch_size=2, verbose=0), ERRORS.mean())
    assert "sum-grows-with-batch" not in found(plain(), ROWS, GOALS)


def test_mean_over_channels() -> None:
    """A binary cross entropy is a mean over channels, a categorical one a sum over classes."""
    y = np.eye(3, dtype="float32")[LABELS]
    binary = plain("binary_crossentropy", 3, "sigmoid")
    p = host(binary(to_tensor(ROWS))).astype("float64")
    values = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    near(fitted(binary, ROWS, y), values.mean())
    note = found(binary, ROWS, y)["mean-over-channels"]
    says(note, values.mean(), values.sum(-1).mean())
    tripled = plain("binary_crossentropy", 3, "sigmoid", loss_weights=3.0)
    near(fitted(tripled, ROWS, y), values.sum(-1).mean())
    categorical = plain("categorical_crossentropy", 3, "softmax")
    near(fitted(categorical, ROWS, y), np.log(3))
    assert "mean-over-channels" not in found(categorical, ROWS, y)
    assert "mean-over-channels" not in found(plain("bce", 1, "sigmoid"), ROWS, LABELS[:, None] > 0)


def test_probabilities_as_logits() -> None:
    """Probabilities are squashed twice, but for TensorFlow, which finds the logits before them."""
    loss = L.SparseCategoricalCrossentropy(from_logits=True)
    model = plain(loss, 3, "softmax")
    model.layers[-1].kernel.assign(RNG.normal(size=(2, 3)))
    p = host(model(to_tensor(ROWS))).astype("float64")
    right = -np.log(p[np.arange(6), LABELS]).mean()
    twice = np.exp(p) / np.exp(p).sum(-1, keepdims=True)
    wrong = -np.log(twice[np.arange(6), LABELS]).mean()
    assert abs(wrong - right) > 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near(fitted(model, ROWS, LABELS), right if BACKEND == "tensorflow" else wrong)
        note = found(model, ROWS, LABELS)["probabilities-as-logits"]
    says(note, *((right, wrong) if BACKEND == "tensorflow" else (wrong,)))
    assert "probabilities-as-logits" not in found(plain(loss, 3), ROWS, LABELS)
    bare = plain(L.SparseCategoricalCrossentropy(), 3, "softmax")
    assert "probabilities-as-logits" not in found(bare, ROWS, LABELS)


CROSS = [("binary_crossentropy", "softmax"), ("categorical_crossentropy", "sigmoid")]


@pytest.mark.parametrize(("loss", "activation"), CROSS)
def test_activation_is_replaced(loss: str, activation: str) -> None:
    """TensorFlow takes what lies before the last activation, and the loss's own activation."""
    y = np.eye(3, dtype="float32")[LABELS]
    model = plain(loss, 3, activation)
    model.layers[-1].kernel.assign(RNG.normal(size=(2, 3)))
    p = host(model(to_tensor(ROWS))).astype("float64")
    z = ROWS.astype("float64") @ host(model.layers[-1].kernel)
    if loss == "binary_crossentropy":
        s = 1 / (1 + np.exp(-z))
        numbers = [-(y * np.log(q) + (1 - y) * np.log(1 - q)).mean() for q in (p, s)]
    else:
        numbers = [
            -(y * np.log(q / q.sum(-1, keepdims=True))).sum(-1).mean() for q in (p, np.exp(z))
        ]
    of_outputs, before = numbers
    assert abs(of_outputs - before) > 0.01
    near(fitted(model, ROWS, y), before if BACKEND == "tensorflow" else of_outputs)
    rules = found(model, ROWS, y)
    assert ("activation-replaced" in rules) == (BACKEND == "tensorflow")
    if BACKEND == "tensorflow":
        says(rules["activation-replaced"], before, of_outputs)
    other = "softmax" if activation == "sigmoid" else "sigmoid"
    assert "activation-replaced" not in found(plain(loss, 3, other), ROWS, y)


def test_logits_as_probabilities() -> None:
    """Logits given as probabilities are clipped: a gradient of 0."""
    loss, y = L.BinaryCrossentropy(), (GOALS > 0).astype("float32")[:, None]
    model = plain(loss, optimizer=keras.optimizers.SGD(1.0))
    far = np.where(ROWS > 0, 2.0, -2.0).astype("float32")
    far[:, 1] = far[:, 0]
    fitted(model, far, y)
    np.testing.assert_array_equal(host(model.layers[-1].kernel), np.ones((2, 1)))
    note = found(model, far, y)["logits-as-probabilities"]
    assert "6 of 6 outputs" in note.found
    better = plain(L.BinaryCrossentropy(from_logits=True), optimizer=keras.optimizers.SGD(1.0))
    fitted(better, far, y)
    assert np.abs(host(better.layers[-1].kernel) - 1).max() > 0.1
    assert "logits-as-probabilities" not in found(better, far, y)


def test_nan_under_a_zero_weight() -> None:
    """0 · NaN is NaN: a weight of 0 does not leave an element out."""
    y, w = GOALS.copy(), np.ones(6, "float32")
    y[2], w[2] = np.nan, 0
    assert np.isnan(fitted(plain(), ROWS, y, sample_weight=w))
    assert "1 of 6 values" in found(plain(), ROWS, y, w)["nan-under-zero-weight"].found
    y = np.where(np.isnan(y), 0, y)
    near(fitted(plain(), ROWS, y, sample_weight=w), (w * ERRORS).sum() / 6)
    assert "nan-under-zero-weight" not in found(plain(), ROWS, y, w)


def test_half_precision() -> None:
    """A float16 loss ends at 65,504: a larger square is infinite, a larger count NaN."""
    half = plain(L.MeanSquaredError(dtype="float16"))
    y = np.full((6, 1), 300, "float32")
    assert np.isinf(half.evaluate(ROWS, y, verbose=0))
    note = found(half, ROWS, y)["half-precision-loss"]
    assert "65,504" in note.found
    many = np.ones((70_000, 2), "float32")
    assert np.isnan(half.evaluate(many, np.ones((70_000, 1)), batch_size=70_000, verbose=0))
    assert np.isfinite(plain(L.MeanSquaredError(dtype="float32")).evaluate(ROWS, y, verbose=0))
    assert "half-precision-loss" not in found(plain(), ROWS, y)
