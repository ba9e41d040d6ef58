# SPDX-License-Identifier: Apache-2.0
"""A model's number in other versions of Keras: by hand, and by the Keras 2 that is installed."""

from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import read

import lossledger as ll
from lossledger.explanation.model._conventions import VERSIONS, elsewhere, value_under

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.losses
BACKEND = keras.backend.backend()
RNG = np.random.default_rng(2)
X = RNG.normal(size=(4, 4, 2)).astype("float32")
X[0, 2:] = X[1, 3:] = 0
MASK = (X != 0).any(-1)
Y = RNG.normal(size=(4, 4, 1)).astype("float32")
W = np.array([1.0, 2.0, 0.0, 5.0])[:, None] * np.ones((4, 4))
VALUES = ((X.sum(-1) - Y[..., 0]) ** 2).astype("float64")
# Σ m = 13 of 16 values; 12 of 16 weights are not 0.
MASKED = {
    "keras1": (VALUES * MASK).sum() / 13,
    "keras2.3": (VALUES * MASK).sum() / 16,
    "keras2.10": (VALUES * MASK).sum() / 16,
    "keras2.11": (VALUES * MASK).sum() / 13,
    "keras3": (VALUES * MASK).sum() / 13,
    "keras3.16": (VALUES * MASK).sum() / 13,
}
WEIGHTED = {
    "keras1": (VALUES * W).sum() / 12,
    "keras2.3": (VALUES * W).sum() / 16,
    "keras2.10": (VALUES * W).sum() / 16,
    "keras2.11": (VALUES * W).sum() / 16,
    "keras3": (VALUES * W).sum() / 16,
    "keras3.16": (VALUES * W).sum() / 16,
}
BOTH = {
    "keras1": (VALUES * W * MASK).sum() * 16 / 13 / 12,
    "keras2.3": (VALUES * W * MASK).sum() / 16,
    "keras2.10": (VALUES * W * MASK).sum() / 16,
    "keras2.11": (VALUES * W * MASK).sum() / 13,
    "keras3": (VALUES * W * MASK).sum() / 13,
    "keras3.16": (VALUES * W * MASK).sum() / 13,
}


def own(y_true: Any, y_pred: Any) -> Any:
    """A loss that Keras does not know: the squared error."""
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def steps(loss: Any = "mse", masked: bool = False, between: Any = None, **options: Any) -> Any:
    """Return a model of one output a time step, Σ x."""
    inputs = keras.layers.Input((4, 2))
    hidden = keras.layers.Masking()(inputs) if masked else inputs
    hidden = hidden if between is None else between(hidden)
    last = keras.layers.Dense(1, kernel_initializer="ones", name="out", **options)
    model = keras.Model(inputs, last(hidden))
    model.compile(loss=loss, run_eagerly=True)
    return model


def numbers(*data: Any) -> dict[str, Any]:
    """Return the totals by convention."""
    return {e.convention: e.number for e in elsewhere(read(*data))}


def reasons(*data: Any) -> dict[str, str]:
    """Return why the totals differ, by convention."""
    return {e.convention: e.why for e in elsewhere(read(*data))}


@pytest.mark.parametrize("loss", ["mse", own], ids=["preset", "own"])
@pytest.mark.parametrize(
    ("masked", "weight", "expected"),
    [(True, None, MASKED), (False, W, WEIGHTED), (True, W, BOTH)],
    ids=["mask", "weights", "both"],
)
def test_denominators(loss: Any, masked: bool, weight: Any, expected: dict[str, float]) -> None:
    """What each version divides by, for losses of Keras and for others."""
    assert set(expected) == set(VERSIONS)
    found = numbers(steps(loss, masked), X, Y, weight)
    assert found == pytest.approx(expected, rel=1e-5)


def test_reasons_stand_where_numbers_differ() -> None:
    """A version says what it does otherwise, with its denominators, and else nothing."""
    found = reasons(steps(masked=True), X, Y)
    assert "16 instead of 13" in found["keras2.3"]
    assert found["keras1"] == found["keras2.11"] == found["keras3"] == ""
    assert "share of weights that are not 0, 0.75" in reasons(steps(), X, Y, W)["keras1"]
    assert set(reasons(steps(), X, Y).values()) == {""}


def test_weights_by_sample() -> None:
    """Keras 2 lays (batch,) weights along samples; Keras 3 along time, if the lengths agree."""
    w = np.array([1.0, 2.0, 3.0, 5.0])
    found = numbers(steps(), X, Y, w)
    for convention in ("keras1", "keras2.3", "keras2.11"):
        assert found[convention] == pytest.approx((VALUES * w[:, None]).mean(), rel=1e-5)
    assert found["keras3"] == pytest.approx((VALUES * w[None]).mean(), rel=1e-5)
    assert "weigh samples" in reasons(steps(), X, Y, w)["keras2.11"]


# Plain weights: drawing random ones takes seconds to compile.
SEQUENCES = {
    "return_sequences": True,
    "kernel_initializer": "ones",
    "recurrent_initializer": "ones",
}


def test_recurrent_layers_stop_the_mask() -> None:
    """In 3.16 a mask does not pass an LSTM, so padding counts; without one it does."""
    layer = keras.layers.LSTM(2, name="lstm", **SEQUENCES)
    reading = read(steps(masked=True, between=layer), X, Y)
    loss = reading.losses[0]
    value, why = value_under(loss, "keras3.16", reading)
    assert value == pytest.approx(loss.values.mean(), rel=1e-5)
    assert value != pytest.approx(loss.value, rel=1e-3)
    assert "`lstm` (LSTM)" in why
    assert "all 16 instead of 13" in why
    assert value_under(loss, "keras3", reading) == (loss.value, "")
    assert value_under(loss, "keras3.16")[0] is None
    plain = read(steps(masked=True), X, Y)
    assert value_under(plain.losses[0], "keras3.16", plain) == (plain.losses[0].value, "")


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.GRU(2, **SEQUENCES),
        keras.layers.Bidirectional(keras.layers.SimpleRNN(2, **SEQUENCES)),
        keras.layers.TimeDistributed(keras.layers.Dense(2, kernel_initializer="ones")),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_over_time(layer: Any) -> None:
    """Every kind of layer over time stops the mask in 3.16."""
    reading = read(steps(masked=True, between=layer), X, Y)
    assert reading.losses[0].mask is not None
    value, _ = value_under(reading.losses[0], "keras3.16", reading)
    assert value == pytest.approx(reading.losses[0].values.mean(), rel=1e-5)


def test_two_ways_of_a_mask_are_undecided() -> None:
    """Where one way of the mask is recurrent and another is not, there is no number."""
    inputs = keras.layers.Input((4, 2))
    hidden = keras.layers.Masking()(inputs)
    recurrent = keras.layers.GRU(2, **SEQUENCES)(hidden)
    both = keras.layers.Add()([hidden, recurrent])
    model = keras.Model(inputs, keras.layers.Dense(1, name="out")(both))
    model.compile(loss="mse", run_eagerly=True)
    reading = read(model, X, Y)
    assert reading.losses[0].mask is not None
    value, why = value_under(reading.losses[0], "keras3.16", reading)
    assert value is None
    assert "not decided" in why


def test_a_reading_of_316() -> None:
    """Read under 3.16, its number is the loss's; that of 3.15 is known where nothing recurs."""
    reading = read(steps(), X, Y, version="3.16.0")
    loss = reading.losses[0]
    assert value_under(loss, "keras3.16", reading) == (loss.value, "")
    assert value_under(loss, "keras3", reading) == (loss.value, "")


LABELS = RNG.integers(0, 3, (4, 4))
LABELS[0, :3] = 1


def test_ignored_class() -> None:
    """`ignore_class` is of TensorFlow 2.10: before there is no number."""
    loss = L.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    inputs = keras.layers.Input((4, 2))
    model = keras.Model(
        inputs, keras.layers.Dense(3, kernel_initializer="ones", name="out")(inputs)
    )
    model.compile(loss=loss, run_eagerly=True)
    reading = read(model, X, LABELS)
    found = numbers(model, X, LABELS)
    expected = reading.losses[0].values.sum() / (LABELS != 1).sum()
    for convention in ("keras2.10", "keras2.11", "keras3", "keras3.16"):
        assert found[convention] == pytest.approx(expected, rel=1e-5)
    assert found["keras2.3"] is None
    assert "has no" in reasons(model, X, LABELS)["keras2.3"]


NONE = {
    "weighted mean": (L.MeanSquaredError(reduction="mean_with_sample_weight"), "keras2.11"),
    "sum in Keras 1": (L.MeanSquaredError(reduction="sum"), "keras1"),
    "later loss": (L.Dice(), "keras2.11"),
    "later option": (L.CategoricalCrossentropy(label_smoothing=0.1), "keras1"),
}


@pytest.mark.parametrize(("loss", "convention"), NONE.values(), ids=NONE)
def test_no_number(loss: Any, convention: str) -> None:
    """A version without the loss, the option or the reduction has no number, and says so."""
    inputs = keras.layers.Input((4, 2))
    model = keras.Model(
        inputs, keras.layers.Dense(3, "softmax", kernel_initializer="ones", name="out")(inputs)
    )
    model.compile(loss=loss, run_eagerly=True)
    reading = read(model, X, np.eye(3, dtype="float32")[LABELS])
    value, why = value_under(reading.losses[0], convention, reading)
    assert value is None
    assert "no" in why
    assert np.isfinite(value_under(reading.losses[0], "keras3", reading)[0])


def test_number_of_a_scalar_loss() -> None:
    """A loss of one number is the same everywhere; with weights older versions are undecided."""

    def whole(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred))

    assert set(numbers(steps(whole), X, Y).values()) == {numbers(steps(whole), X, Y)["keras3"]}
    assert numbers(steps(whole), X, Y, W)["keras2.11"] is None
    assert "not decided" in reasons(steps(whole), X, Y, W)["keras2.11"]


def test_loss_weights_and_extras_add_up() -> None:
    """The total of a version is Σ loss weight · value + Σ extras; activity is undecided early."""
    reading = read(steps(masked=True, kernel_regularizer=keras.regularizers.L2(0.5)), X, Y)
    found = {e.convention: e.number for e in elsewhere(reading)}
    assert found == pytest.approx({k: v + 1 for k, v in MASKED.items()}, rel=1e-5)
    assert found["keras3"] == pytest.approx(reading.number, rel=1e-6)
    active = steps(activity_regularizer=keras.regularizers.L2(0.5))
    assert numbers(active, X, Y)["keras2.3"] is None
    assert "divided by the batch" in reasons(active, X, Y)["keras2.3"]
    assert numbers(active, X, Y)["keras2.11"] is not None


def test_replaced_activation_is_undecided() -> None:
    """A softmax before a binary cross entropy: TensorFlow's Keras 2 takes what lies before it."""
    inputs = keras.layers.Input((2,))
    for activation in ("softmax", "sigmoid"):
        last = keras.layers.Dense(3, activation, kernel_initializer="ones", name="out")
        model = keras.Model(inputs, last(inputs))
        model.compile(loss="binary_crossentropy", run_eagerly=True)
        x, y = np.array([[1.0, 2.0], [0.5, 0.1]], "float32"), np.eye(3, dtype="float32")[:2]
        before = x.sum(-1, keepdims=True).astype("float64")
        expected = (np.log1p(np.exp(before)) - y * before).mean()
        value = numbers(model, x, y)["keras2.11"]
        if activation == "sigmoid" or BACKEND == "tensorflow":
            assert value == pytest.approx(expected, rel=1e-5)
        else:
            assert value is None
            assert "before the model's softmax" in reasons(model, x, y)["keras2.11"]


def test_unknown_convention() -> None:
    """A convention that there is not is an error that names those there are."""
    reading = read(steps(), X, Y)
    with pytest.raises(ll.MatchError, match=r"keras2\.11.*Found 'keras2'"):
        value_under(reading.losses[0], "keras2", reading)


KERAS_2: dict[str, tuple[str, dict[str, Any]]] = {
    "MeanSquaredError": ("MeanSquaredError", {}),
    "Huber": ("Huber", {"delta": 0.3}),
    "own": ("own", {}),
    "sum": ("MeanAbsoluteError", {"reduction": "sum"}),
    "logits": ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}),
}


WEIGHTS = {"none": None, "all": W, "by sample": np.array([1.0, 2.0, 3.0, 5.0])}


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras 2 runs on TensorFlow alone")
@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize(("name", "options"), KERAS_2.values(), ids=KERAS_2)
def test_installed_keras_2(name: str, options: dict[str, Any], weight: Any) -> None:
    """tf_keras, run on the same masked model and data, gives the number of "keras2.11"."""
    import tensorflow as tf
    import tf_keras

    def old_own(y_true: Any, y_pred: Any) -> Any:
        return tf.reduce_mean(tf.square(y_true - y_pred), -1)

    old = tf_keras.Sequential(
        [
            tf_keras.layers.Input((4, 2)),
            tf_keras.layers.Masking(),
            tf_keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    there, here = old_own, own
    if name != "own":
        there, here = (getattr(library, name)(**options) for library in (tf_keras.losses, L))
    old.compile(loss=there, run_eagerly=True)
    y = (Y > 0).astype("float32")
    theirs = old.evaluate(X, y, sample_weight=weight, batch_size=4, verbose=0)
    reading = read(steps(here, masked=True), X, y, weight)
    value, _ = value_under(reading.losses[0], "keras2.11", reading)
    assert value == pytest.approx(theirs, rel=1e-5)
