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
class Part:
    """One part of what two models minimize: the losses of an output, or what is added to them.

    Attributes:
        name: Of the output, the variable or the layer.
        kind: "loss", "regularizer", "activity regularizer" or "add_loss".
        number_a: What it adds to the first total; None if it is not there.
        number_b: What it adds to the second.
        equal: Whether both agree up to rounding, and so do the outputs.
        difference: The first stage at which they part; None if they do not, or unknown. Of equal
            parts: what is written otherwise, and 0 here.
        change: What makes the second equal to the first; None if nothing was found.
        losses: The two losses, on the outputs of the first and before loss weights; None if they
            cannot be called alone.
    """

    name: str
    kind: str
    number_a: float | None
    number_b: float | None
    equal: bool
    difference: Difference | None = None
    change: Change | None = None
    losses: "Comparison | None" = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings, ready for JSON."""
        nested = ("difference", "change", "losses")
        found = {n: getattr(self, n) for n in nested}
        return vars(self) | {n: None if x is None else x.to_dict() for n, x in found.items()}


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two losses on the same data, or what two models minimize on it.

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
        parts: Of models: output by output, then what is added to the losses; empty for losses.
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
    parts: tuple[Part, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings, ready for JSON."""
        return vars(self) | {
            "difference": None if self.difference is None else self.difference.to_dict(),
            "change": None if self.change is None else self.change.to_dict(),
            "notes": list(self.notes),
            "undecided": list(self.undecided),
            "parts": [part.to_dict() for part in self.parts],
        }

    def sections(self) -> tuple[Section, ...]:
        """Return what is shown, in order."""
        cells = (
            ("first", self.a, _show.number(self.number_a)),
            ("second", self.b, _show.number(self.number_b)),
        )
        what = "model" if self.parts else "loss"
        numbers = Section(
            "", ("", what, "number"), cells, frozenset({"number"}), lines=self._verdict()
        )
        every = (
            numbers,
            self._table(),
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
            elif self.slope is not None and len(self.parts) < 2:
                text += "; its gradient is no multiple of the first's"
            text += "." + _of_batches(self.constant)
            lines.append(text)
        return tuple(lines)

    def _table(self) -> Section:
        """Return what each part adds to both totals."""
        cells = tuple(
            (
                part.name if part.kind == "loss" else f"{part.kind} {part.name}",
                _show.number(part.number_a),
                _show.number(part.number_b),
                "equal" if part.equal else "differ",
            )
            for part in self.parts
        )
        numbers = frozenset({"first", "second"})
        return Section("Part by part", ("part", "first", "second", "they"), cells, numbers)

    def _parting(self) -> tuple[str, ...]:
        if self.parts:
            return tuple(line for part in self.parts for line in _told(part))
        if self.difference is None:
            return ()
        stage, *rest = _stage(self.difference)
        return (f"First at: {stage}", *rest)

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


def _stage(difference: Difference) -> tuple[str, ...]:
    """Return a stage and what both do there."""
    return (
        f"{difference.stage.replace('_', ' ')}.",
        f"  first: {difference.of_a}",
        f"  second: {difference.of_b}",
    )


def _told(part: Part) -> tuple[str, ...]:
    """Return where a part of two models differs; on different outputs, also where its losses do."""
    if part.equal:
        return ()
    found: list[str] = []
    if part.difference is not None:
        stage, *rest = _stage(part.difference)
        found += [f"{part.name}, first at: {stage}", *rest]
    within = part.losses
    if part.difference is not None and part.difference.stage == "outputs" and within is not None:
        both = f"{_show.number(within.number_a)} and {_show.number(within.number_b)}"
        found.append(f"  On the outputs of the first the losses are {both}.")
        if within.difference is not None:
            stage, *rest = _stage(within.difference)
            found += [f"  They part at: {stage}", *rest]
    return tuple(found)


def _of_batches(constant: str) -> str:
    """Return how the factor depends on the batch, as a sentence."""
    if not constant:
        return ""
    if constant == CHANGES:
        return f" The factor {constant}."
    over = " over batches" if constant == CONSTANT else ""
    return f" The factor is {constant}{over}."
