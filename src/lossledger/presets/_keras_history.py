# SPDX-License-Identifier: Apache-2.0
"""What changed between versions of Keras: reductions, denominators, and shapes made to fit."""

from typing import Literal

from lossledger._array import library_of
from lossledger._typing import Array, Axes
from lossledger.frames import NamedArray
from lossledger.losses.shares import inverse_counts, inverse_share
from lossledger.presets._base import Given
from lossledger.presets._keras_shapes import Shape, same_rank
from lossledger.reductions import AbstractReduction, Mean, Sum

Reduction = Literal[
    "sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", "auto", None
]
Convention = Literal["keras3", "keras2.11", "keras2.3", "keras1"]
Stages = tuple[AbstractReduction, ...]

CONVENTIONS: tuple[Convention, ...] = ("keras3", "keras2.11", "keras2.3", "keras1")
REDUCTIONS: dict[Convention, tuple[Reduction, ...]] = {
    "keras3": ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None),
    "keras2.11": ("sum_over_batch_size", "auto", "sum", "none"),
    "keras2.3": ("sum_over_batch_size", "sum", "none"),
    "keras1": ("sum_over_batch_size",),
}
LATER: dict[Convention, tuple[str, ...]] = {
    "keras2.3": ("axis", "ignore_class"),
    "keras1": ("axis", "ignore_class", "from_logits", "label_smoothing"),
}
"""Options that a convention does not have yet: they must keep their defaults."""


def averaged(convention: Convention, left: Axes, given: Given | None) -> Stages:
    """Return the mean over Keras' values: Σ w·m·l over what the convention counts.

    Keras 3 and 2.11 divide by Σ m, 2.3 by the number of values N, masked ones included.
    Keras 1 divides by #{w ≠ 0} after a mean over the axes that weights lack, and by Σ m / N.
    """
    if convention == "keras3":
        return (Mean(denominator="mask"),)
    if convention == "keras2.11":
        return (Mean(denominator="mask", empty="raise"),)
    if convention == "keras2.3":
        return (Mean(denominator="elements"),)
    weight = given.sample_weight if given else None
    if weight is None:
        return (Mean(denominator="mask", empty="raise"),)
    own = weight.axes if isinstance(weight, NamedArray) else left[:1]
    rest = tuple(a for a in left if a not in own)
    if _both(left, given):
        return (Sum(),)  # `scale` divides by both counts
    last = Mean(denominator="nonzero", empty="raise")
    return (Mean(over=rest, denominator="elements"), last) if rest else (last,)


def scale(left: Axes, given: Given) -> float | Array:
    """Return 1/mean(mask), by which Keras 1 multiplies beside weights.

    Where mask and weights have the same axes, the count of the weights divides here too.
    """
    if given.mask is None or given.sample_weight is None:
        return 1.0
    mask, weight = (
        w.array if isinstance(w, NamedArray) else w for w in (given.mask, given.sample_weight)
    )
    xp = library_of(mask)
    return inverse_counts(xp, mask, weight) if _both(left, given) else inverse_share(xp, mask)


def _both(left: Axes, given: Given | None) -> bool:
    """Whether a mask and weights are there, over all the axes that are left."""
    if given is None or given.mask is None or given.sample_weight is None:
        return False
    weight = given.sample_weight
    own = weight.axes if isinstance(weight, NamedArray) else left[:1]
    return all(a in own for a in left)


def fitted(convention: Convention, goal: Shape, shape: Shape) -> tuple[Shape, Shape]:
    """Return the shapes of targets (`goal`) and outputs that a version computes with."""
    if convention == "keras3":
        return same_rank(goal, shape)
    if convention == "keras2.11" and abs(len(goal) - len(shape)) == 1:
        if len(shape) > len(goal) and shape[-1] == 1:
            return goal, shape[:-1]
        if len(goal) > len(shape) and goal[-1] == 1:
            return goal[:-1], shape
    return goal, shape


def missing(convention: Convention) -> int:
    """Return how many last axes a weight may lack."""
    return {"keras3": 0, "keras2.11": 1}.get(convention, 99)
