# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script beside the page that it makes
"""Make docs/presets/libraries.md: every preset with its options, formula and surprises.

python docs/make_presets.py --write
"""

from dataclasses import MISSING, fields
from inspect import getdoc
from pathlib import Path

from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._registry import LIBRARIES, presets_of

PAGE = Path(__file__).parent / "presets" / "libraries.md"

INTRODUCTION = """\
# The presets, library by library

<!-- Made by docs/make_presets.py from the docstrings; do not edit. -->

Options are the library's own, with its defaults. A note says what that version of the library
does that one may not expect; the preset does the same, or raises an error where it says so.
"""


def options(kind: type[AbstractLibraryLoss]) -> str:
    """Return the options with their defaults, as they are written."""
    shown = []
    for f in fields(kind):
        if not f.init:
            continue
        required = f.default is MISSING and f.default_factory is MISSING
        shown.append(f.name if required else f"{f.name}={f.default!r}")
    return ", ".join(shown)


def entry(kind: type[AbstractLibraryLoss]) -> str:
    """Return a preset's heading, options, description and notes."""
    text = getdoc(kind) or ""
    body = text.split("\n\nArgs:")[0].split("\n\nAttributes:")[0].strip()
    lines = [f"### {kind.__name__}", "", f"`{kind.__name__}({options(kind)})`", "", body]
    if kind.notes:
        lines += ["", *(f"- {note}" for note in kind.notes)]
    return "\n".join(lines)


def section(library: str) -> str:
    """Return a library's presets, in alphabetical order."""
    kinds = presets_of(library)
    versions = sorted({k.version for k in kinds})
    head = f"## {kinds[0].library}\n\n`ll.presets.{library}`, version {', '.join(versions)}."
    return "\n\n".join([head, *(entry(k) for k in kinds)])


def page() -> str:
    """Return the whole page."""
    return "\n\n".join([INTRODUCTION.strip(), *(section(name) for name in LIBRARIES)]) + "\n"


if __name__ == "__main__":
    from make_page import run  # beside this script, and on the path when it is run

    run(page, PAGE)
