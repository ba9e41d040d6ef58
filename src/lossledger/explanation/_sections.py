# SPDX-License-Identifier: Apache-2.0
"""Sections of a page: a title, a table and lines of text; as plain text and as HTML."""

import textwrap
from dataclasses import dataclass
from html import escape

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lossledger.report.text import plain

WIDTH = 100
"""Columns of text; a table may be wider."""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: "" for none.
        headings: Of the table; empty for none.
        cells: Lines of the table, as long as the headings.
        numbers: Which headings stand over numbers.
        bottom: The last line of the table, set apart; empty for none.
        lines: Sentences below the table.
    """

    title: str
    headings: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    numbers: frozenset[str] = frozenset()
    bottom: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def compact(section: Section) -> Section:
    """Return the section without columns in which nothing stands."""
    every = [*section.cells, *([section.bottom] if section.bottom else [])]
    kept = [i for i in range(len(section.headings)) if any(line[i] for line in every)]
    return Section(
        section.title,
        tuple(section.headings[i] for i in kept),
        tuple(tuple(line[i] for i in kept) for line in section.cells),
        section.numbers,
        tuple(section.bottom[i] for i in kept) if section.bottom else (),
        section.lines,
    )


def as_text(sections: tuple[Section, ...]) -> str:
    """Return sections as plain text, with an empty line between."""
    return "\n\n".join(_text(compact(s)) for s in sections)


def as_html(sections: tuple[Section, ...]) -> str:
    """Return sections as HTML for a notebook."""
    return "".join(_html(compact(s)) for s in sections)


def _text(section: Section) -> str:
    parts = [section.title] if section.title else []
    if section.headings:
        cells = [cell for line in section.cells for cell in line]
        sentences = max(map(len, cells), default=0) > WIDTH // 2
        table = Table(box=SIMPLE_HEAD, pad_edge=False, width=WIDTH if sentences else None)
        for name in section.headings:
            right = name in section.numbers
            table.add_column(
                name, justify="right" if right else "left", no_wrap=right, overflow="fold"
            )
        for line in section.cells:
            table.add_row(*line)
        if section.bottom:
            table.add_section()
            table.add_row(*section.bottom)
        parts.append(plain(table).strip("\n"))
    parts += [
        textwrap.fill(line, WIDTH, subsequent_indent=_indent(line), break_long_words=False)
        for line in section.lines
    ]
    return "\n".join(parts)


def _indent(line: str) -> str:
    return " " * (len(line) - len(line.lstrip()) + 2)


def _html(section: Section) -> str:
    title = f"<h4>{escape(section.title)}</h4>" if section.title else ""
    return title + _html_table(section) + "".join(f"<p>{escape(x)}</p>" for x in section.lines)


def _html_table(section: Section) -> str:
    if not section.headings:
        return ""
    head = "".join(f"<th>{escape(h)}</th>" for h in section.headings)
    body = "".join(_html_row(section, line, "td") for line in section.cells)
    foot = f"<tfoot>{_html_row(section, section.bottom, 'th')}</tfoot>" if section.bottom else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _html_row(section: Section, line: tuple[str, ...], tag: str) -> str:
    def cell(name: str, text: str) -> str:
        style = ' style="text-align:right"' if name in section.numbers else ""
        return f"<{tag}{style}>{escape(text)}</{tag}>"

    return "<tr>" + "".join(map(cell, section.headings, line)) + "</tr>"
