# SPDX-License-Identifier: Apache-2.0
"""The tilted mean: between the mean and the worst case."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array, Names
from lossledger.frames import AbstractGrouping
from lossledger.reductions._base import AbstractReduction, Cells, Empty, Split
from lossledger.reductions._cells import denominators, presence, safe, with_policy
from lossledger.statistics import LogSumExpStatistic
from lossledger.weighting import Masses


@dataclass(frozen=True)
class LogMeanExp(AbstractReduction):
    """(1/t)·log(Σ w·exp(t·v) / Σ w): the mean for small t, the worst case for large t.

    Its coefficients are the softmax weights p of t·v. It is not homogeneous of degree one:
    Σ p·v is what the elements contribute and the (negative, for t > 0) rest is *curvature*.

    Args:
        tilt: t, not 0; negative tilts toward the smallest value.

    Source: Li et al. 2021, Tilted empirical risk minimization.
    """

    tilt: float
    over: Names | None = None
    by: Names | None = None
    empty: Empty = "zero"
    split: ClassVar[Split] = "smooth"
    curved: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse a tilt of 0 and one that is not finite."""
        if self.tilt == 0 or not math.isfinite(self.tilt):
            raise ReductionError(
                "`tilt` must be finite and not 0",
                f"Found tilt={self.tilt!r}",
                "The limit of no tilt, or of an infinite one, was meant",
                "Use ll.Mean() for no tilt and ll.Max() for the worst case",
            )

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> LogSumExpStatistic:
        """Sum w·exp(t·v − shift) with the largest t·v as shift."""
        tilted, mass = self._tilted(xp, values, weights), weights.numerator
        top = grouping.max(xp.detach(tilted))
        shift = xp.where(top == -math.inf, xp.full_like(top, 0), top)
        raised = xp.exp(tilted - grouping.spread(shift))
        scaled = grouping.sum(raised if mass is None else raised * mass)
        # The mass is the same above and below: a weight that stands in the denominator
        # alone (class weights of soft targets) has no place under an exponential.
        own = replace(weights, denominator=mass)
        total = denominators(xp, values, own, grouping, "weights")
        return LogSumExpStatistic(shift, scaled, xp.full_like(scaled, 0) + total)

    def finalize(self, xp: ArrayLibrary, statistic: LogSumExpStatistic) -> Cells:
        """Return (log(scaled / Σw) + shift) / t."""
        present = presence(xp, statistic.denominator, self)
        inside = safe(xp, statistic.scaled, present) / safe(xp, statistic.denominator, present)
        value = (xp.log(inside) + statistic.shift) / self.tilt
        return with_policy(xp, value, present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: LogSumExpStatistic,
    ) -> Array:
        """Return w·exp(t·v − shift) / scaled."""
        tilted = xp.detach(self._tilted(xp, values, weights))
        raised = xp.exp(tilted - grouping.spread(xp.detach(statistic.shift)))
        raised = raised if weights.numerator is None else raised * weights.numerator
        scaled = xp.detach(statistic.scaled)
        return raised / grouping.spread(safe(xp, scaled, scaled != 0))

    def _tilted(self, xp: ArrayLibrary, values: Array, weights: Masses) -> Array:
        tilted = values * self.tilt
        if weights.numerator is None:
            return tilted
        return xp.where(weights.numerator != 0, tilted, xp.full_like(tilted, -math.inf))
