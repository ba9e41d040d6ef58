# SPDX-License-Identifier: Apache-2.0
"""Ledgers and statistics read back from plain data, under the terms of an objective."""

import math
from dataclasses import fields
from typing import Any

import numpy as np

from lossledger._errors import MatchError
from lossledger._typing import Axes, Mapping, Sequence
from lossledger.engines import Account, Candidates, CellNames, Pool
from lossledger.frames import Frame, NamedArray
from lossledger.ledger import Book, Ledger, Note
from lossledger.ledger._state import VERSION, facts_of
from lossledger.reductions import Following
from lossledger.splitting import Whole
from lossledger.statistics import (
    ChannelStatistic,
    LogSumExpStatistic,
    MaxStatistic,
    SharesStatistic,
    SumStatistic,
    TopStatistic,
)
from lossledger.term import Term
from lossledger.weighting import Masses

_TYPES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Account, Book, Candidates, CellNames, ChannelStatistic, Following, Frame,
        LogSumExpStatistic, Masses, MaxStatistic, NamedArray, Pool, SharesStatistic,
        SumStatistic, TopStatistic,
    )
}  # fmt: skip
_HEAD = ("lossledger", "version", "terms")


def load(
    kind: type[Ledger] | type[Whole], state: Any, terms: Sequence[Term], notes: Mapping[str, Note]
) -> Any:
    """Return the ledger or the whole that a state was saved from, in NumPy arrays.

    Raises:
        MatchError: If the state is of something else, of another version or objective, or
            lacks a part.
    """
    _check_head(kind, state)
    named = {term.name: term for term in terms}
    _check_terms(state["terms"], named)
    try:
        own = {name: part for name, part in state.items() if name not in _HEAD}
        found = _made(kind, own, named, notes)
        if isinstance(found, Ledger):
            if len(found.books) != len(terms):
                raise _broken(f"{len(found.books)} books of {len(terms)} terms")
            for term, book in zip(terms, found.books, strict=True):
                _check_book(term, book)
        for name, pool in _pools(found).items():
            if isinstance(pool, Pool):
                _check_cells(named[name], pool.frame.axes, pool.frame.shape)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as failure:
        if isinstance(failure, MatchError):
            raise
        lost = f"no {failure}" if isinstance(failure, KeyError) else str(failure)
        raise _broken(lost) from failure
    return found


def check_regularizers(names: Sequence[str], ledger: Ledger) -> None:
    """Require that a loaded ledger has the regularizers of the objective.

    Raises:
        MatchError: If it has others.
    """
    saved = [name for name, _ in ledger.regularizers]
    if saved != list(names):
        raise _other(f"the regularizers {saved} in the state and {list(names)} in the objective")


def _pools(found: Any) -> dict[str, Any]:
    if isinstance(found, Whole):
        return dict(found.pools)
    return {book.note.term: book.pool for book in found.books}


def _check_head(kind: type, state: Any) -> None:
    wanted = kind.__name__.lower()
    given = state.get("lossledger") if isinstance(state, Mapping) else None
    if given != wanted:
        raise MatchError(
            f"load_{wanted} needs what {kind.__name__}.state_dict() gave",
            f"Found {type(state).__name__}" + ("" if given is None else f" of a {given}"),
            "Ledgers and statistics have two forms, and to_dict() is a third, for other tools",
            f"Pass json.loads(text) of json.dumps({wanted}.state_dict())",
        )
    if state.get("version") != VERSION:
        raise MatchError(
            f"The version of a state must be one that this release reads: {VERSION}",
            f"Found {state.get('version')!r}",
            "It was saved by another release of lossledger",
            "Load it with that release, or save it again with this one",
        )
    missing = [n for n in ("terms", *_names(kind)) if n not in state]
    if missing:
        raise _broken(f"no {', '.join(missing)}")


def _check_terms(saved: Any, named: Mapping[str, Term]) -> None:
    if not isinstance(saved, Mapping):
        raise _broken("no terms")
    if list(saved) != list(named):
        raise _other(
            f"the terms {', '.join(saved)} in the state and {', '.join(named)} in the objective"
        )
    for name, facts in saved.items():
        mine = facts_of(named[name])
        for part, value in facts.items():
            if part not in mine:
                raise _broken(f"`{name}` with {part!r}")
            if mine[part] != value:
                raise _other(
                    f"`{name}` with {part} {value!r} in the state and {mine[part]!r} in the "
                    "objective"
                )


def _check_book(term: Term, book: Book) -> None:
    """Require that an account has the cells that it says, and they those of the term."""
    cells, account = book.cells, book.account
    if book.note.term != term.name:
        raise _broken(f"the book of `{book.note.term}` in the place of `{term.name}`")
    for name in ("contribution", "numerator", "denominator", "count"):
        shape = tuple(getattr(account, name).shape)
        if shape != cells.shape:
            raise _broken(f"{name} of shape {shape} over cells of shape {cells.shape}")
    if term.rows is not None and set(cells.axes) != set(term.rows):
        raise _other(f"rows {' '.join(cells.axes)!r} and {' '.join(term.rows)!r}")
    _check_cells(term, cells.axes, cells.shape)


def _check_cells(term: Term, axes: Axes, shape: tuple[int, ...]) -> None:
    known = {"label": 2, **term.keys}
    if term.class_count is not None:
        known["class"] = term.class_count
    for axis, length in zip(axes, shape, strict=True):
        if length != known.get(axis, length):
            raise _other(f"{length} cells along {axis!r}, where `{term.name}` has {known[axis]}")


def _read(node: Any, terms: Mapping[str, Term], notes: Mapping[str, Note]) -> Any:
    if isinstance(node, list | tuple):
        return tuple(_read(part, terms, notes) for part in node)
    if not isinstance(node, Mapping):
        return node
    own = {name: part for name, part in node.items() if name != "type"}
    kind = node["type"]
    if kind == "float":
        return _number(node)
    if kind == "array":
        return _array(**own)
    if kind == "dict":
        return {name: _read(part, terms, notes) for name, part in own["items"].items()}
    if kind not in _TYPES:
        raise ValueError(f"the type {kind!r}")
    return _made(_TYPES[kind], own, terms, notes)


def _made(
    cls: type, own: Mapping[str, Any], terms: Mapping[str, Term], notes: Mapping[str, Note]
) -> Any:
    if set(own) != set(_names(cls)):
        apart = ", ".join(sorted(set(own) ^ set(_names(cls))))
        raise ValueError(f"{cls.__name__} without, or with an unknown, {apart}")
    found: dict[str, Any] = {}
    for name, part in own.items():
        if name == "term":
            found[name] = terms[part]
        elif name == "note":
            found[name] = notes[part]
        else:
            found[name] = _read(part, terms, notes)
    return cls(**found)


def _array(dtype: str, shape: list[int], data: list[Any]) -> Any:
    if len(data) != math.prod(shape):
        raise ValueError(f"{len(data)} numbers for an array of shape {tuple(shape)}")
    return np.asarray([_number(x) for x in data], dtype=dtype).reshape(shape)


def _number(x: Any) -> Any:
    if isinstance(x, Mapping):
        if x.get("value") not in ("nan", "inf", "-inf"):
            raise ValueError(f"the number {dict(x)!r}")
        return float(x["value"])
    if not isinstance(x, bool | int | float):
        raise TypeError(f"{x!r} in the place of a number")
    return x


def _names(cls: Any) -> list[str]:
    return [field.name for field in fields(cls)]


def _other(found: str) -> MatchError:
    return MatchError(
        "A state is loaded by an objective of the same terms",
        f"Found {found}",
        "It was saved by another objective, or a setting was changed since",
        "Load it with the objective that it was saved with: sums of two losses do not add up",
    )


def _broken(found: str) -> MatchError:
    return MatchError(
        "A state must be complete, as state_dict() gave it",
        f"Found {found}",
        "The file was cut short, or written by something else",
        "Save it again; write to another name first, and rename when it is done",
    )
