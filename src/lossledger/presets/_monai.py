# SPDX-License-Identifier: Apache-2.0
"""What the presets of MONAI share: activations, labels, ignored labels, shapes of answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Protocol

from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Array, Axes
from lossledger.frames import NamedArray
from lossledger.losses._base import AbstractOverlapLoss
from lossledger.losses.labels import OneHotSums, counted
from lossledger.presets._base import Given
from lossledger.presets._images import activation, channels, labels, spatial
from lossledger.reductions import Chain, Mean, Sum

Reduction = Literal["mean", "sum", "none"]
Act = Callable[..., Any] | None


class Scored(Protocol):
    """Options of MONAI's losses of overlap that decide what is summed."""

    @property
    def include_background(self) -> bool:
        """Whether class 0 counts."""

    @property
    def to_onehot_y(self) -> bool:
        """Whether targets are labels."""

    @property
    def sigmoid(self) -> bool:
        """Whether outputs go through a sigmoid."""

    @property
    def softmax(self) -> bool:
        """Whether outputs go through a softmax."""

    @property
    def other_act(self) -> Act:
        """Another activation."""


def check_options(
    reduction: str, activations: tuple[Any, ...] = (), factors: tuple[float, ...] = ()
) -> None:
    """Refuse what MONAI refuses where a loss is built.

    Raises:
        DomainError: For an unknown reduction, or a negative factor.
        MatchError: For more than one activation.
    """
    if reduction not in ("mean", "sum", "none"):
        raise DomainError(
            "`reduction` must be 'mean', 'sum' or 'none'",
            f"Found {reduction!r}",
            "Another library's name was used",
            "Choose one of MONAI's three",
        )
    if sum(1 for a in activations if a) > 1:
        raise MatchError(
            "At most one of sigmoid, softmax and other_act may be given",
            f"Found {', '.join(str(a) for a in activations)}",
            "MONAI refuses two activations as well",
            "Keep the one that the outputs need",
        )
    if any(f < 0 for f in factors):
        raise DomainError(
            "Factors lambda_* must be at least 0",
            f"Found {', '.join(map(str, factors))}",
            "MONAI refuses negative factors as well",
            "Pass numbers of at least 0",
        )


def check_reduced(reduction: str) -> None:
    """Refuse a sum of Dice and cross entropy that is left unreduced.

    Raises:
        MatchError: For "none".
    """
    if reduction == "none":
        raise MatchError(
            "DiceCELoss needs reduction='mean' or 'sum'",
            "Found reduction='none'",
            "MONAI refuses it as well: a Dice a class and a cross entropy a pixel do not line up",
            "Call the two losses apart, each with reduction='none'",
        )


def arranged(given: Given, onehot: bool, ignore_index: int | None = None) -> Given:
    """Take labels out of their class axis, and mask one-hot pixels that are ignored."""
    shape, wanted = tuple(given.targets.shape), tuple(given.outputs[0].shape)
    if onehot and channels(given) != 1:
        if shape[1:2] != (1,) or len(shape) != len(wanted):
            raise ShapeError(
                "Under to_onehot_y targets must be labels with a class axis of length 1",
                f"Found shape {shape} beside outputs {wanted}",
                "The labels lack that axis, or are one-hot already",
                "Pass labels[:, None], or leave to_onehot_y out",
            )
        return labels(given)
    if shape != wanted:
        raise ShapeError(
            "Without to_onehot_y targets must have the shape of the outputs",
            f"Found shape {shape} beside outputs {wanted}",
            "They are labels, or one-hot with the class axis last",
            "Pass one-hot targets, or labels[:, None] and to_onehot_y=True",
        )
    if ignore_index is None:
        return given
    axes = ("batch", *(f"axis_{i}" for i in range(2, len(wanted))))
    found = counted(given.xp, given.targets, ignore_index, 1)
    return replace(given, mask=NamedArray(found, axes))


def scores(option: Scored, given: Given | None) -> dict[str, Any]:
    """Return the settings of a loss of overlap: its activation, and the background."""
    many = channels(given) != 1
    act = activation(option.other_act, "MONAI", "other_act")
    sigmoid = option.sigmoid or act == "sigmoid"
    softmax = (option.softmax and many) or act == "softmax"
    return {
        "kind": "sigmoid" if sigmoid or not many else "softmax",
        "from_logits": sigmoid or softmax,
        "include_background": option.include_background or not many,
    }


def of_labels(
    loss: AbstractOverlapLoss, option: Scored, given: Given | None, ignored: int | None = None
) -> AbstractOverlapLoss:
    """Let a loss take the labels that to_onehot_y stands for."""
    if option.to_onehot_y and channels(given) != 1:
        return OneHotSums(loss, ignored)
    return loss


def cells(option: Any) -> Chain:
    """Return the stages that make one number of one value a cell.

    A sample without weight has no cells. MONAI counts them in the mean all the same, as
    1 − smooth_nr/smooth_dr: as 0, or else it is an error.
    """
    if option.reduction == "none":
        return Chain(())
    empty: Literal["zero", "raise"] = "zero" if option.smooth_nr == option.smooth_dr else "raise"
    if option.reduction == "sum":
        return Sum(over="class", empty=empty).then(Sum())
    inner = Mean(over="class", denominator="elements", empty=empty)
    last = Mean(denominator="elements", empty=empty)
    return Chain((last,)) if option.batch else inner.then(last)


def pixels(reduction: Reduction, axes: Axes, ignoring: bool) -> Chain:
    """Return the stages that make one number of one value a pixel and class.

    "sum" is a mean over the pixels of each sample and class, summed (over rows, a mean). With
    ignored labels "mean" divides by the pixels that count, without their classes.
    """
    planes = spatial(axes)
    if reduction == "none":
        return Chain(())
    if reduction == "sum" and planes:
        return Mean(over=planes, denominator="mask" if ignoring else "elements").then(Sum())
    if ignoring:
        return Sum(over="class").then(Mean(denominator="mask"))
    return Chain((Mean(denominator="elements"),))


def without_background(values: Array, option: Scored, given: Given) -> Array:
    """Take class 0 out of an answer of one value a cell."""
    if option.include_background or channels(given) == 1:
        return values
    return values[1:] if len(values.shape) == 1 else values[:, 1:]


def padded(values: Array, given: Given, more: int = 0) -> Array:
    """End an answer in axes of length 1, as many as the outputs have beside batch and class."""
    ones = (1,) * (len(given.outputs[0].shape) - 2 + more)
    return given.xp.reshape(values, (*tuple(values.shape), *ones))
