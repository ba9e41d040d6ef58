# SPDX-License-Identifier: Apache-2.0
"""Models compiled with an objective of ours: its terms, and what Keras adds to them, each once."""

from dataclasses import dataclass, replace
from typing import Any

import keras

from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Extra, Piece, Reported
from lossledger.explanation.criterion._explain import explain_objective
from lossledger.explanation.model._data import Batch, batch_of, host
from lossledger.explanation.model._extras import extras_of
from lossledger.explanation.model._guard import apart, unchanged
from lossledger.explanation.model._masks import mask_maker
from lossledger.explanation.model._private import Private
from lossledger.explanation.model._read import check, settings_of, takes
from lossledger.explanation.model._reading import Reading
from lossledger.explanation.model._refuse import OF_CLASS_WEIGHTS, with_trap
from lossledger.explanation.model._reported import reported
from lossledger.explanation.model._term_readings import readings_of
from lossledger.explanation.model._terms import float_of, hosted, named, plain, with_extras
from lossledger.explanation.model.lints import lints
from lossledger.keras._compile import BANK
from lossledger.keras._evaluate import ADDED, Evaluator, Matched
from lossledger.keras._loss import ObjectiveLoss
from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.regularizers import L1, L2, AbstractRegularizer


def is_own(model: Any) -> bool:
    """Whether a model was compiled with `ll.keras.compile`."""
    return isinstance(getattr(model, "loss", None), ObjectiveLoss)


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass, and what is minimized of it.

    Attributes:
        given: What the objective is called with.
        number: The total, as a training step computes it.
        ledger: Of the same call.
        extras: What Keras adds.
        undecided: What could not be told apart.
    """

    given: Matched
    number: float
    ledger: Ledger
    extras: tuple[Extra, ...]
    undecided: tuple[str, ...]


def explain_own(
    model: Any,
    x: Tree,
    y: Tree,
    sample_weight: Tree,
    class_weight: Mapping[int, float] | None,
    classes: Sequence[str] | None,
    convention: str | None,
    private: Private,
) -> Explanation:
    """Explain a model whose loss is an objective: Σ loss weight · term + Σ regularizers.

    The number is the total of a training step on the backend; terms are computed anew on the
    host, in float64.

    Raises:
        MatchError: If the model was loaded and not restored, a convention of Keras is asked
            for, or `classes` are not those of the terms.
    """
    check(model)
    _check(model, convention)
    settings = settings_of(model, x, y, sample_weight, class_weight, private)
    batch = _batch(settings, x, y, sample_weight, class_weight)
    evaluate = getattr(model, BANK).attachment.evaluate
    passed = pass_of(model, batch, evaluate, private)
    objective = named(objective_now(evaluate), passed.given.outputs, classes)
    given = _hosted(objective, passed.given)
    with unchanged(model):
        told = explain_objective(
            objective, given.outputs, given.targets, given.sample_weight, given.mask
        )
        maker = mask_maker(model, private)
        losses = readings_of(objective, given, told.pieces, batch.source, maker)
        extras = (*_regularizers(evaluate.objective, passed.ledger), *passed.extras)
        reading = replace(settings, losses=losses, extras=extras, number=passed.number)
        notes = lints(reading)
    total = sum(p.contribution for p in told.pieces) + sum(e.amount for e in extras)
    return replace(
        told,
        subject=f"Keras model `{model.name}`, compiled with an objective",
        framework=f"Keras {keras.__version__} on {keras.backend.backend()}",
        extras=extras,
        number=passed.number,
        rows=tuple(replace(r, share=r.contribution / total if total else None) for r in told.rows),
        reported=(*_terms(told.pieces), *reported(reading)),
        notes=notes,
        undecided=passed.undecided,
        ledger=with_extras(told.ledger, extras),
    )


def _batch(
    settings: Reading,
    x: Tree,
    y: Tree,
    sample_weight: Tree,
    class_weight: Mapping[int, float] | None,
) -> Batch:
    """Return what a training step is given; an error names its trap."""
    try:
        return batch_of(x, y, sample_weight, class_weight)
    except (ShapeError, DomainError) as error:
        raise with_trap(error, settings, *OF_CLASS_WEIGHTS) from None


def _check(model: Any, convention: str | None) -> None:
    bank = getattr(model, BANK, None)
    if bank is None or bank.attachment is None:
        raise MatchError(
            "A model compiled with `ll.keras.compile` must be restored after it was loaded",
            f"Found `{model.name}` with an objective that is not attached to it",
            "`keras.models.load_model` compiles a model by itself",
            "Call ll.keras.restore(model) first",
        )
    if convention is not None:
        raise MatchError(
            "An objective divides by what its terms say, in every version of Keras",
            f"Found convention={convention!r}",
            "Conventions are of Keras' own losses",
            "Leave `convention` out; ll.presets.keras has losses of other versions",
        )


def pass_of(model: Any, batch: Batch, evaluate: Evaluator, private: Private) -> Pass:
    """Run the model once as the next training step does, and its objective on the outputs."""
    training = {"training": True} if takes(model.call, "training") else {}
    fresh = Evaluator(model, evaluate.objective, evaluate.weights, adds=True)
    with apart(model, private):
        y_pred = model(batch.x, **training)
        total, ledger = fresh(batch.y, y_pred, batch.sample_weight)
        given = fresh.matched(batch.y, y_pred, batch.sample_weight)
        extras, undecided = extras_of(model, private)
        return Pass(given, float(host(total)), ledger, extras, undecided)


def _hosted(objective: Objective, given: Matched) -> Matched:
    """Return what the objective is called with on the host, where its terms can be computed."""
    trees = given.outputs, given.targets, given.mask, given.sample_weight
    return Matched(*(hosted(objective, tree) for tree in trees))


def objective_now(evaluate: Evaluator) -> Objective:
    """Return the terms alone, with the loss weights as they are now."""
    live = {name: float_of(v.value) for name, v in evaluate.weights.items()}
    mine = evaluate.objective
    terms = [plain(t, live.get(t.name)) for t in mine.terms]
    return Objective(*terms, skip=mine.skip, output_names=mine.output_names)


def _regularizers(objective: Objective, ledger: Ledger) -> tuple[Extra, ...]:
    """Return the objective's own regularizers, with what they add."""
    found = {r.term: r.contribution for r in ledger.rows if r.kind == "regularizer"}
    mine = {r.name: r for r in objective.regularizers}
    return tuple(
        Extra("regularizer", name, _symbols(mine[name]), amount)
        for name, amount in found.items()
        if name != ADDED
    )


def _symbols(regularizer: AbstractRegularizer) -> str:
    """Return a regularizer in symbols."""
    if isinstance(regularizer, L2):
        return f"{regularizer.scale / 2 if regularizer.half else regularizer.scale:g} · Σw²"
    return f"{regularizer.scale:g} · Σ|w|" if isinstance(regularizer, L1) else regularizer.name


def _terms(pieces: Sequence[Piece]) -> tuple[Reported, ...]:
    """Return what the log says of each term."""
    rule = "The term with its loss weight; a plain mean over steps, as in `model.ledger`."
    differs = "`loss` weighs batches by their length: with a shorter last one they do not add up."
    return tuple(Reported(p.name, rule, differs, p.contribution) for p in pieces)
