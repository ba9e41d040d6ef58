# SPDX-License-Identifier: Apache-2.0
"""Explanations measured against what they explain: outcomes, and the table in the docs.

Every case that is made is counted in one column or another. A case that the framework refuses
has to be refused here too, and the other way round.
"""

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance import deviation

import lossledger as ll

PAGE = Path(__file__).parent.parent / "docs" / "explain-conformance.md"
HEAD = (
    "| loss | cases | value agrees | gradient agrees | refused by both | largest deviation |",
    "| :--- | ---: | ---: | ---: | ---: | ---: |",
)


@dataclass(frozen=True)
class Outcome:
    """What one case gave.

    Attributes:
        row: Name of the row that counts it.
        case: A name for messages.
        value: Deviation of the value; None where both refused.
        gradient: Deviation of the gradient; None where there is nothing to compare.
    """

    row: str
    case: str
    value: float | None
    gradient: float | None = None


def compared(
    row: str,
    case: str,
    theirs: Callable[[], tuple[Any, Any]],
    mine: Callable[[], tuple[Any, Any]],
) -> Outcome:
    """Compare (value, slopes or None) of both sides; slopes are compared where both have them.

    Args:
        row: Name of the row that counts it.
        case: A name for messages.
        theirs: What the framework gives; whatever it raises is its refusal.
        mine: What the explanation gives; only an error of ours is a refusal.
    """
    try:
        wanted = theirs()
    except Exception as error:
        try:
            mine()
        except ll.LossLedgerError:
            return Outcome(row, case, None)
        raise AssertionError(f"{row}, {case}: explained, and theirs raises {error!r}") from error
    found = mine()
    gap = deviation(found[0], wanted[0])
    slopes = None
    if found[1] is not None and wanted[1] is not None:
        assert len(found[1]) == len(wanted[1]), (row, case)
        slopes = max(deviation(a, b) for a, b in zip(found[1], wanted[1], strict=True))
    return Outcome(row, case, gap, slopes)


def check_table(section: str, outcomes: Iterable[Outcome], within: float) -> None:
    """Hold every outcome to a bound, and the page's table to the outcomes.

    With UPDATE_DOCS set, the table is written.
    """
    kept = list(outcomes)
    assert kept, f"no case of {section}"
    for x in kept:
        far = max(x.value or 0.0, x.gradient or 0.0)
        assert far <= within, f"{section}: {x}"
    rows = {name: [x for x in kept if x.row == name] for name in sorted({x.row for x in kept})}
    made = [_line(name, cases) for name, cases in rows.items()]
    made.append(_line("all", kept))
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    assert begin in text, f"{PAGE} has no place for {section}"
    head, rest = text.split(begin, 1)
    old, tail = rest.split(end, 1)
    if os.environ.get("UPDATE_DOCS"):
        body = "\n".join([*HEAD, *made])
        PAGE.write_text(f"{head}{begin}\n\n{body}\n\n{end}{tail}", encoding="utf-8")
        return
    shown = [line for line in old.splitlines() if line.startswith("|")][len(HEAD) :]
    assert [_bare(x) for x in shown] == [_bare(x) for x in made], "run it with UPDATE_DOCS=1"
    # Every case has been held to its bound; this is the order of magnitude, which differs
    # between machines.
    for new, before in zip(made, shown, strict=True):
        assert _bound(new) <= 200 * _bound(before), f"measured {new}, in the docs {before}"


def _line(name: str, cases: list[Outcome]) -> str:
    values = [x.value for x in cases if x.value is not None]
    slopes = [x.gradient for x in cases if x.gradient is not None]
    largest = max([*values, *slopes, 1e-16])
    bound = 10.0 ** math.ceil(math.log10(largest))
    shown = name if name == "all" else f"`{name}`"
    counts = len(cases), len(values), len(slopes), len(cases) - len(values)
    return f"| {shown} | {' | '.join(map(str, counts))} | {bound:.0e} |"


def _bare(line: str) -> str:
    return re.sub(r"\| [0-9.e+-]+ \|$", "", line)


def _bound(line: str) -> float:
    return float(line.rsplit("|", 2)[1])
