# SPDX-License-Identifier: Apache-2.0
"""A compiled Keras model explained: read, then accounted for."""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from lossledger._errors import MatchError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Piece, Step
from lossledger.explanation.model import _own_losses
from lossledger.explanation.model._accounts import account_of, rows_of
from lossledger.explanation.model._classes import class_rows, decided, hidden
from lossledger.explanation.model._conventions import elsewhere, value_under
from lossledger.explanation.model._guard import unchanged
from lossledger.explanation.model._inner import inner_of
from lossledger.explanation.model._ledgers import Known, ledger_of
from lossledger.explanation.model._own import explain_own, is_own
from lossledger.explanation.model._pieces import Made, piece_of
from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._private import Private, of_version
from lossledger.explanation.model._read import read
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model._reported import reported
from lossledger.explanation.model.lints import lints
from lossledger.ledger import Ledger, Row
from lossledger.presets._keras_base import AbstractKeras


def explain_model(
    model: Any,
    x: Tree,
    y: Tree,
    sample_weight: Tree = None,
    class_weight: Mapping[int, float] | None = None,
    classes: Sequence[str] | None = None,
    convention: str | None = None,
    private: Private | None = None,
) -> Explanation:
    """Explain what a compiled model minimizes on one batch.

    Args:
        model: Compiled, by Keras or by `ll.keras.compile`, and built.
        x: Inputs of one batch.
        y: Targets.
        sample_weight: As `fit` takes it.
        class_weight: As `fit` takes it.
        classes: Names of the classes, for outputs that have as many.
        convention: Of which version of Keras the number is wanted; None for the one that runs.
        private: Which private names of Keras are read; None for those of its version.

    Raises:
        MatchError: If the model is not compiled or not built, or data do not fit.
    """
    private = of_version(keras.__version__) if private is None else private
    if is_own(model):
        return explain_own(model, x, y, sample_weight, class_weight, classes, convention, private)
    reading = read(model, x, y, sample_weight, class_weight, private)
    with unchanged(model):
        return _explained(reading, classes, convention)


def _explained(
    reading: Reading, classes: Sequence[str] | None, convention: str | None
) -> Explanation:
    _check_classes(reading, classes)
    if convention is not None:
        return _elsewhere(reading, convention)
    presets = [preset_of(loss.loss) for loss in reading.losses]
    made = [
        piece_of(loss, inner_of(loss, preset))
        for loss, preset in zip(reading.losses, presets, strict=True)
    ]
    told = [
        _own_losses.told_of(x, classes) if _own_losses.is_own(x) else None for x in reading.losses
    ]
    each_told = tuple(zip(reading.losses, presets, made, told, strict=True))
    pieces = tuple(
        p for x, _, m, t in each_told for p in (_own_losses.pieces_of(x, t) if t else (m.piece,))
    )
    total = sum(p.contribution for p in pieces) + sum(e.amount for e in reading.extras)
    seen = [
        _seen(x, preset, m, classes, total)
        if t is None
        else _Seen(_own_losses.rows_of(x, t, total), t.ledger, [], [])
        for x, preset, m, t in each_told
    ]
    rows = tuple(row for each in seen for row in each.rows)
    ledger, without = ledger_of(reading, _known(reading, presets, seen), classes)
    reasons = [
        *(m.undecided for _, _, m, t in each_told if m.undecided and t is None),
        *(u for s in seen for u in s.undecided),
        *without,
    ]
    return Explanation(
        subject=f"Keras model `{reading.model.name}`",
        framework=f"Keras {reading.version} on {reading.backend}",
        pieces=pieces,
        extras=reading.extras,
        number=reading.number,
        rows=rows,
        overlooked=hidden(rows),
        reported=reported(reading),
        elsewhere=elsewhere(reading),
        notes=lints(reading),
        undecided=(*reading.undecided, *reasons),
        ledger=ledger,
        decisions=tuple(dict.fromkeys(d for each in seen for d in each.decisions)),
    )


def _elsewhere(reading: Reading, convention: str) -> Explanation:
    """Explain the same outputs under the rules of another version of Keras.

    Raises:
        MatchError: If that version has no such number, or it could not be decided.
    """
    pieces = []
    for loss in reading.losses:
        value, why = value_under(loss, convention, reading)
        if value is None:
            raise _no_number(f"`{loss.spelled}` of `{loss.output}`: {why}", convention)
        pieces.append(_under(loss, value, why, convention))
    others = elsewhere(reading)
    for each in others:
        if each.convention == convention and each.number is None:
            raise _no_number(each.why, convention)
    return Explanation(
        subject=f"Keras model `{reading.model.name}`",
        framework=f"{convention}, on the outputs of Keras {reading.version}",
        pieces=tuple(pieces),
        extras=reading.extras,
        elsewhere=others,
        undecided=reading.undecided,
    )


def _under(loss: LossReading, value: float, why: str, convention: str) -> Piece:
    """Return a loss as a piece with the value that another version of Keras gives."""
    inner = inner_of(loss, preset_of(loss.loss))
    first = piece_of(loss, inner).piece
    told = Step("denominator", f"as in {convention}: {why or 'nothing is done otherwise'}")
    weight = [step for step in first.steps if step.stage == "loss_weight"]
    return replace(
        first,
        value=value,
        formula=f"{convention} {first.name}[{loss.output}]",
        steps=(*first.steps[:2], told, *weight),
        numerator=None,
        denominator=None,
    )


def _no_number(found: str, convention: str) -> MatchError:
    return MatchError(
        f"Every part of the total must have a number under {convention!r}",
        f"Found {found}",
        "That version does not have it, raises, or it cannot be decided",
        "Leave `convention` out, and read `elsewhere` for the versions that have one",
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is known of one loss's classes.

    Attributes:
        rows: By class and label.
        ledger: Of the loss alone; None if it is not a known one.
        undecided: What could not be found out.
        decisions: How hard decisions were made.
    """

    rows: list[Row]
    ledger: Ledger | None
    undecided: list[str]
    decisions: list[str]


def _seen(
    loss: LossReading,
    preset: AbstractKeras | None,
    made: Made,
    classes: Sequence[str] | None,
    total: float,
) -> _Seen:
    """Return the rows of one loss: from its preset, or else from outputs, targets and values."""
    found = decided(loss, preset)
    names = _names(loss, classes)
    told = "" if found is None else f"IoU of `{loss.output}` is of hard decisions, {found.how}."
    decisions = [told] if told else []
    if preset is not None and made.reduced is not None:
        ledger, undecided = account_of(loss, preset, names)
        if ledger is not None:
            return _Seen(rows_of(ledger, loss, total), ledger, [], decisions)
        reasons = [undecided]
    else:
        reasons = [_unknown(loss)] if found is not None else []
    if found is None:
        return _Seen([], None, reasons, decisions)
    rows = class_rows(loss, found, made.reduced, total, names)
    if preset is None and all(row.kind == "values" for row in rows):
        reasons = []
    return _Seen(rows, None, reasons, decisions)


def _known(
    reading: Reading, presets: Sequence[AbstractKeras | None], seen: Sequence[_Seen]
) -> list[Known]:
    """Return each loss with what is known of it."""
    every = zip(reading.losses, presets, seen, strict=True)
    return [Known(loss, preset, s.ledger is not None) for loss, preset, s in every]


def _unknown(loss: LossReading) -> str:
    left = None if loss.values is None else np.shape(loss.values)
    why = "it returns one number" if left == () else f"its values have shape {left}"
    return (
        f"What each class adds to `{loss.spelled}` of `{loss.output}`: the loss is not one of "
        f"Keras', and {why}. Support and IoU come from outputs and targets alone."
    )


def _names(loss: LossReading, classes: Sequence[str] | None) -> Sequence[str] | None:
    shape = np.shape(loss.outputs)
    return classes if classes is not None and shape and shape[-1] == len(classes) else None


def _check_classes(reading: Reading, classes: Sequence[str] | None) -> None:
    if classes is None or any(_names(loss, classes) is not None for loss in reading.losses):
        return
    lengths = {loss.output: np.shape(loss.outputs)[-1:] for loss in reading.losses}
    raise MatchError(
        "`classes` must have a name for each class of an output",
        f"Found {len(classes)} names for {lengths}",
        "A class has no name, or an ignored label was named",
        "Pass one name for each place of the output's last axis",
    )
