# SPDX-License-Identifier: Apache-2.0
"""Live losses of Keras, as presets with the same options."""

import functools
from typing import Any

import keras
import numpy as np

from lossledger._typing import Mapping
from lossledger.keras._private import function_options
from lossledger.presets import keras as presets
from lossledger.presets._keras_base import AbstractKeras

PRESETS: Mapping[str, type[AbstractKeras]] = {
    "binary_crossentropy": presets.BinaryCrossentropy,
    "binary_focal_crossentropy": presets.BinaryFocalCrossentropy,
    "categorical_crossentropy": presets.CategoricalCrossentropy,
    "categorical_focal_crossentropy": presets.CategoricalFocalCrossentropy,
    "categorical_generalized_cross_entropy": presets.CategoricalGeneralizedCrossEntropy,
    "categorical_hinge": presets.CategoricalHinge,
    "circle": presets.Circle,
    "cosine_similarity": presets.CosineSimilarity,
    "dice": presets.Dice,
    "hinge": presets.Hinge,
    "huber": presets.Huber,
    "kl_divergence": presets.KLDivergence,
    "log_cosh": presets.LogCosh,
    "mean_absolute_error": presets.MeanAbsoluteError,
    "mean_absolute_percentage_error": presets.MeanAbsolutePercentageError,
    "mean_squared_error": presets.MeanSquaredError,
    "mean_squared_logarithmic_error": presets.MeanSquaredLogarithmicError,
    "poisson": presets.Poisson,
    "sparse_categorical_crossentropy": presets.SparseCategoricalCrossentropy,
    "squared_hinge": presets.SquaredHinge,
    "tversky": presets.Tversky,
}
"""By the function that Keras computes with. CTC has none."""

_BY_SHAPE = ("crossentropy", "ce")
_DTYPES = ("float32", "float64")


def preset_of(loss: Any) -> AbstractKeras | None:
    """Return the preset that computes what a loss of Keras computes, with every option it has.

    Options are those that Keras computes with, which are not always in `get_config()`.

    Args:
        loss: An object of `keras.losses`, a function of it (also in a `functools.partial` with
            keywords), a subclass that changes no computation, or a string or configuration
            that `keras.losses.get` takes.

    Returns:
        The preset, of the convention "keras3"; None for a loss of the user's own, for CTC, for
        a dtype other than float32 and float64, and for "crossentropy" and "ce", which Keras
        resolves by the shapes of targets and outputs.

    Raises:
        ValueError: From Keras, for a string that it does not know.
    """
    if isinstance(loss, str) and loss.lower() in _BY_SHAPE:
        return None
    if isinstance(loss, str | dict | type):
        loss = keras.losses.get(loss)
    if not isinstance(loss, keras.losses.Loss):
        return _of_function(loss, {})
    options = function_options(loss)
    if not _computes_as_keras(loss) or options is None or loss.dtype not in _DTYPES:
        return None
    own = {"reduction": loss.reduction, "name": loss.name, "dtype": loss.dtype}
    return _of_function(getattr(loss, "fn", None), options | own)


def _computes_as_keras(loss: Any) -> bool:
    """Whether neither the loss nor its class replaces how Keras calls its function."""
    known = keras.losses.MeanSquaredError
    kind = type(loss)
    plain = getattr(kind, "call", None) is known.call and kind.__call__ is known.__call__
    return plain and "call" not in vars(loss)


def _of_function(function: Any, options: Mapping[str, Any]) -> AbstractKeras | None:
    """Return the preset of a function of Keras with its keywords."""
    while isinstance(function, functools.partial):
        if function.args:
            return None
        options = {**function.keywords, **options}
        function = function.func
    name = getattr(function, "__name__", "")
    kind = PRESETS.get(name)
    if kind is None or not str(getattr(function, "__module__", "")).startswith("keras."):
        return None
    given = {"name": name, "dtype": keras.config.floatx()} | dict(options)
    fields = getattr(kind, "__dataclass_fields__", {})
    if set(given) - set(fields) or given["dtype"] not in _DTYPES:
        return None
    if name == "categorical_generalized_cross_entropy" and "q" not in given:
        return None
    return kind(**{key: _plain(value) for key, value in given.items()})


def _plain(value: Any) -> Any:
    """Return an option as a number, a string, or a tuple of numbers."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return array.item() if array.ndim == 0 else tuple(array.tolist())
