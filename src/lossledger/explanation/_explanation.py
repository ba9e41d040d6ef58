# SPDX-License-Identifier: Apache-2.0
"""Explanations: how a loss's number is made, as numbers and as a page."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lossledger.explanation import _show
from lossledger.explanation._parts import Elsewhere, Extra, Note, Piece, Reported
from lossledger.explanation._sections import Section, as_html, as_text
from lossledger.ledger import Ledger, Row


@dataclass(frozen=True, repr=False)
class Explanation:
    """How a loss's number is made: pieces and extras add up to the total.

    Attributes:
        subject: What is explained.
        framework: Whose number it is, with its version.
        pieces: One for each loss of each output.
        extras: Regularizers and added losses.
        number: What the framework itself minimizes; None if it was not asked.
        rows: By class (and label), where the loss or its outputs have classes.
        overlooked: Those of the rows that the one number hides: of classes with an IoU below
            half of the best one's.
        reported: What the framework shows, and why it differs.
        elsewhere: The same data in other versions.
        notes: What to know, with remedies.
        undecided: What could not be found out, and why.
        ledger: The ledger of the same total, where the losses are known; else None.
        decisions: How outputs are decided for classes, where rows have an IoU.
    """

    subject: str
    framework: str
    pieces: tuple[Piece, ...]
    extras: tuple[Extra, ...] = ()
    number: float | None = None
    rows: tuple[Row, ...] = ()
    overlooked: tuple[Row, ...] = ()
    reported: tuple[Reported, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    notes: tuple[Note, ...] = ()
    undecided: tuple[str, ...] = ()
    ledger: Ledger | None = None
    decisions: tuple[str, ...] = ()

    @cached_property
    def total(self) -> float:
        """Σ loss weight · value + Σ extras."""
        return sum(p.contribution for p in self.pieces) + sum(e.amount for e in self.extras)

    @property
    def deviation(self) -> float | None:
        """|total - number| / max(1, |number|); None if the framework was not asked."""
        if self.number is None:
            return None
        return abs(self.total - self.number) / max(1.0, abs(self.number))

    @property
    def formula(self) -> str:
        """The total in symbols."""
        counted = [p.symbols for p in self.pieces if p.loss_weight != 0]
        return " + ".join(counted + [e.formula for e in self.extras]) or "0"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings, ready for JSON."""
        return {
            "subject": self.subject,
            "framework": self.framework,
            "total": self.total,
            "number": self.number,
            "deviation": self.deviation,
            "formula": self.formula,
            "pieces": [p.to_dict() for p in self.pieces],
            "extras": [dict(vars(e)) for e in self.extras],
            "rows": [_plain(row) for row in self.rows],
            "overlooked": [_plain(row) for row in self.overlooked],
            "reported": [dict(vars(r)) for r in self.reported],
            "elsewhere": [dict(vars(e)) for e in self.elsewhere],
            "notes": [dict(vars(n)) for n in self.notes],
            "undecided": list(self.undecided),
            "decisions": list(self.decisions),
        }

    def sections(self) -> tuple[Section, ...]:
        """Return what is shown, in order: numbers first, then how they come about."""
        every = (
            _show.total(self.subject, self.pieces, self.extras, self._verdict()),
            _show.rows(self.rows, self.overlooked, self.decisions),
            _show.steps(self.pieces),
            _show.reported(self.reported),
            _show.elsewhere(self.elsewhere),
            _show.notes(self.notes),
            Section("Could not be decided", lines=tuple(f"- {x}" for x in self.undecided)),
        )
        return tuple(s for s in every if s.cells or s.lines)

    def __str__(self) -> str:
        """Write as tables and sentences."""
        return as_text(self.sections())

    def __repr__(self) -> str:
        """Name what is explained."""
        return f"<Explanation of {self.subject}; print it>"

    def _repr_html_(self) -> str:
        return as_html(self.sections())

    def _verdict(self) -> tuple[str, ...]:
        """Return the formula, and how far the total is from the framework's number."""
        formula = f"total = {self.formula}"
        if self.deviation is None:
            return (formula,)
        theirs = f"{self.framework} itself: {_show.number(self.number)}"
        measure = "relative to the larger of 1 and the number"
        return (formula, f"{theirs}; deviation {self.deviation:.1e}, {measure}.")


def _plain(row: Row) -> dict[str, Any]:
    """Return a row as plain numbers; without a contribution where it is not known."""
    found = row.to_dict()
    return found | {"contribution": None} if row.kind == "decisions" else found
