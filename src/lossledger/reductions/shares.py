# SPDX-License-Identifier: Apache-2.0
"""A mean divided by two shares: that of the mask, and that of the weights that are not 0."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Names
from lossledger.frames import AbstractGrouping
from lossledger.reductions._base import AbstractReduction, Cells, Empty, Split
from lossledger.reductions._cells import denominators, nonzero, presence, safe, with_policy
from lossledger.statistics import SharesStatistic
from lossledger.weighting import Masses


@dataclass(frozen=True)
class ShareMean(AbstractReduction):
    """Σ w·m·v / (N · mean(m) · mean(w ≠ 0)): masks m and other weights w each divide apart.

    An element that is masked and has the weight 0 counts against both shares, so the mean of
    ones is 1 only if masks and weights leave out independent elements. Without a mask it is
    Σ w·v / #{w ≠ 0}, without other weights Σ m·v / Σ m.

    Args:
        over: Axes removed; or
        by: axes or keys kept.
        empty: What a cell gives in which no element is in the mask, or none has a weight.

    Source: `weighted_masked_objective` of Keras 1 to 2.2.
    """

    over: Names | None = None
    by: Names | None = None
    empty: Empty = "zero"
    split: ClassVar[Split] = "linear"

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> SharesStatistic:
        """Sum weighted values, and count elements, masks and weights that are not 0."""
        mass = weights.numerator
        elements = denominators(xp, values, weights, grouping, "elements")
        weighted = elements
        if weights.beside:
            here = xp.astype(weights.beside[0] != 0, xp.dtype(values))
            for each in weights.beside[1:]:
                here = here * xp.astype(each != 0, xp.dtype(values))
            weighted = grouping.sum(here)
        return SharesStatistic(
            grouping.sum(values if mass is None else values * mass),
            elements,
            denominators(xp, values, weights, grouping, "mask"),
            weighted,
        )

    def finalize(self, xp: ArrayLibrary, statistic: SharesStatistic) -> Cells:
        """Divide by the number of elements, and by both shares."""
        divisor = self.divisor(xp, statistic)
        present = presence(xp, divisor, self)
        return with_policy(xp, statistic.numerator / safe(xp, divisor, present), present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: SharesStatistic,
    ) -> Array | float:
        """Return w·m over the divisor, 0 in a cell without elements that count."""
        mass = 1.0 if weights.numerator is None else weights.numerator
        divisor = self.divisor(xp, statistic)
        if isinstance(divisor, float):
            return mass / divisor if divisor else 0.0
        inverse = xp.where(divisor != 0, 1 / nonzero(xp, divisor), xp.full_like(divisor, 0))
        return mass * grouping.spread(inverse)

    def divisor(self, xp: ArrayLibrary, statistic: SharesStatistic) -> Any:
        """Return N · mean(m) · mean(w ≠ 0) = Σ m · #{w ≠ 0} / N by cell; a float if static."""
        elements, both = statistic.elements, statistic.masked * statistic.weighted
        if not isinstance(elements, int):
            return both / nonzero(xp, elements)
        return both / (elements or 1)
