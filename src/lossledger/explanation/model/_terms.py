# SPDX-License-Identifier: Apache-2.0
"""Terms inside Keras, as they are explained: plain numbers, names for classes, arrays, extras."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lossledger._array import is_array
from lossledger._errors import MatchError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.engines import Limbs
from lossledger.explanation._parts import Extra
from lossledger.explanation.criterion._plain import bare
from lossledger.explanation.model._data import host
from lossledger.frames import NamedArray
from lossledger.ledger import Ledger
from lossledger.losses import Elementwise, FromSums
from lossledger.objective import Objective
from lossledger.term import Term


def plain(term: Term, loss_weight: float | None = None) -> Term:
    """Return a term with numbers of NumPy in the place of arrays, and another loss weight."""
    weight = float_of(term.loss_weight) if loss_weight is None else loss_weight
    classes = term.class_weight
    return replace(
        term, loss_weight=weight, class_weight=host(classes) if is_array(classes) else classes
    )


def float_of(number: Any) -> float:
    """Return a number; 0.3 where an array of float32 keeps 0.30000001."""
    return float(str(np.asarray(host(number))[()]))


def with_extras(ledger: Ledger | None, extras: Sequence[Extra]) -> Ledger | None:
    """Return the ledger of the same total in which every extra is a row."""
    if ledger is None:
        return None
    rows = tuple((f"{e.kind} {e.name}", np.float64(e.amount)) for e in extras)
    summed, added = ledger.summed, sum(e.amount for e in extras)
    if isinstance(summed, Limbs):  # two numbers of 32 bits, where there are no others
        high = np.float32(added)
        return replace(
            ledger, regularizers=rows, summed=summed + Limbs(high, np.float32(added - high))
        )
    return replace(ledger, regularizers=rows, summed=summed + added)


def hosted(objective: Objective, tree: Tree) -> Tree:
    """Return arrays on the host; where a term is a user's function, as its framework has them."""
    if any(isinstance(bare(t.loss), Elementwise | FromSums) for t in objective.terms):
        return tree
    return _hosted(tree)


def _hosted(tree: Tree) -> Tree:
    """Return arrays of NumPy, numbers with a fraction in float64."""
    if isinstance(tree, NamedArray):
        return NamedArray(_hosted(tree.array), tree.axes)
    if isinstance(tree, Mapping):
        return {name: _hosted(each) for name, each in tree.items()}
    if isinstance(tree, list | tuple):
        return [_hosted(each) for each in tree]
    array = host(tree)
    return array if array is None or array.dtype.kind in "biu" else array.astype(np.float64)


def tensors(tree: Tree) -> Tree:
    """Return arrays as the backend has them."""
    if isinstance(tree, NamedArray):
        return NamedArray(tensors(tree.array), tree.axes)
    if isinstance(tree, Mapping):
        return {name: tensors(each) for name, each in tree.items()}
    return None if tree is None else keras.ops.convert_to_tensor(tree)


def named(objective: Objective, outputs: Tree, classes: Sequence[str] | None) -> Objective:
    """Return the objective with names for the classes of terms that have none.

    Args:
        objective: Whose terms are named.
        outputs: As it takes them.
        classes: The names; None for those that the terms have.

    Raises:
        MatchError: If a term names as many classes otherwise, or no term has as many.
    """
    if classes is None:
        return objective
    names = tuple(classes)
    has = {term.name: _classes(term, outputs) for term in objective.terms}
    fit = {name for name, own in has.items() if own in (names, len(names))}
    other = [own for own in has.values() if isinstance(own, tuple) and len(own) == len(names)]
    if not fit or set(other) - {names}:
        raise MatchError(
            "`classes` must be the classes of a term",
            f"Found {', '.join(names)}; the terms have {has}",
            "A class is missing, or they stand in another order",
            "Leave `classes` out: what the terms name is shown",
        )
    terms = [replace(t, classes=names) if t.name in fit else t for t in objective.terms]
    return Objective(
        *terms, *objective.regularizers, skip=objective.skip, output_names=objective.output_names
    )


def _classes(term: Term, outputs: Tree) -> tuple[str, ...] | int | None:
    """Return the names of a term's classes, or how many there are; None without classes."""
    if term.classes is not None or "class" not in term.axes:
        return term.classes
    array = outputs.get(term.outputs[0]) if isinstance(outputs, Mapping) else outputs
    shape = tuple(getattr(array, "shape", ()))
    return int(shape[term.axes.index("class")]) if len(shape) == len(term.axes) else None
