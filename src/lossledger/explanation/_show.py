# SPDX-License-Identifier: Apache-2.0
"""The page of an explanation: numbers first, then how they come about."""

from lossledger._typing import Sequence
from lossledger.explanation._parts import Elsewhere, Extra, Note, Piece, Reported
from lossledger.explanation._sections import Section
from lossledger.ledger import Row

NUMBERS = frozenset(
    {
        "numerator", "denominator", "value", "loss weight", "contribution", "share", "number",
        "support", "own mean", "IoU",
    }
)  # fmt: skip
_MOST_ROWS = 20


def number(value: float | None) -> str:
    """Return a number with six digits, whole ones without a fraction; "" for None."""
    if value is None:
        return ""
    whole = abs(value) < 1e15 and value == int(value)
    return f"{int(value):,}" if whole else f"{value:,.6g}"


def total(
    subject: str, pieces: Sequence[Piece], extras: Sequence[Extra], lines: tuple[str, ...]
) -> Section:
    """Return the table that adds up."""
    headings = (
        "output", "loss", "numerator", "denominator", "value", "loss weight", "contribution",
        "share",
    )  # fmt: skip
    amount = sum(p.contribution for p in pieces) + sum(e.amount for e in extras)
    cells = [
        (
            p.output,
            p.loss,
            number(p.numerator),
            number(p.denominator),
            number(p.value),
            f"{p.loss_weight:g}",
            number(p.contribution),
            _share(p.contribution, amount),
        )
        for p in pieces
    ]
    cells += [
        ("", f"{e.kind} {e.name}", "", "", "", "", number(e.amount), _share(e.amount, amount))
        for e in extras
    ]
    bottom = ("total", "", "", "", "", "", number(amount), _share(amount, amount))
    return Section(subject, headings, tuple(cells), NUMBERS, bottom, lines)


def _share(amount: float, total: float) -> str:
    return "" if total == 0 else f"{amount / total:.1%}"


def rows(found: Sequence[Row], overlooked: Sequence[Row], decisions: Sequence[str] = ()) -> Section:
    """Return the classes, the worst first, and which of them the total hides."""
    headings = (
        "output", "term", "class", "label", "support", "own mean", "contribution", "share", "IoU",
    )  # fmt: skip
    ranked = sorted(found, key=_rank)
    shown = tuple(_row(r) for r in ranked[:_MOST_ROWS])
    lines = [f"Hidden by the total: {_told(row)}." for row in overlooked[:5]]
    if len(ranked) > _MOST_ROWS:
        lines.append(f"{len(ranked) - _MOST_ROWS} more rows are in `rows`.")
    lines += decisions
    order = ", lowest IoU first" * any(row.iou is not None for row in ranked)
    return Section(f"By class{order}", headings, shown, NUMBERS, lines=tuple(lines))


def _rank(row: Row) -> float:
    """Return the IoU; more where there is none, or where no element is of the class."""
    if row.iou is None:
        return 3.0
    return row.iou if row.support else 2.0


def _row(row: Row) -> tuple[str, ...]:
    return (
        row.output,
        row.term,
        row.cls or "",
        row.label or "",
        number(row.support if row.support is not None else row.count),
        number(row.own_mean),
        "" if row.kind == "decisions" else number(row.contribution),
        "" if row.share is None else f"{row.share:.1%}",
        "" if row.iou is None else f"{row.iou:.3f}",
    )


def _told(row: Row) -> str:
    """Return a row in words."""
    name = " ".join(x for x in (row.cls and f"class {row.cls}", row.label) if x)
    parts = [f"{name} of `{row.output}`"]
    if row.iou is not None:
        parts.append(f"IoU {row.iou:.1%}")
    if row.own_mean is not None:
        parts.append(f"own mean {number(row.own_mean)}")
    if row.share is not None:
        parts.append(f"{row.share:.1%} of the total")
    return ", ".join(parts)


def steps(pieces: Sequence[Piece]) -> Section:
    """Return the flow of every piece, step by step."""
    lines: list[str] = []
    for piece in pieces:
        lines += _flow(piece)
    return Section("How each number is made", lines=tuple(lines))


def _flow(piece: Piece) -> list[str]:
    origin = ", as measured" if piece.measured else ""
    lines = [f"{piece.output}: {piece.loss}{origin}"]
    for i, step in enumerate(piece.steps, start=1):
        left = f" -> {step.shape}" if step.shape else ""
        amount = "" if step.amount is None else f" = {number(step.amount)}"
        lines.append(f"  {i}. {step.text}{amount}{left}")
    return lines


def reported(found: Sequence[Reported]) -> Section:
    """Return what a framework shows."""
    cells = tuple((r.name, number(r.number), r.rule, r.differs) for r in found)
    headings = ("name", "number", "how it is made", "why it differs from what is minimized")
    return Section("What is reported", headings, cells, NUMBERS)


def elsewhere(found: Sequence[Elsewhere]) -> Section:
    """Return the number in other versions."""
    cells = tuple((e.versions, number(e.number), e.why) for e in found)
    return Section("In other versions", ("versions", "number", "why"), cells, NUMBERS)


def notes(found: Sequence[Note]) -> Section:
    """Return what to know, with remedies where there are any."""
    lines = [f"- [{n.rule}] {n.found}" + (f" Remedy: {n.remedy}" * bool(n.remedy)) for n in found]
    return Section("To know", lines=tuple(lines))
