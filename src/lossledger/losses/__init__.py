# SPDX-License-Identifier: Apache-2.0
"""The catalogue: outputs and targets to one value per element, or to sums over axes."""

from lossledger.losses._adapters import Elementwise
from lossledger.losses._base import AbstractLoss, AbstractOverlapLoss, Facts, Inputs, Loss
from lossledger.losses.classification import BinaryCrossEntropy, CrossEntropy
from lossledger.losses.overlap import Dice
from lossledger.losses.regression import AbsoluteError, Huber, SquaredError

__all__ = [
    "AbsoluteError",
    "AbstractLoss",
    "AbstractOverlapLoss",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Dice",
    "Elementwise",
    "Facts",
    "Huber",
    "Inputs",
    "Loss",
    "SquaredError",
]
