# SPDX-License-Identifier: Apache-2.0
"""What the presets of nnU-Net share: its Dice, labels and masks, options of the parts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Axes
from lossledger.frames import NamedArray
from lossledger.losses._base import AbstractOverlapLoss
from lossledger.losses.labels import OneHotSums
from lossledger.losses.overlap_clipped import ClippedTversky
from lossledger.presets._base import Given, Recipe
from lossledger.presets._images import activation, labels, summed
from lossledger.reductions import Chain, Mean
from lossledger.reductions.offset import OffsetMean

SMALLEST = 1e-8
"""Where nnU-Net holds the denominator P + Y + smooth."""


def check_processes(batch_dice: bool, ddp: bool) -> None:
    """Refuse sums over processes.

    Raises:
        MatchError: If they are asked for.
    """
    if batch_dice and ddp:
        raise MatchError(
            "`batch_dice` needs ddp=False",
            "Found ddp=True, the default",
            "nnU-Net then adds up the counts of all processes, and fails where there is one",
            "Pass ddp=False; parts of a whole are added up by objective.statistics",
        )


def arranged(given: Given) -> Given:
    """Read labels, or masks of the outputs' shape, and a mask of shape (batch, 1, ...)."""
    shape = tuple(given.outputs[0].shape)
    found = given if tuple(given.targets.shape) == shape else labels(given)
    if given.mask is None or isinstance(given.mask, NamedArray):
        return found
    mask = given.xp.reshape(given.mask, (shape[0], *shape[2:]))
    return replace(found, mask=mask)


def check_axis(given: Given) -> None:
    """Require labels with a class axis of length 1.

    Raises:
        ShapeError: If they have none.
    """
    shape, whole = tuple(given.targets.shape), tuple(given.outputs[0].shape)
    if len(shape) != len(whole) or shape[1] != 1 or whole[1] == 1:
        raise ShapeError(
            "Targets must be labels of several classes, with a class axis of length 1",
            f"Found shape {shape} beside outputs {whole}",
            "nnU-Net takes channel 0 of the targets for labels, whatever it holds",
            "Pass labels of shape (batch, 1, ...)",
        )


def dice(
    option: Any,
    axes: Axes,
    least: float | None,
    kind: str | None = None,
    ignored: int | None = None,
) -> Recipe:
    """Return −Dice, and a mean over its cells.

    Where nothing counts it is −smooth/smooth: −1, or 0 without smoothing.
    """
    act = kind or activation(option.apply_nonlin, "nnU-Net", "apply_nonlin")
    settings: dict[str, Any] = {
        "kind": act or "softmax", "from_logits": act is not None,
        "include_background": option.do_bg,
    }  # fmt: skip
    loss: AbstractOverlapLoss = ClippedTversky(
        summed(axes, option.batch_dice), 0.5, 0.5, option.smooth,
        "complement" if option.smooth else "negative", SMALLEST / 2, least, **settings,
    )  # fmt: skip
    if act == "sigmoid" or ignored is not None:
        loss = OneHotSums(loss, ignored)
    mean = Mean(denominator="elements")
    last = OffsetMean(denominator="elements") if option.smooth else mean
    within = Mean(over="class", denominator="elements")
    return Recipe(loss, Chain((last,)) if option.batch_dice else within.then(last))


def softmax_dice(kind: Any, options: Mapping[str, Any], ignored: int | None, axes: Axes) -> Recipe:
    """Return the Dice of a softmax of one of the two classes."""
    preset = kind(**options)
    return dice(preset, axes, getattr(preset, "clip_tp", None), "softmax", ignored)


def ignoring(options: Mapping[str, Any], label: int | None) -> dict[str, Any]:
    """Return the options of a cross entropy with the label that a sum ignores."""
    return {**options} if label is None else {**options, "ignore_index": label}


def check_reduced(entropy: Any) -> None:
    """Refuse an array as part of a sum.

    Raises:
        MatchError: For reduction="none".
    """
    if entropy.reduction == "none":
        raise MatchError(
            "The cross entropy of a sum must be reduced",
            "Found reduction='none' in ce_kwargs",
            "nnU-Net adds the Dice to every pixel then",
            "Leave reduction out",
        )
