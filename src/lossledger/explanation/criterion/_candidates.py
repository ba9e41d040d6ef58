# SPDX-License-Identifier: Apache-2.0
"""Presets that a black box equals on data: number and gradient compared, never believed."""

import itertools
import math
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._probe import Probe, taken
from lossledger.explanation.criterion._tests import number
from lossledger.explanation.criterion._weights import weighted
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._compound import AbstractCompound
from lossledger.presets._registry import presets_of
from lossledger.presets._settings import plainest
from lossledger.presets.migration import REFUSALS

ORDER = {
    "torch": ("torch", "monai", "smp", "optax", "keras"),
    "jax": ("optax", "torch", "keras"),
    "tensorflow": ("keras", "tf1", "optax"),
    "numpy": ("torch", "optax", "keras"),
}
"""Libraries to look in, by the framework of the arrays; the first equal one is named."""


_MOST = 4096
"""Outputs of the part that presets are tried on first."""


@dataclass(frozen=True)
class Equal:
    """A preset that gives the same, up to a factor.

    Attributes:
        preset: Configured.
        factor: By what its number and gradient are multiplied.
        deviation: Largest of the numbers, relative.
        slope: Largest of the gradients, relative to the largest; None if there is none.
    """

    preset: AbstractLibraryLoss
    factor: float
    deviation: float
    slope: float | None


def equals(probe: Probe, data: Data, tolerance: float) -> list[Equal]:
    """Return the presets that agree on this data, with outputs reversed, and on a part of it.

    Args:
        probe: The criterion.
        data: NumPy arrays in their own dtypes.
        tolerance: Largest deviation of what is called equal.
    """
    drawn = _drawn(probe, data)
    wanted = [(probe.answer(d), probe.slopes(d)) for d in drawn]
    if any(not a.reduced or a.array == 0 for a, _ in wanted):
        return []
    numbers = [float(a.array) for a, _ in wanted]
    slopes = [s for _, s in wanted]
    there = [d.on_host() for d in drawn]
    found: list[Equal] = []
    for library in ORDER[probe.home]:
        for preset in configured(library, len(data.outputs)):
            one = compared(preset, there, numbers, slopes, tolerance)
            found += [] if one is None else [one]
    if not any(e.factor == 1 for e in found):
        whole = drawn.index(data)
        for preset in weighted(data.on_host(), slopes[whole]):
            one = compared(preset, there, numbers, slopes, tolerance)
            found += [] if one is None else [one]
    found.sort(key=lambda e: e.factor != 1)
    return found


def _drawn(probe: Probe, data: Data) -> list[Data]:
    """Return the first part of the data, if that is taken, the data, and them in reverse.

    What does not agree on the part, which is small, is not tried on the rest.
    """
    count = data.outputs[0].shape[0] if data.outputs[0].ndim else 0
    if count < 2 or any(o.shape[:1] != (count,) for o in data.outputs):
        return [data]
    found = [data, replace(data, outputs=tuple(o[::-1].copy() for o in data.outputs))]
    few = _MOST // max(1, data.outputs[0].size // count)
    part = taken(data, np.arange(max(2, min(few, 2 * count // 3))))
    value = number(probe, part)
    return [part, *found] if value else found


def configured(library: str, reads: int) -> list[AbstractLibraryLoss]:
    """Return a library's presets of so many outputs, at their defaults, in every reduction."""
    found: list[AbstractLibraryLoss] = []
    for kind in presets_of(library):
        if issubclass(kind, AbstractCompound) or kind.reads != reads:
            continue
        hints = get_type_hints(kind)
        names = {f.name for f in fields(kind) if f.init}
        choices = [
            [(n, v) for v in _choices(hints[n], n)]
            for n in ("reduction", "from_logits", "sigmoid", "to_onehot_y", "batch_reduction")
            if n in names
        ]
        for preset in plainest(kind):
            for chosen in itertools.product(*choices):
                try:
                    found.append(replace(preset, **dict(chosen)))
                except REFUSALS:
                    continue
    return found


def _choices(hint: Any, name: str) -> tuple[Any, ...]:
    if name in ("from_logits", "sigmoid", "to_onehot_y"):
        return (True, False)
    return tuple(
        v for v in get_args(hint) if v in ("mean", "sum", "batchmean", "sum_over_batch_size")
    )


def compared(
    preset: AbstractLibraryLoss,
    drawn: Sequence[Data],
    numbers: Sequence[float],
    slopes: Sequence[tuple[Array, ...] | None],
    tolerance: float,
) -> Equal | None:
    """Return how a preset agrees with numbers and gradients; None if it does not."""
    factor: float | None = None
    far, off = 0.0, None
    for data, goal, slope in zip(drawn, numbers, slopes, strict=True):
        try:
            with np.errstate(all="ignore"):
                value, mine = preset.value_and_grad(data.given, data.targets)
        except REFUSALS:
            return None
        value = float(value)
        if not np.isfinite(value) or value == 0:
            return None
        factor = goal / value if factor is None else factor
        factor = 1.0 if abs(factor - 1) <= tolerance else factor
        far = max(far, abs(factor * value - goal) / abs(goal))
        if slope is not None:
            own = mine if isinstance(mine, tuple) else (mine,)
            apart = _apart(own, slope, factor)
            off = apart if off is None else max(off, apart)
        if far > tolerance or (off is not None and off > tolerance * 10):
            return None
    if factor is None or (off is None and factor != 1):
        return None
    return Equal(preset, factor, far, off)


def _apart(mine: Sequence[Array], theirs: Sequence[Array], factor: float) -> float:
    worst = 0.0
    for one, other in zip(mine, theirs, strict=True):
        if one.shape != other.shape:
            return float("inf")
        size = max(float(np.abs(other).max(initial=0.0)), 1e-12)
        worst = max(worst, float(np.abs(factor * one - other).max(initial=0.0)) / size)
    return worst


def factor_in_words(factor: float, data: Data, batch: bool = True) -> str:
    """Return a factor as a size of the data where it is one; `batch` if it may be of the batch."""
    shape = tuple(data.outputs[0].shape)
    sizes = {}
    if batch and shape:
        sizes = {"the number of samples": shape[0], "the number of elements": math.prod(shape)}
    if len(shape) > 1:
        sizes["the length of axis 1"] = shape[1]
        sizes["the number of elements of a sample"] = math.prod(shape[1:])
    for name, size in sizes.items():
        if size > 1 and abs(factor - size) < 1e-4 * size:
            return name
        if size > 1 and abs(factor * size - 1) < 1e-4:
            return f"1 / {name}"
    return f"{factor:.6g}"
