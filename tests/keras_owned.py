# SPDX-License-Identifier: Apache-2.0
"""Small models compiled with terms of ours, and the notes that they get."""

from typing import Any

import keras
from keras_traps import dense, near

import lossledger as ll

SGD = keras.optimizers.SGD


def owned(model: Any, *terms: Any, **options: Any) -> Any:
    """Compile a model with terms of ours, eagerly, which spares seconds of tracing."""
    given = {"optimizer": SGD(0.0), "run_eagerly": True} | options
    ll.keras.compile(model, ll.Objective(*terms), **given)
    return model


def plain(*terms: Any, units: int = 1, activation: Any = None, **options: Any) -> Any:
    """Return a model with one output a sample, Σ x."""
    layer = dense(units, activation=activation, dtype=options.pop("dtype", None))
    return owned(keras.Sequential([keras.Input((2,)), layer]), *terms, **options)


def steps(*terms: Any, masked: bool = False, between: Any = None, **options: Any) -> Any:
    """Return a model with one output a time step, Σ x."""
    inputs = hidden = keras.Input((4, 2))
    hidden = keras.layers.Masking()(hidden) if masked else hidden
    hidden = hidden if between is None else between(hidden)
    return owned(keras.Model(inputs, dense()(hidden)), *terms, **options)


def squares(axes: str = "batch one", **settings: Any) -> ll.Term:
    """Return the squared error of the output."""
    return ll.Term("out", ll.losses.SquaredError(), axes, **settings)


def notes(model: Any, *data: Any, **weights: Any) -> dict[str, Any]:
    """Return the notes by rule; the number explained is that of a training step."""
    told = ll.explain(model, *data, **weights)
    logs = model.train_on_batch(*data, return_dict=True, **weights)
    near(told.total, float(logs["loss"]))
    return {note.rule: note for note in told.notes}
