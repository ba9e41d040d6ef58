# SPDX-License-Identifier: Apache-2.0
"""Traps of masks: where they are lost, and where they stay by accident."""

from collections.abc import Iterator

import keras
import numpy as np

from lossledger._typing import Array
from lossledger.explanation._parts import Note
from lossledger.explanation._show import number
from lossledger.explanation.model._formulas import MEANS, reduction_of, sums, weighted_sum
from lossledger.explanation.model._layers import Way, drops_mask, named, ways
from lossledger.explanation.model._metrics import metrics_of
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model.lints._words import words_of


def metric_loses(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """On JAX, metrics in `fit` do not see the mask that the loss sees."""
    if reading.backend != "jax" or loss.mask is None:
        return
    found = [m for m in metrics_of(reading) if m.output == loss.output and m.masks]
    for metric in found:
        if metric.unmasked is None or metric.masked is None:
            continue
        text = (
            f"`{loss.output}`: in `fit` on JAX the metric `{metric.name}` counts masked elements: "
            f"{number(metric.unmasked)} where {number(metric.masked)} is the mean of the others. "
            f"The loss has the mask, and `evaluate` gives the metric its mask too."
        )
        remedy = (
            "Pass the mask as `sample_weight` and name the metric in `weighted_metrics`; compare "
            "numbers of `evaluate` with numbers of `evaluate` alone."
        )
        yield Note("metric-loses-mask", text, remedy)


def lost(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """A mask is made, and does not reach the loss, whose values have its axes."""
    if loss.mask is not None or loss.values is None:
        return
    for way in ways(reading.model, loss.output) or ():
        dropping = [layer for layer in way.layers if drops_mask(layer)]
        mask = _mask_of(reading, way) if dropping else None
        shape = np.shape(loss.values)
        if mask is None or shape[: mask.ndim] != mask.shape:
            continue
        padded = int(mask.size - mask.sum())
        if padded == 0:
            continue
        above, below = weighted_sum(loss.values, loss.sample_weight, mask), sums(loss)
        inside = weighted_sum(np.ones(shape), mask)
        text = (
            f"`{loss.output}`: {named([way.source])} makes a mask, and {named(dropping[:1])} does "
            f"not pass it on: the loss counts {padded:,} padded steps of {mask.size:,}."
        )
        if below is not None and inside and _is_plain(loss):
            text += (
                f" Its mean over all is {number(below[0] / below[3])}, without the padding "
                f"{number(above / inside)}."
            )
        remedy = (
            f"Pass the mask as {words_of(loss).masked}, or let the layer pass it on "
            "(`layer.supports_masking = True`) where it keeps the steps."
        )
        yield Note("mask-lost", text, remedy)
        return


def kept_by_accident(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """A mask reaches the loss past a layer that does not pass it on: the array is the same one."""
    if loss.mask is None:
        return
    for way in ways(reading.model, loss.output) or ():
        dropping = [layer for layer in way.layers if drops_mask(layer)]
        found = sums(loss)
        if not dropping or found is None or not _is_plain(loss):
            continue
        whole = weighted_sum(loss.values, loss.sample_weight) / found[3]
        text = (
            f"`{loss.output}`: {named(dropping[:1])} does not pass a mask on, but gives back the "
            f"very array it was given, to which the mask is attached: on {reading.backend} the "
            f"loss is masked, {number(loss.value)}. On another backend, or once the layer does "
            f"something, it is {number(whole)}."
        )
        yield Note(
            "mask-kept-by-accident",
            text,
            "Leave the layer out, or set its `supports_masking` if it keeps the steps.",
        )
        return


BY_BACKEND = (metric_loses, lost, kept_by_accident)


def _is_plain(loss: LossReading) -> bool:
    """Whether a sum over all values, divided by their number, is what the loss would be."""
    return not loss.terms or loss.sample_weight is None or reduction_of(loss) in MEANS


def _mask_of(reading: Reading, way: Way) -> Array | None:
    """Return the mask that a layer makes of the model's only input; None if that cannot be told."""
    arrays = keras.tree.flatten(reading.x)
    inputs = getattr(reading.model, "inputs", None) or []
    given = getattr(way.source, "input", None)
    if len(arrays) != 1 or len(inputs) != 1:
        return None
    if given is not inputs[0] and not _first(reading, way):
        return None
    mask = way.source.compute_mask(keras.ops.convert_to_tensor(arrays[0]))
    return None if mask is None else np.asarray(keras.ops.convert_to_numpy(mask), bool)


def _first(reading: Reading, way: Way) -> bool:
    """Whether the layer is the first of a sequential model."""
    layers = [x for x in reading.model.layers if not isinstance(x, keras.layers.InputLayer)]
    return isinstance(reading.model, keras.Sequential) and bool(layers) and layers[0] is way.source
