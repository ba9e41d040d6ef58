# SPDX-License-Identifier: Apache-2.0
"""Optimizer settings when a loss is summed instead of averaged, or its batch size changes.

The first is algebra: training takes the same path, up to rounding. The second is a heuristic.
"""

from lossledger.scaling._convert import Change, Conversion, convert
from lossledger.scaling._noise import NoiseScale, effective_size, noise_scale
from lossledger.scaling._rules import linear, sqrt
from lossledger.scaling._schedule import Warmup, momentum_correction, warmup
from lossledger.scaling._settings import Settings

__all__ = [
    "Change",
    "Conversion",
    "NoiseScale",
    "Settings",
    "Warmup",
    "convert",
    "effective_size",
    "linear",
    "momentum_correction",
    "noise_scale",
    "sqrt",
    "warmup",
]
