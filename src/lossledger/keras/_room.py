# SPDX-License-Identifier: Apache-2.0
"""How many numbers the ledger of a term can have, before there is one."""

from math import prod

from lossledger._errors import MatchError
from lossledger._typing import Mapping
from lossledger.frames import parse_axes
from lossledger.keras._layout import BITS
from lossledger.losses import AbstractOverlapLoss
from lossledger.objective import Objective
from lossledger.term import Term

_ARRAYS = 16
"""More than any statistic has."""
Lengths = Mapping[str, int | None]


def room(objective: Objective, shapes: Mapping[str, tuple[int | None, ...]]) -> tuple[int, int]:
    """Return at most how many sums a ledger has, and how many numbers that must not change.

    Args:
        objective: Whose ledger it is.
        shapes: Shapes of the outputs by name, None where a length is not known.

    Raises:
        MatchError: If the number of rows does not follow from them.
    """
    sums, same = BITS + 2 + len(objective.regularizers), 0
    for term in objective.terms:
        lengths = _lengths(term, shapes.get(term.outputs[0]))
        cells = _cells(term, lengths)
        kept = _kept(term, lengths)
        classes = lengths.get("class") or term.class_count or 1
        sums += 4 * cells + 2 + 3 * classes + _ARRAYS * kept
        same += 1 + _ARRAYS * kept
    return sums, same


def _lengths(term: Term, shape: tuple[int | None, ...] | None) -> Lengths:
    known = shape if shape is not None and len(shape) == len(term.axes) else (None,) * 99
    found = dict(zip(term.axes, known, strict=False))
    return found | ({} if term.class_count is None else {"class": term.class_count})


def _cells(term: Term, lengths: Lengths) -> int:
    rows = term.rows
    if rows is None:
        labeled = term.facts.accepts == "classes" or "class" in lengths
        rows = ("class",) if labeled else ()
    return 2 * prod(_length(term, lengths, row) for row in rows if row != "label")


def _kept(term: Term, lengths: Lengths) -> int:
    """Return the cells of the stage that removes `batch`."""
    loss = term.loss
    gone = set(term.facts.removes)
    if isinstance(loss, AbstractOverlapLoss):
        gone |= {*parse_axes(loss.over, "over"), *loss.pools()}
    axes = tuple(a for a in term.axes if a not in gone)
    keys: tuple[str, ...] = ()
    for stage in term.reduction.stages:
        if "batch" not in axes:
            break
        if stage.by is not None:
            keys = tuple(n for n in parse_axes(stage.by, "by") if n not in term.axes)
        axes = stage.keep(axes)
    names = (*(a for a in axes if a != "batch"), *keys)
    return prod(_length(term, lengths, name) for name in names)


def _length(term: Term, lengths: Lengths, name: str) -> int:
    known = 2 if name == "label" else term.keys.get(name) or lengths.get(name)
    if known is None:
        raise MatchError(
            f"The number of rows of `{term.name}` must be known before a compiled step",
            f"Found no length of {name!r}",
            "The model does not say the shape of its outputs before it is called",
            "Name the classes in the term (classes=...), or use ll.keras.compile",
        )
    return known
