# SPDX-License-Identifier: Apache-2.0
"""What the presets of optax share: no reduction of its own, axes by number, `where`."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes
from lossledger.losses import Fill, Loss, Mapped
from lossledger.losses._base import AbstractLoss
from lossledger.losses._checks import check_choice
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.reductions import Chain, Mean, Sum
from lossledger.reductions._base import AbstractReduction

Reduction = Literal["none", "mean", "sum"]
Axis = int | tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class AbstractOptax(AbstractPreset):
    """A loss of optax, which returns an array; `reduction` stands for what its user calls on it.

    Attributes:
        reduction: "none" as optax; "mean" for `.mean()` and "sum" for `.sum()`.
    """

    library: ClassVar[str] = "optax"
    version: ClassVar[str] = "0.2.8"

    reduction: Reduction = "none"

    def __post_init__(self) -> None:
        """Check the reduction."""
        check_choice("reduction", self.reduction, ("none", "mean", "sum"))

    def finished(self, loss: Loss, *stages: AbstractReduction, **settings: Any) -> Recipe:
        """Return optax's own stages, followed by what the user does with the array."""
        last = {"none": (), "mean": (Mean(),), "sum": (Sum(),)}[self.reduction]
        return Recipe(loss, Chain((*stages, *last)), self.reduction == "none", **settings)


def places(axis: Axis, rank: int, name: str) -> tuple[int, ...]:
    """Return optax's axis argument as places from the front.

    Raises:
        ShapeError: If there is no such axis.
    """
    if axis is None:
        return tuple(range(rank))
    given = axis if isinstance(axis, tuple) else (axis,)
    found = tuple(a + rank if a < 0 else a for a in given)
    if any(not 0 <= a < rank for a in found) or len(set(found)) < len(found):
        raise ShapeError(
            f"`axis` of {name} must name axes of the outputs, each once",
            f"Found axis={axis!r} and outputs with {rank} axes",
            "The outputs lack the class axis, or `axis` was meant for other arrays",
            "Pass the place of the class axis, -1 for the last",
        )
    return found


def named(rank: int, place: int, own: str = "class") -> Axes:
    """Return names of axes with one of them named; the first of the others is the batch."""
    others = iter(("batch", *(f"axis_{i}" for i in range(1, rank))))
    return tuple(own if i == place else next(others) for i in range(rank))


def flattened(given: Given, axis: Axis, name: str) -> Given:
    """Make several axes one, at the end, as optax does; dense targets follow the outputs."""
    rank = len(given.outputs[0].shape)
    found = places(axis, rank, name)
    if len(found) == 1:
        return given
    outputs = tuple(_joined(given, x, found) for x in given.outputs)
    targets = given.targets
    if len(tuple(targets.shape)) == rank:
        targets = _joined(given, targets, found)
    return replace(given, outputs=outputs, targets=targets)


def joined_where(where: Array, given: Given | None, axis: Axis, name: str) -> Array:
    """Return `where` with several axes made one, as `flattened` does."""
    if where is None or given is None or isinstance(axis, int):
        return where
    where = given.xp.asarray(where, "bool", given.outputs[0])
    found = places(axis, len(where.shape), name)
    return where if len(found) == 1 else _joined(given, where, found)


def filled(
    loss: AbstractLoss, where: Array, outputs: float = 0.0, axis: str | None = None
) -> AbstractLoss:
    """Return a loss that elements outside `where` add nothing to."""
    if where is None:
        return loss
    return Mapped(loss, (Fill(where, outputs, axis),), (Fill(where, 0.0, axis),))


def check_same(given: Given, name: str) -> None:
    """Refuse targets that optax would broadcast.

    Raises:
        ShapeError: If the shapes differ.
    """
    shapes = tuple(given.outputs[0].shape), tuple(given.targets.shape)
    if shapes[0] != shapes[1]:
        raise ShapeError(
            f"Outputs and targets of {name} must have one shape",
            f"Found {shapes[0]} and {shapes[1]}",
            "optax broadcasts them against each other, which pairs each with every other",
            "Reshape the targets as the outputs",
        )


def check_labels(given: Given, class_axes: tuple[int, ...], name: str) -> None:
    """Refuse labels that are not integers over the axes other than the classes'.

    Raises:
        ShapeError: If they have other axes.
    """
    shape, found = tuple(given.outputs[0].shape), tuple(given.targets.shape)
    rows = tuple(n for i, n in enumerate(shape) if i not in class_axes)
    if found != rows:
        raise ShapeError(
            f"Labels of {name} must have the axes of the outputs without the class axis",
            f"Found outputs {shape} and labels {found} where {rows} is asked for",
            "Labels are one-hot encoded, or optax would broadcast them",
            f"Pass integers of shape {rows}",
        )


def check_single(axis: Axis, name: str) -> None:
    """Refuse a term over several class axes.

    Raises:
        MatchError: If `axis` names several.
    """
    if not isinstance(axis, int) and (axis is None or len(axis) != 1):
        raise MatchError(
            f"A term of {name} has one class axis, which `axes` names",
            f"Found axis={axis!r}",
            "Several axes together number the classes",
            "Flatten them in the network, and name the axis `class`",
        )


def _joined(given: Given, x: Array, found: tuple[int, ...]) -> Array:
    rest = tuple(i for i in range(len(x.shape)) if i not in found)
    moved = given.xp.permute(x, (*rest, *found))
    return given.xp.reshape(moved, (*(x.shape[i] for i in rest), -1))
