# SPDX-License-Identifier: Apache-2.0
"""Traps of Keras that apply to a model and its data."""

from lossledger.explanation._parts import Note
from lossledger.explanation.model._reading import Reading
from lossledger.explanation.model._term_readings import by_term
from lossledger.explanation.model.lints import _compile, _losses, _masks, _weights


def lints(reading: Reading) -> tuple[Note, ...]:
    """Return a note for every trap of Keras that applies here, with its numbers and a remedy.

    Args:
        reading: What was read of the model and one batch. Its `losses` may be empty, and its
            `number` NaN, where Keras raises: the notes then say why.

    Returns:
        Notes of the model first, then those of each loss. The names of their rules stay.
    """
    found: list[Note] = []
    for of_model in (*_compile.PER_MODEL, *_losses.PER_MODEL):
        found += of_model(reading)
    for loss in (each for whole in reading.losses for each in by_term(whole)):
        if not (hasattr(loss.outputs, "shape") and hasattr(loss.targets, "shape")):
            continue  # a loss of nested outputs, whose axes mean what its author says, or of none
        for of_loss in (*_weights.PER_LOSS, *_losses.PER_LOSS):
            found += of_loss(loss)
        for by_backend in (
            *_weights.BY_BACKEND,
            *_losses.BY_BACKEND,
            *_masks.BY_BACKEND,
        ):
            found += by_backend(reading, loss)
    return tuple(found)
