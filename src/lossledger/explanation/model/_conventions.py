# SPDX-License-Identifier: Apache-2.0
"""The same data under other versions of Keras: what the number would have been, and why."""

import keras
import numpy as np

from lossledger._errors import MatchError
from lossledger.explanation._parts import Elsewhere
from lossledger.explanation.model._formulas import (
    MEANS,
    WEIGHTED_MEAN,
    reduction_of,
    weighted_sum,
    wide,
)
from lossledger.explanation.model._layers import named, recurrent, ways
from lossledger.explanation.model._older import older_value
from lossledger.explanation.model._reading import LossReading, Reading

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
        return older_value(loss, convention, reading)
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
