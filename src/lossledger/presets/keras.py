# SPDX-License-Identifier: Apache-2.0
"""The losses of `keras.losses` 3.15 as presets, with the conventions of older Keras.

Keras calls a loss as (y_true, y_pred); a preset is called as (outputs, targets).
"""

from lossledger.presets._keras_binary import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    Circle,
    Dice,
    Hinge,
    SquaredHinge,
    Tversky,
)
from lossledger.presets._keras_classes import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    CategoricalHinge,
    KLDivergence,
    SparseCategoricalCrossentropy,
)
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
from lossledger.presets._keras_total import Total, class_weights, total

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Total",
    "Tversky",
    "class_weights",
    "total",
]
