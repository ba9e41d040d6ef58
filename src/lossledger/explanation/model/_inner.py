# SPDX-License-Identifier: Apache-2.0
"""What a loss does inside, before weights: which axis it removes, by a mean or a sum."""

import sys
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lossledger.explanation.model._data import host
from lossledger.explanation.model._reading import LossReading
from lossledger.presets._keras_base import AbstractKeras
from lossledger.presets._keras_binary import AbstractKerasOverlap
from lossledger.presets._keras_classes import AbstractKerasRows
from lossledger.presets.keras import (
    CategoricalGeneralizedCrossEntropy,
    CategoricalHinge,
    Circle,
    CosineSimilarity,
    SparseCategoricalCrossentropy,
)
from lossledger.presets.migration import REFUSALS


@dataclass(frozen=True)
class Inner:
    """The reduction inside a loss.

    Attributes:
        text: In words.
        how: "mean", "sum", "label", "ratio", "cosine", "pairs", "all", "none" or "unknown".
        axis: Which axis goes; None for none, or for all.
        measured: Whether it was found by trying.
    """

    text: str
    how: str
    axis: int | None = None
    measured: bool = False


def inner_of(loss: LossReading, preset: AbstractKeras | None) -> Inner:
    """Return what a loss does inside, from its preset, or else by trying."""
    if loss.values is None:
        return Inner("the loss's own way: it gives no unreduced values", "unknown")
    if preset is not None:
        return _known(loss, preset)
    left = tuple(loss.values.shape)
    shape = loss.outputs.shape if isinstance(loss.outputs, np.ndarray) else None
    if shape is not None and left == shape[:-1] and left:
        return _tried(loss)
    if not left:
        return Inner("the loss makes one number itself: every axis is gone", "all", measured=True)
    if left == shape:
        return Inner("one value for each output: no axis goes", "none", measured=True)
    return Inner(f"leaves values of shape {left}", "unknown", measured=True)


def _known(loss: LossReading, preset: AbstractKeras) -> Inner:
    """Return what a loss of Keras does inside."""
    shape = np.shape(loss.outputs)
    if isinstance(preset, AbstractKerasOverlap):
        return _ratio(preset)
    axis = int(getattr(preset, "axis", -1))
    length = shape[axis] if len(shape) > 1 else 1
    where = "the last axis" if axis in (-1, len(shape) - 1) else f"axis {axis}"
    for kinds, how, text in _OWN_WAYS:
        if isinstance(preset, kinds):
            return Inner(text.format(where=where, length=length), how, axis)
    return Inner(f"mean over {where}, of length {length}", "mean", axis)


_OWN_WAYS: tuple[tuple[Any, str, str], ...] = (
    (Circle, "pairs", "one value a sample, from all pairs of the batch"),
    (CosineSimilarity, "cosine", "one cosine along {where}, of length {length}"),
    (
        SparseCategoricalCrossentropy | CategoricalGeneralizedCrossEntropy,
        "label",
        "the label's class alone counts: {where}, of {length} classes, is gone",
    ),
    (
        CategoricalHinge,
        "label",
        "the label against the best of the others: {where}, of {length} classes, is gone",
    ),
    (AbstractKerasRows, "sum", "sum over {where}, of {length} classes"),
)
"""Losses without a mean inside: (preset, what they do, the same in words)."""


def _ratio(preset: AbstractKerasOverlap) -> Inner:
    if preset.axis is None:
        text = "one ratio of sums over all axes: batch and classes are summed, not averaged"
        return Inner(text, "ratio")
    return Inner(f"a ratio of sums over axes {preset.axis}", "ratio")


def _tried(loss: LossReading) -> Inner:
    """Find out how the last axis goes: repeated, it leaves a mean as it is and doubles a sum."""
    shape = np.shape(loss.outputs)
    where = f"the last axis, of length {shape[-1]}"
    unknown = Inner(f"{where}, goes in the loss's own way", "unknown", -1, True)
    if np.shape(loss.targets) != shape:
        return unknown
    twice = [np.concatenate([a, a], -1) for a in (loss.targets, loss.outputs)]
    tensors = [keras.ops.convert_to_tensor(a, dtype=loss.loss.dtype) for a in twice]
    try:
        with keras.StatelessScope():
            found = host(loss.loss.call(*tensors))
    except _refusals():
        return unknown
    values = np.asarray(loss.values)
    if np.shape(found) != values.shape or not values.any():
        return unknown
    if np.allclose(found, values, rtol=1e-4):
        return Inner(f"mean over {where}", "mean", -1, True)
    if np.allclose(found, 2 * values, rtol=1e-4):
        return Inner(f"sum over {where}", "sum", -1, True)
    return unknown


def _refusals() -> tuple[type[Exception], ...]:
    """Return how a loss refuses a length that it was not written for; the rest is passed on."""
    tensorflow = sys.modules.get("tensorflow")
    theirs = () if tensorflow is None else (tensorflow.errors.OpError,)
    return (*REFUSALS, RuntimeError, AssertionError, *theirs)  # torch raises RuntimeError
