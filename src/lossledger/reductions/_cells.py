# SPDX-License-Identifier: Apache-2.0
"""Sums, denominators and the one policy for cells with nothing in them."""

import math
from typing import Any

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array
from lossledger.frames import AbstractGrouping
from lossledger.reductions._base import AbstractReduction, Cells, Denominator, Empty
from lossledger.statistics import SumStatistic
from lossledger.weighting import Masses


def sums(
    xp: ArrayLibrary,
    values: Array,
    weights: Masses,
    grouping: AbstractGrouping,
    denominator: Denominator,
    empty: Empty = "zero",
) -> SumStatistic:
    """Sum weighted values, and what the denominator counts.

    Under `empty="raise"` a cell without weight is refused, whatever the denominator counts.
    """
    if empty == "raise" and denominator != "weights" and weights.denominator is not None:
        _require(xp, grouping.sum(weights.denominator) != 0, denominator)
    mass = weights.numerator
    numerator = grouping.sum(values if mass is None else values * mass)
    return SumStatistic(numerator, denominators(xp, values, weights, grouping, denominator))


def denominators(
    xp: ArrayLibrary,
    values: Array,
    weights: Masses,
    grouping: AbstractGrouping,
    kind: Denominator,
) -> Array | int:
    """Sum by cell what a denominator of that name counts; an int where it is static."""
    mass = weights.denominator
    if kind == "samples":
        return weights.samples if "batch" in grouping.removed else 1
    if kind == "mask":
        mass = weights.mask
    elif kind == "elements":
        mass = weights.presence
    elif kind == "nonzero" and mass is not None:
        mass = xp.astype(mass != 0, xp.dtype(mass))
    if mass is None:
        count = grouping.count(values)
        return count if isinstance(count, int) else xp.astype(count, xp.dtype(values))
    total = grouping.sum(mass)
    return total / _repeats(mass, grouping) if kind == "passed" else total


def _repeats(mass: Array, grouping: AbstractGrouping) -> int:
    """Return how often a weight is repeated along axes that it lacks; samples always count.

    Raises:
        ReductionError: If cells are those of a key, which repeat different weights.
    """
    if any(a not in grouping.frame.axes for a in grouping.cells.axes):
        raise ReductionError(
            "denominator='passed' needs cells that are axes of the values",
            f"Found the cells {grouping.cells}",
            "The mean is taken by class or by a key",
            "Use denominator='weights'",
        )
    lengths = zip(grouping.frame.axes, grouping.frame.shape, tuple(mass.shape), strict=True)
    gone = [n for a, n, own in lengths if a in grouping.removed and a != "batch" and own == 1]
    return math.prod(gone)


def presence(xp: ArrayLibrary, mass: Any, reduction: AbstractReduction | None) -> Any:
    """Where a cell has mass: a bool, or an array of them; raises for `empty="raise"`."""
    present = mass != 0
    if reduction is not None and reduction.empty == "raise":
        readable = isinstance(present, bool) or xp.readable(present)
        if readable and bool(not present if isinstance(present, bool) else xp.any(~present)):
            raise _nothing(str(reduction))
    return present


def _require(xp: ArrayLibrary, present: Array, denominator: Denominator) -> None:
    if xp.readable(present) and bool(xp.any(~present)):
        raise _nothing(f"a mean over {denominator!r}")


def _nothing(where: str) -> ReductionError:
    return ReductionError(
        "Every cell needs some weight under empty='raise'",
        f"Found nothing to average in {where}",
        "All elements are masked, ignored or weighted 0, or a class is absent",
        "Check the mask, or choose empty='zero' or empty='skip'",
    )


def safe(xp: ArrayLibrary, mass: Any, present: Any) -> Any:
    """Replace the mass of empty cells by 1, so that dividing is safe."""
    if isinstance(present, bool):
        return mass if present else 1
    return xp.where(present, mass, xp.full_like(mass, 1))


def nonzero(xp: ArrayLibrary, x: Array) -> Array:
    """Replace zeros by 1."""
    return xp.where(x != 0, x, xp.full_like(x, 1))


def with_policy(
    xp: ArrayLibrary, values: Array, present: Any, reduction: AbstractReduction
) -> Cells:
    """Apply `empty` to cells in which nothing is present.

    They are 0; under "skip" the next stage does not see them; under "raise" they are NaN
    and reported, if they could not be read when `presence` looked.
    """
    if isinstance(present, bool):
        return Cells(values if present else xp.full_like(values, 0), None)
    raising = reduction.empty == "raise"
    hole = xp.full_like(values, math.nan if raising else 0.0)
    filled = xp.where(present, values, hole)
    skipped = present if reduction.empty == "skip" else None
    unseen = raising and not xp.readable(present)
    return Cells(filled, skipped, ~present if unseen else None)
