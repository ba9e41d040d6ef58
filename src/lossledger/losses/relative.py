# SPDX-License-Identifier: Apache-2.0
"""Losses of an output against the size of its target."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative


@dataclass(frozen=True)
class SquaredLogError(AbstractLoss):
    """(log(1 + o) − log(1 + t))², the squared error of transformed outputs and targets.

    ∂/∂o = 2·(log(1 + o) − log(1 + t))/(1 + o). Outputs and targets lie above −1; nothing is
    clipped.

    Source: sklearn.metrics.mean_squared_log_error.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="above_minus_one",
            targets="above_minus_one",
            source="sklearn.metrics.mean_squared_log_error",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e = xp.log1p(outputs[0]) - xp.log1p(targets)
        return e * e

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·2·(log(1 + o) − log(1 + t))/(1 + o)."""
        e = xp.log1p(outputs[0]) - xp.log1p(targets)
        return (coefficients * 2 * e / (1 + outputs[0]),)


@dataclass(frozen=True)
class AbsolutePercentageError(AbstractLoss):
    """100·|o − t|/|t|; ∂/∂o = 100·sign(o − t)/|t|, 0 at o = t.

    A target of 0 has no percentage: without a floor it is an error unless its weight is 0.

    Args:
        percent: False leaves the factor of 100 out.
        floor: Least number that is divided by: max(|t|, floor) in place of |t|.

    Source: keras.losses.MeanAbsolutePercentageError, which has a floor of 1e-7;
    sklearn.metrics.mean_absolute_percentage_error has no factor.
    """

    percent: bool = True
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Check the floor."""
        check_nonnegative("floor", self.floor)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "keras.losses.MeanAbsolutePercentageError"
        return Facts(accepts="same", targets="any" if self.floor else "nonzero", source=source)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return self._factor * xp.abs((outputs[0] - targets) / self._size(xp, targets))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·100·sign(o − t)/|t|."""
        slope = xp.sign(outputs[0] - targets) / self._size(xp, targets)
        return (coefficients * self._factor * slope,)

    def _size(self, xp: ArrayLibrary, targets: Array) -> Array:
        size = xp.abs(targets)
        return xp.maximum(size, xp.full_like(size, self.floor)) if self.floor else size

    @property
    def _factor(self) -> float:
        return 100.0 if self.percent else 1.0
