# SPDX-License-Identifier: Apache-2.0
"""Small Keras models with and without traps, and what is found of them."""

import re
from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import read

from lossledger.explanation.model.lints import lints

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
LABELS = np.array([0, 1, 2, 0, 0, 0])
CLASS_WEIGHT = {0: 1.0, 1: 5.0, 2: 10.0}
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
