# SPDX-License-Identifier: Apache-2.0
"""Numeric options of presets, found from a black box's number and gradient, and then verified."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

import numpy as np

from lossledger._typing import Array, Callable, Sequence
from lossledger.explanation.criterion._batches import Wanted
from lossledger.explanation.criterion._candidates import Equal, compared
from lossledger.explanation.criterion._catalog import Family, Meter, formed, row_of
from lossledger.explanation.criterion._knobs import Knob, knobs_of
from lossledger.explanation.criterion._solve import fitted, roots
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._registry import library_of
from lossledger.presets.migration import REFUSALS

_EXACT = 1e-11
"""Largest deviation after which no further options are looked for together."""

_FAR = 0.8
"""Of the goal: if so much is left at all of three numbers, the loss is of another kind."""

_NEAR = 0.25
"""Of the goal: if more is left, options are not looked for together, nor beside what is found."""

_ALMOST = 1e-4
"""Of the goal: so little is left where a smoothing alone may be another."""

_TINY = (1e-6, 1e-7, 1e-8)
"""Smoothings that are tried there."""

_LOOKS = (0.15, 0.5, 0.85)

Solved = dict[tuple[bool, bytes], list[list[float]]]
"""Numbers that were found, by what the loss gives: the same loss has several names."""


@dataclass(frozen=True, eq=False)
class _Line:
    """A preset whose numbers are looked for, on one batch.

    Attributes:
        base: The preset, under other numbers.
        knobs: The numbers.
        goal: What the black box gives on a small batch.
        meter: Counts the trials.
        rows: What was tried, by the numbers' shares of their ranges.
    """

    base: AbstractLibraryLoss
    knobs: tuple[Knob, ...]
    goal: Wanted
    meter: Meter
    rows: dict[tuple[float, ...], Array | None] = field(default_factory=dict)

    def preset(self, numbers: Sequence[float]) -> AbstractLibraryLoss | None:
        """Return the preset under numbers; None if it refuses them."""
        return under(self.base, self.knobs, numbers)

    def numbers(self, shares: Sequence[float]) -> list[float]:
        """Return numbers by their shares of the ranges."""
        return [k.at(float(s)) for k, s in zip(self.knobs, shares, strict=True)]

    def vector(self, shares: Sequence[float]) -> Array | None:
        """Return the preset's number and gradient as one row; None if it refuses."""
        key = tuple(float(s) for s in shares)
        if key not in self.rows:
            preset = self.preset(self.numbers(key))
            row = None if preset is None else row_of(preset, self.goal, self.meter)
            self.rows[key] = row
        return self.rows[key]

    def apart(self, share: float) -> float:
        """Return by how much the factors of number and gradient differ; NaN if it refuses.

        Without a gradient: how far the number is from the wanted one.
        """
        mine = self.vector((share,))
        if mine is None:
            return float("nan")
        by_number = float(mine[0]) / self.goal.number
        if self.goal.slopes is None:
            return by_number - 1
        theirs = self.goal.vector[1:]
        return by_number - float(mine[1:] @ theirs) / float(theirs @ theirs)

    def residual(self, shares: Sequence[float]) -> Array | None:
        """Return what is left of the goal after the best multiple, as shares of its size."""
        mine = self.vector(shares)
        return None if mine is None else _left(mine, self.goal)

    def misfit(self, shares: Sequence[float]) -> float:
        """Return the size of what is left."""
        mine = self.vector(shares)
        return float("inf") if mine is None else _rest(mine, self.goal)

    def hopeful(self, share: float) -> bool:
        """Whether number and gradient nearly agree."""
        return self.misfit((share,)) < _FAR / 2

    @property
    def signature(self) -> tuple[bool, bytes]:
        """What tells one line from another: what the loss gives at one place."""
        row = self.vector([_LOOKS[1]] * len(self.knobs))
        if row is None:
            return False, repr((self.base, self.knobs)).encode()
        scaled = row / np.linalg.norm(row) if self.goal.slopes is not None else row
        at = repr([(k.low, k.high, k.names[0] == "alpha", len(k.names)) for k in self.knobs])
        return True, np.round(scaled, 8).tobytes() + at.encode()


def _left(mine: Array, wanted: Wanted) -> Array:
    """Return what a multiple of a number and gradient leaves of the wanted ones."""
    goal = wanted.vector
    if wanted.slopes is None:
        return (mine - goal) / abs(goal)
    one, other = mine * wanted.scales, goal * wanted.scales
    found: Array = other - one * (float(one @ other) / float(one @ one))
    return found


def _rest(mine: Array, wanted: Wanted) -> float:
    """Return the size of what is left."""
    return float(np.linalg.norm(_left(mine, wanted)))


def under(
    base: AbstractLibraryLoss, knobs: Sequence[Knob], numbers: Sequence[float]
) -> AbstractLibraryLoss | None:
    """Return a preset with options set to numbers; None if it refuses them."""
    settings: dict[str, float | list[float]] = {}
    for knob, number in zip(knobs, numbers, strict=True):
        settings |= knob.settings(number)
    try:
        return replace(base, **settings)
    except REFUSALS:
        return None


def searched(
    wanted: Sequence[Wanted],
    goal: Wanted,
    found: Sequence[Family],
    within: float,
    meter: Meter,
) -> list[Equal]:
    """Return the presets that agree on all batches under numbers that were found.

    Args:
        wanted: What the black box gives, two batches at least.
        goal: The one of them that is searched on.
        found: The presets that take it.
        within: Largest deviation of what is called equal.
        meter: Counts the trials, and keeps what was left out.
    """
    equal: list[Equal] = []
    solved: Solved = {}
    for family in sorted(found, key=lambda f: _rest(f.row, goal)):
        first = family.alike[0]
        there = [formed(w, family.form) for w in wanted]
        near = _rest(family.row, goal)
        for knobs in knobs_of(type(first)):
            done = [e for e in equal if e.factor == 1 and e.deviation <= _EXACT]
            if any(type(e.preset) is type(first) for e in done):
                break
            if meter.is_spent:
                meter.leave(f"{library_of(first)}.{type(first).__name__}")
                break
            if len(knobs) > 1 and (done or near > _NEAR):
                continue
            line = _Line(first, knobs, formed(goal, family.form), meter)
            if len(knobs) == 1 and goal.slopes is not None:
                here = min(line.misfit((s,)) for s in _LOOKS)
                near = min(near, here)
                if here > (_NEAR if done else _FAR):
                    continue
            equal += _along(line, family, there, within, solved)
    once = {(repr(e.preset), e.form): e for e in reversed(equal)}
    return sorted(once.values(), key=lambda e: (*_rank(e, equal), _place(e, found)))


def _rank(equal: Equal, others: Sequence[Equal]) -> tuple[bool, bool, int]:
    """Return what comes first: no factor, then what is about as close as the closest."""
    least = min(e.deviation for e in others)
    return equal.factor != 1, equal.deviation > 100 * max(least, 1e-14), len(equal.options)


def _place(equal: Equal, found: Sequence[Family]) -> int:
    """Return the place of a preset's library and name among what was searched."""
    return next(i for i, f in enumerate(found) if type(f.alike[0]) is type(equal.preset))


def _along(
    line: _Line,
    family: Family,
    wanted: Sequence[Wanted],
    within: float,
    solved: Solved,
) -> list[Equal]:
    """Return what agrees of presets that are alike, under the numbers that are found."""
    found: list[Equal] = []
    by_slope = line.goal.slopes is not None
    for base in family.alike[:1] if by_slope else family.alike:
        own = line if base is line.base else replace(line, base=base, rows={})
        signature = own.signature
        if signature not in solved:
            solved[signature] = _numbers(own)
        others = family.alike if by_slope else (base,)
        for numbers in solved[signature]:
            agreed = [e for b in others for e in _settled(b, line.knobs, numbers, wanted, within)]
            if not agreed and by_slope:
                agreed = _resmoothed(own, others, numbers, wanted, within)
            found += [
                replace(e, form=family.form)
                for e in sorted(agreed, key=lambda e: e.factor != 1)[:1]
            ]
    return found


def _resmoothed(
    line: _Line,
    alike: Sequence[AbstractLibraryLoss],
    numbers: Sequence[float],
    wanted: Sequence[Wanted],
    within: float,
) -> list[Equal]:
    """Return what agrees under another small smoothing, where a loss of overlap nearly does."""
    shares = [k.share(x) for k, x in zip(line.knobs, numbers, strict=True)]
    names = {f.name for f in fields(line.base)} - {n for k in line.knobs for n in k.names}
    smooth = {"smooth_nr", "smooth_dr"}
    if not smooth <= names or line.misfit(shares) > _ALMOST:
        return []
    for tiny in _TINY:
        settings = dict.fromkeys(smooth, tiny)
        others = [replace(p, **settings) for p in alike]
        again = fitted(
            replace(line, base=replace(line.base, **settings), rows={}).residual, [shares]
        )
        near = [] if again is None else [line.numbers(again)]
        agreed = [
            e for b in others for n in near for e in _settled(b, line.knobs, n, wanted, within)
        ]
        if agreed:
            return [replace(e, options=(*e.options, *sorted(smooth))) for e in agreed]
    return []


def _numbers(line: _Line) -> list[list[float]]:
    """Return the numbers under which a preset may be what is wanted."""
    if len(line.knobs) > 1:
        if line.goal.slopes is None:
            return []
        several = fitted(line.residual, list(itertools.product(_LOOKS, repeat=len(line.knobs))))
        return [] if several is None else [line.numbers(several)]
    points = line.knobs[0].points
    found = roots(line.apart, points, line.hopeful)
    if line.goal.slopes is not None:
        near = fitted(line.residual, [(x,) for x in points])
        found += [] if near is None else [float(near[0])]
    return [line.numbers((share,)) for share in found]


def _settled(
    base: AbstractLibraryLoss,
    knobs: Sequence[Knob],
    numbers: Sequence[float],
    wanted: Sequence[Wanted],
    within: float,
) -> list[Equal]:
    """Return a preset under the plainest numbers that agree; nothing if none do."""

    def agrees(these: Sequence[float]) -> Equal | None:
        preset = under(base, knobs, these)
        return None if preset is None else compared(preset, wanted, within)

    if agrees(numbers) is None:
        return []
    for digits in (1, 2, 3, 4, 6, 9, 17):
        plain = [float(f"{x:.{digits}g}") for x in numbers]
        found = agrees(plain)
        if found is not None:
            loose = tuple(_loose(knobs, plain, agrees))
            names = tuple(n for k in knobs for n in k.names)
            return [replace(found, options=names, loose=loose)]
    return []


def _loose(
    knobs: Sequence[Knob],
    numbers: Sequence[float],
    agrees: Callable[[Sequence[float]], Equal | None],
) -> Iterator[str]:
    """Yield the options that the data leave open: another number agrees as well."""
    for i, knob in enumerate(knobs):
        for share in (1.05, 0.95):
            others = list(numbers)
            others[i] = others[i] * share if others[i] else 0.05 * (share - 0.95)
            if others[i] != numbers[i] and agrees(others) is not None:
                yield " and ".join(knob.names)
                break
