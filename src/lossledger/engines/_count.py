# SPDX-License-Identifier: Apache-2.0
"""Denominators of a term without its outputs: targets, masks and weights decide them."""

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ReductionError
from lossledger._typing import Array, Mapping
from lossledger.engines._factors import BatchWeights
from lossledger.engines._part import OpenTerm, open_prepared, open_values, opened_values
from lossledger.engines._prepare import Prepared, prepare, prepare_counts
from lossledger.engines._watch import Watch
from lossledger.losses import AbstractOverlapLoss
from lossledger.term import Term

Shapes = Mapping[str, tuple[int, ...]]


def count_term(
    xp: ArrayLibrary, term: Term, targets: Array, weights: BatchWeights, shapes: Shapes,
    watch: Watch,
) -> OpenTerm:  # fmt: skip
    """Open a term with values of 0: its denominators are those that its outputs will have.

    Raises:
        MatchError: If the outputs' shape does not follow from the targets.
    """
    like = targets if targets is not None else _any_weight(weights)
    shape = _shape(term, targets, shapes)
    work = xp.wide(like)
    nothing = xp.broadcast_to(xp.zeros((), work, like), shape)
    outputs = (nothing,) * len(term.outputs)
    if isinstance(term.loss, AbstractOverlapLoss):
        halves = tuple(xp.full_like(o, 0.5) for o in outputs)
        return open_prepared(prepare(term, halves, targets, weights, watch))
    known = term.class_count is not None or term.facts.shards is not None
    labeled = known or any(n in shapes for n in term.outputs)
    prepared = prepare_counts(term, outputs, targets, weights, watch, labeled=labeled)
    return _counted(prepared, work)


def _counted(prepared: Prepared, work: str) -> OpenTerm:
    xp = prepared.xp
    zero = xp.zeros((), work, prepared.outputs[0])
    values = xp.broadcast_to(zero, prepared.frame.shape)
    return opened_values(prepared, open_values(prepared, values), values)


def _shape(term: Term, targets: Array, shapes: Shapes) -> tuple[int, ...]:
    """Return the outputs' shape: as it was given, or as it follows from the targets."""
    for name in term.outputs:
        if name in shapes:
            return tuple(shapes[name])
    own = () if targets is None else tuple(targets.shape)
    facts = term.facts
    if facts.accepts in ("same", "classes") and len(own) == len(term.axes):
        return own
    if facts.accepts == "classes" and len(own) == len(term.axes) - 1 and "class" in term.axes:
        place = term.axes.index("class")
        return (*own[:place], _classes(term), *own[place:])
    raise MatchError(
        f"Counting `{term.name}` before its outputs are there needs their shape",
        f"Found targets of shape {own} for outputs with the axes {' '.join(term.axes)}",
        "The loss takes targets of another shape than its outputs, or none at all",
        f"Pass shapes={{{term.outputs[0]!r}: (lengths of {', '.join(term.axes)})}}",
    )


def _classes(term: Term) -> int:
    """Return the number of classes; 1 where no weight and no stage asks for a label."""
    known = term.class_count if term.facts.shards is None else term.facts.shards.classes
    if known is not None:
        return known
    if term.class_weight is None and not term.reduction.names("class"):
        return 1
    raise ReductionError(
        f"Counting `{term.name}` by class needs the number of classes",
        "Found class indices, whose largest need not be in this batch",
        "The term was built without classes=",
        "Give it: ll.Term(..., classes=10) or a list of their names",
    )


def _any_weight(weights: BatchWeights) -> Array:
    given = (weights.mask, weights.sample_weight, weights.element_weight, *weights.keys.values())
    for each in given:
        if each is not None:
            return getattr(each, "array", each)
    raise MatchError(
        "Counting needs targets, masks or weights",
        "Found none of them",
        "The loss takes no targets, so nothing says which library and device to count on",
        "Use objective.statistics(outputs, ...) for this term",
    )
