# SPDX-License-Identifier: Apache-2.0
"""Mergeable statistics: four commutative monoids, each with an identity.

`a.merge(b)` is associative and commutative up to summation rounding, and merging
with the statistic of zero elements changes nothing.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from lossledger._array import ArrayLibrary
from lossledger._typing import Array


class AbstractStatistic(ABC):
    """What a reduction must know of its elements; the arrays have one place a cell."""

    @abstractmethod
    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Return the statistic of both sets of elements together."""

    @abstractmethod
    def arrays(self) -> tuple[Array, ...]:
        """Return the arrays, in the order of the fields."""

    def seen_from(self, xp: ArrayLibrary, part: int | Array) -> Self:
        """Return the statistic with winners marked as one part's own, which is 0 then."""
        del xp, part
        return self


@dataclass(frozen=True, eq=False)
class SumStatistic(AbstractStatistic):
    """Sums of weighted values and of the weights they are divided by.

    numerator = Σ w·v;  denominator = Σ of what the reduction counts.
    """

    numerator: Array
    denominator: Array

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Add both sums."""
        del xp
        return type(self)(self.numerator + other.numerator, self.denominator + other.denominator)

    def arrays(self) -> tuple[Array, ...]:
        """Return numerator and denominator."""
        return self.numerator, self.denominator


@dataclass(frozen=True, eq=False)
class SharesStatistic(AbstractStatistic):
    """A sum of weighted values, and three counts of the elements.

    numerator = Σ w·m·v;  elements = N;  masked = Σ m;  weighted = #{w ≠ 0}.
    """

    numerator: Array
    elements: Array
    masked: Array
    weighted: Array

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Add all four."""
        del xp
        pairs = zip(self.arrays(), other.arrays(), strict=True)
        return type(self)(*(mine + theirs for mine, theirs in pairs))

    def arrays(self) -> tuple[Array, ...]:
        """Return the sum and the counts, in the order of the fields."""
        return self.numerator, self.elements, self.masked, self.weighted


@dataclass(frozen=True, eq=False)
class MaxStatistic(AbstractStatistic):
    """The largest value, where it stands, and the number of elements it was chosen from.

    top = max v (-inf of none);  position = flat place of the first winner in its part;
    part = which part, in the order of merging;  parts = how many there are.
    """

    top: Array
    position: Array
    part: Array
    count: Array
    parts: int

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Keep the larger; of equals the first part wins, so every split agrees."""
        lost = (other.top != other.top) & (self.top == self.top)  # NaN is the largest of all
        later = (other.top > self.top) | lost
        return type(self)(
            xp.where(later, other.top, self.top),
            xp.where(later, other.position, self.position),
            xp.where(later, other.part + self.parts, self.part),
            self.count + other.count,
            self.parts + other.parts,
        )

    def seen_from(self, xp: ArrayLibrary, part: int | Array) -> Self:
        """Number the parts so that the one given is 0."""
        del xp
        return replace(self, part=self.part - part)

    def arrays(self) -> tuple[Array, ...]:
        """Return top, position, part and count."""
        return self.top, self.position, self.part, self.count


@dataclass(frozen=True, eq=False)
class LogSumExpStatistic(AbstractStatistic):
    """Σ w·exp(tilt·v) as (shift, Σ w·exp(tilt·v − shift)), and Σ w.

    shift = max tilt·v, or 0 where there is no element.
    """

    shift: Array
    scaled: Array
    denominator: Array

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Rescale both sums to the larger shift and add."""
        mine, theirs = self.scaled > 0, other.scaled > 0
        top = xp.where(mine & theirs, xp.maximum(self.shift, other.shift), self.shift)
        top = xp.where(mine, top, other.shift)
        return type(self)(
            top,
            _rescaled(xp, self, top) + _rescaled(xp, other, top),
            self.denominator + other.denominator,
        )

    def arrays(self) -> tuple[Array, ...]:
        """Return shift, scaled sum and denominator."""
        return self.shift, self.scaled, self.denominator


@dataclass(frozen=True, eq=False)
class TopStatistic(AbstractStatistic):
    """The elements that can still be among the largest: values and weights by cell.

    With `keep` elements per cell (a fixed number) the list can be cut after each merge;
    with None every element is kept, because the share that is wanted grows with the whole.
    Order is by part and position, so winners are chosen by position among equals.

    part = which part an element is of, in the order of merging;  position = its place there;
    both None in a list that holds one part's elements in their order.
    """

    values: Array
    weights: Array
    denominator: Array
    keep: int | None
    part: Array = None
    position: Array = None
    parts: int = 1

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Join the lists and keep the largest where a fixed number is wanted."""
        mine, theirs = self.located(xp), other.located(xp)
        joined = type(self)(
            xp.concat([self.values, other.values], -1),
            xp.concat([self.weights, other.weights], -1),
            self.denominator + other.denominator,
            self.keep if other.keep == self.keep else None,
            xp.concat([mine.part, theirs.part + self.parts], -1),
            xp.concat([mine.position, theirs.position], -1),
            self.parts + other.parts,
        )
        return joined.cut(xp)

    def located(self, xp: ArrayLibrary) -> Self:
        """Write down where the elements of a list in order stand."""
        if self.position is not None:
            return self
        place = xp.expand(xp.arange(self.values.shape[-1], self.values), 0)
        place = xp.broadcast_to(place, tuple(self.values.shape)) + 0
        return replace(self, part=place * 0, position=place)

    def cut(self, xp: ArrayLibrary) -> Self:
        """Drop the elements that no further element can bring among the largest."""
        if self.keep is None or self.values.shape[-1] <= self.keep:
            return self
        order = xp.sort_order(ranks(xp, self.values))[:, : self.keep]
        known = self.located(xp)
        every = (self.values, self.weights, known.part, known.position)
        values, weights, part, position = (xp.take_along(x, order, -1) for x in every)
        return replace(self, values=values, weights=weights, part=part, position=position)

    def seen_from(self, xp: ArrayLibrary, part: int | Array) -> Self:
        """Number the parts so that the one given is 0."""
        known = self.located(xp)
        return replace(known, part=known.part - part)

    def arrays(self) -> tuple[Array, ...]:
        """Return values, weights and denominator."""
        return self.values, self.weights, self.denominator


@dataclass(frozen=True, eq=False)
class ChannelStatistic(AbstractStatistic):
    """Named sums over the same cells: what overlap losses and losses of sums are made of."""

    names: tuple[str, ...]
    sums: tuple[Array, ...]

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Add every sum to its namesake."""
        del xp
        pairs = zip(self.sums, other.sums, strict=True)
        return type(self)(self.names, tuple(a + b for a, b in pairs))

    def arrays(self) -> tuple[Array, ...]:
        """Return the sums in the order of their names."""
        return self.sums

    def by_name(self) -> dict[str, Array]:
        """Return the sums by name."""
        return dict(zip(self.names, self.sums, strict=True))


def ranks(xp: ArrayLibrary, values: Array) -> Array:
    """Return what elements are ordered by: NaN before all else, so that it is never lost."""
    bare = xp.detach(values)
    return xp.where(bare != bare, xp.full_like(bare, math.inf), bare)


def _rescaled(xp: ArrayLibrary, statistic: LogSumExpStatistic, top: Array) -> Array:
    gap = xp.minimum(statistic.shift - top, xp.full_like(top, 0))
    return statistic.scaled * xp.exp(gap)
