# SPDX-License-Identifier: Apache-2.0
"""Presets that a black box equals on data: number and gradient compared, never believed."""

import itertools
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation.criterion._batches import Wanted
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


SLOPES = 10
"""How many times as far as numbers gradients may be off: of the largest, by its rounding."""


@dataclass(frozen=True)
class Equal:
    """A preset that gives the same, up to a factor.

    Attributes:
        preset: Configured.
        factor: By what its number and gradient are multiplied.
        deviation: Largest of the numbers, relative.
        slope: Largest of the gradients, relative to the largest; None if there is none.
        options: Those whose numbers were searched for.
        loose: Those of them for which other numbers agree on these data as well.
        form: In which targets are passed to it; "" for as they are.
    """

    preset: AbstractLibraryLoss
    factor: float
    deviation: float
    slope: float | None
    options: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    form: str = ""


def equals(wanted: Sequence[Wanted], home: str, tolerance: float) -> list[Equal]:
    """Return the presets that agree on all batches; what fails on a small one is not tried on.

    Args:
        wanted: What the black box gives, the smallest batch first.
        home: Framework of its arrays.
        tolerance: Largest deviation of what is called equal.
    """
    found: list[Equal] = []
    whole = next((w for w in wanted if w.name == "whole"), None)
    if whole is None:
        return []
    for library in ORDER[home]:
        for preset in configured(library, len(whole.data.outputs)):
            one = compared(preset, wanted, tolerance)
            found += [] if one is None else [one]
    if not any(e.factor == 1 for e in found):
        for preset in weighted(whole.data, whole.slopes):
            one = compared(preset, wanted, tolerance)
            found += [] if one is None else [one]
    found.sort(key=lambda e: e.factor != 1)
    return found


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
    preset: AbstractLibraryLoss, wanted: Sequence[Wanted], tolerance: float
) -> Equal | None:
    """Return how a preset agrees with numbers and gradients; None if it does not."""
    factor: float | None = None
    far, off = 0.0, None
    for each in wanted:
        data, goal = each.data, each.number
        try:
            with np.errstate(all="ignore"):
                value, mine = preset.value_and_grad(data.given, data.targets)
        except REFUSALS:
            return None
        value = float(value)
        if goal == 0:
            if not abs(value) <= tolerance * max(abs(w.number) for w in wanted):
                return None
            continue
        if not np.isfinite(value) or value == 0:
            return None
        factor = goal / value if factor is None else factor
        factor = 1.0 if abs(factor - 1) <= tolerance else factor
        far = max(far, abs(factor * value - goal) / abs(goal))
        if each.slopes is not None:
            own = mine if isinstance(mine, tuple) else (mine,)
            apart = _apart(own, each.slopes, factor)
            off = apart if off is None else max(off, apart)
        if not far <= tolerance or not (off is None or off <= tolerance * SLOPES):
            return None
    if factor is None or (factor != 1 and (off is None or is_lone(wanted))):
        return None
    return Equal(preset, factor, far, off)


def is_lone(wanted: Sequence[Wanted]) -> bool:
    """Whether all there is to compare is one number and one slope, which a factor may fit."""
    seen = sum(1 + sum(int(np.count_nonzero(s)) for s in w.slopes or ()) for w in wanted)
    return seen <= 2


def _apart(mine: Sequence[Array], theirs: Sequence[Array], factor: float) -> float:
    worst = 0.0
    for one, other in zip(mine, theirs, strict=True):
        if one.shape != other.shape:
            return float("inf")
        size = max(float(np.abs(other).max(initial=0.0)), 1e-12)
        apart = float(np.abs(factor * one - other).max(initial=0.0)) / size
        worst = max(worst, apart if np.isfinite(apart) else float("inf"))
    return worst
