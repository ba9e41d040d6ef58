# SPDX-License-Identifier: Apache-2.0
"""Traps of sample weights and class weights."""

import math
from collections.abc import Iterator

import numpy as np

from lossledger._typing import Array
from lossledger.explanation._parts import Note
from lossledger.explanation._show import number
from lossledger.explanation.model._formulas import (
    MEANS,
    WEIGHTED_MEAN,
    as_lined_up,
    by_sample,
    mask_of,
    reduction_of,
    sums,
    weighted_sum,
    wide,
)
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model.lints._words import words_of
from lossledger.presets._keras_shapes import Shape

_FULL = "Give every value its weight: `sample_weight = np.broadcast_to({0}, {1}).copy()`."


def per_timestep(loss: LossReading) -> Iterator[Note]:
    """Weights by sample that Keras lines up with the last axis of the values."""
    weight, values = loss.sample_weight, loss.values
    if weight is None or values is None or mask_of(loss) is not None:
        return
    shape, w = np.shape(values), np.shape(weight)
    wanted = by_sample(shape, w)
    if wanted is None:
        return
    found = (
        f"`{loss.output}`: {_source(loss)} of shape {w} {_meet(w)} one value for each of {shape}. "
        f"Keras lines up the last axes, {_misread(shape, w, values, weight, loss, None)}"
    )
    yield Note("sample-weight-per-timestep", found, _by_sample_remedy(loss, wanted, shape))


def across_mask(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """Weights by sample that Keras lines up with the last axis of a mask."""
    weight, mask, values = loss.sample_weight, mask_of(loss), loss.values
    if weight is None or mask is None or values is None:
        return
    m, w = np.shape(mask), np.shape(weight)
    wanted = by_sample(m, w)
    if wanted is None:
        return
    begin = f"`{loss.output}`: {_source(loss)} of shape {w} {_meet(w)} a mask of shape {m}. "
    if reading.backend == "torch":
        found = begin + "Keras multiplies them in place: on PyTorch it raises."
    else:
        last = _misread(m, w, values, weight, loss, mask)
        found = begin + f"Keras lines up the last axes, {last}"
    yield Note("sample-weight-across-mask", found, _full(wanted, m))


def narrower_than_mask(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """Weights that a mask is multiplied into in place, though they are smaller: on PyTorch."""
    weight, mask = loss.sample_weight, mask_of(loss)
    if weight is None or mask is None or reading.backend != "torch" or loss.terms:
        return  # a term places weights and masks by the names of their axes
    m, w = np.shape(mask), np.shape(weight)
    if by_sample(m, w) is not None:
        return
    lined, own, fits = as_lined_up(m, w)
    if not fits or np.broadcast_shapes(lined, own) == own:
        return
    found = (
        f"`{loss.output}`: weights of shape {w} meet a mask of shape {m}. Keras multiplies the "
        "mask into the weights in place: on PyTorch it raises. On JAX and TensorFlow the same call "
        "works."
    )
    yield Note("sample-weight-narrower-than-mask", found, _full(own, m))


def counted_as_passed(loss: LossReading) -> Iterator[Note]:
    """'mean_with_sample_weight' with weights that have fewer numbers than the values."""
    weight, values = loss.sample_weight, loss.values
    if weight is None or values is None or reduction_of(loss) != WEIGHTED_MEAN:
        return
    given = loss.mask is not None or loss.own_mask is not None
    shape, w = np.shape(values), np.shape(weight)
    if given or not shape or math.prod(w) >= math.prod(shape) or by_sample(shape, w):
        return
    found = sums(loss)
    if found is None or found[1] == 0:
        return
    above, below = found[:2]
    passed = float(wide(weight).sum())
    text = (
        f"`{loss.output}`: {words_of(loss).as_passed} divides by the sum of the weights as passed, "
        f"{number(passed)} for shape {w}, but its numerator has a weight for each of the values, "
        f"{shape}, whose weights sum to {number(below)}. The loss is {number(above / passed)}; the "
        f"weighted mean is {number(above / below)}."
    )
    lined = as_lined_up(shape, w)[1]
    yield Note("weights-counted-as-passed", text, _full(lined, shape))


def zero_weights(loss: LossReading) -> Iterator[Note]:
    """Weights of 0 under a mean: what they leave out is counted by the denominator."""
    weight = loss.sample_weight
    if weight is None or loss.weight_source == "class_weight" or not np.any(wide(weight) == 0):
        return
    found = _mean_sums(loss)
    if found is None:
        return
    above, below, count = found
    ones = np.ones(np.shape(wide(loss.values)))
    out = round(count - weighted_sum(ones, *_counted(loss)))
    if out <= 0:
        return
    text = (
        f"`{loss.output}`: {out:,} of {int(count):,} values have the weight 0. The denominator "
        f"counts them: {number(above)} / {number(count)} = {number(above / count)}. Divided by the "
        f"sum of the weights, {number(below)}, it is {_or_nothing(above, below)}."
    )
    yield Note("zero-weights-counted", text, _weighted_mean_remedy(loss))


def scales(loss: LossReading) -> Iterator[Note]:
    """Weights whose mean is not 1: they scale the loss."""
    weight = loss.sample_weight
    if weight is None or loss.weight_source == "class_weight" or np.any(wide(weight) == 0):
        return
    found = _scaled_sums(loss)
    if found is None:
        return
    above, below, count = found
    text = (
        f"`{loss.output}`: the mean weight is {number(below / count)}, and "
        f"{words_of(loss).divides} by the {number(count)} values, not by the sum of the weights: "
        f"the loss is {number(above / count)}, the weighted mean {number(above / below)}. The "
        "learning rate is scaled alike."
    )
    remedy = "Divide the weights by their mean over the data set, or " + _lower(loss)
    yield Note("weights-scale-the-loss", text, remedy)


def class_weight_not_divided(loss: LossReading) -> Iterator[Note]:
    """Class weights: multiplied, and never divided by their sum."""
    if loss.weight_source != "class_weight" or loss.sample_weight is None:
        return
    found = _scaled_sums(loss)
    if found is None:
        return
    above, below, count = found
    text = (
        f"`{loss.output}`: class weights multiply the values and the sum is divided by "
        f"{number(count)}, not by the sum of the weights, {number(below)}: the loss is "
        f"{number(above / count)}. PyTorch's CrossEntropyLoss(weight=...) divides by that sum and "
        f"gives {_or_nothing(above, below)}."
    )
    if not any(term.class_weight is not None for term in loss.terms):
        text += " Labels without a class weight count 1, and validation uses no class weights."
    remedy = "Divide the class weights by their mean over the training labels, or " + _lower(loss)
    yield Note("class-weight-not-divided", text, remedy)


def scalar_loss(loss: LossReading) -> Iterator[Note]:
    """A loss that gives one number, with weights or a mask that cannot reach its elements."""
    if loss.values is None or np.shape(loss.values) != ():
        return
    value = float(loss.values)
    if loss.sample_weight is not None:
        what = {"sum": "sum", WEIGHTED_MEAN: "sum over their own sum"}.get(
            reduction_of(loss), "mean"
        )
        text = (
            f"`{loss.output}`: the loss gives one number, {number(value)}, for the whole batch. "
            f"Sample weights multiply it by their {what}, to {number(loss.value)}: no sample "
            "weighs more than another."
        )
        yield Note("scalar-loss-weighted", text, _scalar_remedy(loss))
    if loss.mask is not None:
        text = (
            f"`{loss.output}`: the loss gives one number, {number(value)}, for the whole batch, "
            "masked elements included: the mask cannot reach them."
        )
        if reduction_of(loss) == "sum":
            text += " Under 'sum' the number is multiplied by the count of unmasked elements."
        yield Note("scalar-loss-masked", text, _scalar_remedy(loss))


PER_LOSS = (
    per_timestep,
    counted_as_passed,
    zero_weights,
    scales,
    class_weight_not_divided,
    scalar_loss,
)
BY_BACKEND = (across_mask, narrower_than_mask)


def _source(loss: LossReading) -> str:
    return "weights from `class_weight`" if loss.weight_source == "class_weight" else "weights"


def _meet(shape: Shape) -> str:
    return "(one a sample) meet" if len(shape) == 1 else "meet"


def _misread(
    shape: Shape, w: Shape, values: Array, weight: Array, loss: LossReading, mask: Array | None
) -> str:
    """Return what Keras makes of weights by sample, and what they should give."""
    _, lined, fits = as_lined_up(shape, w)
    if not fits:
        return "which do not agree: it raises."
    right, array = weighted_sum(values, weight, mask), wide(weight).reshape(lined)
    full = wide(values)
    wrong = float((full * array * (1.0 if mask is None else mask)).sum())
    below = _denominator(loss, array if reduction_of(loss) == WEIGHTED_MEAN else None, mask, full)
    if below == 0:
        return "so a weight of one sample falls on a step of every sample."
    return (
        "which happen to agree: the weight of sample i falls on position i of every sample. The "
        f"loss is {number(wrong / below)}; weighed by sample it is {number(right / below)}."
    )


def _denominator(
    loss: LossReading, weight: Array | None, mask: Array | None, values: Array
) -> float:
    if reduction_of(loss) == "sum":
        return 1.0
    if weight is not None:
        return float(weight.sum())
    return float(values.size if mask is None else mask.sum())


def _by_sample_remedy(loss: LossReading, wanted: Shape, shape: Shape) -> str:
    if reduction_of(loss) == WEIGHTED_MEAN:
        return _full(wanted, shape)
    return (
        "Give the weights an axis of length 1 for each axis along which they do not vary: "
        f"`sample_weight.reshape({_open(wanted)})`."
    )


def _full(wanted: Shape, shape: Shape) -> str:
    full = f"(len(sample_weight), {', '.join(map(str, shape[1:]))})"
    return _FULL.format(f"sample_weight.reshape({_open(wanted)})", full)


def _open(shape: Shape) -> str:
    """Return a shape for any number of samples."""
    return ", ".join(map(str, (-1, *shape[1:]))) if shape else "1"


def _counted(loss: LossReading) -> tuple[Array | None, Array | None]:
    """Return the weights as 0 and 1, and the mask."""
    return wide(wide(loss.sample_weight) != 0), mask_of(loss)


def _mean_sums(loss: LossReading) -> tuple[float, float, float] | None:
    """Return Σ w·m·l, Σ w·m and Σ m, where the loss is a plain mean of rightly placed weights."""
    if loss.values is None or loss.sample_weight is None or reduction_of(loss) not in MEANS:
        return None
    shape, w = np.shape(loss.values), np.shape(loss.sample_weight)
    if by_sample(shape, w) is not None or not as_lined_up(shape, w)[2]:
        return None
    found = sums(loss)
    return None if found is None or found[2] == 0 else found[:3]


def _scaled_sums(loss: LossReading) -> tuple[float, float, float] | None:
    """Return these sums where Σ w·m is not Σ m: the weights scale the loss."""
    found = _mean_sums(loss)
    return None if found is None or math.isclose(found[1], found[2], rel_tol=1e-3) else found


def _or_nothing(above: float, below: float) -> str:
    return number(above / below) if below else "not a number"


def _weighted_mean_remedy(loss: LossReading) -> str:
    text = _lower(loss)
    return text[0].upper() + text[1:]


def _lower(loss: LossReading) -> str:
    shape = wide(loss.values).shape
    narrow = wide(loss.sample_weight).size < math.prod(shape)
    ones = ", ".join(map(str, shape[1:]))
    full = (
        f", with a weight for each of the values: np.broadcast_to(..., (len(y), {ones}))"
        if narrow and not loss.terms
        else ""
    )
    return f"{words_of(loss).weighted}{full}."


def _scalar_remedy(loss: LossReading) -> str:
    axes = tuple(range(1, np.ndim(loss.outputs)))
    if hasattr(loss.loss, "axis") and axes:
        return f"Keep the batch axis: `keras.losses.{type(loss.loss).__name__}(axis={axes})`."
    return (
        "Give one number a sample: "
        "`keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)`, not `keras.ops.mean(...)` "
        "of everything."
    )
