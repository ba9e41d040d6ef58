# SPDX-License-Identifier: Apache-2.0
"""Traps of Keras: each one is real on the Keras that runs, and found; its twin is neither."""

import re
import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import host, read, to_tensor

from lossledger.explanation.model._lints import lints

# Keras 3.15 converts PyTorch's tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.losses
BACKEND = keras.backend.backend()
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 4, 2)).astype("float32")
X[0, 2:] = X[1, 3:] = 0
MASK = (X != 0).any(-1)
Y = RNG.normal(size=(4, 4, 1)).astype("float32")
W = np.array([1.0, 2.0, 3.0, 5.0], "float32")
SQUARES = ((X.sum(-1) - Y[..., 0]) ** 2).astype("float64")
ROWS = RNG.normal(size=(6, 2)).astype("float32")
GOALS = RNG.normal(size=(6,)).astype("float32")
ERRORS = ((ROWS.sum(-1) - GOALS) ** 2).astype("float64")
FIT = {"verbose": 0, "batch_size": 64, "shuffle": False}


def dense(units: int = 1, name: str = "out", **options: Any) -> Any:
    """Return a layer that adds its inputs."""
    return keras.layers.Dense(units, kernel_initializer="ones", name=name, **options)


def compiled(model: Any, **options: Any) -> Any:
    """Compile with an optimizer that changes nothing; eagerly, which spares seconds of tracing."""
    model.compile(**({"optimizer": keras.optimizers.SGD(0.0), "run_eagerly": True} | options))
    return model


def steps(loss: Any = "mse", masked: bool = False, between: Any = None, **options: Any) -> Any:
    """Return a model with one output a time step, Σ x."""
    inputs = keras.layers.Input((4, 2))
    hidden = keras.layers.Masking()(inputs) if masked else inputs
    hidden = hidden if between is None else between(hidden)
    return compiled(keras.Model(inputs, dense()(hidden)), loss=loss, **options)


def plain(loss: Any = "mse", units: int = 1, activation: Any = None, **options: Any) -> Any:
    """Return a model with one output a sample, Σ x."""
    model = keras.Sequential([keras.layers.Input((2,)), dense(units, activation=activation)])
    return compiled(model, loss=loss, **options)


def two(loss: Any, **options: Any) -> Any:
    """Return a model of two outputs."""
    inputs = keras.layers.Input((2,))
    outputs = [dense(name="a")(inputs), dense(name="b")(inputs)]
    return compiled(keras.Model(inputs, outputs), loss=loss, **options)


def found(model: Any, *data: Any, **changes: Any) -> dict[str, Any]:
    """Return the notes by rule."""
    return {note.rule: note for note in lints(read(model, *data, **changes))}


def fitted(model: Any, *data: Any, **options: Any) -> float:
    """Return the loss that `fit` logs."""
    return float(model.fit(*data, **FIT, **options).history["loss"][0])


def near(one: float, two: float) -> None:
    """Two numbers are equal up to float32."""
    assert one == pytest.approx(two, rel=2e-5)


def says(note: Any, *numbers: float) -> None:
    """A note's text holds numbers, to five digits."""
    written = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", note.found.replace(",", ""))]
    missing = [n for n in numbers if not np.isclose(written, n, rtol=2e-5).any()]
    assert not missing, (note.found, missing)


# -------------------------------------------------------------------- weights


def test_weights_by_sample_fall_on_steps() -> None:
    """(batch,) weights on (batch, time) values weigh time steps where the lengths agree."""
    model = steps()
    wrong, right = (SQUARES * W[None]).mean(), (SQUARES * W[:, None]).mean()
    near(fitted(model, X, Y, sample_weight=W), wrong)
    note = found(model, X, Y, W)["sample-weight-per-timestep"]
    says(note, wrong, right)
    assert "reshape(-1, 1)" in note.remedy
    near(fitted(model, X, Y, sample_weight=W.reshape(-1, 1)), right)
    assert "sample-weight-per-timestep" not in found(model, X, Y, W.reshape(-1, 1))


def test_weights_by_sample_of_another_length() -> None:
    """Where the lengths differ Keras raises, and the note says so."""
    model, x, y, w = steps(), X[:3], Y[:3], W[:3]
    with pytest.raises(Exception, match=r".*"):
        fitted(model, x, y, sample_weight=w)
    assert "it raises" in found(model, x, y, w)["sample-weight-per-timestep"].found
    assert "sample-weight-per-timestep" not in found(plain(), ROWS, GOALS, np.ones(6))


def test_weights_by_sample_beside_a_mask() -> None:
    """Beside a mask they weigh time steps too, or raise on PyTorch."""
    model = steps(masked=True)
    note = found(model, X, Y, W)["sample-weight-across-mask"]
    below = MASK.sum()
    wrong, right = (SQUARES * MASK * W).sum() / below, (SQUARES * MASK * W[:, None]).sum() / below
    if BACKEND == "torch":
        with pytest.raises(RuntimeError, match="broadcast"):
            fitted(model, X, Y, sample_weight=W)
        assert "it raises" in note.found
    else:
        near(fitted(model, X, Y, sample_weight=W), wrong)
        says(note, wrong, right)
    full = np.broadcast_to(W.reshape(-1, 1), (4, 4)).copy()
    assert "np.broadcast_to(sample_weight.reshape(-1, 1), (len(sample_weight), 4))" in note.remedy
    near(fitted(model, X, Y, sample_weight=full), right)
    assert not [rule for rule in found(model, X, Y, full) if rule.startswith("sample-weight-")]


def test_narrow_weights_beside_a_mask() -> None:
    """(batch, 1) weights beside a mask raise on PyTorch, and nowhere else."""
    model, w = steps(masked=True), W[:, None]
    right = (SQUARES * MASK * w).sum() / MASK.sum()
    rules = found(model, X, Y, w)
    if BACKEND == "torch":
        with pytest.raises(RuntimeError, match="broadcast"):
            fitted(model, X, Y, sample_weight=w)
        assert "in place" in rules["sample-weight-narrower-than-mask"].found
    else:
        near(fitted(model, X, Y, sample_weight=w), right)
        assert "sample-weight-narrower-than-mask" not in rules
    assert "sample-weight-narrower-than-mask" not in found(steps(), X, Y, w)


def test_weights_counted_as_passed() -> None:
    """'mean_with_sample_weight' divides by the sum of weights as passed: T times too little."""
    loss = L.MeanSquaredError(reduction="mean_with_sample_weight")
    model, w = steps(loss), W[:, None]
    wrong = (SQUARES * w).sum() / w.sum()
    near(fitted(model, X, Y, sample_weight=w), wrong)
    note = found(model, X, Y, w)["weights-counted-as-passed"]
    says(note, wrong, wrong / 4)
    full = np.broadcast_to(w, (4, 4)).copy()
    near(fitted(model, X, Y, sample_weight=full), wrong / 4)
    assert "weights-counted-as-passed" not in found(model, X, Y, full)


def test_zero_weights_are_counted() -> None:
    """Values of weight 0 stay in the denominator; the remedy divides by Σ w."""
    w = MASK.astype("float32")
    wrong, right = (SQUARES * w).sum() / 16, (SQUARES * w).sum() / w.sum()
    near(fitted(steps(), X, Y, sample_weight=w), wrong)
    note = found(steps(), X, Y, w)["zero-weights-counted"]
    says(note, wrong, right)
    assert "3 of 16 values" in note.found
    assert "mean_with_sample_weight" in note.remedy
    better = steps(L.MeanSquaredError(reduction="mean_with_sample_weight"))
    near(fitted(better, X, Y, sample_weight=w), right)
    assert "zero-weights-counted" not in found(better, X, Y, w)
    assert "zero-weights-counted" not in found(steps(), X, Y, np.ones((4, 4)))


def test_weights_scale_the_loss() -> None:
    """Weights of mean 3 make the loss 3 times as large, not a weighted mean."""
    w = np.array([1, 2, 3, 4, 5, 3], "float32")
    near(fitted(plain(), ROWS, GOALS, sample_weight=w), (w * ERRORS).mean())
    note = found(plain(), ROWS, GOALS, w)["weights-scale-the-loss"]
    says(note, (w * ERRORS).mean(), (w * ERRORS).sum() / w.sum())
    near(fitted(plain(), ROWS, GOALS, sample_weight=w / 3), (w * ERRORS).sum() / w.sum())
    assert "weights-scale-the-loss" not in found(plain(), ROWS, GOALS, w / 3)


LABELS = np.array([0, 1, 2, 0, 0, 0])
CLASS_WEIGHT = {0: 1.0, 1: 5.0, 2: 10.0}


def test_class_weights_are_not_divided() -> None:
    """Class weights: Σ w·l / B, where PyTorch's loss has Σ w·l / Σ w."""
    model = plain("sparse_categorical_crossentropy", 3, "softmax")
    p = host(model(to_tensor(ROWS)))
    values = -np.log(p[np.arange(6), LABELS].astype("float64"))
    w = np.array([CLASS_WEIGHT[c] for c in LABELS])
    near(fitted(model, ROWS, LABELS, class_weight=CLASS_WEIGHT), (w * values).mean())
    note = found(model, ROWS, LABELS, None, CLASS_WEIGHT)["class-weight-not-divided"]
    says(note, (w * values).mean(), (w * values).sum() / w.sum())
    even = {c: v * 6 / w.sum() for c, v in CLASS_WEIGHT.items()}
    assert "class-weight-not-divided" not in found(model, ROWS, LABELS, None, even)
    near(fitted(model, ROWS, LABELS, class_weight=even), (w * values).sum() / w.sum())


def whole(y: Any, z: Any) -> Any:
    """Return one number for the batch."""
    return keras.ops.mean(keras.ops.square(y - z))


def test_weights_of_a_scalar_loss() -> None:
    """A loss of one number is multiplied by the weights' mean."""
    w = np.array([1, 2, 3, 0, 0, 6], "float32")
    y = GOALS[:, None]
    near(fitted(plain(whole), ROWS, y, sample_weight=w), ERRORS.mean() * 2)
    note = found(plain(whole), ROWS, y, w)["scalar-loss-weighted"]
    says(note, ERRORS.mean())
    assert "mean, 2:" in note.found
    near(fitted(plain(), ROWS, y, sample_weight=w), (w * ERRORS).mean())
    assert "scalar-loss-weighted" not in found(plain(), ROWS, y, w)
    assert "scalar-loss-weighted" not in found(plain(whole), ROWS, y)


def test_mask_of_a_scalar_loss() -> None:
    """A loss of one number counts masked elements."""
    near(fitted(steps(whole, masked=True), X, Y), SQUARES.mean())
    note = found(steps(whole, masked=True), X, Y)["scalar-loss-masked"]
    says(note, SQUARES.mean())
    assert "scalar-loss-masked" not in found(steps(masked=True), X, Y)


def test_dice_keeps_its_batch() -> None:
    """Dice with weights: the remedy names the axes that keep one value a sample."""
    y = (np.arange(12).reshape(6, 2) % 3 == 0).astype("float32")
    w = np.arange(6).astype("float32")
    note = found(plain(L.Dice(), 2, "sigmoid"), ROWS, y, w)["scalar-loss-weighted"]
    assert "keras.losses.Dice(axis=(1,))" in note.remedy
    assert "scalar-loss-weighted" not in found(plain(L.Dice(axis=(1,)), 2, "sigmoid"), ROWS, y, w)


def test_class_weights_for_maps() -> None:
    """Class weights with a label for each place: TypeError; sample weights from a table do it."""
    inputs = keras.layers.Input((3, 4, 2))
    model = keras.Model(inputs, dense(3)(inputs))
    compiled(model, loss=L.SparseCategoricalCrossentropy(from_logits=True))
    x, y = RNG.normal(size=(2, 3, 4, 2)), RNG.integers(0, 3, (2, 3, 4))
    with pytest.raises(TypeError):
        model.fit(x, y, class_weight=CLASS_WEIGHT, **FIT)
    note = found(model, x, y, None, CLASS_WEIGHT)["class-weight-for-maps"]
    assert "`np.array([1.0, 5.0, 10.0])[y]`" in note.remedy
    w = np.array([1.0, 5.0, 10.0])[y]
    near(fitted(model, x, y, sample_weight=w), (w * np.log(3)).mean())
    assert "class-weight-for-maps" not in found(model, x, y, w)


def test_class_weights_by_argmax() -> None:
    """Class weights with several labels a sample use the first; one-hot rows are what is meant."""
    y = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], "float32")
    model = plain("binary_crossentropy", 3, "sigmoid")
    looked = np.array([1, 5, 1, 1, 5, 10], "float32")
    near(
        fitted(model, ROWS, y, class_weight=CLASS_WEIGHT),
        fitted(model, ROWS, y, sample_weight=looked),
    )
    note = found(model, ROWS, y, None, CLASS_WEIGHT)["class-weight-by-argmax"]
    assert "2 samples have several labels" in note.found
    assert "1 have none" in note.found
    assert "class-weight-by-argmax" not in found(model, ROWS, np.eye(3)[LABELS], None, CLASS_WEIGHT)


# -------------------------------------------------------------------- losses


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


# -------------------------------------------------------------------- compile


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


# -------------------------------------------------------------------- masks


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
    convolution = keras.layers.Conv1D(2, 1, name="convolution")
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
