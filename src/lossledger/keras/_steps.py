# SPDX-License-Identifier: Apache-2.0
"""Ledgers of steps that run eagerly: kept as they are, and added up when somebody reads them.

A compiled step must add its ledger to variables at once. Where PyTorch runs eagerly on the CPU
that would cost a small step a tenth of its time; here it costs two appends and a sum.
"""

from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any

import numpy as np

from lossledger._array import ArrayLibrary
from lossledger._typing import Mapping, Sequence
from lossledger.keras._layout import Layout, opened
from lossledger.ledger import Ledger
from lossledger.term import Term

MOST = 256
"""Steps that are kept before they are added up: their ledgers take memory."""
LARGE = 1 << 16
"""Cells of the steps that are kept, likewise: rows of many cells are added up sooner."""


@dataclass(frozen=True, eq=False)
class Summed:
    """Steps of one kind, added up.

    Attributes:
        layout: Of their ledgers.
        vector: Sums, in the layout's order, in float64.
        same: What must not change; NaN where it did.
        steps: How many.
        training: How many of them trained.
    """

    layout: Layout
    vector: Any
    same: Any
    steps: int
    training: int


class Steps:
    """Ledgers that are not yet added up, and the numbers of all since the last reset."""

    def __init__(self, terms: Mapping[str, Term], live: frozenset[str]) -> None:
        """Start without steps."""
        self._terms, self._live = tuple(terms.values()), live
        self.clear()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether those that wait take so much memory that they should be added up."""
        return len(self._waiting) >= MOST or self._cells >= LARGE

    def clear(self) -> None:
        """Forget all."""
        self._waiting: list[tuple[Ledger, bool]] = []
        self._cells = 0
        self._added: dict[str, float] = {}
        self._wholes = 0.0

    def add(self, ledger: Ledger, *, training: bool) -> None:
        """Keep a step's ledger."""
        self._waiting.append((ledger, training))
        self._wholes += float(ledger.wholes)
        added = self._added
        for book in ledger.books:
            name = book.note.term
            added[name] = added.get(name, 0.0) + float(book.account.total)
            self._cells += prod(book.cells.shape)
        for name, amount in ledger.regularizers:
            added[name] = added.get(name, 0.0) + float(amount)

    def logs(self) -> dict[str, float]:
        """Return what each term and regularizer adds to the mean of a step."""
        return {name: amount / self._wholes for name, amount in self._added.items()}

    def summed(self, xp: ArrayLibrary) -> list[Summed]:
        """Add up the steps that wait, those of one kind that follow each other at once."""
        found = [(*opened(xp, x, self._terms, self._live), trained) for x, trained in self._waiting]
        return [_summed(list(run)) for _, run in groupby(found, lambda each: each[0])]

    def taken(self) -> None:
        """Let go of the steps that wait: they are added to the sums."""
        self._waiting, self._cells = [], 0


def _summed(run: Sequence[tuple[Layout, list[Any], list[Any], bool]]) -> Summed:
    layout = run[0][0]
    vectors = np.stack([_flat(sums) for _, sums, _, _ in run])
    same = np.stack([_flat(same) for _, _, same, _ in run])
    kept = np.where((same == same[:1]).all(0), same[0], np.nan)
    return Summed(layout, vectors.sum(0), kept, len(run), sum(trained for *_, trained in run))


def _flat(arrays: list[Any]) -> Any:
    if not arrays:
        return np.zeros(0)
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in arrays])
