# SPDX-License-Identifier: Apache-2.0
"""Losses of one channel a class, for labels: class indices as masks, and no background."""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.frames import Frame
from lossledger.losses._base import AbstractLoss, AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._ratio import Empty
from lossledger.losses._rows import indicators


@dataclass(frozen=True)
class OneHot(AbstractLoss):
    """A loss of one value a class that takes class indices too, as one-hot masks.

    Args:
        loss: The loss; its values have the class axis.
        ignore_index: Label whose elements have no weight.
    """

    loss: AbstractLoss
    ignore_index: int | None = None

    def facts(self) -> Facts:
        """Return the loss's facts, with classes as targets."""
        return replace(self.loss.facts(), accepts="classes", couples=("class",), labels=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return the loss's values for the masks."""
        return self.loss.values(xp, outputs, *_masks(xp, outputs[0], targets, inputs))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return the loss's gradient for the masks."""
        masks = _masks(xp, outputs[0], targets, inputs)
        return self.loss.gradient(xp, outputs, *masks, coefficients)


@dataclass(frozen=True)
class OneHotSums(AbstractOverlapLoss):
    """A loss of sums that takes class indices too, and may ignore some targets.

    Args:
        loss: The loss.
        ignore_index: Label (or, of masks, number) whose elements have no weight.
        indices: Whether class indices are taken.
    """

    loss: AbstractOverlapLoss
    ignore_index: int | None = None
    indices: bool = True

    @property
    def over(self) -> Names:  # type: ignore[override]
        """The loss's own axes."""
        return self.loss.over

    @property
    def empty(self) -> Empty:  # type: ignore[override]
        """The loss's own policy."""
        return self.loss.empty

    @property
    def include_background(self) -> bool:  # type: ignore[override]
        """The loss's own setting."""
        return self.loss.include_background

    @property
    def bare(self) -> Axes:  # type: ignore[override]
        """The loss's own channels without weights."""
        return self.loss.bare

    def facts(self) -> Facts:
        """Return the loss's facts, with classes as targets."""
        facts = self.loss.facts()
        return replace(facts, accepts="classes", couples=("class",)) if self.indices else facts

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return the loss's channels."""
        return self.loss.channels(xp, outputs, targets, inputs)

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives."""
        return self.loss.channel_slopes(xp, outputs, targets, inputs)

    def pools(self) -> Axes:
        """Return the loss's pooled axes."""
        return self.loss.pools()

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return the loss's values."""
        return self.loss.finalize(xp, sums, axis)

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return the loss's slopes."""
        return self.loss.slopes(xp, sums, axis)

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the loss's attribution."""
        return self.loss.attribution(xp, sums, axis)

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the loss's factors of its own mean."""
        return self.loss.own()


@dataclass(frozen=True)
class Foreground(AbstractLoss):
    """A loss of the classes without class 0, the background, which it does not see.

    Values of class 0 are 0. Under `mean` the others are times C/(C − 1), so that a mean over
    C classes is the mean over the C − 1 that count.

    Args:
        loss: The loss of the other classes; its values have the class axis.
        mean: Whether values are meant for a mean.
    """

    loss: AbstractLoss
    mean: bool = True

    def facts(self) -> Facts:
        """Return the loss's own facts."""
        return self.loss.facts()

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return the loss's values behind zeros for class 0."""
        rest = tuple(_without_first(x, inputs) for x in outputs)
        inner = _smaller(inputs)
        found = self.loss.values(xp, rest, _without_first(targets, inputs), inner)
        return _with_first(xp, found * self._scale(inputs), inputs)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return the loss's gradient behind zeros for class 0."""
        rest = tuple(_without_first(x, inputs) for x in outputs)
        inner, goal = _smaller(inputs), _without_first(targets, inputs)
        whole = xp.broadcast_to(xp.full_like(outputs[0], 0.0) + coefficients, outputs[0].shape)
        outer = _without_first(whole, inputs) * self._scale(inputs)
        slopes = self.loss.gradient(xp, rest, goal, inner, outer)
        return tuple(_with_first(xp, s, inputs) for s in slopes)

    def _scale(self, inputs: Inputs) -> float:
        classes = inputs.frame.length("class")
        return classes / (classes - 1) if self.mean and classes > 1 else 1.0


def unmarked(xp: ArrayLibrary, marks: Array) -> Array:
    """Return a mask of the elements whose mark is not 1."""
    return ~marks if xp.is_bool(marks) else marks != 1


def counted(xp: ArrayLibrary, targets: Array, ignore_index: int, axis: int) -> Array:
    """Return a mask of the elements that count, without the class axis.

    Masks of several classes are ignored where that class's mask is 1 or, if there is no such
    class, where all are 0; a single channel where it is `ignore_index`.
    """
    one = (slice(None),) * axis
    classes = targets.shape[axis]
    if classes == 1:
        return targets[(*one, 0)] != ignore_index
    if 0 <= ignore_index < classes:
        return unmarked(xp, targets[(*one, ignore_index)])
    return xp.sum(targets, axis=axis) > 0


def _masks(xp: ArrayLibrary, like: Array, targets: Array, inputs: Inputs) -> tuple[Array, Inputs]:
    if inputs.form != "index":
        return targets, inputs
    axis = inputs.class_axis
    hot = indicators(xp, targets, like.shape[axis], axis, xp.dtype(like))
    return hot, replace(inputs, form="dense")


def _smaller(inputs: Inputs) -> Inputs:
    frame = inputs.frame
    if frame.length("class") == 1:
        raise ShapeError(
            "A loss without background needs at least two classes",
            f"Found {frame}",
            "The outputs have one channel, which is no background",
            "Include the background, or give the outputs a channel for it",
        )
    shape = tuple(
        n - 1 if a == "class" else n for a, n in zip(frame.axes, frame.shape, strict=True)
    )
    classes = None if inputs.classes is None else inputs.classes - 1
    return replace(inputs, frame=Frame(frame.axes, shape), classes=classes, alive=None)


def _without_first(x: Array, inputs: Inputs) -> Array:
    return x[(*(slice(None),) * inputs.class_axis, slice(1, None))]


def _with_first(xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
    axis = inputs.class_axis
    first = x[(*(slice(None),) * axis, slice(0, 1))]
    return xp.concat((xp.full_like(first, 0.0), x), axis)
