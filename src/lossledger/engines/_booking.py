# SPDX-License-Identifier: Apache-2.0
"""Sums by cell of the ledger: each array is read once for each label, however often it counts."""

from dataclasses import dataclass, field
from typing import Any

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.frames import AbstractGrouping


@dataclass(frozen=True, eq=False)
class Part:
    """A product of factors over the elements: one summand of what an element adds to a cell.

    Attributes:
        x: One number per element.
        factors: Arrays of the same rank (an axis of length 1 where all agree), or numbers.
    """

    x: Array
    factors: tuple[Array | float, ...] = ()


@dataclass(frozen=True, eq=False)
class Elements:
    """What the elements of a term add to the ledger.

    Attributes:
        contribution: Summands of what each adds to the term's value.
        numerator: Summands of what stands above the bar of a cell's own mean.
        denominator: Summands of what stands below it; None for `mass`.
        mass: Weight of each; None for ones.
        rest: What the value has beyond its elements.
    """

    contribution: tuple[Part, ...]
    numerator: tuple[Part, ...]
    denominator: tuple[Part, ...] | None
    mass: Array | None
    rest: Array | float

    @property
    def alive(self) -> Array | None:
        """Where elements have weight; None for everywhere."""
        return None if self.mass is None else self.mass != 0


@dataclass(frozen=True, eq=False)
class Booker:
    """Sums by cell, with a last axis negative/positive where labels split the cells.

    A factor that is the same for all elements of a cell multiplies the cell's sum and not
    the elements, so that contribution, numerator and denominator share one sum.
    """

    xp: ArrayLibrary
    grouping: AbstractGrouping
    positive: Array | None
    like: Array
    dtype: str
    _done: list[tuple[Array, tuple[Array, ...], Array]] = field(default_factory=list)
    _kept: dict[str, Any] = field(default_factory=dict)

    def total(self, parts: Sequence[Part]) -> Array:
        """Return Σ over parts and elements, by cell, in the widest float there is."""
        found: Array = None
        for part in parts:
            each = self._part(part)
            found = each if found is None else found + each
        return found

    def mass(self, weights: Array) -> Array:
        """Return Σ weights by cell."""
        same = self._by_cell(weights)
        if same is None:
            return self._sums(weights, ())
        wide = self.xp.wide(self.like)
        return self.xp.astype(self.every, wide) * self.xp.astype(same, wide)

    def counts(self, alive: Array | None) -> Array:
        """Return how many elements have weight, by cell."""
        xp, grouping = self.xp, self.grouping
        if alive is None:
            return self.every
        same = self._by_cell(alive)
        if same is not None:
            return self.every * xp.astype(same, xp.counter(self.like))
        return self._counted(xp.broadcast_to(alive, grouping.frame.shape))

    @property
    def every(self) -> Array:
        """How many elements there are, by cell."""
        if "every" not in self._kept:
            self._kept["every"] = self._counted(None)
        return self._kept["every"]

    def _counted(self, here: Array | None) -> Array:
        xp, grouping = self.xp, self.grouping
        counter = xp.counter(self.like)
        if here is None:
            found = xp.zeros(grouping.cells.shape, counter, self.like) + grouping.count(self.like)
        else:
            found = grouping.sum(xp.astype(here, counter))
        if self.positive is None:
            return found
        chosen = self.positive if here is None else self.positive & here
        positive = grouping.sum(xp.astype(chosen, counter))
        return xp.stack((found - positive, positive), -1)

    def _by_cell(self, factor: Array) -> Array | None:
        """Return a factor over the cells if all elements of each agree; None if they may not."""
        same = self.grouping.at_cells(factor)
        return same if same is None or self.positive is None else self.xp.expand(same, -1)

    def _part(self, part: Part) -> Array:
        wide = self.xp.wide(self.like)
        scale: list[Array | float] = []
        by_element: list[Array] = []
        for factor in part.factors:
            same = factor if isinstance(factor, float) else self._by_cell(factor)
            if same is None:
                by_element.append(factor)
            else:
                scale.append(same if isinstance(same, float) else self.xp.astype(same, wide))
        sums = self._sums(part.x, tuple(by_element))
        for each in scale:
            sums = sums * each
        return sums

    def _sums(self, x: Array, factors: tuple[Array, ...]) -> Array:
        """Sum x · factors by cell and label; the same product is summed once."""
        for done, by, sums in self._done:
            same = len(by) == len(factors) and all(a is b for a, b in zip(by, factors, strict=True))
            if done is x and same:
                return sums
        product = x
        for factor in factors:
            product = product * factor
        full = self.xp.broadcast_to(product, self.grouping.frame.shape)
        if not self.grouping.removed:
            full = full + 0  # a copy: nothing is summed, and the user's array may change
        sums = self._by_label(full)
        self._done.append((x, factors, sums))
        return sums

    def _by_label(self, full: Array) -> Array:
        xp = self.xp
        if self.positive is None:
            return xp.astype(self.grouping.sum(full), xp.wide(self.like))
        if xp.readable(full):
            # Multiplying is the cheapest choice, unless an infinity meets a 0.
            negative, positive = self._indicators
            sums = self._pair(full * negative, full * positive)
            if xp.readable(sums) and not bool(xp.any(~xp.isfinite(sums))):
                return sums
        zero = xp.full_like(full, 0)
        return self._pair(xp.where(self.positive, zero, full), xp.where(self.positive, full, zero))

    def _pair(self, negative: Array, positive: Array) -> Array:
        pair = (self.grouping.sum(negative), self.grouping.sum(positive))
        return self.xp.astype(self.xp.stack(pair, -1), self.xp.wide(self.like))

    @property
    def _indicators(self) -> tuple[Array, Array]:
        """1 where the label is negative, and where it is positive."""
        if "labels" not in self._kept:
            positive = self.xp.astype(self.positive, self.dtype)
            self._kept["labels"] = (1 - positive, positive)
        pair: tuple[Array, Array] = self._kept["labels"]
        return pair
