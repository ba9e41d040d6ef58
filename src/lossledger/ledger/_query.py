# SPDX-License-Identifier: Apache-2.0
"""Questions to rows: merge them by name, and find those that an average hides."""

from lossledger._errors import MatchError
from lossledger._typing import Sequence
from lossledger.ledger._rows import Row, make_row, with_share

_FIELDS = {"output": "output", "term": "term", "class": "cls", "label": "label", "kind": "kind"}


def gather(rows: Sequence[Row], names: tuple[str, ...], total: float) -> tuple[Row, ...]:
    """Merge rows that agree in the names given; numerators and denominators add."""
    known = set(_FIELDS) | {axis for row in rows for axis, _ in row.cell}
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        raise MatchError(
            "Rows merge by " + ", ".join(sorted(known)),
            f"Found {', '.join(unknown) or 'no name'}",
            "The name is misspelled, or the term's `rows` do not split by it",
            "Name one of them, or build the term with rows=...",
        )
    groups: dict[tuple[str | None, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(_read(row, n) for n in names), []).append(row)
    merged = [_merge(group, names) for group in groups.values()]
    return with_share(merged, total)


def _read(row: Row, name: str) -> str | None:
    if name in _FIELDS:
        found: str | None = getattr(row, _FIELDS[name])
        return found
    return dict(row.cell).get(name)


def _merge(rows: list[Row], names: tuple[str, ...]) -> Row:
    first = rows[0]
    same_term = len({(r.term, r.kind) for r in rows}) == 1
    base = Row(
        output=_common(rows, "output"),
        term=_common(rows, "term"),
        cls=first.cls if "class" in names else None,
        label=first.label if "label" in names else None,
        cell=tuple((a, v) for a, v in first.cell if a in names),
        kind=first.kind if len({r.kind for r in rows}) == 1 else "values",
    )
    numbers: dict[str, object] = {"contribution": sum(r.contribution for r in rows)}
    counted = [r for r in rows if r.count is not None]
    if counted and same_term:
        numbers["count"] = sum(r.count or 0 for r in counted)
        numbers["numerator"] = sum(r.numerator or 0.0 for r in counted)
        numbers["denominator"] = sum(r.denominator or 0.0 for r in counted)
    scored = [r for r in rows if r.support is not None]
    decisions = {(r.output, r.cls, r.support, r.iou, r.dice) for r in scored}
    if len(decisions) == 1:  # several terms of one output count the same decisions
        best = scored[0]
        for name in ("support", "iou", "dice", "accuracy"):
            numbers[name] = getattr(best, name)
    return make_row(base, **numbers)


def _common(rows: list[Row], name: str) -> str:
    return ", ".join(dict.fromkeys(str(getattr(r, name)) for r in rows if getattr(r, name)))


def overlooked(rows: Sequence[Row], max_support: float) -> tuple[Row, ...]:
    """Return rows of few elements that are badly off, worst own mean first."""
    found: list[Row] = []
    terms = dict.fromkeys(r.term for r in rows if r.cls is not None or r.label is not None)
    for term in terms:
        own = [r for r in rows if r.term == term and r.kind == "values"]
        elements = sum(r.count or 0 for r in own)
        top, bottom = (sum(getattr(r, n) or 0.0 for r in own) for n in ("numerator", "denominator"))
        mean = top / bottom if bottom else 0.0
        best = max((r.iou for r in own if r.iou is not None), default=0.0)
        for row in own:
            if row.label == "negative" or not row.count or row.count > max_support * elements:
                continue
            costly = row.own_mean is not None and row.own_mean > 2 * mean > 0
            missed = row.iou is not None and row.iou < best / 2
            if costly or missed:
                found.append(row)
    return tuple(sorted(found, key=lambda r: -(r.own_mean or 0.0)))
