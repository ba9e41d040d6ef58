# SPDX-License-Identifier: Apache-2.0
"""The losses of `tf.losses` of TensorFlow 1 (`tf.compat.v1.losses`) as presets.

TensorFlow's `weights` are the `sample_weight` of a call: one number, or an array with as many
axes as the values and length 1 where it does not vary.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from lossledger import losses
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes
from lossledger.losses import Affine, Loss, Mapped
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

__all__ = [
    "absolute_difference",
    "compute_weighted_loss",
    "cosine_distance",
    "hinge_loss",
    "huber_loss",
    "log_loss",
    "mean_pairwise_squared_error",
    "mean_squared_error",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sparse_softmax_cross_entropy",
]


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


@dataclass(frozen=True)
class absolute_difference(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.absolute_difference."""

    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """Absolute error of every element."""
        return losses.AbsoluteError()


@dataclass(frozen=True)
class mean_squared_error(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.mean_squared_error."""

    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """Squared error of every element."""
        return losses.SquaredError()


@dataclass(frozen=True)
class huber_loss(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.huber_loss."""

    delta: float = 1.0
    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """Huber's loss of every element."""
        return losses.Huber(self.delta)


@dataclass(frozen=True)
class log_loss(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.log_loss: probabilities, with epsilon inside both logs."""

    epsilon: float = 1e-7
    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """Cross entropy of probabilities."""
        return losses.LogLoss(self.epsilon)


@dataclass(frozen=True)
class hinge_loss(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.hinge_loss, for labels 0 and 1."""

    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """Hinge of 2·label − 1."""
        signs = (Affine(2.0, -1.0),)
        return Mapped(losses.SignedHinge(), targets=signs, targets_are="probabilities")


@dataclass(frozen=True)
class sigmoid_cross_entropy(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.sigmoid_cross_entropy."""

    label_smoothing: float = 0.0
    reduction: Reduction = "weighted_sum_by_nonzero_weights"
    default_axes: ClassVar[str] = "batch class"

    def loss(self, axes: Axes) -> Loss:
        """Cross entropy of yes/no elements."""
        return losses.BinaryCrossEntropy(label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class AbstractRows(AbstractTF1):
    """A loss that removes the class axis."""

    default_axes: ClassVar[str] = "batch class"

    def left(self, axes: Axes) -> Axes:
        """Return the axes before the class."""
        return axes[:-1]


@dataclass(frozen=True)
class softmax_cross_entropy(AbstractRows):  # noqa: N801 - TensorFlow's name
    """tf.losses.softmax_cross_entropy, for one-hot or soft rows that sum to 1."""

    label_smoothing: float = 0.0
    reduction: Reduction = "weighted_sum_by_nonzero_weights"
    notes: ClassVar[tuple[str, ...]] = (
        *AbstractTF1.notes,
        "TensorFlow's gradient is right only if labels sum to 1; here always.",
    )

    def loss(self, axes: Axes) -> Loss:
        """Cross entropy of rows."""
        return losses.CrossEntropy(label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class sparse_softmax_cross_entropy(AbstractRows):  # noqa: N801 - TensorFlow's name
    """tf.losses.sparse_softmax_cross_entropy, for class indices."""

    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """Cross entropy of indices."""
        return losses.CrossEntropy()

    def arrange(self, given: Given) -> Given:
        """Drop a last axis of length 1 from labels."""
        goal = shape_of(given.targets)
        if len(goal) == len(shape_of(given.outputs[0])) and goal[-1] == 1:
            given = replace(given, targets=reshaped(given.xp, given.targets, goal[:-1]))
        return super().arrange(given)

    def fitting(self, shape: tuple[int, ...], axes: Axes) -> tuple[int, ...] | None:
        """Drop a last axis of length 1 from weights."""
        return shape[:-1] if len(shape) == len(axes) and shape[-1] == 1 else shape

    def check(self, given: Given) -> None:
        """Leave the shapes to the engine."""


@dataclass(frozen=True)
class cosine_distance(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.cosine_distance: 1 − ⟨output, label⟩; TensorFlow wants `axis` to be named."""

    axis: int | None = None
    reduction: Reduction = "weighted_sum_by_nonzero_weights"
    notes: ClassVar[tuple[str, ...]] = (
        *AbstractTF1.notes,
        "Vectors are not normalized: it is a cosine only if they have length 1.",
    )

    def __post_init__(self) -> None:
        """Check that an axis is named."""
        super().__post_init__()
        if self.axis is None:
            raise MatchError(
                "cosine_distance needs `axis`",
                "Found None",
                "TensorFlow has no default for it",
                "Pass axis=-1 for vectors along the last axis",
            )

    def loss(self, axes: Axes) -> Loss:
        """One minus the inner product."""
        return losses.InnerProduct(axes[self.place])

    @property
    def place(self) -> int:
        """The axis of the vectors."""
        return -1 if self.axis is None else self.axis

    def left(self, axes: Axes) -> Axes:
        """Return the axes without that of the vectors."""
        return tuple(a for a in axes if a != axes[self.place])

    def fitting(self, shape: tuple[int, ...], axes: Axes) -> tuple[int, ...] | None:
        """Drop the axis of the vectors, of length 1, from weights."""
        place = self.place % len(axes)
        if len(shape) != len(axes) or shape[place] != 1:
            return None if shape else shape
        return (*shape[:place], *shape[place + 1 :])

    def lay_out(self, values: Array, given: Given) -> Array:
        """Keep the axis of the vectors with length 1."""
        shape = list(shape_of(given.outputs[0]))
        shape[self.place] = 1
        return reshaped(given.xp, values, tuple(shape))


@dataclass(frozen=True)
class mean_pairwise_squared_error(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.mean_pairwise_squared_error: a sum over samples of means over pairs."""

    notes: ClassVar[tuple[str, ...]] = (
        "There is no reduction: despite its name it is a sum over the samples.",
        (
            "Run eagerly without weights, TensorFlow takes the elements of the whole batch for "
            "those of a sample; this is the number of a graph."
        ),
        SINGLE,
    )

    @property
    def reduction(self) -> Reduction:
        """A sum."""
        return "weighted_sum"

    def loss(self, axes: Axes) -> Loss:
        """Squared differences of errors over the pairs of a sample."""
        return losses.PairwiseSquaredError(axes[1:])

    def left(self, axes: Axes) -> Axes:
        """Return the samples."""
        return axes[:1]

    def fitting(self, shape: tuple[int, ...], axes: Axes) -> tuple[int, ...] | None:
        """Drop the axes of the elements, of length 1, from weights."""
        if len(shape) == len(axes) and set(shape[1:]) <= {1}:
            return shape[:1]
        return None if shape else shape


@dataclass(frozen=True)
class compute_weighted_loss(AbstractTF1):  # noqa: N801 - TensorFlow's name
    """tf.losses.compute_weighted_loss: the outputs are losses already."""

    reduction: Reduction = "weighted_sum_by_nonzero_weights"

    def loss(self, axes: Axes) -> Loss:
        """The outputs."""
        return losses.Values()

    def check(self, given: Given) -> None:
        """There are no targets."""


def _rank(found: tuple[int, ...], shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        "`sample_weight` must be one number, or have as many axes as the values",
        f"Found shape {found} beside values of shape {shape}",
        "TensorFlow 1 adds no axes, and weighs nothing along those that the loss removes",
        "Reshape it, with length 1 where it does not vary",
    )
