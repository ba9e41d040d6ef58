# SPDX-License-Identifier: Apache-2.0
"""Which of a library's notes can matter under the settings of a loss."""

from typing import Any

from lossledger._typing import Mapping
from lossledger.presets._base import AbstractLibraryLoss

NEEDS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "The mean divides by the weights of index targets": ("weight", (None,)),
    "Smoothing weighs the share of each class": ("weight", (None,)),
    "A pos_weight of shape (C,) runs": ("pos_weight", (None,)),
    "Label smoothing divides by the length": ("label_smoothing", (0, 0.0)),
    "With `ignore_class` the mean divides": ("ignore_class", (None,)),
    "Class weights multiply the classes' losses": ("class_weights", (None,)),
}
"""How a note begins -> (setting, values under which it says nothing of this loss)."""

NEVER = ("If no label counts, torch returns NaN",)
"""How notes begin that speak of data on which nothing is explained: there it raises."""


def matters(note: str, preset: AbstractLibraryLoss) -> bool:
    """Whether a note can matter: those that are not listed above always can."""
    if note.startswith(NEVER):
        return False
    for start, (setting, idle) in NEEDS.items():
        if note.startswith(start):
            value = getattr(preset, setting)
            return not any(value is each or value == each for each in idle)
    return True
