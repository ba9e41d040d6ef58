# SPDX-License-Identifier: Apache-2.0
"""What changed between versions of Keras: reductions, denominators, and shapes made to fit."""

from typing import Literal

from lossledger.presets._keras_shapes import EXACT, Shape, same_rank
from lossledger.reductions import AbstractReduction, Mean
from lossledger.reductions.shares import ShareMean

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


def averaged(convention: Convention) -> Stages:
    """Return the mean over Keras' values: Σ w·m·l over what the convention counts.

    Keras 3 and 2.11 divide by Σ m, 2.3 by the number of values N, masked ones included, and
    Keras 1 by N, by the mask's mean and by the share of weights that are not 0.
    """
    if convention == "keras3":
        return (Mean(denominator="mask"),)
    if convention == "keras2.11":
        return (Mean(denominator="mask", empty="raise"),)
    if convention == "keras2.3":
        return (Mean(denominator="elements"),)
    return (ShareMean(empty="raise"),)


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


def missing(convention: Convention, name: str) -> int:
    """Return how many last axes a weight may lack; a mask none in Keras 1, which broadcasts it."""
    if convention == "keras1" and name == "mask":
        return EXACT
    return {"keras3": 0, "keras2.11": 1}.get(convention, 99)
