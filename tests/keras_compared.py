# SPDX-License-Identifier: Apache-2.0
"""Small compiled Keras models to compare, and their data."""

from typing import Any

import keras
import numpy as np
from keras import layers

import lossledger as ll

RNG = np.random.default_rng(0)
X, LABELS, DEPTH = RNG.normal(size=(8, 5)), RNG.integers(0, 3, 8), RNG.normal(size=(8, 2))
STEPS, GOALS = RNG.normal(size=(4, 5, 2)), RNG.normal(size=(4, 5, 1))
STEPS[0, 2:] = STEPS[1, 4:] = 0  # 4 of 20 steps are masked
WEIGHT = {0: 1.0, 1: 2.0, 2: 5.0}
SUM = keras.losses.MeanSquaredError(reduction="sum")
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ROUNDING = 1e-6
"""Largest relative deviation of a model's numbers in float32."""


def two(losses=(LOGITS, "mse"), penalty=None, seed=0, **options) -> Any:
    """Return a model with a classifier and a regression."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((5,))
    h = layers.Dense(4, activation="tanh", kernel_regularizer=penalty)(x)
    model = keras.Model(x, [layers.Dense(3, name="tag")(h), layers.Dense(2, name="depth")(h)])
    model.compile("sgd", loss=list(losses), **options)
    return model


def one(loss=LOGITS, activation=None, penalty=None, seed=0, **options) -> Any:
    """Return a classifier."""
    keras.utils.set_random_seed(seed)
    dense = layers.Dense(3, activation=activation, kernel_regularizer=penalty)
    model = keras.Sequential([keras.Input((5,)), dense], name="classifier")
    model.compile("sgd", loss=loss, **options)
    return model


def sequence(masked=True, recurrent=False) -> Any:
    """Return one number a step, behind a mask on request."""
    keras.utils.set_random_seed(0)
    x = keras.Input((5, 2))
    h = layers.Masking()(x) if masked else x
    h = layers.LSTM(3, return_sequences=True)(h) if recurrent else h
    model = keras.Model(x, layers.Dense(1, name="step")(h))
    model.compile("sgd", "mse")
    return model


def own(*terms: ll.Term, **options) -> Any:
    """Return a classifier compiled with terms."""
    model = one(**options)
    ll.keras.compile(model, ll.Objective(*terms), "sgd")
    return model


def term(**options) -> ll.Term:
    """Return the cross entropy of the classifier's output."""
    return ll.Term("classifier", ll.losses.CrossEntropy(), "batch class", **options)


def part(found: Any, name: str) -> Any:
    """Return a part by its name."""
    return next(p for p in found.parts if p.name == name)
