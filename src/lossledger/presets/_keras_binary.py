# SPDX-License-Identifier: Apache-2.0
"""Keras' losses of yes/no elements, of overlap, and of pairs."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lossledger import losses
from lossledger._errors import MatchError
from lossledger._typing import Axes
from lossledger.losses import Affine, Clip, Loss, Mapped, Sigmoid
from lossledger.losses.signed import Signs
from lossledger.presets._base import Given
from lossledger.presets._keras_base import (
    EPSILON,
    AbstractKeras,
    Dtype,
)
from lossledger.presets._keras_history import Convention, Reduction, Stages
from lossledger.presets._keras_regression import INNER
from lossledger.presets._keras_shapes import Shape
from lossledger.reductions import Mean

CLIPPED = "Probabilities are clipped to [1e-7, 1 − 1e-7]: outside, the gradient is 0."


@dataclass(frozen=True)
class Hinge(AbstractKeras):
    """keras.losses.Hinge, for labels −1 and 1, or 0 and 1."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "hinge"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "Labels 0 and 1 become −1 and 1 only if every target of the batch is 0 or 1.",
        "Keras 1 does not convert labels: a 0 costs 1, whatever the output.",
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Hinge of signs."""
        return _of_signs(losses.SignedHinge(), self.convention)


@dataclass(frozen=True)
class SquaredHinge(AbstractKeras):
    """keras.losses.SquaredHinge, for labels −1 and 1, or 0 and 1."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "squared_hinge"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = Hinge.notes

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Squared hinge of signs."""
        return _of_signs(losses.SignedHinge(2), self.convention)


def _of_signs(loss: losses.SignedHinge, convention: Convention) -> Loss:
    return loss if convention == "keras1" else Mapped(loss, targets=(Signs(),))


def _smoothed(smoothing: float) -> tuple[Affine, ...]:
    return (Affine(1 - smoothing, smoothing / 2),) if smoothing else ()


@dataclass(frozen=True)
class AbstractKerasElements(AbstractKeras):
    """A loss of yes/no elements with a mean over `axis` inside."""

    @property
    def mean_axis(self) -> int:
        """Place of the axis averaged over."""
        return int(getattr(self, "axis", -1))

    def within(self, axes: Axes) -> Stages:
        """Return the mean over the axis."""
        return (Mean(over=(axes[self.mean_axis],), denominator="elements"),)

    def left(self, axes: Axes) -> Axes:
        """Return the other axes."""
        return tuple(a for a in axes if a != axes[self.mean_axis])


@dataclass(frozen=True)
class BinaryCrossentropy(AbstractKerasElements):
    """keras.losses.BinaryCrossentropy."""

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "binary_crossentropy"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        CLIPPED,
        "Keras 2.3 and 2.11 add 1e-7 inside the logs after the clip.",
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Cross entropy of yes/no elements."""
        clip = (Clip(EPSILON, 1 - EPSILON),)
        if self.convention in ("keras2.3", "keras2.11") and not self.from_logits:
            goal = _smoothed(self.label_smoothing)
            return Mapped(losses.LogLoss(EPSILON), clip, goal)
        bare = losses.BinaryCrossEntropy(self.from_logits, label_smoothing=self.label_smoothing)
        return bare if self.from_logits else Mapped(bare, clip)


@dataclass(frozen=True)
class BinaryFocalCrossentropy(AbstractKerasElements):
    """keras.losses.BinaryFocalCrossentropy."""

    apply_class_balancing: bool = False
    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "binary_focal_crossentropy"
    dtype: Dtype = None
    since: ClassVar[Convention] = "keras2.11"
    notes: ClassVar[tuple[str, ...]] = (
        "`alpha` has no effect unless apply_class_balancing=True.",
        "Logits become probabilities first, so the cross entropy is clipped for them too.",
        CLIPPED,
        INNER,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Focal loss of clipped probabilities."""
        alpha = self.alpha if self.apply_class_balancing else None
        old = self.convention == "keras2.11"
        goal = _smoothed(self.label_smoothing)
        if old and self.from_logits:
            return Mapped(losses.ProductFocal(self.gamma, alpha), targets=goal)
        bare = losses.FocalLogLoss(self.gamma, alpha, EPSILON, EPSILON if old else 0.0)
        if self.from_logits:
            return Mapped(bare, (Sigmoid(),), goal, "logits")
        return Mapped(bare, targets=goal)


@dataclass(frozen=True)
class AbstractKerasOverlap(AbstractKeras):
    """A loss of sums over `axis`: all axes for None."""

    since: ClassVar[Convention] = "keras3"

    @property
    @abstractmethod
    def axis(self) -> int | tuple[int, ...] | None:
        """The axes summed over."""

    def over(self, axes: Axes) -> Axes:
        """Return the names of the axes summed over."""
        if self.axis is None:
            return axes
        places = (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        wrong = [p for p in places if not -len(axes) <= p < len(axes)]
        if wrong:
            raise MatchError(
                "`axis` must name axes of the outputs",
                f"Found {wrong[0]} for outputs with {len(axes)} axes",
                "The outputs lack an axis",
                "Use axis=None to sum over all",
            )
        named = {axes[p] for p in places}
        return tuple(a for a in axes if a in named)

    def within(self, axes: Axes) -> Stages:
        """Nothing: one value for each cell of sums."""
        return ()

    def left(self, axes: Axes) -> Axes:
        """Return the axes not summed over."""
        over = self.over(axes)
        return tuple(a for a in axes if a not in over)


POOLED = "With axis=None the classes and samples are summed into one ratio, not averaged."


@dataclass(frozen=True)
class Dice(AbstractKerasOverlap):
    """keras.losses.Dice: 1 − 2I/(P + Y + 1e-7)."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "dice"
    axis: int | tuple[int, ...] | None = None
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        POOLED,
        "A cell without targets and outputs costs 1: only the denominator is smoothed.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Dice of probabilities."""
        return losses.Dice(
            self.over(axes), smooth=0.0, smooth_denominator=EPSILON, from_logits=False
        )


@dataclass(frozen=True)
class Tversky(AbstractKerasOverlap):
    """keras.losses.Tversky: alpha prices what is missed, beta what is wrong."""

    alpha: float = 0.5
    beta: float = 0.5
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "tversky"
    axis: int | tuple[int, ...] | None = None
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        (
            "`alpha` multiplies the false negatives and `beta` the false positives: the reverse of "
            "the paper and of Keras' own documentation."
        ),
        POOLED,
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Tversky with the prices exchanged."""
        return losses.Tversky(
            self.over(axes),
            alpha=self.beta,
            beta=self.alpha,
            smooth=0.0,
            smooth_denominator=2 * EPSILON,
            from_logits=False,
        )


@dataclass(frozen=True)
class Circle(AbstractKeras):
    """keras.losses.Circle: normalized embeddings, and one class index a sample."""

    gamma: float = 80.0
    margin: float = 0.4
    remove_diagonal: bool = True
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "circle"
    dtype: Dtype = None
    since: ClassVar[Convention] = "keras3"
    default_axes: ClassVar[str] = "batch feature"
    masking: ClassVar[bool] = True
    needs_rows: ClassVar[bool] = True
    notes: ClassVar[tuple[str, ...]] = (
        "The mean divides by the samples that have both a positive and a negative.",
        "A sample without weight is still a positive or negative of the others.",
        "Embeddings are not normalized.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """The loss of all pairs; samples without both kinds have no value."""
        return losses.Circle(
            self.gamma, self.margin, self.remove_diagonal, bystanders=True, alone="skip"
        )

    def within(self, axes: Axes) -> Stages:
        """Nothing: one value a sample."""
        return ()

    def fitted(self, goal: Shape, shape: Shape) -> tuple[Shape, Shape]:
        """Drop a last axis of length 1 from the labels."""
        single = len(goal) == 2 and goal[-1] == 1
        return (goal[:1] if single else goal), shape
