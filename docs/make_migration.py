# SPDX-License-Identifier: Apache-2.0
"""Make docs/presets/migration.md: every loss of every library, and what the others have for it.

python docs/make_migration.py --write
"""

import argparse
from pathlib import Path

from lossledger._errors import LossLedgerError
from lossledger.presets._base import AbstractPreset
from lossledger.presets._registry import LIBRARIES, presets_of
from lossledger.presets.migration import Memo, Migration, migrate

PAGE = Path(__file__).parent / "presets" / "migration.md"

INTRODUCTION = """\
# From one library to another

<!-- Made by docs/make_migration.py from the presets; do not edit. -->

For each loss of each library, at its default settings: the plainest loss of another library
that gives the same number and the same gradient. Equality was tried on batches of three
sizes with different numbers of classes. "times …" says by what the other library's number has to
be multiplied, where that is all the difference; a dash, that none of its losses is equal
under any of its reductions.

With settings of your own, ask the command line:

```
lossledger migrate 'torch.CrossEntropyLoss(weight=[1, 2, 5])' --to keras
```
"""


def sources(library: str) -> list[AbstractPreset]:
    """Return a library's losses at their defaults, reduced; those without required options."""
    found = []
    for kind in presets_of(library):
        try:
            plain = kind()
        except (TypeError, LossLedgerError):
            continue
        reduced = getattr(plain, "reduction", "mean") not in ("none", None)
        found.append(plain if reduced else kind(reduction="mean"))
    return found


def cell(found: Migration) -> str:
    """Return the plainest equal of a loss, or a dash."""
    best = (*found.equal, *found.scaled)[:1]
    if not best:
        return "–"
    text = str(best[0]).removeprefix(f"{found.to}.")
    code, _, rest = text.partition("), ")
    return f"`{code})`, {rest}" if rest else f"`{text}`"


def section(library: str, memo: Memo) -> str:
    """Return a library's table: one row a loss, one column for each other library."""
    others = [name for name in LIBRARIES if name != library]
    lines = [
        f"## From {library}",
        "",
        f"| {library} | {' | '.join(others)} |",
        f"| :--- |{' :--- |' * len(others)}",
    ]
    for source in sources(library):
        cells = []
        for other in others:
            try:
                cells.append(cell(migrate(source, other, memo)))
            except LossLedgerError:
                cells.append("not compared")
        lines.append(f"| `{type(source).__name__}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(libraries: tuple[str, ...] = LIBRARIES) -> str:
    """Return the whole page."""
    memo: Memo = {}
    return "\n\n".join([INTRODUCTION.strip(), *(section(n, memo) for n in libraries)]) + "\n"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description="Print the migration page.")
    parser.add_argument("--write", action="store_true", help="write docs/presets/migration.md")
    options = parser.parse_args()
    if options.write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
