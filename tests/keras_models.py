# SPDX-License-Identifier: Apache-2.0
"""Small compiled Keras models with one batch each, for tests of explanations."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, ops, regularizers


@dataclass(frozen=True)
class Case:
    """A compiled model and what `explain` and `train_on_batch` are called with."""

    model: Any
    x: Any
    y: Any
    options: dict[str, Any] = field(default_factory=dict)


def draw() -> np.random.Generator:
    """Return random numbers that every case starts from."""
    keras.utils.set_random_seed(7)
    return np.random.default_rng(7)


def rows(r: np.random.Generator, *shape: int) -> np.ndarray:
    """Return one-hot rows of random classes."""
    return np.eye(shape[-1])[r.integers(0, shape[-1], shape[:-1])]


def sequential(**options: Any) -> Case:
    """A classifier with labels, run by `class_weight` unless told otherwise."""
    r = draw()
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(6, activation="relu"), layers.Dense(3)], name="classifier"
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss)
    given = options or {"class_weight": {0: 1.0, 1: 2.0, 2: 10.0}}
    return Case(model, r.normal(size=(8, 5)), r.integers(0, 3, 8), given)


class Noisy(layers.Layer):
    """A layer that adds a loss, hands its mask on, and draws random numbers."""

    def __init__(self, **options: Any) -> None:
        """Make a seed generator."""
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(3)
        self.supports_masking = True

    def call(self, x: Any, training: bool = False) -> Any:
        """Add Σx²/100."""
        self.add_loss(0.01 * ops.sum(x * x))
        return x + keras.random.normal(ops.shape(x), seed=self.seeds) * 0.1 if training else x


def two_outputs() -> Case:
    """Masks, a mean and a sum, loss weights, L1, L2, an activity regularizer, an added loss."""
    r = draw()
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    h = layers.Embedding(
        7, 5, mask_zero=True, embeddings_regularizer=regularizers.L2(0.01), name="words"
    )(tokens)
    h = layers.Dense(
        4,
        kernel_regularizer=regularizers.L1(0.001),
        activity_regularizer=regularizers.L2(0.1),
        name="memory",
    )(h)
    h = Noisy(name="noisy")(layers.Dropout(0.3)(h))
    tags = layers.Dense(3, activation="softmax", name="tag")(h)
    depth = layers.Dense(2, name="depth")(h)
    model = keras.Model(tokens, [tags, depth], name="tagger")
    model.compile(
        "adam",
        loss=["sparse_categorical_crossentropy", keras.losses.MeanSquaredError(reduction="sum")],
        loss_weights=[2.0, 0.3],
        metrics=[["accuracy"], ["mae"]],
    )
    x = r.integers(0, 7, (4, 6))
    x[:, 0] = 1
    y = [r.integers(0, 3, (4, 6)), r.normal(size=(4, 6, 2))]
    return Case(model, x, y, {"sample_weight": [r.random((4, 6)), r.random((4, 6))]})


class Own(keras.Model):
    """A subclassed model with two outputs in a dict, unbuilt until it is called."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__(name="own")
        self.body = layers.Dense(4, activation="tanh", kernel_regularizer="l2", name="body")
        self.left = layers.Dense(3, name="left")
        self.right = layers.Dense(1, name="right")

    def call(self, x: Any) -> dict[str, Any]:
        """Return two outputs; there is no `training` argument."""
        h = self.body(x)
        return {"label": self.left(h), "price": self.right(h)}


def subclassed() -> Case:
    """Losses and targets by name; a string and a loss object."""
    r = draw()
    model = Own()
    model.compile(
        "sgd",
        loss={"label": keras.losses.CategoricalCrossentropy(from_logits=True), "price": "mae"},
        loss_weights={"label": 1.0, "price": 0.25},
    )
    x = r.normal(size=(6, 5))
    model(x[:1])
    return Case(model, x, {"label": rows(r, 6, 3), "price": r.normal(size=(6, 1))})


def bce_dice(y_true: Any, y_pred: Any) -> Any:
    """A weighted binary cross entropy plus a Dice loss: one number."""
    weights = ops.convert_to_tensor([1.0, 1.0, 1.0, 1.0, 1000.0], dtype=y_pred.dtype)
    p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    bce = -(weights * y_true * ops.log(p) + (1 - y_true) * ops.log(1 - p)) / 1000
    both = ops.sum(y_true * p, axis=(0, 1, 2))
    sums = ops.sum(y_true, axis=(0, 1, 2)) + ops.sum(p, axis=(0, 1, 2))
    return 0.5 * ops.mean(bce) + 0.5 * ops.mean(1 - (2 * both + 1) / (sums + 1))


def segmentation(loss: Any = "binary_crossentropy", **options: Any) -> Case:
    """Images of five classes, with batch normalization and dropout."""
    r = draw()
    image = keras.Input((8, 8, 3))
    h = layers.Conv2D(4, 3, padding="same")(image)
    h = layers.Dropout(0.2)(layers.BatchNormalization()(h))
    model = keras.Model(image, layers.Conv2D(5, 1, activation="sigmoid", name="map")(h))
    model.compile("sgd", loss=loss, **options)
    return Case(model, r.normal(size=(4, 8, 8, 3)), rows(r, 4, 8, 8, 5))


def sequence(loss: Any, options: dict[str, Any], masked: bool = False) -> Case:
    """One number a step: (4, 6, 1), with a mask of a layer on request."""
    r = draw()
    steps = keras.Input((6, 2))
    h = layers.Masking()(steps) if masked else steps
    model = keras.Model(steps, layers.Dense(1, name="step")(h))
    model.compile("sgd", loss=loss)
    x = r.normal(size=(4, 6, 2))
    x[1, 3:] = 0
    return Case(model, x, r.normal(size=(4, 6, 1)), options)


def mean_error(y_true: Any, y_pred: Any) -> Any:
    """A loss that returns one number."""
    return ops.mean(ops.abs(y_true - y_pred))


def ignoring() -> Case:
    """Labels of which one does not count, behind a mask."""
    r = draw()
    steps = keras.Input((6, 2))
    h = layers.Dense(3, activation="softmax", name="tag")(layers.Masking(name="gaps")(steps))
    model = keras.Model(steps, h)
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=2))
    x = r.normal(size=(4, 6, 2))
    x[1, 3:] = 0
    return Case(model, x, r.integers(0, 3, (4, 6)))


def listed() -> Case:
    """Two losses on one output: Keras drops the second."""
    r = draw()
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2)], name="listed")
    model.compile("sgd", loss=["mse", "mae"])
    return Case(model, r.normal(size=(8, 5)), r.normal(size=(8, 2)))


def extras_alone() -> Case:
    """No loss of an output: all that is minimized is added by layers."""
    r = draw()
    x = keras.Input((5,))
    model = keras.Model(x, Noisy()(layers.Dense(2, kernel_regularizer="l2")(x)))
    model.compile("sgd")
    return Case(model, r.normal(size=(8, 5)), None)


STEPS = np.linspace(0.5, 2.0, 24).reshape(4, 6)
CASES: dict[str, Callable[[], Case]] = {
    "sequential, class_weight": sequential,
    "sequential, weights (B,)": lambda: sequential(sample_weight=np.arange(8.0)),
    "two outputs": two_outputs,
    "subclassed": subclassed,
    "segmentation, eagerly": lambda: segmentation(run_eagerly=True),
    "segmentation, bce + dice": lambda: segmentation(bce_dice),
    "segmentation, dice": lambda: segmentation(keras.losses.Dice(axis=(1, 2))),
    "weights (B, T)": lambda: sequence("mse", {"sample_weight": STEPS}),
    "weights (B, 1)": lambda: sequence("mse", {"sample_weight": STEPS[:, :1]}),
    "weighted mean, (B, 1)": lambda: sequence(
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        {"sample_weight": STEPS[:, :1]},
    ),
    "masked": lambda: sequence("mae", {}, masked=True),
    "masked, weights (B, T)": lambda: sequence("mae", {"sample_weight": STEPS}, masked=True),
    "one number, weights": lambda: sequence(mean_error, {"sample_weight": STEPS[:, 0]}),
    "one number, masked": lambda: sequence(mean_error, {}, masked=True),
    "ignore_class": ignoring,
    "two losses on one output": listed,
    "extras alone": extras_alone,
}
