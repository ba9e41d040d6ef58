# SPDX-License-Identifier: Apache-2.0
"""A mean and a constant: scores that are minimised as they are, 1 less than a loss."""

from dataclasses import dataclass
from typing import ClassVar

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Names
from lossledger.frames import AbstractGrouping
from lossledger.reductions._base import AbstractReduction, Cells, Denominator, Empty, Split
from lossledger.reductions.means import Mean
from lossledger.statistics import SumStatistic
from lossledger.weighting import Masses


@dataclass(frozen=True)
class OffsetMean(AbstractReduction):
    """Σ w·v / D + offset: `Mean` and a constant, which the ledger books as curvature.

    Args:
        over: Axes removed; or
        by: axes or keys kept.
        offset: The constant, which a cell without weight has too (under "zero").
        denominator: D, as for `Mean`.
        empty: What a cell with D = 0 gives, before the constant.

    Source: nnU-Net's SoftDiceLoss is −Dice, the mean of 1 − Dice and −1.
    """

    over: Names | None = None
    by: Names | None = None
    offset: float = -1.0
    denominator: Denominator = "weights"
    empty: Empty = "zero"
    split: ClassVar[Split] = "linear"
    curved: ClassVar[bool] = True

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> SumStatistic:
        """Sum weighted values and what the denominator counts."""
        return self._mean().statistic(xp, values, weights, grouping)

    def finalize(self, xp: ArrayLibrary, statistic: SumStatistic) -> Cells:
        """Divide once, and add the constant."""
        found = self._mean().finalize(xp, statistic)
        return Cells(found.values + self.offset, found.presence, found.broken)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: SumStatistic,
    ) -> Array | float:
        """Return w / D."""
        return self._mean().coefficients(xp, values, weights, grouping, statistic)

    def _mean(self) -> Mean:
        return Mean(self.over, self.by, self.denominator, self.empty)
