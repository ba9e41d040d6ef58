# SPDX-License-Identifier: Apache-2.0
"""Why Keras could not compute a loss, in four parts."""

from typing import Any

import keras

from lossledger._errors import DomainError, LossLedgerError, MatchError, ShapeError
from lossledger._typing import Tree
from lossledger.explanation.model._probe import Record


def refused(error: Exception, y: Tree, y_pred: Tree, record: Record) -> LossLedgerError:
    """Return the error that explains one of Keras.

    Args:
        error: What Keras raised.
        y: Targets.
        y_pred: What the model gave.
        record: The calls of losses until then; `record.open` is the one that failed.
    """
    said = f"Keras says: {type(error).__name__}: {_first_line(error)}"
    if record.open is None:
        found = f"Found targets {_shapes(y)} for outputs {_shapes(y_pred)}"
        return MatchError(
            "Targets, losses and loss weights must match the model's outputs",
            f"{found}. {said}",
            "An output has no target or no loss, or their names differ",
            "Pass y and compile loss= in the structure of the outputs",
        )
    loss, targets, outputs, weights = record.open
    if _gives_none(loss, targets, outputs):
        return DomainError(
            "A loss must return a number, or an array of values",
            f"Found that `{_name(loss)}` returns None",
            "Its `return` is missing",
            "Return the values, one for each sample",
        )
    return ShapeError(
        f"Targets must fit the outputs under the loss `{_name(loss)}`",
        f"Found targets {_shapes(targets)}, outputs {_shapes(outputs)}, weights "
        f"{_shapes(weights)}. {said}",
        "Labels were passed where rows are wanted or the other way round, an axis is missing, or "
        "sample weights do not fit the loss's values",
        "Give targets the shape that this loss wants, and weights the shape of its values",
    )


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
