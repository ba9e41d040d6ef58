# SPDX-License-Identifier: Apache-2.0
"""What a loss takes its outputs for: logits or probabilities, of channels or of rows."""

from dataclasses import dataclass

import numpy as np

from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._reading import LossReading
from lossledger.losses import BinaryCrossEntropy
from lossledger.presets import keras as presets
from lossledger.reductions import Mean
from lossledger.term import Term

YES_NO = (presets.BinaryCrossentropy, presets.BinaryFocalCrossentropy)
LOGITS = (*YES_NO, presets.CategoricalCrossentropy, presets.SparseCategoricalCrossentropy,
          presets.CategoricalFocalCrossentropy)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """What outputs must be.

    Attributes:
        logits: Whether any numbers; else probabilities.
        axis: Along which they are one distribution; None if each stands by itself.
    """

    logits: bool
    axis: int | None


def scores_of(loss: LossReading) -> Scores | None:
    """Return what a cross entropy of Keras, or a term, wants; None where it is not known."""
    if loss.terms:
        return _of_term(loss.terms[0], loss) if len(loss.terms) == 1 else None
    preset = preset_of(loss.loss)
    if not isinstance(preset, LOGITS):
        return None
    return Scores(preset.from_logits, None if isinstance(preset, YES_NO) else preset.axis)


def channels_of(loss: LossReading) -> int:
    """Return over how many channels a binary cross entropy is a mean; 0 if it is none."""
    shape = np.shape(loss.outputs)
    if loss.terms:
        term = loss.terms[0]
        fits = len(term.axes) == len(shape) and "class" in term.axes
        alike = fits and not _by_channel(loss, term.axes.index("class"))
        return shape[term.axes.index("class")] if alike and _is_mean(term) else 0
    preset = preset_of(loss.loss)
    if not isinstance(preset, YES_NO) or len(shape) < 2:
        return 0
    return int(shape[preset.axis])


def _by_channel(loss: LossReading, axis: int) -> bool:
    """Whether weights or a mask may differ between channels."""
    rank = np.ndim(loss.outputs)
    shapes = [np.shape(w) for w in (loss.sample_weight, loss.mask) if w is not None]
    return any(len(shape) == rank and shape[axis] > 1 for shape in shapes)


def _is_mean(term: Term) -> bool:
    """Whether a term is a mean of yes/no values over all its axes at once."""
    first, *more = term.reduction.stages or (None,)
    if more or not isinstance(first, Mean) or first.keep(term.axes):
        return False
    if term.class_weight is not None:  # channels do not have the same weight
        return False
    over = first.denominator in ("weights", "elements", "mask")
    return isinstance(term.loss, BinaryCrossEntropy) and over


def _of_term(term: Term, loss: LossReading) -> Scores | None:
    domain = term.facts.domains[0]
    if domain not in ("logits", "probabilities", "distribution") or not term.facts.scores:
        return None
    rows = term.facts.scores == "softmax" and "class" in term.axes
    fits = len(term.axes) == np.ndim(loss.outputs)
    axis = term.axes.index("class") if rows and fits else None
    return None if rows and not fits else Scores(domain == "logits", axis)
