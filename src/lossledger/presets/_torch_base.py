# SPDX-License-Identifier: Apache-2.0
"""What the losses of torch have in common: three reductions, no sample weights, broadcasting."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Sequence
from lossledger.frames import Frame, NamedArray, align
from lossledger.presets._base import AbstractPreset, Given, class_second
from lossledger.reductions import Chain, Mean, Sum

Reduction = Literal["mean", "sum", "none"]
Weight = Sequence[float] | Array | None
# torch keeps its 1e-12 in float32, also for outputs in float64.
EPSILON = 9.999999960041972e-13


class AbstractTorch(AbstractPreset):
    """A loss of torch.

    Attributes:
        reductions: Those that it has.
        shapes: Whether targets must have the outputs' shape, and what torch does if not.
        takes_targets: False where torch has outputs only.
    """

    library: ClassVar[str] = "torch"
    version: ClassVar[str] = "2.13"
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    shapes: ClassVar[str] = ""
    takes_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a reduction that torch refuses.

        Raises:
            MatchError: If the loss does not have it.
        """
        reduction = getattr(self, "reduction", "mean")
        if reduction not in self.reductions:
            raise MatchError(
                f"{full_name(self)} has the reductions {', '.join(self.reductions)}",
                f"Found {reduction!r}",
                "The name is misspelled, or belongs to another loss or library",
                f"Pass reduction={self.reductions[0]!r}",
            )

    def arrange(self, given: Given) -> Given:
        """Refuse arrays that torch does not take or would misread, and place the others.

        Raises:
            MatchError: If arrays are missing, or weights are given beside them.
            ShapeError: If torch would broadcast targets.
        """
        self._check_arrays(given)
        if self.shapes:
            self._check_shapes(given)
        return self.placed(given)

    def placed(self, given: Given) -> Given:
        """Place arrays as this loss does."""
        return given

    def _check_arrays(self, given: Given) -> None:
        for name in ("sample_weight", "mask"):
            if getattr(given, name) is not None:
                raise MatchError(
                    f"{full_name(self)} takes no `{name}` when it is called",
                    f"Found one of shape {tuple(np.shape(getattr(given, name)))}",
                    "Keras and optax take weights beside the arrays; torch does not",
                    f"Put the loss in an objective: ll.Objective(preset.term('y', axes=...)) "
                    f"takes {name}=; or pass reduction='none' and reduce by hand",
                )
        if len(given.outputs) != self.reads:
            raise MatchError(
                f"{full_name(self)} reads {self.reads} output(s)",
                f"Found {len(given.outputs)}",
                "Several outputs are passed as one tuple, the target apart",
                "Call preset((first, second), targets)" if self.reads > 1 else "Pass one array",
            )
        if (given.targets is not None) != self.takes_targets:
            raise MatchError(
                f"{full_name(self)} takes {'' if self.takes_targets else 'no '}targets",
                "Found none" if self.takes_targets else "Found some",
                "They were left out" if self.takes_targets else "It compares outputs alone",
                "Pass them second" if self.takes_targets else "Pass all arrays as one tuple",
            )

    def _check_shapes(self, given: Given) -> None:
        found, wanted = tuple(given.targets.shape), tuple(given.outputs[0].shape)
        if found != wanted:
            raise ShapeError(
                f"Targets of {full_name(self)} must have the shape of the outputs",
                f"Found outputs {wanted} and targets {found}",
                f"An axis of length 1 is missing or left over; {self.shapes}",
                f"Reshape the targets to {wanted}",
            )


def full_name(preset: AbstractPreset) -> str:
    """Return the library's name and the loss's."""
    return f"{preset.library}'s {type(preset).__name__}"


def reduced(reduction: str, mean: Mean) -> Chain:
    """Return the stages of one of torch's three reductions."""
    stages = {"mean": (mean,), "sum": (Sum(),), "none": ()}
    return Chain(stages[reduction])


def mean_of(weight: Weight) -> Mean:
    """Return torch's mean over elements: weights, if there are, do not change its divisor."""
    return Mean() if weight is None else Mean(denominator="elements")


def rows(rank: int) -> Axes:
    """Return batch, class and the rest; the class alone for one row without a batch."""
    if rank == 1:
        return ("class",)
    return class_second(rank)


def vectors(rank: int, last: str) -> Axes:
    """Return batch first and a named axis last; that one alone for a single vector."""
    names = ("batch", *(f"axis_{i}" for i in range(1, rank)))[:rank]
    return (*names[:-1], last)


def weighted(given: Given, weight: Weight, axes: Axes, name: str) -> Given:
    """Return the batch with a weight that broadcasts to the outputs, as torch's does.

    Raises:
        ShapeError: If it does not.
    """
    if weight is None:
        return given
    xp, like = given.xp, given.outputs[0]
    array = spread(given, weight, axes, name)
    shape = tuple(like.shape)
    return replace(given, element_weight=NamedArray(xp.broadcast_to(array, shape), axes))


def broadcasts(small: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of one shape broadcasts to another, and no further."""
    try:
        return np.broadcast_shapes(small, shape) == shape
    except ValueError:
        return False


def by_class(weight: Weight, axes: Axes, given: Given | None, name: str) -> Weight:
    """Return a weight of elements as one weight a class, for a term.

    A call places it in `arrange`, and needs none here.

    Raises:
        MatchError: If it varies along more than the class axis.
    """
    if weight is None or given is not None:
        return None
    if "class" in axes and len(np.shape(weight)) == 1:
        return weight
    raise MatchError(
        f"A term takes `{name}` with one number a class, and an axis 'class'",
        f"Found {name} of shape {tuple(np.shape(weight))} and the axes {' '.join(axes)}",
        "A weight of elements belongs to a batch, not to a term",
        f"Leave {name} out, and pass element_weight= to the objective with every batch",
    )


def spread(given: Given, weight: Weight, axes: Axes, name: str) -> Array:
    """Give an array that broadcasts to the outputs all of their axes.

    Raises:
        ShapeError: If it does not broadcast.
    """
    xp, like = given.xp, given.outputs[0]
    array = xp.asarray(weight, xp.dtype(like), like)
    shape, rank = tuple(like.shape), len(array.shape)
    if not broadcasts(tuple(array.shape), shape):
        raise _too_large(name, tuple(array.shape), shape)
    named = NamedArray(array, axes[::-1][:rank][::-1])
    return align(xp, named, Frame(axes, shape))


def _too_large(name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        f"`{name}` must broadcast to the shape of the outputs, from the last axis on",
        f"Found {name} {found} and outputs {shape}",
        "torch would refuse it, or broadcast the loss to a larger shape",
        f"Give {name} one number for each place on the last axis, or for each element",
    )
