# SPDX-License-Identifier: Apache-2.0
"""The losses of `keras.losses` 3.15 as presets, with the conventions of older Keras.

Keras calls a loss as (y_true, y_pred); a preset is called as (outputs, targets).
"""

from lossledger.presets._keras_regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
)

__all__ = [
    "CosineSimilarity",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
]
