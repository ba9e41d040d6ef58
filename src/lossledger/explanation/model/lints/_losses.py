# SPDX-License-Identifier: Apache-2.0
"""Traps of the losses themselves: what they broadcast, drop, sum, average and round."""

from collections.abc import Iterator

import keras
import numpy as np

from lossledger._typing import Array
from lossledger.explanation._parts import Note
from lossledger.explanation._show import number
from lossledger.explanation.model._formulas import (
    mask_of,
    outputs_of,
    reduction_of,
    spread,
    sums,
    wide,
)
from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model._term_readings import called, is_function
from lossledger.explanation.model.lints._scores import LOGITS, YES_NO, channels_of, scores_of
from lossledger.explanation.model.lints._words import words_of

_FLOAT16_MOST = 65504.0


def second_dropped(reading: Reading) -> Iterator[Note]:
    """A list of losses for a model of one output: only the first counts."""
    spelled = reading.compiled_loss
    if not isinstance(spelled, list | tuple) or len(spelled) < 2 or outputs_of(reading) != 1:
        return
    names = [_name(loss) for loss in spelled]
    found = (
        f"The model has one output and {len(spelled)} losses: Keras minimizes the first, "
        f"{names[0]}, and drops {', '.join(names[1:])} from the total and the gradient. It logs a "
        "number for each of them: 0."
    )
    amounts = [_apart(reading, loss) for loss in spelled[1:]]
    if reading.losses and None not in amounts:
        dropped = sum(a for a in amounts if a is not None)
        found += f" The total is {number(reading.number)}; what is dropped is {number(dropped)}."
    calls = " + ".join(f"{_callable(loss)}(y_true, y_pred)" for loss in spelled)
    remedy = f"Compile with one function that adds them: `lambda y_true, y_pred: {calls}`."
    yield Note("second-loss-dropped", found, remedy)


def targets_broadcast(loss: LossReading) -> Iterator[Note]:
    """A subclass of Loss whose targets lack the outputs' last axis of length 1."""
    y, z = np.shape(loss.targets), np.shape(loss.outputs)
    single = (len(z) == len(y) + 1 and z[-1] == 1) or (len(y) == len(z) + 1 and y[-1] == 1)
    if not single or min(len(y), len(z)) < 1 or z[0] < 2 or _squeezes(loss):
        return
    shape = np.broadcast_shapes(y, z) if _broadcast(y, z) else None
    if shape is None or len(shape) == 0 or shape in (z, y):
        return
    apart = _called(loss, wide(loss.targets).reshape(z))
    together = _called(loss, loss.targets)
    if apart is None or together is None or np.allclose(apart, together, rtol=1e-5, atol=1e-8):
        return
    own = "class, which Keras does not align as it aligns functions and its own losses"
    own = "function, which a term calls with the arrays as they are" if loss.terms else own
    found = (
        f"`{loss.output}`: targets of shape {y} meet outputs of shape {z} in a loss of your own "
        f"{own}: they broadcast to {shape}, every target against every output. The mean is "
        f"{number(together)}; target by target it is {number(apart)}."
    )
    remedy = f"Give the targets the outputs' axes, `y.reshape({', '.join(map(str, (-1, *z[1:])))})`"
    remedy += "." if loss.terms else ", or compile with the function instead of the class."
    yield Note("targets-broadcast", found, remedy)


def unreduced(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """A loss without a reduction: an error, and on TensorFlow a sum that is reported as a mean."""
    if reduction_of(loss) != "none" or loss.values is None or np.ndim(loss.values) == 0:
        return
    shape, total = np.shape(loss.values), sums(loss)
    begin = f"`{loss.output}`: the loss has no reduction and gives an array of shape {shape}. "
    if reading.backend == "tensorflow":
        amounts = ""
        if total is not None:
            amounts = f", {number(total[0])}, and logs their mean, {number(total[0] / total[3])}"
        found = begin + f"On TensorFlow Keras follows the gradient of their sum{amounts}."
    else:
        found = begin + "Only a number has a gradient: `fit` raises."
    remedy = "Use `reduction='sum_over_batch_size'`, the default, or `'sum'` if that was meant."
    yield Note("unreduced-loss", found, remedy)


def grows_with_batch(loss: LossReading) -> Iterator[Note]:
    """Under 'sum' the loss and its gradient grow with the batch."""
    if reduction_of(loss) != "sum" or loss.values is None or np.ndim(loss.values) == 0:
        return
    count, found = np.shape(loss.values)[0], sums(loss)
    if found is None or count == 0:
        return
    text = (
        f"`{loss.output}`: 'sum' adds the values of {count} samples to {number(found[0])}, "
        f"{number(found[0] / count)} a sample. With batches of {2 * count} the number and its "
        "gradient are about twice as large, beside regularizers that stay; the last, shorter "
        "batch of an epoch counts less."
    )
    below, what = (found[1], "weight") if loss.terms else (found[2], "number")
    remedy = (
        f"Use {words_of(loss).mean}; to keep the steps, multiply the learning rate by "
        f"{number(below)}, the {what} of the values that are summed now (SGD; Adam keeps its own)."
    )
    yield Note("sum-grows-with-batch", text, remedy)


def mean_over_channels(loss: LossReading) -> Iterator[Note]:
    """Binary cross entropy divides by the last axis; categorical cross entropy sums over it."""
    count = channels_of(loss)
    if count < 2:
        return
    found = (
        f"`{loss.output}`: a binary cross entropy is a mean over its {count} channels, a "
        f"categorical one a sum over its classes. Each channel has 1/{count} of the weight that a "
        f"model of its own would give it: the loss is {number(loss.value)}, summed over channels "
        f"{number(loss.value * count)}."
    )
    remedy = (
        "Nothing, if one number a channel on average is meant; else "
        f"`{words_of(loss).factor}={count}.0` sums."
    )
    yield Note("mean-over-channels", found, remedy)


def read_as_logits(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """Probabilities where logits are wanted, or the reverse."""
    wanted = scores_of(loss)
    if wanted is None or np.size(loss.outputs) == 0:
        return
    z = wide(loss.outputs)
    inside = bool(((z >= 0) & (z <= 1)).all())
    rows = wanted.axis is None or bool(np.allclose(z.sum(wanted.axis), 1, rtol=0, atol=1e-3))
    if wanted.logits and inside and rows:
        undone = _undone(reading, loss)
        found = (
            f"`{loss.output}`: `from_logits=True`, but all {z.size:,} outputs lie in [0, 1]"
            f"{'' if wanted.axis is None else ' and sum to 1 over the classes'}: they look "
            f"like probabilities, and are squashed a second time{undone}."
        )
        remedy = "Leave the activation off the last layer, or use `from_logits=False`."
        yield Note("probabilities-as-logits", found, remedy)
    if not wanted.logits and not inside:
        out = int(((z < 0) | (z > 1)).sum())
        found = (
            f"`{loss.output}`: `from_logits=False`, but {out:,} of {z.size:,} outputs lie outside "
            f"[0, 1], from {number(z.min())} to {number(z.max())}. Keras clips them: where it "
            "clips there is no gradient."
        )
        yield Note("logits-as-probabilities", found, "Use `from_logits=True`.")


def activation_replaced(reading: Reading, loss: LossReading) -> Iterator[Note]:
    """On TensorFlow a cross entropy ignores the model's last activation, and uses its own."""
    preset = preset_of(loss.loss)
    if reading.backend != "tensorflow" or not isinstance(preset, LOGITS) or loss.values is None:
        return
    of_outputs = _called(loss, loss.targets)
    if preset.from_logits or of_outputs is None or np.ndim(loss.values) == 0:
        return
    here = float(wide(loss.values).mean())
    if np.isclose(here, of_outputs, rtol=1e-3, atol=1e-6):
        return
    own = "a sigmoid" if isinstance(preset, YES_NO) else "a softmax"
    found = (
        f"`{loss.output}`: on TensorFlow Keras does not compute the loss of the model's outputs. "
        f"It takes the numbers before the last activation and applies {own} of its own: their mean "
        f"loss is {number(here)}, that of the outputs {number(of_outputs)}, which is what PyTorch "
        "and JAX minimize."
    )
    remedy = (
        f"Let the last layer have {own} as its activation, or none and `from_logits=True`; if the "
        "activation is meant, write the loss as a function of your own."
    )
    yield Note("activation-replaced", found, remedy)


def nan_under_zero(loss: LossReading) -> Iterator[Note]:
    """A value that is not finite under a weight or mask of 0."""
    if loss.values is None or np.ndim(loss.values) == 0:
        return
    values = wide(loss.values)
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    ones = _weight_of_each(loss)
    hidden = int((bad & (ones == 0)).sum()) if ones is not None else 0
    if hidden == 0:
        return
    found = (
        f"`{loss.output}`: {hidden:,} of {values.size:,} values are not finite and have the weight "
        f"0. Keras multiplies, and 0 · NaN is NaN: the loss is {number(loss.value)}, and so is "
        "every gradient."
    )
    remedy = (
        "Replace what is missing before the loss: `y = np.where(np.isnan(y), 0, y)`; the weight of "
        "0 then leaves it out."
    )
    yield Note("nan-under-zero-weight", found, remedy)


def half_precision(loss: LossReading) -> Iterator[Note]:
    """A loss computed in float16 or bfloat16."""
    dtype = str(getattr(loss.loss, "dtype", ""))
    if loss.terms or dtype not in ("float16", "bfloat16"):
        return
    text = f"`{loss.output}`: the loss is computed in {dtype}. "
    if dtype == "float16":
        count = np.size(loss.values) if loss.values is not None else 0
        largest = float(np.abs(wide(loss.targets)).max(initial=0.0))
        text += (
            f"It ends at {number(_FLOAT16_MOST)}: the loss holds {count:,} values and targets up "
            f"to {number(largest)}. A sum, a count or a square beyond it is infinite, and the "
            "loss NaN."
        )
    else:
        text += "It keeps 8 bits: sums and counts are rounded to about 3 digits."
    if np.isfinite(loss.value):
        exact = sums(loss)
        text += f" Here the loss is {number(loss.value)}"
        text += f", of values that sum to {number(exact[0])}." if exact else "."
    else:
        text += f" Here it is {number(loss.value)}."
    remedy = f"Use `keras.losses.{type(loss.loss).__name__}(dtype='float32')`: outputs are cast."
    yield Note("half-precision-loss", text, remedy)


PER_LOSS = (
    targets_broadcast,
    grows_with_batch,
    mean_over_channels,
    nan_under_zero,
    half_precision,
)
BY_BACKEND = (unreduced, read_as_logits, activation_replaced)
PER_MODEL = (second_dropped,)


def _undone(reading: Reading, loss: LossReading) -> str:
    """Say what TensorFlow makes of an activation before a loss of logits; "" elsewhere."""
    if loss.terms:
        return ""  # a term takes the outputs as they are, on every backend
    twice = _called(loss, loss.targets)
    if twice is None or loss.values is None or np.ndim(loss.values) == 0:
        return ""
    here = float(wide(loss.values).mean())
    if reading.backend != "tensorflow":
        return f": a mean of {number(here)}"
    return (
        f": a mean of {number(twice)} on PyTorch and JAX. TensorFlow takes the logits from before "
        f"the activation, and gives {number(here)}"
    )


def _name(loss: object) -> str:
    return repr(loss) if isinstance(loss, str) else str(getattr(loss, "name", "") or _label(loss))


def _label(loss: object) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


def _callable(loss: object) -> str:
    """Return code that calls a loss."""
    if isinstance(loss, str):
        return f"keras.losses.get({loss!r})"
    if isinstance(loss, keras.losses.Loss):
        return f"keras.losses.{type(loss).__name__}(...)"
    return _label(loss)


def _apart(reading: Reading, loss: object) -> float | None:
    """Return the mean of a loss that Keras drops; None if it cannot be called."""
    if not reading.losses:
        return None
    first = reading.losses[0]
    try:
        found = keras.losses.get(loss)(first.targets, keras.ops.convert_to_tensor(first.outputs))
        return float(np.mean(wide(keras.ops.convert_to_numpy(found))))
    except Exception:  # noqa: BLE001 - a loss of the user's own may raise anything
        return None


def _squeezes(loss: LossReading) -> bool:
    """Whether targets and outputs are aligned before the loss is called, or checked."""
    if loss.terms:
        return not is_function(loss.terms[0])
    return type(loss.loss).call is keras.losses.MeanSquaredError.call


def _broadcast(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(one, two)
    except ValueError:
        return False
    return True


def _called(loss: LossReading, targets: Array) -> float | None:
    """Return the mean of the loss's values; None if it raises."""
    if loss.terms:
        return called(loss, targets)
    dtype = getattr(loss.loss, "dtype", "float32")
    try:
        y = keras.ops.convert_to_tensor(targets, dtype=dtype)
        z = keras.ops.convert_to_tensor(loss.outputs, dtype=dtype)
        return float(np.mean(wide(keras.ops.convert_to_numpy(loss.loss.call(y, z)))))
    except Exception:  # noqa: BLE001 - a loss of the user's own may raise anything
        return None


def _weight_of_each(loss: LossReading) -> Array | None:
    """Return weight times mask of every value; None if they do not fit or there are none."""
    shape = wide(loss.values).shape
    product = np.ones(shape)
    try:
        for weight in (loss.sample_weight, mask_of(loss)):
            if weight is not None:
                product = product * spread(shape, weight)
    except ValueError:
        return None
    return product
