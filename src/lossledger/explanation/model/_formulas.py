# SPDX-License-Identifier: Apache-2.0
"""Sums that Keras makes of values, weights and masks: on the host, in float64."""

import math

import keras
import numpy as np

from lossledger._typing import Array
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.presets._keras_shapes import Shape, same_rank

MEANS = ("sum_over_batch_size", "mean")
WEIGHTED_MEAN = "mean_with_sample_weight"
TERMS = "terms"


def reduction_of(loss: LossReading) -> str:
    """Return the name of the loss's reduction; "none" for None, "terms" if Keras has no name."""
    if loss.terms:
        return loss.reduction or TERMS
    return str(getattr(loss.loss, "reduction", None) or "none")


def as_lined_up(shape: Shape, weight: Shape) -> tuple[Shape, Shape, bool]:
    """Return shapes of values and weights as Keras multiplies them, and whether they broadcast.

    Keras drops or adds a last axis of length 1, then lines up the last axes.
    """
    values, weights = same_rank(shape, weight)
    try:
        np.broadcast_shapes(values, weights)
    except ValueError:
        return values, weights, False
    return values, weights, True


def by_sample(shape: Shape, weight: Shape) -> Shape | None:
    """Return the shape in which a weight of fewer axes lies along the first axes of values.

    None if it does not fit them, or if its axes are those of the values already.
    """
    values, weights = same_rank(shape, weight)
    fewer = len(weights) < len(values) and math.prod(weights) != 1
    fits = all(n in (1, m) for n, m in zip(weights, values, strict=False))
    return (*weights, *(1,) * (len(values) - len(weights))) if fewer and fits else None


def wide(array: Array) -> Array:
    """Return an array in float64."""
    return np.asarray(array, np.float64)


def mask_of(loss: LossReading) -> Array | None:
    """Return the product of the output's mask and the loss's own, as 0 and 1; None for none."""
    found = [wide(np.asarray(m, bool)) for m in (loss.mask, loss.own_mask) if m is not None]
    if len(found) == 2:
        one, two = same_rank(found[0].shape, found[1].shape)
        return found[0].reshape(one) * found[1].reshape(two)
    return found[0] if found else None


def weighted_sum(values: Array, *weights: Array | None) -> float:
    """Return Σ l · w · m; weights have the values' axes, or length 1 on them."""
    product = wide(values)
    for weight in weights:
        if weight is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                product = product * spread(product.shape, weight)
    return float(product.sum())


def spread(shape: Shape, weight: Array) -> Array:
    """Return a weight with the values' axes: its own are the first of them.

    Raises:
        ValueError: If it does not fit.
    """
    array = wide(weight)
    wanted = by_sample(shape, array.shape)
    values, lined = same_rank(shape, array.shape)
    array = array.reshape(wanted or lined)
    return np.broadcast_to(array, values).reshape(shape)


def sums(loss: LossReading) -> tuple[float, float, float, int] | None:
    """Return Σ w·m·l, Σ w·m, Σ m and the number of values, with weights laid along samples.

    None where there are no values, or weights do not fit them.
    """
    if loss.values is None or np.ndim(loss.values) == 0:
        return None
    mask, ones = mask_of(loss), np.ones(np.shape(loss.values))
    try:
        return (
            weighted_sum(loss.values, loss.sample_weight, mask),
            weighted_sum(ones, loss.sample_weight, mask),
            weighted_sum(ones, mask),
            ones.size,
        )
    except ValueError:
        return None


def batch_of(reading: Reading) -> int | None:
    """Return the length of the first axis of the first input, by which Keras weighs batches."""
    arrays = [a for a in keras.tree.flatten(reading.x) if a is not None]
    shape = np.shape(arrays[0]) if arrays else ()
    return int(shape[0]) if shape else None


def outputs_of(reading: Reading) -> int:
    """Return the number of the model's outputs; of its targets, where it does not know them."""
    tensors = getattr(reading.model, "outputs", None)
    return len(tensors) if tensors else len(keras.tree.flatten(reading.y))
