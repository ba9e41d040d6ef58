# SPDX-License-Identifier: Apache-2.0
"""Explanations of what is known: presets, the criteria that they stand for, and objectives."""

from dataclasses import replace
from typing import Any

import numpy as np

from lossledger._errors import MatchError
from lossledger._typing import Array, Callable, Mapping, Sequence, Tree
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Extra, Note, Piece
from lossledger.explanation.criterion._call import Answer
from lossledger.explanation.criterion._flow import Flow, flow_of
from lossledger.explanation.criterion._host import Data, framework_of, host, into
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._notes import matters
from lossledger.explanation.criterion._plain import bare
from lossledger.explanation.criterion._words import piece_of
from lossledger.frames import NamedArray
from lossledger.ledger import Ledger, Row
from lossledger.losses import Elementwise, FromSums
from lossledger.objective import Objective, match
from lossledger.presets._base import OnBatch
from lossledger.reductions import Sum
from lossledger.term import Term


def explain_known(
    known: Known, theirs: Answer, data: Data, classes: Sequence[str] | None
) -> Explanation:
    """Explain a criterion by its preset, beside what the criterion itself gave."""
    found = explain_preset(known, data, classes)
    notes = list(found.notes)
    unreduced = on_batch(known, data).unreduced
    if unreduced:
        notes.insert(0, _unreduced(theirs, found.total))
    far = abs(float(theirs.array.sum()) - found.total) / max(1.0, abs(found.total))
    if not far <= theirs.resolution:
        notes.insert(0, _deviates(known, theirs, found.total))
    number = None if unreduced else float(theirs.array)
    return replace(found, number=number, notes=tuple(notes))


def explain_preset(known: Known, data: Data, classes: Sequence[str] | None) -> Explanation:
    """Explain a preset on the data in float64; an array by its sum."""
    batch = on_batch(known, data, classes)
    _, ledger = Objective(*batch.terms)(batch.outputs, batch.targets, **batch.weights)
    notes = [Note("library", note) for note in known.preset.notes if matters(note, known.preset)]
    rows = _named(split_rows(ledger), data)
    nameless = classes is not None and all(row.cls is None for row in rows)
    return Explanation(
        known.spelled,
        known.framework,
        pieces_of(known, flows_of(batch)),
        rows=rows,
        overlooked=() if batch.unreduced else _named(ledger.overlooked(), data),
        notes=tuple(notes),
        undecided=("rows by class: the loss has no class axis",) if nameless else (),
        ledger=ledger,
    )


def _named(rows: Sequence[Row], data: Data) -> tuple[Row, ...]:
    """Return rows under the name that a lone output has in the pieces."""
    if len(data.outputs) > 1:
        return tuple(rows)
    return tuple(replace(row, output="outputs") for row in rows)


def on_batch(known: Known, data: Data, classes: Sequence[str] | None = None) -> OnBatch:
    """Return a preset's terms on the data in float64; of an array they are summed."""
    there = data.on_host()
    found = known.preset.on_batch(
        there.given, there.targets, there.sample_weight, there.mask, classes
    )
    if not found.unreduced:
        return found
    return replace(found, terms=tuple(_summed(term) for term in found.terms))


def flows_of(batch: OnBatch) -> tuple[Flow, ...]:
    """Return the stages of every term."""
    return tuple(flow_of(t, batch.outputs, batch.targets, batch.weights) for t in batch.terms)


def pieces_of(known: Known, flows: Sequence[Flow]) -> tuple[Piece, ...]:
    """Return one piece for each part of a preset."""
    several = len(flows) > 1
    return tuple(piece_of(f, "outputs", f.term.name if several else known.spelled) for f in flows)


def explain_objective(
    objective: Objective, outputs: Tree, targets: Tree, sample_weight: Tree, mask: Tree
) -> Explanation:
    """Explain an objective: a piece for each term, an extra for each regularizer."""
    given = outputs, targets, {"sample_weight": sample_weight, "mask": mask}
    _, theirs = objective(outputs, targets, sample_weight=sample_weight, mask=mask)
    if any(term.keys for term in objective.terms):
        raise MatchError(
            "An objective is explained without keys of its own",
            "Found terms with keys=...",
            "Keys are passed with every batch, and explain takes none",
            "Read the ledger of objective(outputs, targets, keys=...)",
        )
    flows = [_flow_in(objective, term, *given) for term in objective.terms]
    pieces = tuple(
        piece_of(f, ", ".join(f.term.outputs), type(f.term.loss).__name__) for f in flows
    )
    extras = tuple(
        Extra("regularizer", row.term, row.term, row.contribution)
        for row in theirs.rows
        if row.kind == "regularizer"
    )
    return Explanation(
        "ll.Objective",
        "lossledger",
        pieces,
        extras,
        float(theirs.total),
        rows=split_rows(theirs),
        overlooked=theirs.overlooked(),
        ledger=theirs,
    )


def split_rows(ledger: Ledger) -> tuple[Row, ...]:
    """Return the rows that are of a class or a label."""
    return tuple(r for r in ledger.rows if r.cls is not None or r.label is not None)


def _flow_in(
    objective: Objective, term: Term, outputs: Tree, targets: Tree, weights: Mapping[str, Any]
) -> Flow:
    """Run one term of an objective on what it reads: in float64, unless it is a user's function.

    A user's function takes the arrays of its own framework alone.
    """
    function = isinstance(bare(term.loss), Elementwise | FromSums)
    own = _detached if function else host
    there = _mapped(own, outputs), _mapped(own, targets)
    given = {"element_weight": None, **{kind: _mapped(own, w) for kind, w in weights.items()}}
    call = match(objective.terms, objective.skip, objective.output_names, *there, given, {})
    mine = {n: call.outputs[n] for n in term.outputs}
    goal = None if term.target is None else {term.target: call.targets[term.target]}
    matched = call.weights[term.name]
    return flow_of(term, mine, goal, {kind: getattr(matched, kind) for kind in weights})


def _detached(array: Array) -> Array:
    return into(framework_of(array), array)


def _summed(term: Term) -> Term:
    return replace(term, reduction=term.reduction.then(Sum()))


def _mapped(change: Callable[[Array], Array], tree: Tree) -> Tree:
    """Return a container with its arrays changed."""
    if isinstance(tree, NamedArray):
        return NamedArray(_mapped(change, tree.array), tree.axes)
    if isinstance(tree, Mapping):
        return {n: _mapped(change, a) for n, a in tree.items()}
    if isinstance(tree, tuple | list):
        return [_mapped(change, a) for a in tree]
    return tree if tree is None or not hasattr(tree, "shape") else change(tree)


def _unreduced(theirs: Answer, total: float) -> Note:
    array: Array = theirs.array
    shape = tuple(array.shape)
    far = abs(float(array.sum()) - total) / max(1.0, abs(total))
    return Note(
        "unreduced",
        f"It returns an array of shape {shape}, not a number: what is explained is its sum, "
        f"{float(array.sum()):.6g} (deviation {far:.1e}); its mean is {float(array.mean()):.6g}.",
        "Call .mean() or .sum() on it before the gradient is taken, and say which.",
    )


def _deviates(known: Known, theirs: Answer, total: float) -> Note:
    return Note(
        "deviates",
        f"{known.spelled} was recognized by its type, but gave {float(np.sum(theirs.array)):.9g} "
        f"in {theirs.dtype} where its preset gives {total:.9g}.",
        "Check for hooks, patched methods or another version; do not rely on the steps above.",
    )
