# SPDX-License-Identifier: Apache-2.0
"""Rows as a table: in a terminal, as plain text, and in a notebook."""

from html import escape
from io import StringIO
from typing import Protocol, runtime_checkable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lossledger._typing import Sequence

_MOST_ROWS = 40
_WIDTH = 160


@runtime_checkable
class RowLike(Protocol):
    """What a table shows of a row."""

    @property
    def output(self) -> str: ...  # noqa: D102
    @property
    def term(self) -> str: ...  # noqa: D102
    @property
    def cls(self) -> str | None: ...  # noqa: D102
    @property
    def label(self) -> str | None: ...  # noqa: D102
    @property
    def cell(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int | None: ...  # noqa: D102
    @property
    def own_mean(self) -> float | None: ...  # noqa: D102
    @property
    def contribution(self) -> float: ...  # noqa: D102
    @property
    def share(self) -> float | None: ...  # noqa: D102
    @property
    def iou(self) -> float | None: ...  # noqa: D102


def cells_of(rows: Sequence[RowLike]) -> tuple[list[str], list[list[str]]]:
    """Return (headings, lines) of strings; columns that say nothing are left out."""
    columns: list[tuple[str, list[str]]] = [
        ("output", [r.output for r in rows]),
        ("term", [r.term if r.kind == "values" else f"{r.term} ({r.kind})" for r in rows]),
        ("class", [r.cls or "" for r in rows]),
        ("label", [r.label or "" for r in rows]),
        ("cell", [", ".join(f"{a} {v}" for a, v in r.cell) for r in rows]),
        ("count", ["" if r.count is None else f"{r.count:,}" for r in rows]),
        ("own mean", [_number(r.own_mean) for r in rows]),
        ("contribution", [_number(r.contribution) for r in rows]),
        ("share", ["" if r.share is None else f"{r.share:.1%}" for r in rows]),
        ("IoU", ["" if r.iou is None else f"{r.iou:.3f}" for r in rows]),
    ]
    shown = [(name, cells) for name, cells in columns if any(cells)]
    return [n for n, _ in shown], [list(line) for line in zip(*(c for _, c in shown), strict=True)]


def ledger_table(rows: Sequence[RowLike], total: float, title: str, caption: str) -> Table:
    """Return the table of a ledger, its total as the bottom line.

    Of many rows the largest are shown, and one line for the others together.
    """
    headings, lines, bottom = _content(rows, total)
    table = Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD
    )
    numbers = {"count", "own mean", "contribution", "share", "IoU"}
    for name in headings:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    table.add_section()
    table.add_row(*bottom, style="bold")
    return table


def plain(table: Table) -> str:
    """Return a table as text without colors."""
    console = Console(file=StringIO(), width=_WIDTH, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def ledger_html(rows: Sequence[RowLike], total: float, title: str, caption: str) -> str:
    """Return the table of a ledger as HTML for a notebook."""
    headings, lines, bottom = _content(rows, total)
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in lines
    )
    foot = "".join(f"<th>{escape(c)}</th>" for c in bottom)
    below = escape(caption).replace("\n", "<br>")
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody><tfoot><tr>{foot}</tr></tfoot></table><p>{below}</p>"
    )


def _content(rows: Sequence[RowLike], total: float) -> tuple[list[str], list[list[str]], list[str]]:
    """Return headings, lines and the bottom line; of many rows the largest, and the rest as one."""
    shown, rest = _largest(rows)
    headings, lines = cells_of(shown)
    if rest:
        amount = sum(r.contribution for r in rest)
        share = "" if total == 0 else f"{amount / total:.1%}"
        lines.append(_bottom(headings, f"{len(rest)} smaller rows", _number(amount), share))
    share = "" if total == 0 else "100.0%"
    return headings, lines, _bottom(headings, "total", _number(total), share)


def _largest(rows: Sequence[RowLike]) -> tuple[list[RowLike], list[RowLike]]:
    if len(rows) <= _MOST_ROWS:
        return list(rows), []
    order = sorted(rows, key=lambda r: -abs(r.contribution))
    keep = {id(r) for r in order[:_MOST_ROWS]}
    return [r for r in rows if id(r) in keep], [r for r in rows if id(r) not in keep]


def _bottom(headings: list[str], name: str, amount: str, share: str) -> list[str]:
    values = {"output": name, "contribution": amount, "share": share}
    if "output" not in headings:
        values["term"] = name
    return [values.get(h, "") for h in headings]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.5f}"
