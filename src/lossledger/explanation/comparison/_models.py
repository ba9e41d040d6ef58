# SPDX-License-Identifier: Apache-2.0
"""Compiled Keras models as they are compared: read once, each loss as it is called alone."""

import inspect
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array, Mapping, Sequence, Tree
from lossledger.explanation._parts import Piece, Step
from lossledger.explanation.comparison._refusals import failed, require_sum
from lossledger.explanation.comparison._sides import Source, source_of, tried
from lossledger.explanation.comparison._units import Side, Unit, lacking
from lossledger.explanation.criterion._host import Data, host, into
from lossledger.explanation.model import explain_model
from lossledger.explanation.model._conventions import elsewhere, value_under
from lossledger.explanation.model._data import batch_of
from lossledger.explanation.model._guard import unchanged
from lossledger.explanation.model._inner import inner_of
from lossledger.explanation.model._own import is_own, objective_now, pass_of
from lossledger.explanation.model._pieces import agrees, piece_of
from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._private import Private, of_version
from lossledger.explanation.model._probe import loss_of
from lossledger.explanation.model._read import read
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.frames import NamedArray
from lossledger.keras._compile import BANK
from lossledger.keras._evaluate import Matched
from lossledger.keras._loss import Loss
from lossledger.objective import Objective, match
from lossledger.presets._keras_base import AbstractKeras
from lossledger.presets.migration import REFUSALS
from lossledger.term import Term

_BASES = {"keras2.10": ("keras2.11", "keras2.3"), "keras3.16": ("keras3",)}
"""Versions whose losses, called alone, are computed by another's presets, one or the other."""

_CLOSE = 1e-4


def side_of(
    model: Any,
    data: tuple[Tree, Tree, Tree],
    class_weight: Mapping[int, float] | None,
    convention: str | None,
    which: str,
) -> Side:
    """Return what a compiled model minimizes on one batch, as it is compared.

    Args:
        model: The model.
        data: Inputs, targets and sample weights, as `fit` takes them.
        class_weight: As `fit` takes it.
        convention: The version of Keras whose numbers are wanted; None for the one that is there.
        which: "first" or "second", for errors.

    Raises:
        MatchError: If the model is not compiled or not built, does not run on the data, minimizes
            something else than the sum of its parts, or a version of Keras has no such number.
        DomainError: If it gives NaN or inf.
    """
    private = of_version(keras.__version__)
    try:
        if is_own(model):
            return _own(model, data, class_weight, convention, which, private)
        reading = read(model, *data, class_weight, private)
        amounts = [(loss.spelled, loss.loss_weight * loss.value) for loss in reading.losses]
        require_sum(f"The {which} model, `{model.name}`,", reading.number, amounts, reading.extras)
        with unchanged(model):
            _check(reading, convention)
            units = tuple(_unit(loss, convention, reading) for loss in reading.losses)
    except (LossLedgerError, Warning):
        raise
    except Exception as error:
        raise failed(f"The {which} model, `{model.name}`,", error) from error
    return Side(
        f"Keras model `{model.name}`" + (f" in {convention}" if convention else ""),
        units,
        reading.extras,
        reading.number if convention is None else None,
        next((loss.weight_source for loss in reading.losses if loss.weight_source), ""),
        _draws(model),
        reading.undecided,
        _places(model),
    )


def _check(reading: Reading, convention: str | None) -> None:
    """Require that a version of Keras has a number.

    Raises:
        MatchError: If it has none.
    """
    if convention is None:
        return
    for loss in reading.losses:
        value_under(loss, convention, reading)  # raises what there is to say of the name
    for each in elsewhere(reading):
        if each.convention == convention and each.number is None:
            raise MatchError(
                f"Every part of the total must have a number under {convention!r}",
                f"Found {each.why}",
                "That version does not have it, raises, or it cannot be decided",
                "Explain the model, and read `elsewhere` for the versions that have one",
            )


def _unit(loss: LossReading, convention: str | None, reading: Reading) -> Unit:
    """Return one loss of one output."""
    preset = preset_of(loss.loss)
    value, steps = loss.value, piece_of(loss, inner_of(loss, preset)).piece.steps
    if convention is not None:
        there, why = value_under(loss, convention, reading)
        value = loss.value if there is None else there
        told = f"as in {convention}: {why or 'nothing is done otherwise'}"
        steps = (*steps[:2], Step("denominator", told))
    data = _data(loss)
    found = _alone(replace(loss, value=value), preset, convention, data)
    thing, source = found if found is not None else (None, None)
    why = "" if source else f"{loss.spelled} of `{loss.output}` does not give its number alone"
    return Unit(loss.output, loss.spelled, value, loss.loss_weight, steps, data, source, thing, why)


def _data(loss: LossReading) -> Data:
    """Return what a loss is called with, as arrays of the backend."""
    outputs = tuple(np.asarray(o) for o in keras.tree.flatten(loss.outputs))
    targets = keras.tree.flatten(loss.targets)
    goal = np.asarray(targets[0]) if len(targets) == 1 else None
    return Data(outputs, goal, loss.sample_weight, loss.mask).map(_tensor)


def _tensor(array: Array) -> Array:
    return into(keras.backend.backend(), np.asarray(array))


def _alone(
    loss: LossReading, preset: AbstractKeras | None, convention: str | None, data: Data
) -> tuple[Any, Source] | None:
    """Return (the loss, how it is called alone), if that gives its number in the model."""
    if keras.tree.is_nested(loss.outputs) or keras.tree.is_nested(loss.targets):
        return None
    for thing, without in _candidates(loss, preset, convention):
        given = lacking(data, without)
        try:
            source = replace(source_of(thing, given), without=frozenset(without))
        except LossLedgerError:
            continue
        found = tried(source, data)
        if found is not None and agrees(found.number, loss):
            return thing, replace(source, name=loss.spelled, convention=convention or "")
    return None


def _candidates(
    loss: LossReading, preset: AbstractKeras | None, convention: str | None
) -> list[tuple[Any, tuple[str, ...]]]:
    """Return what the loss may be, called alone, and the weights it is called without."""
    if isinstance(loss.loss, Loss):
        return [(loss.loss.objective, ())]
    if preset is None:
        return [(loss.loss, ())] if convention in (None, "keras3") and loss.mask is None else []
    named = convention or "keras3"
    bases = _BASES.get(named, (named,))
    settings: dict[str, Any] = {"dtype": None, "name": type(preset)().name}
    if bases != ("keras3",):
        summed = preset.reduction == "sum"
        settings["reduction"] = "sum" if summed else "sum_over_batch_size"
    found: list[tuple[Any, tuple[str, ...]]] = []
    for base in bases:
        settings["convention"] = base
        try:
            there = replace(preset, **settings)
        except REFUSALS:
            continue
        found += [(there, ()), (there, ("mask",))] if loss.mask is not None else [(there, ())]
    return found


def as_keras(thing: Any) -> Any:
    """Return a function of (y_true, y_pred) as the loss that Keras makes of it, others as is."""
    if not inspect.isfunction(thing):
        return thing
    named = next(iter(inspect.signature(thing).parameters), "")
    return loss_of(thing, None, None, Private(allowed=False)) if named == "y_true" else thing


def _places(model: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of trainable variables, and of layers, in order."""
    layers = tuple(getattr(layer, "path", layer.name) for layer in model.layers)
    return tuple(v.path for v in model.trainable_variables), layers


def _draws(model: Any) -> bool:
    """Whether the model keeps states of random numbers."""
    return any("seed_generator" in v.path for v in model.variables)


def _own(
    model: Any,
    data: tuple[Tree, Tree, Tree],
    class_weight: Mapping[int, float] | None,
    convention: str | None,
    which: str,
    private: Private,
) -> Side:
    """Return a model compiled with an objective: a unit for each output that terms read."""
    told = explain_model(model, *data, class_weight, None, convention)
    amounts = [(p.loss, p.contribution) for p in told.pieces]
    require_sum(f"The {which} model, `{model.name}`,", told.number, amounts, told.extras)
    evaluate = getattr(model, BANK).attachment.evaluate
    batch = batch_of(*data, class_weight)
    given = _hosted(pass_of(model, batch, evaluate, private).given)
    with unchanged(model):
        units = _units(objective_now(evaluate), given, told.pieces)
    return Side(
        told.subject,
        units,
        told.extras,
        told.number,
        batch.source,
        _draws(model),
        told.undecided,
        _places(model),
    )


def _units(objective: Objective, given: Matched, pieces: Sequence[Piece]) -> tuple[Unit, ...]:
    """Return the terms of each output as one unit."""
    terms = objective.terms
    weights = {"mask": given.mask, "sample_weight": given.sample_weight, "element_weight": None}
    call = match(
        terms,
        objective.skip,
        objective.output_names,
        given.outputs,
        given.targets,
        weights,
        {},
    )
    found = []
    for outputs in dict.fromkeys(t.outputs for t in terms):
        mine = [t for t in terms if t.outputs == outputs]
        data = [_of_term(t, call) for t in mine]
        told = [p for p in pieces if p.name in [t.name for t in mine]]
        found.append(_term_unit(mine, data[0], told))
    return tuple(found)


def _of_term(term: Term, call: Any) -> Data:
    """Return what one term reads."""
    placed = call.weights[term.name]
    weight, mask = (
        w.array if isinstance(w, NamedArray) else w for w in (placed.sample_weight, placed.mask)
    )
    goal = None if term.target is None else call.targets[term.target]
    return Data(tuple(call.outputs[n] for n in term.outputs), goal, weight, mask).map(_tensor)


def _term_unit(terms: Sequence[Term], data: Data, pieces: Sequence[Piece]) -> Unit:
    """Return terms of the same outputs; one alone is compared before its loss weight."""
    weight = pieces[0].loss_weight if len(terms) == 1 else 1.0
    bare = [replace(t, loss_weight=1.0) for t in terms] if len(terms) == 1 else terms
    value = sum(p.contribution for p in pieces) if len(terms) > 1 else pieces[0].value
    thing = Objective(*bare)
    found = tried(source_of(thing, data), data) if len({t.target for t in terms}) == 1 else None
    close = found is not None and abs(found.number - value) <= _CLOSE * max(abs(value), 0.1)
    name = " + ".join(p.loss for p in pieces)
    output = ", ".join(terms[0].outputs)
    steps = tuple(s for p in pieces for s in p.steps if s.stage != "loss_weight")
    source = replace(source_of(thing, data), name=name) if close else None
    why = "" if close else f"{name} of `{output}`, called alone, gives another number"
    return Unit(output, name, value, weight, steps, data, source, thing, why)


def _hosted(given: Matched) -> Matched:
    """Return arrays of NumPy, in the dtypes that the model has."""

    def moved(tree: Any) -> Any:
        if isinstance(tree, NamedArray):
            return NamedArray(moved(tree.array), tree.axes)
        if isinstance(tree, Mapping):
            return {name: moved(each) for name, each in tree.items()}
        if isinstance(tree, list | tuple):
            return [moved(each) for each in tree]
        return None if tree is None else host(tree)

    return Matched(
        *(moved(getattr(given, n)) for n in ("outputs", "targets", "mask", "sample_weight"))
    )
