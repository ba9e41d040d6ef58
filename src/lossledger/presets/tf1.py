# SPDX-License-Identifier: Apache-2.0
"""The losses of `tf.losses` of TensorFlow 1 (`tf.compat.v1.losses`) as presets.

TensorFlow's `weights` are the `sample_weight` of a call: one number, or an array with as many
axes as the values and length 1 where it does not vary.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from lossledger import losses
from lossledger._errors import MatchError
from lossledger._typing import Array, Axes
from lossledger.losses import Affine, Loss, Mapped
from lossledger.presets._base import Given
from lossledger.presets._keras_shapes import reshaped, shape_of
from lossledger.presets._tf1_base import SINGLE, AbstractTF1, Reduction

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
