# SPDX-License-Identifier: Apache-2.0
"""What `fit` reports: every rule that is told is run, over batches of 4, 4 and 2 samples."""

from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import host, read

from lossledger.explanation.model._reported import reported

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.losses
BACKEND = keras.backend.backend()
RNG = np.random.default_rng(1)
X = RNG.normal(size=(10, 2)).astype("float32")
Y = RNG.normal(size=(10, 1)).astype("float32")
W = np.array([1, 2, 3, 4, 1, 1, 1, 1, 9, 9], "float32")
SQUARES = ((X.sum(-1) - Y[:, 0]) ** 2).astype("float64")
SIZES = np.sqrt(SQUARES)
BATCHES = [slice(0, 4), slice(4, 8), slice(8, 10)]
THREE = {"batch_size": 4, "shuffle": False, "verbose": 0}


def dense(name: str = "out", **options: Any) -> Any:
    """Return a layer that adds its inputs."""
    return keras.layers.Dense(1, kernel_initializer="ones", name=name, **options)


def compiled(model: Any, **options: Any) -> Any:
    """Compile with an optimizer that changes nothing."""
    model.compile(**({"optimizer": keras.optimizers.SGD(0.0), "run_eagerly": True} | options))
    return model


def plain(loss: Any = "mse", dropout: float = 0.0, **options: Any) -> Any:
    """Return a model of one output, Σ x, with an L2 of 2 · 0.5 on its two weights."""
    layers = [keras.layers.Input((2,)), dense(kernel_regularizer=keras.regularizers.L2(0.5))]
    if dropout:
        layers.insert(1, keras.layers.Dropout(dropout, name="dropout"))
    return compiled(keras.Sequential(layers), loss=loss, **options)


def rows(model: Any, *data: Any) -> dict[str, Any]:
    """Return what is reported, by name."""
    return {r.name: r for r in reported(read(model, *data))}


def log(model: Any, *data: Any, **options: Any) -> dict[str, float]:
    """Return the log of an epoch of three batches."""
    history = model.fit(*data, **(THREE | options)).history
    return {name: float(values[0]) for name, values in history.items()}


def by_batch(values: Any) -> list[float]:
    """Return each batch's mean."""
    return [float(values[b].mean()) for b in BATCHES]


def near(one: Any, two: float) -> None:
    """Two numbers are equal up to float32."""
    assert float(one) == pytest.approx(two, rel=2e-5)


def test_loss_is_weighted_by_batch_size_and_holds_regularizers() -> None:
    """`loss` is Σ n·total / Σ n; on one batch it is the number that is minimized."""
    near(log(plain(), X, Y)["loss"], SQUARES.mean() + 1)
    row = rows(plain(), X, Y)["loss"]
    near(row.number, SQUARES.mean() + 1)
    assert "(10 here)" in row.rule
    assert "regularizers and added losses, 1." in row.differs
    near(log(plain(), X, Y, batch_size=10)["loss"], row.number)


def test_loss_lags_behind() -> None:
    """Each batch's total is computed before its update."""
    model = plain(optimizer=keras.optimizers.SGD(0.1))
    near(log(model, X, Y, batch_size=10)["loss"], SQUARES.mean() + 1)
    assert abs(model.evaluate(X, Y, verbose=0) - SQUARES.mean() - 1) > 0.1
    assert "before the batch's own update" in rows(model, X, Y)["loss"].rule


def test_sum_depends_on_the_batch_size() -> None:
    """Under 'sum' the log is Σ n·S / Σ n."""
    model = plain(L.MeanSquaredError(reduction="sum"))
    sums = [SQUARES[b].sum() for b in BATCHES]
    near(log(model, X, Y)["loss"], np.average(sums, weights=[4, 4, 2]) + 1)
    assert "is a sum" in rows(model, X, Y)["loss"].differs
    assert "is a sum" not in rows(plain(), X, Y)["loss"].differs


def test_weighted_mean_is_a_mean_of_ratios() -> None:
    """'mean_with_sample_weight' divides each batch by its own weights."""
    model = plain(L.MeanSquaredError(reduction="mean_with_sample_weight"))
    ratios = [(W * SQUARES)[b].sum() / W[b].sum() for b in BATCHES]
    found = log(model, X, Y, sample_weight=W)["loss"] - 1
    near(found, np.average(ratios, weights=[4, 4, 2]))
    assert abs(found - (W * SQUARES).sum() / W.sum()) > 0.01
    assert "each batch's own weights" in rows(model, X, Y, W)["loss"].differs
    assert "each batch's own weights" not in rows(model, X, Y)["loss"].differs


STEPS = RNG.normal(size=(10, 3, 2)).astype("float32")
STEPS[0, 1:] = STEPS[1, 1:] = STEPS[8, 1:] = 0
REAL = (STEPS != 0).any(-1)
GOALS = RNG.normal(size=(10, 3, 1)).astype("float32")
OF_STEPS = ((STEPS.sum(-1) - GOALS[..., 0]) ** 2).astype("float64")


def masked(**options: Any) -> Any:
    """Return a model of one output a step, behind a mask."""
    inputs = keras.layers.Input((3, 2))
    outputs = dense()(keras.layers.Masking()(inputs))
    return compiled(keras.Model(inputs, outputs), loss="mse", **options)


def test_masked_loss_is_a_mean_of_ratios() -> None:
    """A masked loss is divided by each batch's unmasked steps; metrics by the epoch's."""
    model = masked(metrics=["mse"], run_eagerly=False)
    ratios = [(OF_STEPS * REAL)[b].sum() / REAL[b].sum() for b in BATCHES]
    found = log(model, STEPS, GOALS)
    near(found["loss"], np.average(ratios, weights=[4, 4, 2]))
    whole = (OF_STEPS * REAL).sum() / REAL.sum()
    assert abs(found["loss"] - whole) > 1e-3
    near(found["mse"], OF_STEPS.mean() if BACKEND == "jax" else whole)
    told = rows(model, STEPS, GOALS)
    assert "24 of 30 here" in told["loss"].differs
    near(told["mse"].number, OF_STEPS.mean() if BACKEND == "jax" else whole)
    assert ("does not reach it" in told["mse"].differs) == (BACKEND == "jax")
    near(told["loss"].number, whole)


def test_loss_of_each_output() -> None:
    """One number for each loss, without its weight; on TensorFlow a plain mean over batches."""
    inputs = keras.layers.Input((2,))
    model = keras.Model(inputs, [dense("a")(inputs), dense("b")(inputs)])
    compiled(model, loss=["mse", "mae"], loss_weights=[2.0, 0.5], run_eagerly=False)
    found = log(model, X, [Y, Y])
    near(found["loss"], 2 * SQUARES.mean() + 0.5 * SIZES.mean())
    plain_mean = BACKEND == "tensorflow"
    near(found["a_loss"], np.mean(by_batch(SQUARES)) if plain_mean else SQUARES.mean())
    near(found["b_loss"], np.mean(by_batch(SIZES)) if plain_mean else SIZES.mean())
    told = rows(model, X, [Y, Y])
    assert ("plain mean over batches" in told["a_loss"].rule) == plain_mean
    assert ("do not add up" in told["a_loss"].differs) == plain_mean
    near(told["a_loss"].number, SQUARES.mean())
    near(told["b_loss"].number, SIZES.mean())
    assert "The total has 2 times it" in told["a_loss"].differs
    assert "a_loss" not in rows(plain(), X, Y)
    dropped = plain(["mse", "mae"])
    ended = {name: n for name, n in log(dropped, X, Y).items() if name.endswith("_loss")}
    assert ended == {n: r.number for n, r in rows(dropped, X, Y).items() if n in ended}
    assert set(ended.values()) == {0.0}
    assert not [name for name in log(plain(), X, Y) if name.endswith("_loss")]


LABELS = np.array([0, 1, 1, 0, 0, 0, 0, 1, 0, 0])


def test_validation_has_no_class_weights() -> None:
    """`val_loss` leaves class weights out, and holds regularizers."""
    y, weight = LABELS[:, None].astype("float32"), {0: 1.0, 1: 10.0}
    model = plain("mse")
    values = (X.sum(-1) - LABELS).astype("float64") ** 2
    w = np.where(LABELS == 1, 10.0, 1.0)
    found = log(model, X, y, class_weight=weight, validation_data=(X, y), batch_size=10)
    near(found["loss"], (w * values).mean() + 1)
    near(found["val_loss"], values.mean() + 1)
    told = rows(model, X, y, None, weight)
    near(told["loss"].number, found["loss"])
    near(told["val_loss"].number, found["val_loss"])
    assert "has no class weights" in told["val_loss"].differs
    assert "class weights" not in rows(model, X, y, w)["val_loss"].differs
    near(rows(model, X, y, w)["val_loss"].number, (w * values).mean() + 1)


def test_validation_is_undecided_under_dropout() -> None:
    """Where a layer does something else in inference, there is no number."""
    row = rows(plain(dropout=0.5), X, Y)["val_loss"]
    assert row.number is None
    assert "`dropout` (Dropout): something else" in row.differs
    assert rows(plain(), X, Y)["val_loss"].number is not None


def test_metrics_beside_the_loss() -> None:
    """`metrics` take no weights; `weighted_metrics` divide by them; the loss divides by N."""
    model = plain(metrics=["mse", "mae"], weighted_metrics=["mse"])
    found = log(model, X, Y, sample_weight=W)
    near(found["mse"], SQUARES.mean())
    near(found["mae"], SIZES.mean())
    near(found["weighted_mse"], (W * SQUARES).sum() / W.sum())
    near(found["loss"], (W * SQUARES).mean() + 1)
    told = rows(model, X, Y, W)
    for name in ("mse", "mae", "weighted_mse", "loss"):
        near(told[name].number, found[name])
    assert "no sample or class weights" in told["mse"].differs
    assert "divides by the weights" in told["weighted_mse"].differs
    assert not rows(model, X, Y)["mse"].differs


def test_metrics_of_several_outputs() -> None:
    """Metrics are named by output; accuracy is chosen by shapes; objects are taken as they are."""
    inputs = keras.layers.Input((2,))
    three = keras.layers.Dense(3, "softmax", kernel_initializer="ones", name="b")(inputs)
    model = keras.Model(inputs, [dense("a")(inputs), three])
    metrics = {"a": [keras.metrics.RootMeanSquaredError()], "b": "accuracy"}
    compiled(model, loss=["mse", "sparse_categorical_crossentropy"], metrics=metrics)
    found, told = log(model, X, [Y, LABELS]), rows(model, X, [Y, LABELS])
    for name in ("a_root_mean_squared_error", "b_accuracy"):
        near(told[name].number, found[name])


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_accumulation(reduction: str) -> None:
    """An update for k batches has the mean of their gradients; the rest waits for more."""
    model = keras.Sequential([keras.layers.Input((2,)), dense(use_bias=False)])
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    compiled(model, loss=L.MeanSquaredError(reduction=reduction), optimizer=optimizer)
    error = X.sum(-1, keepdims=True) - Y
    each = [2 * (X[b] * error[b]).sum(0) for b in BATCHES]
    if reduction != "sum":
        each = [g / n for g, n in zip(each, (4, 4, 2), strict=True)]
    for b in BATCHES:
        model.train_on_batch(X[b], Y[b])
    np.testing.assert_allclose(
        host(model.layers[-1].kernel)[:, 0], 1 - 0.01 * (each[0] + each[1]) / 2, rtol=1e-5
    )
    assert int(optimizer.iterations) == 1
    told = rows(model, X, Y)["update"]
    assert "One for every 2 batches" in told.rule
    assert ("1/2 of the whole sum's" in told.differs) == (reduction == "sum")
    assert "wait for the next" in told.differs
    assert "update" not in rows(plain(), X, Y)
    if reduction == "sum":
        return
    ratio = rows(compiled(masked(), loss="mse", optimizer=optimizer), STEPS, GOALS)["update"]
    assert "mean of 2 ratios" in ratio.differs
