# SPDX-License-Identifier: Apache-2.0
"""Reductions by order: the worst element, and the mean of the worst share."""

import math
from dataclasses import dataclass
from typing import ClassVar

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array, Names
from lossledger.frames import AbstractGrouping
from lossledger.reductions._base import AbstractReduction, Cells, Empty, Split
from lossledger.reductions._cells import presence, safe, with_policy
from lossledger.statistics import MaxStatistic, TopStatistic, ranks
from lossledger.weighting import Masses


@dataclass(frozen=True)
class Max(AbstractReduction):
    """The largest value among elements with weight; of equals the first by position.

    The gradient goes to that one element, which is chosen by position.
    """

    over: Names | None = None
    by: Names | None = None
    empty: Empty = "zero"
    split: ClassVar[Split] = "order"

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> MaxStatistic:
        """Find the winner of every cell, and its position."""
        rows = grouping.rows(_candidates(xp, values, weights), -math.inf)
        position = xp.argmax(ranks(xp, rows), -1)
        top = xp.take_along(rows, xp.expand(position, -1), -1)
        shape = grouping.cells.shape
        first, place = xp.reshape(top, shape), xp.reshape(position, shape)
        count = _counts(xp, values, weights, grouping)
        return MaxStatistic(first, place, xp.full_like(place, 0), count, parts=1)

    def finalize(self, xp: ArrayLibrary, statistic: MaxStatistic) -> Cells:
        """Return the largest value."""
        present = presence(xp, statistic.count, self)
        return with_policy(xp, statistic.top, present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: MaxStatistic,
    ) -> Array:
        """Return 1 at the winner's position and 0 elsewhere."""
        rows = grouping.rows(xp.detach(values), 0.0)
        places = xp.expand(xp.arange(rows.shape[-1], statistic.position), 0)
        column = (grouping.cells.size, 1)
        won = places == xp.reshape(statistic.position, column)
        own = (statistic.part == 0) & (statistic.count != 0)
        return grouping.unrows(xp.astype(won & xp.reshape(own, column), xp.dtype(values)))


@dataclass(frozen=True)
class TopMean(AbstractReduction):
    """The mean of the worst `fraction` of the weight: CVaR, online hard example mining.

    max over c of Σ c·v with 0 ≤ c ≤ w/k and Σ c = 1, where k = fraction · Σw (or `count`):
    values enter from the largest down, the last one with what is left of its weight.

    Args:
        fraction: Share of the weight, 0 < fraction ≤ 1; or
        count: weight in absolute terms (a number of elements where weights are 1).

    Source: Rockafellar and Uryasev 2000 (CVaR); nnU-Net's top-k loss is fraction=0.1.
    """

    fraction: float | None = None
    over: Names | None = None
    by: Names | None = None
    count: int | None = None
    empty: Empty = "zero"
    split: ClassVar[Split] = "order"

    def check(self) -> None:
        """Check that exactly one of the two sizes is given, and its range."""
        share = self.count is None and self.fraction is not None and 0 < self.fraction <= 1
        share = share and self.fraction is not True
        whole = self.count is not None and hasattr(self.count, "__index__")
        number = self.fraction is None and whole and (self.count or 0) >= 1
        if not (share or number):
            raise ReductionError(
                "TopMean needs a fraction in (0, 1] or a whole count of at least 1, not both",
                f"Found fraction={self.fraction!r} and count={self.count!r}",
                "A percentage was given as 10 where 0.1 is meant, or both were given",
                "Use TopMean(0.1) for the worst 10 % or TopMean(count=100)",
            )

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> TopStatistic:
        """List values and weights by cell; of elements without weights `count` are enough."""
        rows, mass = self._rows(xp, values, weights, grouping)
        total = xp.reshape(xp.sum(mass, axis=-1), grouping.cells.shape)
        keep = self.count if weights.numerator is None else None
        return TopStatistic(rows, mass, total, keep)

    def finalize(self, xp: ArrayLibrary, statistic: TopStatistic) -> Cells:
        """Return Σ c·v by cell."""
        share = self._shares(xp, xp.detach(statistic.values), statistic)
        counted = xp.where(share != 0, statistic.values, xp.full_like(share, 0))
        shape = tuple(statistic.denominator.shape)
        value = xp.reshape(xp.sum(counted * share, axis=-1), shape)
        present = presence(xp, statistic.denominator, self)
        return with_policy(xp, value, present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: TopStatistic,
    ) -> Array:
        """Return each element's share of the k that are averaged."""
        share = self._shares(xp, xp.detach(statistic.values), statistic)
        if statistic.position is None:
            return grouping.unrows(share)
        return grouping.unrows(_at_home(xp, share, statistic, values, grouping))

    def _rows(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> tuple[Array, Array]:
        rows = grouping.rows(_candidates(xp, values, weights), -math.inf)
        mass = xp.full_like(values, 1) if weights.numerator is None else weights.numerator
        return rows, grouping.rows(mass, 0.0)

    def _shares(self, xp: ArrayLibrary, values: Array, statistic: TopStatistic) -> Array:
        """Coefficients by cell and element: take weight from the top until k is reached."""
        total = xp.reshape(statistic.denominator, (-1, 1))
        wanted = total * (self.fraction or 1.0)
        if self.count is not None:
            wanted = xp.minimum(total, xp.full_like(total, self.count))
        order = xp.sort_order(ranks(xp, values))
        mass = xp.take_along(statistic.weights, order, -1)
        before = xp.cumsum(mass, -1) - mass
        room = wanted - before
        taken = xp.minimum(xp.positive(room), mass)
        inverse = xp.sort_order(-order)
        present = wanted != 0
        share = taken / safe(xp, wanted, present)
        return xp.take_along(share, inverse, -1)


def _at_home(
    xp: ArrayLibrary,
    share: Array,
    statistic: TopStatistic,
    values: Array,
    grouping: AbstractGrouping,
) -> Array:
    """Lay the shares of a merged list out at the places of this part's own elements."""
    cells = grouping.cells.size
    length = grouping.rows(xp.full_like(values, 0), 0.0).shape[-1]
    first = xp.expand(xp.arange(cells, statistic.position), -1) * length
    own = statistic.part == 0
    index = xp.where(own, statistic.position, xp.full_like(statistic.position, 0))
    flat = xp.reshape(index + first, (-1,))
    here = xp.reshape(xp.where(own, share, xp.full_like(share, 0)), (-1,))
    placed = xp.bin_sum(here, xp.astype(flat, xp.counter(flat)), cells * length)
    return xp.reshape(xp.astype(placed, xp.dtype(values)), (cells, length))


def _counts(xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping) -> Array:
    """Number of elements with weight, by cell."""
    counter = xp.counter(values)
    if weights.numerator is not None:
        return grouping.sum(xp.astype(weights.numerator != 0, counter))
    return xp.zeros(grouping.cells.shape, counter, values) + grouping.count(values)


def _candidates(xp: ArrayLibrary, values: Array, weights: Masses) -> Array:
    """Values of the elements with weight; -inf elsewhere."""
    if weights.numerator is None:
        return values
    return xp.where(weights.numerator != 0, values, xp.full_like(values, -math.inf))
