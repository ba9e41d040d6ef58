# SPDX-License-Identifier: Apache-2.0
"""The numbers of a ledger for Keras' logs: what each term adds, and the mean of each class."""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import keras
import numpy as np

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.keras._layout import BookForm, Layout
from lossledger.ledger import Row

_FEW = 64
"""Places up to which each is read by itself, which a compiled step does at no cost."""


@dataclass(frozen=True, eq=False)
class Logs:
    """Where the numbers of the logs stand in a vector of sums.

    A term's and a regularizer's number is what it adds to `ledger.total`; a class's is its own
    mean, `ledger.by("term", "class")`. Each is a quotient of two sums.

    Attributes:
        names: In the order of the numbers.
        places: Of the sums above the bar and below it, (summands, 2, names); −1 for the
            vector's last place, which is 0.
    """

    names: tuple[str, ...]
    places: Any

    def read(self, xp: ArrayLibrary, vector: Array) -> dict[str, Array]:
        """Return the numbers by name."""
        if self.places.size <= _FEW:
            both = [[_added(vector, own) for own in each] for each in self.places.T.tolist()]
            return {name: top / low for name, (top, low) in zip(self.names, both, strict=True)}
        places = np.where(self.places < 0, vector.shape[0] - 1, self.places)
        found = xp.take(vector, xp.asarray(np.ravel(places), "int32", vector))
        top, bottom = keras.ops.unstack(xp.sum(xp.reshape(found, places.shape), axis=(0,)))
        return dict(zip(self.names, keras.ops.unstack(top / bottom), strict=True))


@cache
def logs_of(layout: Layout, classes: bool) -> Logs:
    """Return the logs of a layout, with or without those of the classes."""
    places = layout.places()
    names, tops, bottoms = [], [], []
    for form, starts in zip(layout.books, places.books, strict=True):
        names.append(form.note.term)
        tops.append([starts[5]])
        bottoms.append([places.wholes])
    for name, start in zip(layout.regularizers, places.regularizers, strict=True):
        names.append(name)
        tops.append([start])
        bottoms.append([places.wholes])
    if classes:
        for form, starts in zip(layout.books, places.books, strict=True):
            for name, cells in _classes(form):
                names.append(name)
                tops.append([starts[1] + cell for cell in cells])
                bottoms.append([starts[2] + cell for cell in cells])
    return Logs(tuple(names), np.stack([_table(tops), _table(bottoms)], 1))


def ledger_logs(rows: tuple[Row, ...]) -> dict[str, float]:
    """Return what the logs say of the terms, read from a ledger's rows."""
    found: dict[str, float] = {}
    for row in rows:
        found[row.term] = found.get(row.term, 0.0) + row.contribution
    return found


def _added(vector: Array, places: list[int]) -> Array:
    """Return the sum of the elements at some places; those that are -1 stand for 0."""
    found = [vector[at] for at in places if at >= 0]
    return sum(found[1:], found[0])


def _classes(form: BookForm) -> list[tuple[str, list[int]]]:
    """Return every class's name in the logs, and its cells."""
    axes, shape = form.cells.axes, form.cells.shape
    if "class" not in axes:
        return []
    at = axes.index("class")
    names = form.note.classes or tuple(str(i) for i in range(shape[at]))
    index = np.moveaxis(np.reshape(np.arange(prod(shape)), shape), at, 0)
    cells = [[int(i) for i in np.ravel(own)] for own in index]
    return [(f"{form.note.term}_class_{name}", own) for name, own in zip(names, cells, strict=True)]


def _table(places: list[list[int]]) -> Any:
    """Return places as one array, summands first; those that have fewer get a 0 beside."""
    most = max(map(len, places))
    filled = [own + [-1] * (most - len(own)) for own in places]
    return np.asarray(filled, np.int32).T
