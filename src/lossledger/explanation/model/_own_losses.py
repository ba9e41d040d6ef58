# SPDX-License-Identifier: Apache-2.0
"""Losses of a Keras model that are terms of ours: `ll.keras.Loss` in `model.compile`."""

from dataclasses import replace
from typing import Any

import numpy as np

from lossledger._typing import Sequence
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Piece
from lossledger.explanation.criterion._explain import explain_objective
from lossledger.explanation.model._pieces import agrees
from lossledger.explanation.model._reading import LossReading
from lossledger.explanation.model._terms import hosted, named, plain, tensors
from lossledger.frames import NamedArray
from lossledger.keras._columns import fitted
from lossledger.ledger import Row
from lossledger.objective import Objective
from lossledger.term import Term


def is_own(loss: LossReading) -> bool:
    """Whether a loss is made of terms."""
    return bool(loss.terms)


def told_of(loss: LossReading, classes: Sequence[str] | None) -> Explanation | None:
    """Explain one loss by its terms; None if they do not give Keras' number of it."""
    found = _explained(loss, classes)
    value = sum(p.contribution for p in found.pieces)
    return found if agrees(value, replace(loss, value=loss.value * loss.loss_weight)) else None


def pieces_of(loss: LossReading, told: Explanation) -> tuple[Piece, ...]:
    """Return one piece for each term."""
    return tuple(replace(p, output=loss.output) for p in told.pieces)


def rows_of(loss: LossReading, told: Explanation, total: float) -> list[Row]:
    """Return the terms' rows, as shares of the whole total."""
    return [
        replace(r, output=loss.output, share=r.contribution / total if total else None)
        for r in told.rows
    ]


def parts_of(
    losses: Sequence[LossReading], classes: Sequence[str] | None, *, several: bool
) -> tuple[list[Term], dict[str, Any]]:
    """Return losses as terms with the names of the model's outputs, and what they are called with.

    Args:
        losses: All made of terms.
        classes: Names of classes, for outputs that have as many.
        several: Whether terms of several outputs need the output in their names.
    """
    terms: list[Term] = []
    mask = {}
    for loss in losses:
        for term in _named(loss, classes).terms:
            mine = plain(term)
            name = f"{loss.output} {term.name}" if several else term.name
            mine = replace(
                mine,
                outputs=(loss.output,),
                target=None if term.target is None else loss.output,
                loss_weight=mine.loss_weight * loss.loss_weight,
                name=name,
            )
            terms.append(mine)
            if loss.mask is not None:
                mask[name] = NamedArray(loss.mask, term.axes[: loss.mask.ndim])
    wants = {t.target for t in terms if t.target is not None}
    goals = {x.output: x.targets for x in losses if x.output in wants}
    shapes = {x.output: np.shape(x.outputs) for x in losses}
    return terms, {
        "outputs": {x.output: x.outputs for x in losses},
        "targets": fitted(Objective(*terms), shapes, goals),
        "sample_weight": {x.output: x.sample_weight for x in losses if x.sample_weight is not None},
        "mask": mask,
    }


def _explained(loss: LossReading, classes: Sequence[str] | None) -> Explanation:
    """Explain one loss as an objective whose terms have the name of the model's output."""
    terms, parts = parts_of([loss], classes, several=False)
    given = {kind: arrays or None for kind, arrays in parts.items()}
    objective = Objective(*terms)
    placed = {kind: hosted(objective, tree) for kind, tree in given.items()}
    if placed["outputs"] is given["outputs"]:  # a user's function takes the backend's arrays
        placed = {kind: tensors(tree) for kind, tree in given.items()}
    return explain_objective(objective, **placed)


def _named(loss: LossReading, classes: Sequence[str] | None) -> Objective:
    """Return a loss's terms, with the names if its output has as many classes."""
    mine: Objective = loss.loss.objective
    fit = classes is not None and np.shape(loss.outputs)[-1:] == (len(classes),)
    return named(mine, loss.outputs, classes) if fit else mine
