# SPDX-License-Identifier: Apache-2.0
"""Targets with a last axis of length 1 too many or too few, as Keras' data sets have them.

Labels of shape (batch, 1) for outputs (batch, class); (batch,) numbers for outputs (batch, 1).
Adding or dropping such an axis changes no number. Nothing else is reshaped, and nothing is
broadcast: what fits in no way, the terms refuse.
"""

from typing import Any

import keras

from lossledger._typing import Mapping, Tree
from lossledger.frames import Frame
from lossledger.keras._match import items_of
from lossledger.objective import Objective
from lossledger.term import Term

Shape = tuple[int | None, ...]


def shapes_of(objective: Objective, outputs: Tree) -> dict[str, Shape]:
    """Return the shapes of the outputs by the names that terms use."""
    reads = list(dict.fromkeys(name for term in objective.terms for name in term.outputs))
    return {n: tuple(o.shape) for n, o in items_of(objective, outputs, reads) if _shaped(o)}


def fitted(objective: Objective, shapes: Mapping[str, Shape], targets: Tree) -> Tree:
    """Return targets in the shape that all terms read which have them.

    Args:
        objective: Whose targets they are.
        shapes: Of the outputs, by name.
        targets: In any form that the objective takes.

    Returns:
        The same structure. A target that fits as it is, and one that a user's own function reads,
        stays what it is; so does one that fits in no way.
    """
    if targets is None:
        return None
    wants = list(dict.fromkeys(t.target for t in objective.terms if t.target is not None))
    by_name = {n: _fitted(objective, shapes, n, y) for n, y in items_of(objective, targets, wants)}
    if isinstance(targets, Mapping):
        return by_name
    if isinstance(targets, list | tuple):
        return list(by_name.values()) if len(by_name) == len(targets) else targets
    return next(iter(by_name.values()), targets)


def _fitted(objective: Objective, shapes: Mapping[str, Shape], name: str, y: Any) -> Any:
    """Return one target."""
    terms = [term for term in objective.terms if term.target == name]
    accepted = [_accepted(term, shapes) for term in terms]
    if not terms or not _shaped(y) or any(not each for each in accepted):
        return y
    shape = tuple(y.shape)

    def fits(candidate: Shape) -> bool:
        return all(candidate in each for each in accepted)

    if not shape or fits(shape) or any(shape in each for each in accepted):
        return y
    if shape[-1] == 1 and fits(shape[:-1]):
        return y[..., 0]
    return y[..., None] if fits((*shape, 1)) else y


def _accepted(term: Term, shapes: Mapping[str, Shape]) -> tuple[Shape, ...]:
    """Return the shapes of targets that a term takes; nothing where it cannot be said."""
    shape = shapes.get(term.outputs[0])
    if shape is None or len(shape) != len(term.axes):
        return ()
    frame: Any = Frame(term.axes, shape)  # type: ignore[arg-type]  # TensorFlow's may be open
    accepts = term.facts.accepts
    if accepts == "same":
        return (shape,)
    if accepts == "rows":
        return (frame.without(term.facts.lacks).shape,)
    if accepts == "classes":
        return (shape, frame.without(("class",)).shape)
    return ()


def _shaped(array: Any) -> bool:
    return hasattr(array, "shape") and not isinstance(array, keras.KerasTensor)
