# SPDX-License-Identifier: Apache-2.0
"""A compiled Keras model explained: read, then accounted for."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossledger._errors import MatchError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Piece
from lossledger.explanation.model import _own_losses
from lossledger.explanation.model._accounts import account_of, ledger_of, rows_of
from lossledger.explanation.model._classes import class_rows, decided, hidden
from lossledger.explanation.model._conventions import elsewhere, value_under
from lossledger.explanation.model._guard import unchanged
from lossledger.explanation.model._inner import inner_of
from lossledger.explanation.model._lints import lints
from lossledger.explanation.model._own import explain_own, is_own
from lossledger.explanation.model._pieces import Made, piece_of
from lossledger.explanation.model._presets import preset_of
from lossledger.explanation.model._private import Private
from lossledger.explanation.model._read import read
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model._reported import reported
from lossledger.explanation.model._terms import with_extras
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
    private: Private = Private(),  # noqa: B008 - frozen
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
        private: Which private names of Keras are read.

    Raises:
        MatchError: If the model is not compiled or not built, or data do not fit.
    """
    if is_own(model):
        return explain_own(model, x, y, sample_weight, class_weight, classes, convention, private)
    reading = read(model, x, y, sample_weight, class_weight, private)
    with unchanged(model):
        return _explained(reading, classes, convention)


def _explained(
    reading: Reading, classes: Sequence[str] | None, convention: str | None
) -> Explanation:
    presets = [preset_of(loss.loss) for loss in reading.losses]
    made = [
        piece_of(loss, inner_of(loss, preset))
        for loss, preset in zip(reading.losses, presets, strict=True)
    ]
    told = [
        _own_losses.told_of(x, classes) if _own_losses.is_own(x) else None for x in reading.losses
    ]
    each_told = tuple(zip(reading.losses, made, told, strict=True))
    pieces = tuple(
        p for x, m, t in each_told for p in (_own_losses.pieces_of(x, t) if t else (m.piece,))
    )
    undecided = [
        *reading.undecided,
        *(m.undecided for _, m, t in each_told if m.undecided and not t),
    ]
    if convention is not None:
        pieces = tuple(
            _under(m.piece, loss, reading, convention)
            for loss, m in zip(reading.losses, made, strict=True)
        )
    total = sum(p.contribution for p in pieces) + sum(e.amount for e in reading.extras)
    _check_classes(reading, classes)
    rows: list[Row] = []
    decisions: list[str] = []
    ledgers: list[Ledger | None] = []
    if convention is None:
        for preset, (loss, each, own) in zip(presets, each_told, strict=True):
            if own is not None:
                rows += _own_losses.rows_of(loss, own, total)
                continue
            seen = _seen(loss, preset, each, classes, total)
            rows += seen.rows
            undecided += seen.undecided
            decisions += seen.decisions
            ledgers.append(seen.ledger)
    known = [p for p in presets if p is not None]
    whole = None
    if ledgers and None not in ledgers and len(known) == len(presets):
        whole = ledger_of(reading, known, classes)
    elif convention is None and told and None not in told:
        whole = with_extras(_own_losses.ledger_of(reading.losses, classes), reading.extras)
    return Explanation(
        subject=f"Keras model `{reading.model.name}`",
        framework=_framework(reading, convention),
        pieces=pieces,
        extras=reading.extras,
        number=reading.number if convention is None else None,
        rows=tuple(rows),
        overlooked=hidden(rows),
        reported=reported(reading),
        elsewhere=elsewhere(reading),
        notes=lints(reading),
        undecided=tuple(undecided),
        ledger=whole,
        decisions=tuple(dict.fromkeys(decisions)),
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
    told = "" if found is None else f"`{loss.output}`: decided for {found.how}."
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
    if all(row.kind == "values" for row in rows):
        reasons = []
    return _Seen(rows, None, reasons, decisions)


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


def _under(piece: Piece, loss: LossReading, reading: Reading, convention: str) -> Piece:
    """Return a piece with the value that another version of Keras gives."""
    value, why = value_under(loss, convention, reading)
    if value is None:
        raise MatchError(
            f"Every loss of the model must exist under {convention!r}",
            f"Found `{loss.spelled}` of `{loss.output}`: {why}",
            "That version does not have it, raises, or the loss is not one of Keras'",
            "Leave `convention` out, and read `elsewhere` for the versions there are",
        )
    told = replace(piece.steps[-1], stage="denominator", text=f"{convention}: {why}", amount=None)
    steps = (*piece.steps[:2], told) if why else piece.steps
    return replace(piece, value=value, steps=steps, numerator=None, denominator=None)


def _framework(reading: Reading, convention: str | None) -> str:
    here = f"Keras {reading.version} on {reading.backend}"
    return here if convention is None else f"{convention}, on the outputs of {here}"
