# SPDX-License-Identifier: Apache-2.0
"""Traps of compile and of masks: real on the Keras that runs, and found; twins are neither."""

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import host, read
from keras_traps import (
    BACKEND,
    ERRORS,
    FIT,
    GOALS,
    MASK,
    ROWS,
    SQUARES,
    X,
    Y,
    compiled,
    dense,
    fitted,
    found,
    near,
    plain,
    says,
    steps,
    two,
)

import lossledger as ll
from lossledger.explanation.model.lints import lints

# Keras 3.15 converts PyTorch's tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("attached", [False, True])
def test_loss_weight_is_frozen(attached: bool) -> None:
    """Under JAX's jit a loss weight that the model does not own keeps its first value."""
    weight = keras.Variable(1.0, trainable=False)
    inputs = keras.layers.Input((2,))
    model = keras.Model(inputs, [dense(name="a")(inputs), dense(name="b")(inputs)])
    if attached:
        model.live_weight = weight
    compiled(model, loss=["mse", "mse"], loss_weights=[weight, 1.0], run_eagerly=False)
    trap = BACKEND == "jax" and not attached
    rules = found(model, ROWS, [GOALS[:, None]] * 2)
    assert ("loss-weight-frozen" in rules) == trap
    tenfold = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: weight.assign(weight * 10))
    options = FIT | {"epochs": 2, "callbacks": [tenfold]}
    losses = model.fit(ROWS, [GOALS[:, None]] * 2, **options).history["loss"]
    near(losses[0], 2 * ERRORS.mean())
    near(losses[1], (2 if trap else 11) * ERRORS.mean())


FORMS: dict[str, dict[str, Any]] = {
    "one loss, two weights": {"loss": "mse", "loss_weights": [1.0, 2.0]},
    "losses by name, one absent": {"loss": {"a": "mse"}},
    "weights by name, one absent": {
        "loss": {"a": "mse", "b": "mse"}, "loss_weights": {"a": 1.0},
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_keras_2(form: dict[str, Any]) -> None:
    """Forms that Keras 2 took raise in Keras 3."""
    model = two(**form)
    with pytest.raises((ValueError, KeyError)):
        fitted(model, ROWS, [GOALS[:, None]] * 2)
    rules = found(model, ROWS, [GOALS[:, None]] * 2)
    assert "Keras 3 raises" in rules["keras2-form"].found


@pytest.mark.parametrize("weights", [np.array([1.0, 2.0]), 2], ids=["array", "int"])
def test_loss_weights_that_compile_refuses(weights: Any) -> None:
    """A NumPy array of loss weights, or an int, raises when the model is compiled."""
    with pytest.raises(ValueError, match=r"ambiguous|loss_weights"):
        two(["mse", "mse"], loss_weights=weights)
    reading = read(two(["mse", "mse"]), ROWS, [GOALS[:, None]] * 2, compiled_weights=weights)
    assert "keras2-form" in {note.rule for note in lints(reading)}


@pytest.mark.parametrize(
    "form",
    [
        {"loss": ["mse", "mse"], "loss_weights": [1.0, 2.0]},
        {"loss": {"a": "mse", "b": "mae"}, "loss_weights": {"a": 1.0, "b": 2.0}},
        {"loss": "mse"},
    ],
)
def test_forms_of_keras_3(form: dict[str, Any]) -> None:
    """What Keras 3 takes gives no note."""
    model = two(**form)
    assert np.isfinite(fitted(model, ROWS, [GOALS[:, None]] * 2))
    assert "keras2-form" not in found(model, ROWS, [GOALS[:, None]] * 2)


@pytest.mark.parametrize("every", [1, 2])
def test_schedule_runs_ahead(every: int) -> None:
    """A schedule is read at the number of batches: with k batches an update, k times too far."""
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
    accumulated = {"gradient_accumulation_steps": every} if every > 1 else {}
    model = plain(optimizer=keras.optimizers.SGD(rates, **accumulated))
    before = host(model.layers[-1].kernel).copy()
    for _ in range(every):
        model.train_on_batch(ROWS, GOALS)
    moved = np.abs(host(model.layers[-1].kernel) - before).max()
    rules = found(model, ROWS, GOALS)
    assert (moved == 0) == (every == 2)
    assert ("schedule-runs-ahead" in rules) == (every == 2)
    if every == 2:
        assert "step 1, 0; that of step 0 is 1" in rules["schedule-runs-ahead"].found


@pytest.mark.parametrize("decay", [0.1, None])
@pytest.mark.parametrize("penalty", [keras.regularizers.L2(0.05), None])
def test_weight_decay_twice(decay: Any, penalty: Any) -> None:
    """Weight decay and a penalty of squares: 1 - lr·λ - lr·2·l2·w in one step; else one of both."""
    layer = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((2,)), layer])
    compiled(model, loss="mse", optimizer=keras.optimizers.SGD(1.0, weight_decay=decay))
    data = 0 * ROWS, 0 * GOALS[:, None]
    rules = {note.rule for note in ll.explain(model, *data).notes}
    model.train_on_batch(*data)
    near(float(host(layer.kernel)[0, 0]), 1 - 0.1 * (decay is not None) - 0.1 * bool(penalty))
    assert ("weight-decay-twice" in rules) == (decay is not None and penalty is not None)


def test_metric_loses_the_mask() -> None:
    """On JAX a metric in `fit` counts masked elements; the loss does not."""
    model = steps(masked=True, metrics=["mse"], run_eagerly=False)
    log = model.fit(X, Y, **FIT).history
    inside = (SQUARES * MASK).sum() / MASK.sum()
    near(log["loss"][0], inside)
    near(log["mse"][0], SQUARES.mean() if BACKEND == "jax" else inside)
    rules = found(model, X, Y)
    assert ("metric-loses-mask" in rules) == (BACKEND == "jax")
    if BACKEND == "jax":
        says(rules["metric-loses-mask"], SQUARES.mean(), inside)
    assert "metric-loses-mask" not in found(steps(metrics=["mse"]), X, Y)
    assert "metric-loses-mask" not in found(steps(masked=True), X, Y)


def test_mask_is_lost() -> None:
    """A layer that does something and does not support masks loses it: padding counts."""
    convolution = keras.layers.Conv1D(2, 1, kernel_initializer="ones", name="convolution")
    with pytest.warns(UserWarning, match="does not support masking"):
        model = steps(masked=True, between=convolution)
    convolution.kernel.assign(np.eye(2)[None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near(fitted(model, X, Y), SQUARES.mean())
        note = found(model, X, Y)["mask-lost"]
    says(note, SQUARES.mean(), (SQUARES * MASK).sum() / MASK.sum())
    assert "`convolution` (Conv1D)" in note.found
    assert "3 padded steps of 16" in note.found
    whole = steps(masked=True, between=keras.layers.Dropout(0.0))
    near(fitted(whole, X, Y), (SQUARES * MASK).sum() / MASK.sum())
    assert "mask-lost" not in found(whole, X, Y)


def test_mask_is_kept_by_accident() -> None:
    """A reshape to the same shape keeps the mask on JAX, where it gives back the same array."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = steps(masked=True, between=keras.layers.Reshape((4, 2), name="reshape"))
        number = fitted(model, X, Y)
        rules = found(model, X, Y)
    inside = (SQUARES * MASK).sum() / MASK.sum()
    near(number, inside if BACKEND == "jax" else SQUARES.mean())
    assert ("mask-kept-by-accident" in rules) == (BACKEND == "jax")
    assert ("mask-lost" in rules) == (BACKEND != "jax")
    if BACKEND == "jax":
        says(rules["mask-kept-by-accident"], inside, SQUARES.mean())
    assert not {"mask-kept-by-accident", "mask-lost"} & set(found(steps(masked=True), X, Y))


def test_clean_model_has_no_notes() -> None:
    """A plain model gives no notes at all."""
    assert found(plain(), ROWS, GOALS) == {}
    assert found(steps(masked=True), X, Y) == {}
