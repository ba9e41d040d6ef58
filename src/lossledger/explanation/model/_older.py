# SPDX-License-Identifier: Apache-2.0
"""A loss's number in Keras 1 and 2: by its preset's history, or from its values."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from lossledger._errors import LossLedgerError
from lossledger._typing import Array
from lossledger.explanation._show import number
from lossledger.explanation.model._formulas import (
    WEIGHTED_MEAN,
    by_sample,
    mask_of,
    reduction_of,
    spread,
    weighted_sum,
    wide,
)
from lossledger.explanation.model._layers import last_activation
from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.presets._keras_base import AbstractKeras
from lossledger.presets._keras_history import LATER

_CLOSE = 1e-4


def older_value(
    loss: LossReading, convention: str, reading: Reading | None
) -> tuple[float | None, str]:
    """Return one loss's number under a convention of Keras 1 or 2, and what is done otherwise.

    Args:
        loss: One loss of one output.
        convention: "keras1", "keras2.3", "keras2.10" or "keras2.11".
        reading: Of the whole model; without it nothing is known of its last activation.
    """
    if reduction_of(loss) in (WEIGHTED_MEAN, "none"):
        return None, f"There is no reduction {reduction_of(loss)!r} to train with."
    if convention == "keras1" and reduction_of(loss) == "sum":
        return None, "There are no reductions: every loss is a mean."
    preset = preset_of(loss.loss)
    agrees = preset is not None and _agrees(preset, loss)
    if preset is not None and agrees and convention in ("keras2.10", "keras2.11"):
        replaced = _replaced(preset, loss, reading)
        if replaced:
            return None, replaced
    if preset is not None and agrees:
        value, reason = _by_preset(preset, loss, convention)
    else:
        value, reason = _by_values(loss, convention)
    if value is None:
        return None, reason
    return value, _why(loss, convention, value, preset)


def _agrees(preset: AbstractKeras, loss: LossReading) -> bool:
    """Whether the preset gives the number that Keras gave: then its history is the loss's."""
    weight = loss.sample_weight
    try:
        value = float(_call(preset, loss, weight))
    except LossLedgerError:
        # Weights that Keras 3 lines up with another axis are refused; older Keras places them.
        shape = () if loss.values is None else np.shape(loss.values)
        return weight is not None and by_sample(shape, np.shape(weight)) is not None
    return abs(value - loss.value) <= _CLOSE * max(1.0, abs(value))


def _replaced(preset: AbstractKeras, loss: LossReading, reading: Reading | None) -> str:
    """Say that Keras on TensorFlow applies the loss's own activation; "" if it is the same one."""
    own = {"BinaryCrossentropy": "sigmoid", "BinaryFocalCrossentropy": "sigmoid"}
    own |= {"CategoricalCrossentropy": "softmax", "SparseCategoricalCrossentropy": "softmax"}
    wanted = own.get(type(preset).__name__)
    if wanted is None or reading is None or getattr(preset, "from_logits", False):
        return ""
    last = last_activation(reading.model, loss.output)
    if last not in ("softmax", "sigmoid") or last == wanted:
        return ""
    return (
        f"There it takes the numbers before the model's {last} and applies a {wanted} of its own: "
        "these numbers are not among the outputs."
    )


def _call(preset: AbstractKeras, loss: LossReading, weight: Array | None) -> Any:
    """Call a preset in float64."""
    mask = None if loss.mask is None else np.asarray(loss.mask, bool)
    targets = np.asarray(loss.targets)
    targets = wide(targets) if targets.dtype.kind == "f" else targets
    outputs = wide(loss.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return replace(preset, dtype=None)(outputs, targets, _wide(weight), mask)  # type: ignore[call-arg]


def _wide(weight: Array | None) -> Array | None:
    return None if weight is None else wide(weight)


def _by_preset(
    preset: AbstractKeras, loss: LossReading, convention: str
) -> tuple[float | None, str]:
    """Return the number of the preset's own history."""
    base = "keras2.11" if convention == "keras2.10" else convention
    reduction = "sum" if preset.reduction == "sum" else "sum_over_batch_size"
    changes: dict[str, Any] = {"convention": base, "reduction": reduction}
    if convention == "keras2.10" and loss.mask is not None:
        return _divided_by_all(preset, loss, changes)
    try:
        value = float(_call(replace(preset, **changes), loss, loss.sample_weight))
    except LossLedgerError as error:
        return None, _reason(error, preset, convention)
    return value, ""


def _divided_by_all(
    preset: AbstractKeras, loss: LossReading, changes: dict[str, Any]
) -> tuple[float | None, str]:
    """Return TensorFlow 2.10's number: 2.11's values, a mask of layers not in the denominator."""
    bare = replace(loss, mask=None)
    try:
        values = _call(replace(preset, **changes | {"reduction": "none"}), bare, None)
    except LossLedgerError as error:
        return None, _reason(error, preset, "keras2.10")
    return _by_values(replace(loss, values=np.asarray(values)), "keras2.10")


def _reason(error: LossLedgerError, preset: AbstractKeras, convention: str) -> str:
    """Return why a version has no number."""
    if _is_older_than(preset, convention):
        return f"That version has no {type(preset).__name__}."
    later = [n for n in LATER.get(convention, ()) if _set(preset, n)]  # type: ignore[call-overload]
    if later:
        return f"That version's {type(preset).__name__} has no {', '.join(later)}."
    return f"It does not compute this: {str(error).splitlines()[0].rstrip('.')}."


def _is_older_than(preset: AbstractKeras, convention: str) -> bool:
    order = ("keras1", "keras2.3", "keras2.10", "keras2.11", "keras3")
    return order.index(convention) < order.index(preset.since) and not (
        convention == "keras2.10" and preset.since == "keras2.11"
    )


def _set(preset: AbstractKeras, name: str) -> bool:
    fields = preset.__dataclass_fields__
    return name in fields and getattr(preset, name) != fields[name].default


def _by_values(loss: LossReading, convention: str) -> tuple[float | None, str]:
    """Return a convention's number of values, weights and masks."""
    refused = _refused(loss, convention)
    if refused:
        return None, refused
    values = wide(loss.values)
    mask = None if loss.mask is None else wide(np.asarray(loss.mask, bool))
    own = None if loss.own_mask is None else wide(np.asarray(loss.own_mask, bool))
    if values.ndim == 0:
        return float(values), ""
    weight = None if loss.sample_weight is None else spread(values.shape, loss.sample_weight)
    masks = [spread(values.shape, m) for m in (mask, own) if m is not None]
    given = np.prod([*masks, np.ones(values.shape)], axis=0)
    above = weighted_sum(values, weight, given)
    if reduction_of(loss) == "sum":
        return above, ""
    if convention == "keras1":
        return _keras1(loss, values, mask), ""
    counted = {"keras2.11": given, "keras2.10": 1.0 if own is None else spread(values.shape, own)}
    below = float((np.ones(values.shape) * counted.get(convention, 1.0)).sum())
    return (above / below, "") if below else (None, "Nothing is unmasked: it divides by 0.")


def _refused(loss: LossReading, convention: str) -> str:
    """Say why a convention cannot be applied to the values; "" if it can."""
    arrays = [a for a in (loss.sample_weight, loss.mask, loss.own_mask) if a is not None]
    if loss.values is None:
        return "The loss's values before weights are not known."
    shape = np.shape(loss.values)
    if not shape:
        told = "What it makes of weights or masks for a loss of one number is not decided."
        return told if arrays else ""
    if loss.own_mask is not None and convention not in ("keras2.10", "keras2.11"):
        return "That version has no losses that mask by themselves."
    try:
        for array in arrays:
            spread(shape, array)
    except ValueError:
        return "Weights or masks do not fit the values there."
    return ""


def _keras1(loss: LossReading, values: Array, mask: Array | None) -> float | None:
    """Return mean(w · mean over the rest(l · m / mean(m))) / mean(w ≠ 0)."""
    score = values if mask is None else values * mask / mask.mean()
    if loss.sample_weight is not None:
        weight = wide(loss.sample_weight)
        rank = weight.ndim
        score = score.mean(axis=tuple(range(rank, score.ndim))) if rank < score.ndim else score
        score = score * weight / (weight != 0).mean()
    return float(score.mean())


def _why(loss: LossReading, convention: str, value: float, preset: AbstractKeras | None) -> str:
    """Say what that version does otherwise; "" if its number is this one's."""
    if abs(value - loss.value) <= 1e-5 * max(1.0, abs(value)):
        return ""
    reasons = []
    shape = () if loss.values is None else np.shape(loss.values)
    weight = loss.sample_weight
    if weight is not None and by_sample(shape, np.shape(weight)) is not None:
        reasons.append(f"weights of shape {np.shape(weight)} weigh samples, not positions")
    if reduction_of(loss) != "sum":
        reasons += _denominators(loss, convention)
    if not reasons and preset is not None:
        reasons.append(f"{type(preset).__name__} is computed otherwise")
    told = "; ".join(reasons)
    return f"{told[0].upper()}{told[1:]}." if told else ""


def _denominators(loss: LossReading, convention: str) -> list[str]:
    """Say what that version divides by, where it is not what this one does."""
    reasons = []
    mask = mask_of(loss)
    if loss.mask is not None and mask is not None and convention in ("keras2.3", "keras2.10"):
        own = loss.own_mask if convention == "keras2.10" else None
        count = float(mask.size if own is None else wide(own).sum())
        reasons.append(
            f"masked elements stay in the denominator, {number(count)} instead of "
            f"{number(float(mask.sum()))}"
        )
    if convention == "keras1" and loss.sample_weight is not None:
        share = float((wide(loss.sample_weight) != 0).mean())
        if share != 1:
            reasons.append(
                f"it also divides by the share of weights that are not 0, {number(share)}"
            )
        if mask is not None:
            reasons.append("the mask is divided out before the weights are")
    return reasons
