# SPDX-License-Identifier: Apache-2.0
"""Two presets of which a black box is a weighted sum: least squares, then other batches."""

import itertools
from dataclasses import dataclass, fields, replace

import numpy as np

from lossledger._typing import Array, Mapping, Sequence
from lossledger.explanation.criterion._batches import Wanted
from lossledger.explanation.criterion._candidates import SLOPES, Equal, compared
from lossledger.explanation.criterion._catalog import Family, Meter, formed, row_of
from lossledger.explanation.criterion._precision import STRICT
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._registry import library_of
from lossledger.presets.migration import REFUSALS

MOST = 200
"""Most losses of which pairs are tried."""

_HELD = "mixed"
"""The batch that the factors are not fitted on."""

_LEAST = 1e-3
"""Least share of number and gradient that a part must have to be called one."""

_NEAR = 1e-4
"""Squared rest of a pair, by products of rows, that is computed anew from the rows."""

_FEW = 40
"""Most pairs that are verified."""

_SMOOTH: Sequence[Mapping[str, float]] = (
    {"smooth": 1.0},
    {"smooth_nr": 1.0, "smooth_dr": 1.0},
    {"smooth_nr": 1e-6, "smooth_dr": 1e-6},
    {"smooth_nr": 0.0, "smooth_dr": 1e-6},
)
"""Smoothings of losses of overlap that are tried beside their defaults."""

_Part = tuple[Family, list[Family]]
"""Presets, and others of their library that are a multiple of them on the batch."""


@dataclass(frozen=True, eq=False)
class Sum:
    """Two presets, and the factors with which they add up to a black box.

    Attributes:
        presets: The two.
        forms: In which targets are passed to each.
        factors: One each.
        deviation: Largest of the numbers on any batch, relative.
        slope: Largest of the gradients, relative to the largest.
        held: The same of the number, on the batch that took no part in finding the factors.
        alike: Other presets, each a multiple of one of the two on the batch searched on.
    """

    presets: tuple[AbstractLibraryLoss, AbstractLibraryLoss]
    forms: tuple[str, str]
    factors: tuple[float, float]
    deviation: float
    slope: float
    held: float
    alike: tuple[AbstractLibraryLoss, ...] = ()


def untried(wanted: Sequence[Wanted], within: float) -> str:
    """Return why no sum of two is looked for; "" if one is.

    Args:
        wanted: What the black box gives.
        within: The least tolerance.
    """
    if any(w.slopes is None for w in wanted):
        return "there is no gradient to find the factors from"
    if len(wanted) < 3 or all(w.name != _HELD for w in wanted):
        return "there are too few batches to verify on"
    if any(w.number == 0 for w in wanted):
        return "it gives 0 on a batch to verify on"
    return "" if within <= STRICT else "two factors fit too much where float64 is not taken"


def alone(found: Sequence[Family], wanted: Sequence[Wanted], within: float) -> list[Equal]:
    """Return the parts of sums that agree by themselves."""
    several = [
        replace(one, options=family.options, form=family.form)
        for family in found
        if family.options
        for preset in family.alike
        if (one := compared(preset, [formed(w, family.form) for w in wanted], within)) is not None
    ]
    return sorted(several, key=lambda e: e.factor != 1)


def sums(
    wanted: Sequence[Wanted], goal: Wanted, found: Sequence[Family], within: float
) -> list[Sum]:
    """Return the pairs of presets whose weighted sum agrees with number and gradient.

    A pair is looked for on one batch. Its factors are then fitted on all batches but one, and
    verified on that one.

    Args:
        wanted: What the black box gives.
        goal: The one of them that is searched on.
        found: The presets that take it.
        within: Largest deviation of what is called equal.
    """
    parts = _distinct(found, goal)
    rows = [_scaled(family.row, goal) for family, _ in parts]
    several: list[Sum] = []
    for i, j in _pairs(rows, _scaled(goal.vector, goal), max(within * SLOPES, 1e-7))[:_FEW]:
        same = tuple(f.alike[0] for _, others in (parts[i], parts[j]) for f in others)
        agreed = _expanded(parts[i][0], parts[j][0], wanted, within)
        several += [replace(s, alike=same) for s in agreed]
    return sorted(several, key=_rank)


def _rank(found: Sum) -> tuple[bool, int]:
    """Return what comes first: factors above 0, then the closest."""
    return min(found.factors) < 0, round(np.log10(max(found.deviation, 1e-12)) / 2)


def smoothed(found: Sequence[Family], goal: Wanted, meter: Meter) -> list[Family]:
    """Return the presets, and those of overlap with other smoothings too."""
    more = list(found)
    for family in found:
        names = {f.name for f in fields(family.alike[0]) if f.init}
        for settings in _SMOOTH:
            if not {*settings} <= names:
                continue
            try:
                alike = tuple(replace(p, **settings) for p in family.alike)
            except REFUSALS:
                continue
            row = row_of(alike[0], formed(goal, family.form), meter)
            more += [] if row is None else [Family(alike, family.form, row, tuple(settings))]
    if meter.is_spent:
        meter.leave("sums")
    return more


def _distinct(found: Sequence[Family], goal: Wanted) -> list[_Part]:
    """Return families, each direction once: the first, and others of its library."""
    parts: list[_Part] = []
    units = np.zeros((0, goal.vector.size))
    for family in found:
        row = _scaled(family.row, goal)
        unit = row / np.linalg.norm(row)
        same = np.flatnonzero(1 - np.abs(units @ unit) < 1e-14)
        if same.size:
            first, others = parts[int(same[0])]
            kinds = {type(f.alike[0]) for f in (first, *others)}
            own = library_of(first.alike[0]) == library_of(family.alike[0])
            others += [family] if own and type(family.alike[0]) not in kinds else []
        elif len(parts) < MOST:
            units = np.vstack([units, unit])
            parts.append((family, []))
    return parts


def _scaled(row: Array, batch: Wanted) -> Array:
    """Return a number and a gradient as shares of the black box's."""
    found: Array = row * batch.scales
    return found


def _pairs(rows: Sequence[Array], goal: Array, close: float) -> list[tuple[int, int]]:
    """Return the pairs of rows in whose plane the goal lies."""
    if len(rows) < 2:
        return []
    units = np.stack([row / np.linalg.norm(row) for row in rows])
    gram, with_goal = units @ units.T, units @ goal
    size = float(goal @ goal)
    found = []
    for i, j in itertools.combinations(range(len(units)), 2):
        cross = gram[i, j]
        if 1 - cross * cross < 1e-10:  # one is a multiple of the other
            continue
        a = (with_goal[i] - cross * with_goal[j]) / (1 - cross * cross)
        b = (with_goal[j] - cross * with_goal[i]) / (1 - cross * cross)
        if size - a * with_goal[i] - b * with_goal[j] > _NEAR * size:
            continue
        both = units[[i, j]].T
        shares = np.linalg.lstsq(both, goal, rcond=None)[0]
        rest = float(np.linalg.norm(goal - both @ shares))
        if rest <= close * np.sqrt(size) and np.abs(shares).min() > _LEAST * np.sqrt(size):
            found.append((rest, (i, j)))
    return [pair for _, pair in sorted(found)]


def _expanded(one: Family, other: Family, wanted: Sequence[Wanted], within: float) -> list[Sum]:
    """Return the first of a pair's reductions that agrees on every batch; nothing if none does."""
    rows = [[_rows(p, family.form, wanted) for p in family.alike] for family in (one, other)]
    for (i, mine), (j, theirs) in itertools.product(*map(enumerate, rows)):
        if mine is not None and theirs is not None:
            presets = one.alike[i], other.alike[j]
            found = _verified(mine, theirs, wanted, within)
            if found is not None:
                return [Sum(presets, (one.form, other.form), *found)]
    return []


def _rows(preset: AbstractLibraryLoss, form: str, wanted: Sequence[Wanted]) -> list[Array] | None:
    meter = Meter()
    found = [row_of(preset, formed(w, form), meter) for w in wanted]
    return None if any(row is None for row in found) else [row for row in found if row is not None]


def _verified(
    mine: Sequence[Array], theirs: Sequence[Array], wanted: Sequence[Wanted], within: float
) -> tuple[tuple[float, float], float, float, float] | None:
    """Return factors, deviation, slope and held deviation; None if a batch does not agree."""
    fitted = [i for i, w in enumerate(wanted) if w.name != _HELD]
    both = [
        np.concatenate([_scaled(rows[i], wanted[i]) for i in fitted]) for rows in (mine, theirs)
    ]
    goal = np.concatenate([_scaled(wanted[i].vector, wanted[i]) for i in fitted])
    exact = np.linalg.lstsq(np.stack(both, 1), goal, rcond=None)[0]
    for digits in (2, 4, 6, 17):
        a, b = (float(f"{x:.{digits}g}") for x in exact)
        far = off = held = 0.0
        for one, other, batch in zip(mine, theirs, wanted, strict=True):
            rest = np.abs(a * one + b * other - batch.vector)
            apart = float(rest[0]) / abs(batch.number)
            size = max(float(np.abs(batch.vector[1:]).max(initial=0.0)), 1e-12)
            far, off = max(far, apart), max(off, float(rest[1:].max(initial=0.0)) / size)
            held = apart if batch.name == _HELD else held
        if far <= within and off <= within * SLOPES:
            return (a, b), far, off, held
    return None
