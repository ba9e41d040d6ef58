# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script beside the page that it makes
"""Make docs/presets/migration.md: every loss of every library, and what the others have for it.

python docs/make_migration.py --write
"""

from pathlib import Path

from lossledger._errors import LossLedgerError
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._registry import LIBRARIES, presets_of, spell
from lossledger.presets._settings import plainest
from lossledger.presets.migration import Memo, Migration, migrate

PAGE = Path(__file__).parent / "presets" / "migration.md"

INTRODUCTION = """\
# From one library to another

<!-- Made by docs/make_migration.py from the presets; do not edit. -->

For each loss of each library, at its default settings (a mean, where the library returns an
array): its number on one batch, and the plainest loss of another library that gives the same
number and the same gradient. Equality was tried on batches of three sizes with different
numbers of classes. "times …" says by what the other library's number has to be multiplied,
and "plus …" or "minus …" what has to be added, where that is all the difference. Of two options
that some libraries have reversed, such as alpha and beta, both orders were tried. "≠" marks the
nearest where none is equal under any of the library's reductions, with its number on the same
batch; a dash, that none comes within the size of the number itself.

With settings of your own, ask the command line:

```
lossledger migrate 'torch.CrossEntropyLoss(weight=[1, 2, 5])' --to keras
```
"""


def sources(library: str) -> list[AbstractLibraryLoss]:
    """Return a library's losses at their defaults, one for each name of a required option."""
    return [each for kind in presets_of(library) for each in plainest(kind)]


def cell(found: Migration) -> str:
    """Return the plainest equal of a loss, or else the nearest with its number, or a dash."""
    best = (*found.equal, *found.scaled)[:1]
    if best:
        return as_code(str(best[0]), found.to)
    if found.nearest is None or found.nearest.deviation >= 1:
        return "–"
    return f"≠ {as_code(str(found.nearest), found.to)}: {found.nearest.number:.4g}"


def as_code(text: str, library: str) -> str:
    """Return a candidate with its call marked as code."""
    code, _, rest = text.removeprefix(f"{library}.").partition("), ")
    return f"`{code})`, {rest}" if rest else f"`{code}`"


def section(library: str, memo: Memo) -> str:
    """Return a library's table: one row a loss, one column for each other library."""
    others = [name for name in LIBRARIES if name != library]
    lines = [
        f"## From {library}",
        "",
        f"| {library} | number | {' | '.join(others)} |",
        f"| :--- | ---: |{' :--- |' * len(others)}",
    ]
    for source in sources(library):
        try:
            found = [migrate(source, other, memo) for other in others]
        except LossLedgerError:
            cells, number = ["not compared"] * len(others), ""
        else:
            cells, number = [cell(each) for each in found], f"{found[0].number:.4g}"
        name = spell(source).removeprefix(f"{library}.").removesuffix("()")
        lines.append(f"| `{name}` | {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(libraries: tuple[str, ...] = LIBRARIES) -> str:
    """Return the whole page."""
    memo: Memo = {}
    return "\n\n".join([INTRODUCTION.strip(), *(section(n, memo) for n in libraries)]) + "\n"


if __name__ == "__main__":
    from make_page import run  # beside this script, and on the path when it is run

    run(page, PAGE)
