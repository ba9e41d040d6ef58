# SPDX-License-Identifier: Apache-2.0
"""Keras' losses of numbers: errors, logs, angles and counts."""

import math
from dataclasses import dataclass
from typing import ClassVar

from lossledger import losses
from lossledger._typing import Axes
from lossledger.losses import Clip, Loss, Mapped
from lossledger.presets._base import Given
from lossledger.presets._keras_base import (
    EPSILON,
    AbstractKeras,
    Dtype,
)
from lossledger.presets._keras_history import Convention, Reduction, Stages

INNER = "Under 'sum' the mean over the last axis stays: the number is a sum of means."


@dataclass(frozen=True)
class AbstractKerasNumbers(AbstractKeras):
    """A loss of numbers, with a mean over the last axis inside."""

    default_axes: ClassVar[str] = "batch unit"


@dataclass(frozen=True)
class MeanSquaredError(AbstractKerasNumbers):
    """keras.losses.MeanSquaredError."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "mean_squared_error"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (INNER,)

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Squared error."""
        return losses.SquaredError()


@dataclass(frozen=True)
class MeanAbsoluteError(AbstractKerasNumbers):
    """keras.losses.MeanAbsoluteError."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "mean_absolute_error"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (INNER,)

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Absolute error."""
        return losses.AbsoluteError()


@dataclass(frozen=True)
class MeanAbsolutePercentageError(AbstractKerasNumbers):
    """keras.losses.MeanAbsolutePercentageError: targets below 1e-7 divide by 1e-7."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "mean_absolute_percentage_error"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "A target of 0 divides by 1e-7: one such element dominates the number.",
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Percentage of at least 1e-7."""
        return losses.AbsolutePercentageError(floor=EPSILON)


@dataclass(frozen=True)
class MeanSquaredLogarithmicError(AbstractKerasNumbers):
    """keras.losses.MeanSquaredLogarithmicError: both sides at least 1e-7 inside the log."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "mean_squared_logarithmic_error"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "Outputs below 1e-7 are taken as 1e-7 and get no gradient; negative targets too.",
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Squared error of logs, behind the clip."""
        clip = (Clip(EPSILON, math.inf),)
        return Mapped(losses.SquaredLogError(), clip, clip, "any", "any")


@dataclass(frozen=True)
class CosineSimilarity(AbstractKeras):
    """keras.losses.CosineSimilarity: minus the cosine."""

    axis: int = -1
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "cosine_similarity"
    dtype: Dtype = None
    since: ClassVar[Convention] = "keras2.11"
    default_axes: ClassVar[str] = "batch feature"
    needs_rows: ClassVar[bool] = True
    notes: ClassVar[tuple[str, ...]] = (
        "The loss is minus the cosine, without the 1 that makes it at least 0.",
        "On PyTorch the gradient at an output of zeros is NaN; here it is finite.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Minus the cosine."""
        floor = EPSILON if self.convention == "keras3" else 1e-6
        return losses.CosineSimilarity("negative", floor, axes[self.axis])

    def within(self, axes: Axes) -> Stages:
        """Nothing: the cosine removes its axis."""
        return ()

    def left(self, axes: Axes) -> Axes:
        """Return the axes without that of the vectors."""
        return tuple(a for a in axes if a != axes[self.axis])


@dataclass(frozen=True)
class Huber(AbstractKerasNumbers):
    """keras.losses.Huber."""

    delta: float = 1.0
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "huber_loss"
    dtype: Dtype = None
    since: ClassVar[Convention] = "keras2.3"
    notes: ClassVar[tuple[str, ...]] = (
        INNER,
        "Keras 2.3 has no mean over the last axis here, and 2.11 computes in float32.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Huber's loss."""
        return losses.Huber(self.delta)

    def within(self, axes: Axes) -> Stages:
        """Return the mean over the last axis, which Keras 2.3 does not take."""
        return () if self.convention == "keras2.3" else super().within(axes)

    def left(self, axes: Axes) -> Axes:
        """Return the axes of Keras' values."""
        return axes if self.convention == "keras2.3" else super().left(axes)


@dataclass(frozen=True)
class LogCosh(AbstractKerasNumbers):
    """keras.losses.LogCosh."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "log_cosh"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "Keras rounds log 2 to float32 in any dtype: its number is 2e-9 too small in float64.",
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Log cosh of the error."""
        return losses.LogCosh()


@dataclass(frozen=True)
class Poisson(AbstractKerasNumbers):
    """keras.losses.Poisson: rates, with 1e-7 inside the log."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "poisson"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "Outputs are rates, not logs of rates; a negative one is NaN in Keras, an error here.",
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Poisson likelihood of rates."""
        return losses.PoissonNLL(log_input=False, epsilon=EPSILON)
