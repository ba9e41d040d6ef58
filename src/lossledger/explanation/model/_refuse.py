# SPDX-License-Identifier: Apache-2.0
"""Why Keras could not compute a loss, in four parts; known traps say it in their own words."""

from typing import Any

import keras

from lossledger._errors import DomainError, LossLedgerError, MatchError, ShapeError
from lossledger._typing import Tree
from lossledger.explanation._parts import Note
from lossledger.explanation.model._probe import Record
from lossledger.explanation.model._reading import Reading
from lossledger.explanation.model.lints import lints

OF_CLASS_WEIGHTS = ("class-weight-for-maps", "class-weight-by-argmax")
"""Traps that keep class weights from becoming weights of samples."""

OF_NUMBERS = ("unreduced-loss",)
"""Traps that leave a total that is no number."""

_OF_FORMS = ("keras2-form", *OF_NUMBERS)
_OF_WEIGHTS = (
    "sample-weight-per-timestep",
    "sample-weight-across-mask",
    "sample-weight-narrower-than-mask",
)
_ABOUT_DATA = (ValueError, TypeError, RuntimeError, LookupError, AttributeError)
_OF_THE_MACHINE = ("OutOfMemoryError", "ResourceExhaustedError")


def is_of_keras(error: Exception) -> bool:
    """Return whether Keras or its backend may have refused what was compiled or passed.

    Warnings that were made errors, a lack of memory, mistakes in code such as a NameError, and
    errors of ours say themselves what they are about.
    """
    if isinstance(error, LossLedgerError | NotImplementedError | RecursionError):
        return False
    kind = type(error)
    if kind.__name__ in _OF_THE_MACHINE or str(error).startswith("RESOURCE_EXHAUSTED"):
        return False
    return isinstance(error, _ABOUT_DATA) or kind.__module__.startswith("tensorflow.")


def with_trap(error: LossLedgerError, reading: Reading, *rules: str) -> LossLedgerError:
    """Return an error that gives a known trap as its cause, with the trap's remedy.

    Args:
        error: Ours.
        reading: What is known, without numbers.
        rules: The traps that may have caused it.

    Returns:
        The error itself where none of them applies.
    """
    for note in _notes(reading):
        if note.rule in rules and _raises(note):
            cause = f"This is the trap `{note.rule}`. {note.found}"
            return type(error)(error.rule, error.found, cause, note.remedy)
    return error


def refused(
    error: Exception, reading: Reading, y: Tree, y_pred: Tree, record: Record
) -> LossLedgerError:
    """Return the error that explains one of Keras.

    Args:
        error: What Keras raised.
        reading: What is known of the model, and of the loss that failed; without numbers.
        y: Targets.
        y_pred: What the model gave.
        record: The calls of losses until then; `record.open` is the one that failed.
    """
    said = f"Keras says: {type(error).__name__}: {_first_line(error)}"
    if record.open is None:
        found = f"Found targets {_shapes(y)} for outputs {_shapes(y_pred)}"
        of_forms = MatchError(
            "Targets, losses and loss weights must match the model's outputs",
            f"{found}. {said}",
            "An output has no target or no loss, or their names differ",
            "Pass y and compile loss= in the structure of the outputs",
        )
        return with_trap(of_forms, reading, *_OF_FORMS)
    call = record.open
    if _gives_none(call.loss, call.targets, call.outputs):
        return DomainError(
            "A loss must return a number, or an array of values",
            f"Found that `{_name(call.loss)}` returns None",
            "Its `return` is missing",
            "Return the values, one for each sample",
        )
    of_shapes = ShapeError(
        f"Targets must fit the outputs under the loss `{_name(call.loss)}`",
        f"Found targets {_shapes(call.targets)}, outputs {_shapes(call.outputs)}, weights "
        f"{_shapes(call.sample_weight)}. {said}",
        "Labels were passed where rows are wanted or the other way round, an axis is missing, or "
        "sample weights do not fit the loss's values",
        "Give targets the shape that this loss wants, and weights the shape of its values",
    )
    return with_trap(of_shapes, reading, *_OF_WEIGHTS)


def _notes(reading: Reading) -> tuple[Note, ...]:
    """Return the traps that apply; none where they cannot be told."""
    try:
        return lints(reading)
    except Exception:  # noqa: BLE001 - the error that is explained comes first
        return ()


def _raises(note: Note) -> bool:
    """Whether a trap ends in an error here: weights of samples may also fall on other places."""
    return note.rule not in _OF_WEIGHTS or "it raises" in note.found


def _gives_none(loss: Any, targets: Tree, outputs: Tree) -> bool:
    try:
        return loss.call(targets, outputs) is None
    except Exception:  # noqa: BLE001 - a user's loss may raise anything; it is explained elsewhere
        return False


def _name(loss: Any) -> str:
    return str(getattr(loss, "name", type(loss).__name__))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [""])[0][:200].rstrip(".")


def _shapes(tree: Tree) -> str:
    leaves = [None if x is None else tuple(x.shape) for x in keras.tree.flatten(tree)]
    return ", ".join("none" if shape is None else str(shape) for shape in leaves)
