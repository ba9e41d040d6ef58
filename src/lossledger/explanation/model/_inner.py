# SPDX-License-Identifier: Apache-2.0
"""What a loss does inside, before weights: which axis it removes, by a mean or a sum."""

from dataclasses import dataclass
import keras
import numpy as np

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
    left = tuple(np.shape(loss.values))
    if preset is not None:
        return _known(loss, preset)
    if not left:
        return Inner("the loss makes one number itself: every axis is gone", "all", measured=True)
    if not isinstance(loss.outputs, np.ndarray):
        return Inner(f"leaves values of shape {left}", "unknown", measured=True)
    shape = loss.outputs.shape
    if left == shape:
        return Inner("one value for each output: no axis goes", "none", measured=True)
    if left == shape[:-1]:
        return _tried(loss)
    return Inner(f"leaves values of shape {left} of outputs {shape}", "unknown", measured=True)


def _known(loss: LossReading, preset: AbstractKeras) -> Inner:
    """Return what a loss of Keras does inside."""
    shape = np.shape(loss.outputs)
    if isinstance(preset, AbstractKerasOverlap):
        return _ratio(preset)
    axis = int(getattr(preset, "axis", -1))
    length = shape[axis] if len(shape) > 1 else 1
    where = "the last axis" if axis in (-1, len(shape) - 1) else f"axis {axis}"
    if isinstance(preset, Circle):
        return Inner("one value a sample, from all pairs of the batch", "pairs")
    if isinstance(preset, CosineSimilarity):
        return Inner(f"one cosine along {where}, of length {length}", "cosine", axis)
    if isinstance(preset, SparseCategoricalCrossentropy | CategoricalGeneralizedCrossEntropy):
        text = f"the label's class alone counts: {where}, of {length} classes, is gone"
        return Inner(text, "label", axis)
    if isinstance(preset, CategoricalHinge):
        text = f"label against the best of the others: {where}, of {length} classes, is gone"
        return Inner(text, "label", axis)
    if isinstance(preset, AbstractKerasRows):
        return Inner(f"sum over {where}, of {length} classes", "sum", axis)
    return Inner(f"mean over {where}, of length {length}", "mean", axis)


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
            found = keras.ops.convert_to_numpy(loss.loss.call(*tensors))
    except Exception:  # noqa: BLE001 - a user's loss may refuse another length in any way
        return unknown
    if np.shape(found) != np.shape(loss.values) or not np.any(loss.values):
        return unknown
    if np.allclose(found, loss.values, rtol=1e-4):
        return Inner(f"mean over {where}", "mean", -1, True)
    if np.allclose(found, 2 * loss.values, rtol=1e-4):
        return Inner(f"sum over {where}", "sum", -1, True)
    return unknown
