# SPDX-License-Identifier: Apache-2.0
"""Comparisons: where two losses part, by what factor, and what makes them equal."""

from dataclasses import dataclass
from typing import Any

from lossledger.explanation import _show
from lossledger.explanation._sections import Section, as_html, as_text
from lossledger.explanation.comparison._change import Change
from lossledger.explanation.comparison._factors import CHANGES, CONSTANT
from lossledger.explanation.criterion._difference import Difference


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two losses on the same data.

    Attributes:
        a: The first, as its users write it.
        b: The second.
        number_a: What the first gives.
        number_b: What the second gives, on the data as it is laid out for it.
        deviation: |a - b| / max(1, |a|).
        slope: The largest deviation of the gradients, relative to the largest of the first's;
            None where one of them has none.
        equal: Whether both agree up to rounding.
        factor: number_b / number_a; None if number_a is 0.
        gradient_factor: By what the first's gradient is multiplied everywhere; None if by no
            one number, or one of them has none.
        constant: How the factor depends on the batch: "constant", "proportional to the batch
            size", "inverse to the batch size", "changes with the data", or "" if not known.
        layout: What was done to the data for the second; "" if nothing.
        difference: The first stage at which they part; None if they do not, or unknown.
        change: What makes them equal on this data; None if nothing was found.
        notes: Further sentences.
        undecided: What could not be found out, and why.
    """

    a: str
    b: str
    number_a: float
    number_b: float
    deviation: float
    slope: float | None
    equal: bool
    factor: float | None = None
    gradient_factor: float | None = None
    constant: str = ""
    layout: str = ""
    difference: Difference | None = None
    change: Change | None = None
    notes: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings, ready for JSON."""
        return vars(self) | {
            "difference": None if self.difference is None else self.difference.to_dict(),
            "change": None if self.change is None else self.change.to_dict(),
            "notes": list(self.notes),
            "undecided": list(self.undecided),
        }

    def sections(self) -> tuple[Section, ...]:
        """Return what is shown, in order."""
        cells = (
            ("first", self.a, _show.number(self.number_a)),
            ("second", self.b, _show.number(self.number_b)),
        )
        numbers = Section(
            "", ("", "loss", "number"), cells, frozenset({"number"}), lines=self._verdict()
        )
        every = (
            numbers,
            Section("Where they part", lines=self._parting()),
            Section("What makes them equal", lines=self._told_change()),
            Section("To know", lines=tuple(f"- {n}" for n in self.notes)),
            Section("Could not be decided", lines=tuple(f"- {x}" for x in self.undecided)),
        )
        return tuple(s for s in every if s.cells or s.lines)

    def __str__(self) -> str:
        """Write as a table and sentences."""
        return as_text(self.sections())

    def __repr__(self) -> str:
        """Name what is compared."""
        return f"<Comparison of {self.a} and {self.b}; print it>"

    def _repr_html_(self) -> str:
        return as_html(self.sections())

    def _verdict(self) -> tuple[str, ...]:
        slope = "" if self.slope is None else f", gradients by {self.slope:.1e}"
        where = f" (the second on {self.layout})" if self.layout else ""
        if self.equal:
            return (f"Equal on this data{where}: numbers deviate by {self.deviation:.1e}{slope}.",)
        lines = [f"They differ on this data{where}."]
        if self.gradient_factor is not None and abs(self.gradient_factor - 1) < 1e-6:
            rounded = abs(self.gradient_factor - 1) >= 1e-9
            lines.append(f"Their gradients are equal{' up to rounding' * rounded}.")
        elif self.factor is not None:
            same = self.gradient_factor is not None and abs(
                self.gradient_factor - self.factor
            ) <= 1e-4 * abs(self.factor)
            text = f"The second's number is {self.factor:.6g} times the first's"
            if same:
                text += ", and so is its gradient"
            elif self.gradient_factor is not None:
                text += f"; its gradient is {self.gradient_factor:.6g} times the first's"
            elif self.slope is not None:
                text += "; its gradient is no multiple of the first's"
            text += "." + _of_batches(self.constant)
            lines.append(text)
        return tuple(lines)

    def _parting(self) -> tuple[str, ...]:
        if self.difference is None:
            return ()
        stage = self.difference.stage.replace("_", " ")
        return (
            f"First at: {stage}.",
            f"  first: {self.difference.of_a}",
            f"  second: {self.difference.of_b}",
        )

    def _told_change(self) -> tuple[str, ...]:
        if self.change is None:
            return ()
        slope = "" if self.change.slope is None else f", gradients by {self.change.slope:.1e}"
        both = f"{_show.number(self.number_a)} and {_show.number(self.change.number)}"
        text = self.change.text
        return (
            f"{text[:1].upper()}{text[1:]}.",
            f"Then: {both}; numbers deviate by {self.change.deviation:.1e}{slope}.",
        )


def _of_batches(constant: str) -> str:
    """Return how the factor depends on the batch, as a sentence."""
    if not constant:
        return ""
    if constant == CHANGES:
        return f" The factor {constant}."
    over = " over batches" if constant == CONSTANT else ""
    return f" The factor is {constant}{over}."
