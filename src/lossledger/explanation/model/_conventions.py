# SPDX-License-Identifier: Apache-2.0
"""The same data under other versions of Keras: what the number would have been, and why."""

import warnings
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array
from lossledger.explanation._parts import Elsewhere
from lossledger.explanation._show import number
from lossledger.explanation.model._formulas import (
    MEANS,
    WEIGHTED_MEAN,
    by_sample,
    mask_of,
    reduction_of,
    spread,
    weighted_sum,
    wide,
)
from lossledger.explanation.model._layers import named, recurrent, ways
from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.presets._keras_base import AbstractKeras
from lossledger.presets._keras_history import LATER

VERSIONS = {
    "keras1": "Keras 1 to 2.2",
    "keras2.3": "Keras 2.3 (TensorFlow 2.0 to 2.9 divide alike)",
    "keras2.10": "TensorFlow 2.10",
    "keras2.11": "TensorFlow 2.11 to 2.15, tf_keras",
    "keras3": "Keras 3.0 to 3.15",
    "keras3.16": "Keras 3.16",
}
"""Conventions, oldest first, and the versions that they stand for."""

_KERAS_2 = ("keras1", "keras2.3", "keras2.10", "keras2.11")
_CLOSE = 1e-4


def elsewhere(reading: Reading) -> tuple[Elsewhere, ...]:
    """Return this model's total under every convention: Σ loss weight · value + Σ extras.

    Regularizers of variables are alike in all versions. The mask is that of this version, but
    for Keras 3.16, where recurrent layers no longer pass it on.

    Args:
        reading: What was read of the model and one batch.
    """
    return tuple(_total(reading, name) for name in VERSIONS)


def value_under(
    loss: LossReading, convention: str, reading: Reading | None = None
) -> tuple[float | None, str]:
    """Return one loss's number under a convention, and what is done otherwise.

    Losses of Keras are computed by their preset of that convention; for others the convention
    is applied to the values.

    Args:
        loss: One loss of one output.
        convention: One of `VERSIONS`.
        reading: Of the whole model; without it nothing is known of recurrent layers.

    Returns:
        (number, why). None for the number where that version does not have the loss, raises,
        or it cannot be decided; `why` says which. "" where nothing is done otherwise.

    Raises:
        MatchError: If there is no such convention.
    """
    if convention not in VERSIONS:
        raise MatchError(
            f"`convention` must be one of {', '.join(VERSIONS)}",
            f"Found {convention!r}",
            "The name is misspelled",
            "Use 'keras2.11' for TensorFlow 2.11 and later, and for tf_keras",
        )
    if convention in _KERAS_2:
        return _older(loss, convention)
    return _newer(loss, convention, reading)


def _total(reading: Reading, convention: str) -> Elsewhere:
    """Return the model's total under a convention."""
    total, reasons, decided = 0.0, [], bool(reading.losses) or bool(np.isfinite(reading.number))
    several = len(reading.losses) > 1
    for loss in reading.losses:
        value, why = value_under(loss, convention, reading)
        decided = decided and value is not None
        total += 0.0 if value is None else loss.loss_weight * value
        if why:
            reasons.append(f"`{loss.output}`: {why}" if several else why)
    for extra in reading.extras:
        total += extra.amount
        if extra.kind == "activity regularizer" and convention in ("keras1", "keras2.3"):
            decided = False
            reasons.append(
                "Activity regularizers are divided by the batch in TensorFlow's Keras, and were "
                "not in Keras of its own: there is one number for each."
            )
    told = " ".join(dict.fromkeys(reasons))
    return Elsewhere(convention, VERSIONS[convention], total if decided else None, told)


def _version(reading: Reading | None) -> tuple[int, ...]:
    """Return major and minor version of Keras."""
    text = str(keras.__version__) if reading is None else reading.version
    return tuple(int(n) for n in text.split(".")[:2])


# -------------------------------------------------------------------- Keras 3


def _newer(loss: LossReading, convention: str, reading: Reading | None) -> tuple[float | None, str]:
    """Return the number of a Keras 3: this one's, unless a mask meets recurrent layers."""
    here = "keras3.16" if _version(reading) >= (3, 16) else "keras3"
    if convention == here:
        return loss.value, ""
    if here == "keras3.16":
        return _before_316(loss, reading)
    return (loss.value, "") if loss.mask is None else _in_316(loss, reading)


def _in_316(loss: LossReading, reading: Reading | None) -> tuple[float | None, str]:
    """Return Keras 3.16's number of a loss that has a mask here."""
    found = None if reading is None else ways(reading.model, loss.output)
    if not found:
        return None, (
            "The mask reaches the loss here; whether it passes recurrent layers, which no longer "
            "pass it on in 3.16, cannot be read from this model."
        )
    if not any(way.recurrent for way in found):
        return loss.value, ""
    if not all(way.recurrent for way in found):
        return None, (
            "Some ways of the mask pass recurrent layers, which no longer pass it on in 3.16, and "
            "some do not: which of them the output keeps is not decided."
        )
    stopping = [layer for way in found for layer in way.layers if recurrent(layer)][:1]
    value = _without_mask(loss)
    why = f"{named(stopping)} no longer passes the mask on: padded steps count"
    if value is None:
        return None, f"{why}; the loss's values are not known."
    return value, f"{why}, {_counts(loss)}."


def _before_316(loss: LossReading, reading: Reading | None) -> tuple[float | None, str]:
    """Return the number of Keras 3.15 from a reading of 3.16."""
    found = None if reading is None else ways(reading.model, loss.output)
    if loss.mask is None and (found is None or any(way.recurrent for way in found)):
        return None, (
            "Before 3.16 recurrent layers passed a mask on to the loss; this version does not make "
            "it, so it is not known."
        )
    return loss.value, ""


def _without_mask(loss: LossReading) -> float | None:
    """Return Keras 3's number without the mask of the output."""
    if loss.values is None:
        return None
    if np.ndim(loss.values) == 0:
        return loss.value if reduction_of(loss) != "sum" else None
    own = None if loss.own_mask is None else wide(np.asarray(loss.own_mask, bool))
    try:
        above = weighted_sum(loss.values, loss.sample_weight, own)
    except ValueError:
        return None
    reduction = reduction_of(loss)
    if reduction == "sum":
        return above
    if reduction == WEIGHTED_MEAN and loss.sample_weight is not None:
        below = float((wide(loss.sample_weight) * (1.0 if own is None else own)).sum())
    elif reduction in (*MEANS, WEIGHTED_MEAN):
        below = float(np.size(loss.values) if own is None else own.sum())
    else:
        return None
    return above / below if below else 0.0


def _counts(loss: LossReading) -> str:
    mask = wide(np.asarray(loss.mask, bool))
    return f"all {mask.size:,} instead of {int(mask.sum()):,}"


# -------------------------------------------------------------------- Keras 1 and 2


def _older(loss: LossReading, convention: str) -> tuple[float | None, str]:
    """Return the number of a Keras 1 or 2."""
    if reduction_of(loss) in (WEIGHTED_MEAN, "none"):
        return None, f"There is no reduction {reduction_of(loss)!r} to train with."
    if convention == "keras1" and reduction_of(loss) == "sum":
        return None, "There are no reductions: every loss is a mean."
    preset = preset_of(loss.loss)
    if preset is not None and _agrees(preset, loss):
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
