# SPDX-License-Identifier: Apache-2.0
"""The numeric options of presets that are looked for, each in its range."""

import math
from dataclasses import dataclass, fields

from lossledger._typing import Mapping, Sequence
from lossledger.presets._base import AbstractLibraryLoss

RANGES: Mapping[str, tuple[float, float]] = {
    "alpha": (0.0, 1.0),
    "beta": (0.0, 1.0),
    "delta": (1e-3, 1e3),
    "epsilon": (0.0, 10.0),
    "gamma": (0.0, 10.0),
    "label_smoothing": (0.0, 1.0),
    "margin": (1e-3, 10.0),
    "pos_weight": (1e-3, 1e3),
    "q": (0.01, 1.0),
    "smooth": (1e-8, 1e4),
    "smooth_dr": (1e-8, 1e4),
    "smooth_factor": (0.0, 1.0),
    "smooth_nr": (1e-8, 1e4),
    "temperature": (1e-3, 1e2),
}
"""Options that are looked for, and where."""

_OWN: Mapping[tuple[str, str], tuple[float, float]] = {
    ("Circle", "gamma"): (1.0, 1e3),
    ("Circle", "margin"): (0.0, 1.0),
    ("SmoothL1Loss", "beta"): (1e-3, 1e3),
}
"""Losses whose option of a name has another range."""

LEFT_OUT: Mapping[str, str] = {
    "axis": "it is no continuous number",
    "class_weights": "one number a class",
    "dim": "it is no continuous number",
    "eps": "it keeps a division or a log from 0, and is seen there alone",
    "ignore_index": "it is a label",
    "norm_degree": "powers other than 1 and 2 are rare",
    "p": "powers other than 1 and 2 are rare",
    "reduced_threshold": "the focal factor jumps there",
    "weight": "one number a class: read off the gradient of a cross entropy",
}
"""Options that are not looked for, and why."""

_SETS = (
    ("smooth_nr = smooth_dr",), ("alpha = 1 - beta",), ("alpha", "beta"), ("alpha", "gamma"),
    ("gamma", "label_smoothing"), ("smooth_nr", "smooth_dr"), ("alpha = 1 - beta", "smooth"),
    ("alpha = 1 - beta", "smooth_nr = smooth_dr"), ("alpha", "beta", "smooth"),
)  # fmt: skip
"""Options that are looked for together."""


@dataclass(frozen=True)
class Knob:
    """A number that is looked for, and the options that it sets.

    Attributes:
        names: One option, or two.
        low: Its smallest value.
        high: Its largest.
        mirrored: Whether the second option is 1 minus the first, not the first.
    """

    names: tuple[str, ...]
    low: float
    high: float
    mirrored: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether it is looked for by its logarithm."""
        return self.low > 0 and self.high / self.low >= 1e3

    @property
    def points(self) -> list[float]:
        """Where signs are looked for, in [0, 1]."""
        count = min(13, 2 * round(math.log10(self.high / self.low)) + 1) if self.is_wide else 9
        return [i / (count - 1) for i in range(count)]

    def at(self, share: float) -> float:
        """Return the number at a share of the range."""
        if self.is_wide:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + share * (self.high - self.low)

    def share(self, number: float) -> float:
        """Return at which share of the range a number is."""
        if self.is_wide:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def settings(self, number: float) -> dict[str, float | list[float]]:
        """Return the options under a number."""
        if self.names == ("pos_weight",):
            return {"pos_weight": [number]}
        if len(self.names) == 1:
            return {self.names[0]: number}
        other = round(1 - number, 15) if self.mirrored else number
        return {self.names[0]: number, self.names[1]: other}


def knobs_of(kind: type[AbstractLibraryLoss]) -> list[tuple[Knob, ...]]:
    """Return what is looked for in a loss: one number each, then several together."""
    names = [f.name for f in fields(kind) if f.init and f.name in RANGES]
    if kind.__name__ in ("cosine_distance", "cosine_similarity"):
        return []  # their epsilon keeps a division from 0
    found: list[tuple[Knob, ...]] = []
    for together in (*_SETS[:2], *((name,) for name in names), *_SETS[2:]):
        wanted = [tuple(part.replace("1 - ", "").split(" = ")) for part in together]
        if {n for part in wanted for n in part} <= {*names}:
            mirrored = ["1 - " in part for part in together]
            found.append(tuple(_knob(kind, *each) for each in zip(wanted, mirrored, strict=True)))
    return found


def _knob(kind: type[AbstractLibraryLoss], names: Sequence[str], mirrored: bool = False) -> Knob:
    low, high = _OWN.get((kind.__name__, names[0]), RANGES[names[0]])
    return Knob(tuple(names), low, high, mirrored)
