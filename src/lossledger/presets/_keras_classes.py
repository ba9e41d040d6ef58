# SPDX-License-Identifier: Apache-2.0
"""Keras' losses of rows of classes."""

from dataclasses import dataclass
from typing import ClassVar

from lossledger import losses
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Sequence
from lossledger.losses import Clip, Loss, Mapped, Normalize, Smooth, Softmax
from lossledger.presets._base import Given
from lossledger.presets._keras_base import (
    EPSILON,
    AbstractKeras,
    Dtype,
)
from lossledger.presets._keras_history import Convention, Reduction, Stages
from lossledger.presets._keras_shapes import Shape, shape_of
from lossledger.reductions import Sum

CLIP = Clip(EPSILON, 1 - EPSILON)
CLIPPED = (
    "Probabilities are divided by their sum and clipped to [1e-7, 1 − 1e-7]: where they are "
    "clipped, the gradient is 0."
)


@dataclass(frozen=True)
class AbstractKerasRows(AbstractKeras):
    """A loss that removes the class axis."""

    needs_rows: ClassVar[bool] = True

    @property
    def class_axis(self) -> int:
        """Place of the class axis."""
        return int(getattr(self, "axis", -1))

    def axes(self, rank: int) -> Axes:
        """Return batch, the rest, and class at its place."""
        names = [f"axis_{i}" for i in range(rank)]
        names[0] = "batch"
        self._require_axis(rank)
        names[self.class_axis] = "class"
        return tuple(names)

    def within(self, axes: Axes) -> Stages:
        """Nothing: the loss removes the class axis."""
        return ()

    def left(self, axes: Axes) -> Axes:
        """Return the axes without the classes."""
        return tuple(a for a in axes if a != "class")

    def _require_axis(self, rank: int) -> None:
        if rank > 1 and not (-rank < self.class_axis < rank and self.class_axis % rank):
            raise MatchError(
                "`axis` must be an axis of the outputs other than the first, the batch",
                f"Found axis={self.class_axis} for outputs with {rank} axes",
                "The outputs lack an axis, or the batch is not in front",
                "Use axis=-1 for classes in the last place",
            )

    def _check_rows(self, targets: Array, shape: Shape) -> None:
        """Refuse labels where Keras wants rows."""
        if targets is not None and shape_of(targets) != shape:
            raise ShapeError(
                f"{type(self).__name__} needs targets with one number a class",
                f"Found targets of shape {shape_of(targets)} beside outputs {shape}",
                "They are class indices; Keras raises, or broadcasts them",
                "Pass one-hot rows, or use SparseCategoricalCrossentropy",
            )


@dataclass(frozen=True)
class CategoricalCrossentropy(AbstractKerasRows):
    """keras.losses.CategoricalCrossentropy."""

    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "categorical_crossentropy"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        CLIPPED,
        (
            "Label smoothing divides by the length of the last axis, whatever `axis` says; in "
            "Keras 2.3 by that of the second axis."
        ),
        "On TensorFlow the gradient for logits is right only if targets sum to 1; here always.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Cross entropy of one-hot or soft rows."""
        smoothing = self.label_smoothing
        steps: tuple[Smooth, ...] = ()
        place = {"keras3": -1, "keras2.3": 1}.get(self.convention, self.axis)
        if smoothing and axes[place] != "class":
            steps, smoothing = (Smooth(smoothing, axes[place]),), 0.0
        bare = losses.CrossEntropy(self.from_logits, smoothing)
        if self.from_logits:
            return Mapped(bare, targets=steps)
        return Mapped(bare, (Normalize(), CLIP), steps, "probabilities")

    def check(self, axes: Axes, shape: Shape, targets: Array) -> None:
        """Refuse class indices."""
        super().check(axes, shape, targets)
        self._check_rows(targets, shape)


@dataclass(frozen=True)
class SparseCategoricalCrossentropy(AbstractKerasRows):
    """keras.losses.SparseCategoricalCrossentropy."""

    from_logits: bool = False
    ignore_class: int | None = None
    reduction: Reduction = "sum_over_batch_size"
    axis: int = -1
    name: str | None = "sparse_categorical_crossentropy"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        CLIPPED,
        (
            "With `ignore_class` the mean divides by the number of labels that count, whatever "
            "their weights."
        ),
        "If no label counts, the number is 0.",
        "On PyTorch Keras 3.15 has no gradient for images of probabilities: it raises.",
        (
            "On TensorFlow probabilities are clipped first and divided by their sum then; here "
            "as on PyTorch and JAX."
        ),
    )

    @property
    def masking(self) -> bool:  # type: ignore[override]
        """Whether a label is ignored."""
        return self.ignore_class is not None

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Cross entropy of class indices."""
        bare = losses.CrossEntropy(self.from_logits, ignore_index=self.ignore_class)
        if self.from_logits:
            return bare
        steps = (Normalize(), CLIP) if self.convention == "keras3" else (CLIP, Normalize())
        return Mapped(bare, steps, outputs_are="probabilities")

    def fitted(self, goal: Shape, shape: Shape) -> tuple[Shape, Shape]:
        """Drop a class axis of length 1 from the targets."""
        rows, shape = super().fitted(goal, shape)
        axis = self.class_axis
        if len(rows) == len(shape) > 1 and rows[axis] == 1:
            rows = tuple(n for i, n in enumerate(rows) if i != axis % len(rows))
        return rows, shape


@dataclass(frozen=True)
class CategoricalFocalCrossentropy(AbstractKerasRows):
    """keras.losses.CategoricalFocalCrossentropy."""

    alpha: float | Sequence[float] = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0
    axis: int = -1
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "categorical_focal_crossentropy"
    dtype: Dtype = None
    since: ClassVar[Convention] = "keras3"
    notes: ClassVar[tuple[str, ...]] = (
        CLIPPED,
        "Logits become probabilities first, so they are clipped too.",
        "One `alpha` is a factor of the whole; it does not favour a class.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Focal loss of clipped probabilities."""
        if not isinstance(self.alpha, int | float) and axes[-1] != "class":
            raise MatchError(
                "`alpha` with one number a class needs classes in the last place",
                f"Found axis={self.axis}",
                "Keras multiplies it along the last axis, which is another one here",
                "Move the class axis to the end",
            )
        steps = (Softmax(), Normalize(), CLIP) if self.from_logits else (Normalize(), CLIP)
        goal = (Smooth(self.label_smoothing, axes[-1]),) if self.label_smoothing else ()
        alpha = self.alpha if isinstance(self.alpha, int | float) else tuple(self.alpha)
        return Mapped(
            losses.FocalProbabilities(self.gamma, alpha),
            steps,
            goal,
            "logits" if self.from_logits else "probabilities",
        )

    def check(self, axes: Axes, shape: Shape, targets: Array) -> None:
        """Refuse class indices."""
        super().check(axes, shape, targets)
        self._check_rows(targets, shape)


@dataclass(frozen=True)
class CategoricalGeneralizedCrossEntropy(AbstractKerasRows):
    """keras.losses.CategoricalGeneralizedCrossEntropy: probabilities and class indices."""

    q: float = 0.5
    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "categorical_generalized_cross_entropy"
    dtype: Dtype = None
    since: ClassVar[Convention] = "keras3"
    notes: ClassVar[tuple[str, ...]] = (
        "Outputs must be probabilities: there is no `from_logits`, and nothing is clipped.",
        "At a probability of 0 Keras' gradient is infinite; here it is 0.",
        (
            "Targets are class indices, despite the name; a label out of range costs 1/q in Keras "
            "and is an error here."
        ),
    )

    def __post_init__(self) -> None:
        """Check that q lies inside (0, 1)."""
        super().__post_init__()
        if not 0 < self.q < 1:
            raise MatchError(
                "`q` of CategoricalGeneralizedCrossEntropy must lie in (0, 1)",
                f"Found {self.q!r}",
                "q = 0 is the cross entropy, q = 1 the mean absolute error",
                "Use 0.7, as in the paper",
            )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Generalized cross entropy of probabilities."""
        bare = losses.GeneralizedCrossEntropy(self.q, from_logits=False)
        return Mapped(bare, outputs_are="probabilities")

    def check(self, axes: Axes, shape: Shape, targets: Array) -> None:
        """Refuse targets that Keras broadcasts."""
        super().check(axes, shape, targets)
        if targets is not None and len(shape_of(targets)) == len(shape):
            raise ShapeError(
                "CategoricalGeneralizedCrossEntropy needs class indices without a class axis",
                f"Found targets of shape {shape_of(targets)} beside outputs {shape}",
                "Keras makes indicators of them and broadcasts: its values have shape "
                "(batch, batch)",
                f"Pass indices of shape {shape[:-1]}",
            )


@dataclass(frozen=True)
class KLDivergence(AbstractKerasRows):
    """keras.losses.KLDivergence: both sides clipped to [1e-7, 1]."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "kl_divergence"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "Outputs below 1e-7 get no gradient; targets of 0 count as 1e-7.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """The classes of a divergence."""
        clip = (Clip(EPSILON, 1.0),)
        return Mapped(losses.RelativeEntropy(), clip, clip, "probabilities", "probabilities")

    def within(self, axes: Axes) -> Stages:
        """Return the sum over the last axis."""
        return (Sum(over=axes[-1:]),)

    def left(self, axes: Axes) -> Axes:
        """Return the axes before the last."""
        return axes[:-1]


@dataclass(frozen=True)
class CategoricalHinge(AbstractKerasRows):
    """keras.losses.CategoricalHinge."""

    reduction: Reduction = "sum_over_batch_size"
    name: str | None = "categorical_hinge"
    dtype: Dtype = None
    notes: ClassVar[tuple[str, ...]] = (
        "The rival's score is at least 0: if all others are below, the label's score alone counts.",
    )

    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Hinge of the label against the best of the others and 0."""
        return losses.CategoricalHinge()

    def check(self, axes: Axes, shape: Shape, targets: Array) -> None:
        """Refuse class indices."""
        super().check(axes, shape, targets)
        self._check_rows(targets, shape)
