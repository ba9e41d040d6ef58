# SPDX-License-Identifier: Apache-2.0
"""Sums and means, each with its denominator named."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array, Names
from lossledger.frames import AbstractGrouping
from lossledger.reductions._base import AbstractReduction, Cells, Chain, Denominator, Empty, Split
from lossledger.reductions._cells import nonzero, presence, safe, sums, with_policy
from lossledger.statistics import SumStatistic
from lossledger.weighting import Masses


@dataclass(frozen=True)
class Sum(AbstractReduction):
    """Σ w·v over the axes removed.

    Source: torch `reduction="sum"`, Keras `"sum"` (without Keras' mean over the last axis).
    """

    over: Names | None = None
    by: Names | None = None
    empty: Empty = "zero"

    split: ClassVar[Split] = "linear"

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> SumStatistic:
        """Sum weighted values and weights."""
        return sums(xp, values, weights, grouping, "weights")

    def finalize(self, xp: ArrayLibrary, statistic: SumStatistic) -> Cells:
        """Return the numerator."""
        present = presence(xp, statistic.denominator, self)
        return with_policy(xp, statistic.numerator, present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: SumStatistic,
    ) -> Array | float:
        """Return the weights."""
        del xp, grouping, statistic
        return 1.0 if weights.numerator is None else weights.numerator


@dataclass(frozen=True)
class Mean(AbstractReduction):
    """Σ w·v / D over the axes removed, with the denominator D named.

    Args:
        over: Axes removed; or
        by: axes or keys kept.
        denominator: "weights" Σw, "passed" Σw over the weights' own axes (not repeated along
            those they lack, `batch` apart), "elements" N, "nonzero" #{w≠0}, "mask" Σm, "samples" B
            (1 in a stage that keeps `batch`: each cell is of one sample), or a constant
            (which is not summed when statistics merge).
        empty: What a cell with D = 0 gives.

    Source: torch's weighted mean is "weights"; Keras 3 with sample weights is "elements",
    with a mask "mask", under "mean_with_sample_weight" "passed"; tf.losses' default is
    "nonzero"; torch's batchmean is "samples".
    """

    over: Names | None = None
    by: Names | None = None
    denominator: Denominator = "weights"
    empty: Empty = "zero"

    def check(self) -> None:
        """Check the denominator's name, or number."""
        names = ("weights", "passed", "elements", "nonzero", "mask", "samples")
        given: Any = self.denominator
        number = isinstance(given, Real) and not isinstance(given, bool)
        constant = number and 0 < float(given) < math.inf
        if self.denominator not in names and not constant:
            raise ReductionError(
                "`denominator` must be a positive constant or one of " + ", ".join(names),
                f"Found {self.denominator!r}",
                "The name is misspelled, or the constant is not positive",
                "Use denominator='weights' for Σw·v / Σw",
            )

    split: ClassVar[Split] = "linear"

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> SumStatistic:
        """Sum weighted values and what the denominator counts."""
        return sums(xp, values, weights, grouping, self.denominator, self.empty)

    def finalize(self, xp: ArrayLibrary, statistic: SumStatistic) -> Cells:
        """Divide once."""
        if not isinstance(self.denominator, str):
            return Cells(statistic.numerator / self.denominator, None)
        present = presence(xp, statistic.denominator, self)
        divisor = safe(xp, statistic.denominator, present)
        return with_policy(xp, statistic.numerator / divisor, present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: SumStatistic,
    ) -> Array | float:
        """Return w / D."""
        mass = 1.0 if weights.numerator is None else weights.numerator
        if not isinstance(self.denominator, str):
            return mass / self.denominator
        denominator = statistic.denominator
        if isinstance(denominator, int):
            return mass / denominator if denominator else 0.0
        present = presence(xp, denominator, None)
        inverse = xp.where(
            present, 1 / safe(xp, denominator, present), xp.full_like(denominator, 0)
        )
        return mass * grouping.spread(inverse)


@dataclass(frozen=True)
class RootMean(AbstractReduction):
    """√(Σ w·v / Σ w): the root mean square error, if the values are squared errors.

    The derivative at a mean of 0 is taken as 0. Attribution is by share of the numerator,
    so the rows add up to the root itself.
    """

    over: Names | None = None
    by: Names | None = None
    empty: Empty = "zero"
    split: ClassVar[Split] = "smooth"
    attribution: ClassVar[float] = 2.0

    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> SumStatistic:
        """Sum weighted values and weights."""
        return sums(xp, values, weights, grouping, "weights")

    def finalize(self, xp: ArrayLibrary, statistic: SumStatistic) -> Cells:
        """Divide, then take the root."""
        present = presence(xp, statistic.denominator, self)
        mean = statistic.numerator / safe(xp, statistic.denominator, present)
        root = xp.where(mean == 0, xp.full_like(mean, 0), xp.sqrt(nonzero(xp, mean)))
        return with_policy(xp, root, present, self)

    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: SumStatistic,
    ) -> Array | float:
        """Return w / (2·D·root)."""
        mass = 1.0 if weights.numerator is None else weights.numerator
        root = xp.detach(self.finalize(xp, statistic).values)
        bottom = 2 * statistic.denominator * root
        inverse = xp.where(bottom != 0, 1 / nonzero(xp, bottom), xp.full_like(bottom, 0))
        return mass * grouping.spread(inverse)


def Macro(by: Names = "class") -> Chain:  # noqa: N802 - reads as the reduction that it builds
    """Mean over the cells of `by` that are present of the mean within each.

    Same as `Mean(by=by, empty="skip").then(Mean())`.
    """
    return Mean(by=by, empty="skip").then(Mean())


def parse_reduction(reduction: AbstractReduction | Chain | str) -> Chain:
    """Return a chain from a reduction, a chain, "mean" or "sum".

    Raises:
        ReductionError: If the string is not one of the two, or it is something else.
    """
    if isinstance(reduction, AbstractReduction):
        reduction = Chain((reduction,))
    if isinstance(reduction, Chain):
        for stage in reduction.stages:
            _check_stage(stage)
        return reduction
    named: dict[Any, AbstractReduction] = {"mean": Mean(), "sum": Sum()}
    if reduction in named:
        return Chain((named[reduction],))
    raise ReductionError(
        "`reduction` must be a reduction object, 'mean' or 'sum'",
        f"Found {reduction!r}",
        "Another library's name was used ('none', 'batchmean', 'sum_over_batch_size')",
        "Use ll.Mean, ll.Sum, ll.Max, ll.TopMean, ll.LogMeanExp or ll.Macro; "
        "unreduced values come from objective.values(...)",
    )


def _check_stage(stage: Any) -> None:
    """Require a reduction object; it has checked its own settings."""
    if not isinstance(stage, AbstractReduction):
        raise ReductionError(
            "Every stage of a reduction must be a reduction object",
            f"Found {stage!r}",
            "A string or a class was passed to .then()",
            "Write .then(ll.Mean())",
        )
