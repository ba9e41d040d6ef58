# SPDX-License-Identifier: Apache-2.0
"""What the losses of `tf.losses` share: values, then weights, then one of five reductions."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Axes
from lossledger.losses import Loss
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.presets._keras_shapes import placed, reshaped, shape_of
from lossledger.reductions import Chain, Mean, Sum

Reduction = Literal[
    "weighted_sum_by_nonzero_weights",
    "weighted_mean",
    "weighted_sum_over_batch_size",
    "weighted_sum",
    "none",
]
STAGES: dict[str, tuple[Mean | Sum, ...]] = {
    "weighted_sum_by_nonzero_weights": (Mean(denominator="nonzero"),),
    "weighted_mean": (Mean(denominator="weights"),),
    "weighted_sum_over_batch_size": (Mean(denominator="elements"),),
    "weighted_sum": (Sum(),),
    "none": (),
}
SINGLE = "TensorFlow computes in float32, whatever the arrays are."


@dataclass(frozen=True)
class AbstractTF1(AbstractPreset):
    """A loss of `tf.losses`: values, then weights, then one of five reductions.

    Args:
        reduction: The string that `tf.losses.Reduction.…` stands for.
    """

    library: ClassVar[str] = "tf1"
    version: ClassVar[str] = "tf.compat.v1 of 2.21"
    notes: ClassVar[tuple[str, ...]] = (
        "The default divides by the number of weights that are not 0, not by their sum.",
        SINGLE,
    )
    default_axes: ClassVar[str] = "batch unit"

    @property
    @abstractmethod
    def reduction(self) -> Reduction:
        """How weighted values become one number."""

    @abstractmethod
    def loss(self, axes: Axes) -> Loss:
        """Return the loss."""

    def __post_init__(self) -> None:
        """Check the reduction's name."""
        if self.reduction not in STAGES:
            raise MatchError(
                f"`reduction` of {type(self).__name__} must be one of " + ", ".join(STAGES),
                f"Found {self.reduction!r}",
                "It is Keras' name, or the constant's instead of its value",
                "Pass tf.losses.Reduction.MEAN as 'weighted_mean', and so on",
            )

    def axes(self, rank: int) -> Axes:
        """Return batch, the rest, and the last."""
        names = ("batch", *(f"axis_{i}" for i in range(1, rank)))
        return names[:1] if rank == 1 else (*names[:-1], self.default_axes.split()[-1])

    def left(self, axes: Axes) -> Axes:
        """Return the axes of the values."""
        return axes

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """The loss and the reduction."""
        return Recipe(self.loss(axes), Chain(STAGES[self.reduction]), self.reduction == "none")

    def arrange(self, given: Given) -> Given:
        """Place the weights as TensorFlow does; refuse what it refuses."""
        if given.mask is not None:
            raise MatchError(
                f"tf.losses.{type(self).__name__} takes weights and no mask",
                "Found a mask",
                "Masks came with Keras",
                "Pass it as the sample weight: 0 takes an element out of the default's count",
            )
        shape = shape_of(given.outputs[0])
        axes = self.axes(len(shape))
        self.check(given)
        if given.sample_weight is None:
            return given
        left = self.left(axes)
        kept = tuple(n for a, n in zip(axes, shape, strict=True) if a in left)
        fitting = self.fitting(shape_of(given.sample_weight), axes)
        if fitting is None or len(fitting) not in (0, len(left)):
            raise _rank(shape_of(given.sample_weight), kept)
        weight = reshaped(given.xp, given.sample_weight, fitting)
        return replace(
            given, sample_weight=placed(given.xp, "sample_weight", weight, left, kept, 0)
        )

    def fitting(self, shape: tuple[int, ...], axes: Axes) -> tuple[int, ...] | None:
        """Return the shape of weights beside the values; None if they do not fit."""
        return shape

    def check(self, given: Given) -> None:
        """Refuse targets of another shape, which TensorFlow refuses too."""
        if shape_of(given.targets) != shape_of(given.outputs[0]):
            raise ShapeError(
                f"tf.losses.{type(self).__name__} needs targets of the outputs' shape",
                f"Found {shape_of(given.targets)} beside {shape_of(given.outputs[0])}",
                "An axis of length 1 is missing, or labels are class indices",
                "Reshape them, or use sparse_softmax_cross_entropy for indices",
            )


def _rank(found: tuple[int, ...], shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        "`sample_weight` must be one number, or have as many axes as the values",
        f"Found shape {found} beside values of shape {shape}",
        "TensorFlow 1 adds no axes, and weighs nothing along those that the loss removes",
        "Reshape it, with length 1 where it does not vary",
    )
