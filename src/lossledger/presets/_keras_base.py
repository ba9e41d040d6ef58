# SPDX-License-Identifier: Apache-2.0
"""What the losses of Keras share: values, then weights and masks, then one denominator."""

from abc import abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

from lossledger._array import ArrayLibrary, library_of
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes
from lossledger.frames import NamedArray
from lossledger.losses import Loss
from lossledger.presets._base import AbstractPreset, Given, Outputs, Recipe
from lossledger.presets._keras_history import (
    CONVENTIONS,
    LATER,
    REDUCTIONS,
    Convention,
    Reduction,
    Stages,
    averaged,
    fitted,
    missing,
)
from lossledger.presets._keras_shapes import (
    Shape,
    check_product,
    placed,
    reshaped,
    same_rank,
    shape_of,
)
from lossledger.reductions import Chain, Mean, Sum

EPSILON = 1e-7
"""keras.config.epsilon(), unless it was set otherwise."""

Dtype = Literal["float32", "float64", None]


@dataclass(frozen=True)
class AbstractKeras(AbstractPreset):
    """A loss of `keras.losses`: class axis last.

    Args:
        reduction, name, dtype: As in Keras. `dtype=None` computes in the arrays' own dtype;
            Keras casts them to its floatx, which is float32 unless it was set.
        convention: Whose number it gives: that of Keras 3, 2.11, 2.3, or 1 to 2.2.

    Attributes:
        since: The oldest convention that has the loss.
        masking: Whether the loss itself leaves elements out.
        needs_rows: Whether the loss removes an axis by itself, and so needs another.
    """

    library: ClassVar[str] = "keras"
    version: ClassVar[str] = "3.15"
    since: ClassVar[Convention] = "keras1"
    masking: ClassVar[bool] = False
    needs_rows: ClassVar[bool] = False

    convention: Convention = field(default="keras3", kw_only=True)

    @property
    @abstractmethod
    def reduction(self) -> Reduction:
        """How values become one number."""

    @property
    @abstractmethod
    def name(self) -> str | None:
        """The name that Keras logs it under."""

    @property
    @abstractmethod
    def dtype(self) -> Dtype:
        """In which the loss is computed."""

    @abstractmethod
    def loss(self, axes: Axes, given: Given | None) -> Loss:
        """Return the loss."""

    def within(self, axes: Axes) -> Stages:
        """Return the stages inside Keras' loss function: a mean over its last axis."""
        return (Mean(over=axes[-1:], denominator="elements"),)

    def left(self, axes: Axes) -> Axes:
        """Return the axes of Keras' values."""
        return axes[:-1]

    def __post_init__(self) -> None:
        """Check the settings that all losses have."""
        self._require("convention", self.convention, CONVENTIONS)
        oldest = CONVENTIONS.index(self.since)
        if CONVENTIONS.index(self.convention) > oldest:
            raise MatchError(
                f"{type(self).__name__} has the conventions "
                + ", ".join(CONVENTIONS[: oldest + 1]),
                f"Found convention={self.convention!r}",
                "That version of Keras did not have this loss under this name",
                f"Use {self.since!r} or a later one",
            )
        self._require("reduction", self.reduction, REDUCTIONS[self.convention])
        self._require("dtype", self.dtype, ("float32", "float64", None))
        later = LATER.get(self.convention, ())
        defaults = {f.name: f.default for f in fields(self)}
        for name in later:
            if name in defaults:
                self._require(name, getattr(self, name), (defaults[name],))

    def axes(self, rank: int) -> Axes:
        """Return batch, the rest, and the last axis, which Keras' functions remove."""
        if rank == 1:
            return ("batch",)
        return ("batch", *(f"axis_{i}" for i in range(1, rank - 1)), self.default_axes.split()[-1])

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """The loss, its inner stages, and the reduction."""
        bare = self.reduction in ("none", None)
        stages = self.within(axes)
        left = self.left(axes)
        if left and not bare:
            stages += self.outer(left, given)
        return Recipe(self.loss(axes, given), Chain(stages), bare)

    def outer(self, left: Axes, given: Given | None) -> Stages:
        """Return the stages that make one number of Keras' values."""
        if self.reduction == "sum":
            return (Sum(),)
        if self.reduction != "mean_with_sample_weight":
            return averaged(self.convention)
        # Keras divides by the sum of the weights as passed: an axis of length 1 counts once.
        return (Mean(denominator="passed"),)

    def arrange(self, given: Given) -> Given:
        """Cast, add or drop a last axis of length 1 as Keras does, and place the weights."""
        outputs, targets = given.outputs[0], given.targets
        xp = given.xp
        if self.dtype is not None and xp.is_float(outputs):
            outputs = xp.astype(outputs, self.dtype)
        if targets is not None:
            goal, shape = self.fitted(shape_of(targets), shape_of(outputs))
            outputs, targets = reshaped(xp, outputs, shape), reshaped(xp, targets, goal)
        axes = self.axes(len(outputs.shape))
        self.check(axes, shape_of(outputs), targets)
        given = replace(given, outputs=(outputs,), targets=targets)
        return self._weighted(given, axes)

    def fitted(self, goal: Shape, shape: Shape) -> tuple[Shape, Shape]:
        """Return the shapes of targets (`goal`) and outputs that Keras computes with."""
        return fitted(self.convention, goal, shape)

    def check(self, axes: Axes, shape: Shape, targets: Array) -> None:
        """Refuse shapes that Keras refuses or misreads."""
        if self.needs_rows and len(axes) == 1:
            raise ShapeError(
                f"{type(self).__name__} needs outputs with a batch axis and the axis it removes",
                f"Found shape {shape}",
                "Keras takes the batch for one vector: its loss is one number, which no weight "
                "can reach",
                "Pass outputs of shape (batch, classes)",
            )

    def __call__(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> Array:
        """Return Keras' number, or its array for "none", in Keras' shape."""
        value = super().__call__(outputs, targets, sample_weight, mask)
        shape = shape_of(value)
        weights = [shape_of(w) for w in (mask, sample_weight) if w is not None]
        if not shape or not weights or self.convention != "keras3":
            return value
        weights = [shape, *weights] if self.masking else weights
        merged = weights[0]
        for other in weights[1:]:
            one, two = same_rank(merged, other)
            merged = max(one, two, key=len)
        return reshaped(library_of(value), value, same_rank(shape, merged)[0])

    def restore(self, xp: ArrayLibrary, slope: Array, output: Array) -> Array:
        """Return a gradient shaped like the output: only axes of length 1 were added or left."""
        return reshaped(xp, slope, shape_of(output))

    def _weighted(self, given: Given, axes: Axes) -> Given:
        xp = given.xp
        names = [n for n in ("sample_weight", "mask") if getattr(given, n) is not None]
        if not names:
            return given
        left = self.left(axes)
        if not left:
            raise MatchError(
                "Weights and masks need values to weigh",
                f"Found {' and '.join(names)} for a {type(self).__name__} of one number",
                "Keras multiplies the whole number by the weights' mean, or by their sum under "
                "'sum', and ignores a mask",
                "Keep the batch axis in the values (axis=...), or leave the weights out",
            )
        lengths = dict(zip(axes, shape_of(given.outputs[0]), strict=True))
        shape = tuple(lengths[a] for a in left)
        if self.convention == "keras2.3" and len(names) > 1:
            check_product(shape_of(given.sample_weight), shape_of(given.mask))
        found: dict[str, Any] = {}
        squeezes = self.convention != "keras1"
        for name in names:
            lacking = missing(self.convention, name)
            weight = getattr(given, name)
            found[name] = placed(xp, name, weight, left, shape, lacking, squeezes)
        if self.reduction == "mean_with_sample_weight":
            self._check_one(given, shape)
        return replace(given, **found)

    def _check_one(self, given: Given, shape: Shape) -> None:
        """Refuse one weight for all values where Keras' weighted mean would be their sum."""
        weight: Array | NamedArray | None = given.sample_weight
        if weight is None or given.mask is not None or self.masking:
            return
        if set(shape_of(weight)) <= {1} and set(shape) != {1}:
            raise MatchError(
                "'mean_with_sample_weight' needs a weight for each sample",
                f"Found one number for values of shape {shape}",
                "Keras divides Σ w·l by the sum of the weights as passed: the result is Σ l",
                "Pass one weight a sample, or use 'sum_over_batch_size'",
            )

    def _require(self, name: str, value: object, choices: tuple[object, ...]) -> None:
        if value not in choices:
            shown = ", ".join(map(repr, choices))
            raise MatchError(
                f"`{name}` of {type(self).__name__} must be one of {shown}",
                f"Found {value!r}",
                f"The name is misspelled, or not one of {self.convention}",
                f"Use {choices[0]!r}",
            )
