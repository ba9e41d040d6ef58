# SPDX-License-Identifier: Apache-2.0
"""Rows of a ledger: numbers on the host, one row a cell."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lossledger._typing import Axes


@dataclass(frozen=True)
class Row:
    """One cell of a ledger, or several of them together.

    Attributes:
        output: Name of the output ("" for a regularizer).
        term: Name of the term or regularizer.
        cls: Name of the class; None if the row has none.
        label: "positive" or "negative"; None if the row has none.
        cell: Other names, such as a sample or a group, as (axis, name).
        kind: "values", "curvature" or "regularizer"; "decisions" for a class of which support and
            hits are known and what it adds is not: then `contribution` is 0 and means nothing.
        count: Number of elements with weight; None where elements mean nothing.
        own_mean: numerator / denominator, pooled; None if there is nothing to divide by.
        contribution: What the row adds to the mean step's total.
        share: contribution / total; None if the total is 0.
        numerator: Σ w·v.
        denominator: Σ w.
        support: Number of elements whose true class this is; None if unknown.
        iou: right / (predicted or true), of hard decisions; None if unknown.
        dice: 2·right / (predicted + true).
        accuracy: right / true: the share of the class that is found.
    """

    output: str
    term: str
    cls: str | None = None
    label: str | None = None
    cell: tuple[tuple[str, str], ...] = ()
    kind: str = "values"
    count: int | None = None
    own_mean: float | None = None
    contribution: float = 0.0
    share: float | None = None
    numerator: float | None = None
    denominator: float | None = None
    support: int | None = None
    iou: float | None = None
    dice: float | None = None
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row's fields as plain numbers and strings; `cls` is named "class" here."""
        found = {f.name: getattr(self, f.name) for f in fields(self)} | {"cell": dict(self.cell)}
        return {"class" if name == "cls" else name: value for name, value in found.items()}


def cell_rows(
    output: str,
    term: str,
    axes: Axes,
    names: tuple[tuple[str, ...], ...],
    arrays: dict[str, Any],
    steps: float,
) -> list[Row]:
    """Return one row for each cell of an account's arrays."""
    rows = []
    for place in np.ndindex(arrays["contribution"].shape):
        spelled = {a: names[i][place[i]] for i, a in enumerate(axes)}
        cls = spelled.pop("class", None)
        label = spelled.pop("label", None)
        # Decisions are counted by class over the batch: a finer cell has none of its own.
        hits = None if spelled else arrays["hits"]
        hit = _hit(hits, place[axes.index("class")] if cls is not None else None)
        rows.append(
            make_row(
                Row(output, term, cls, label, tuple(spelled.items())),
                count=int(arrays["count"][place]),
                contribution=float(arrays["contribution"][place]) / steps,
                numerator=float(arrays["numerator"][place]),
                denominator=float(arrays["denominator"][place]),
                **hit if label != "negative" else {},
            )
        )
    return rows


def make_row(base: Row, **numbers: Any) -> Row:
    """Fill a row's numbers in and divide what is to be divided."""
    right, predicted, true = (numbers.pop(k, None) for k in ("right", "predicted", "true"))
    bottom = numbers.get("denominator")
    if bottom:
        numbers["own_mean"] = numbers["numerator"] / bottom
    if true is not None:
        numbers["support"] = true
        union = predicted + true - right
        numbers["iou"] = right / union if union else None
        numbers["dice"] = 2 * right / (predicted + true) if predicted + true else None
        numbers["accuracy"] = right / true if true else None
    return replace(base, **numbers)


def _hit(hits: Any, place: int | None) -> dict[str, int]:
    if hits is None or (place is None) != (hits.ndim == 1):
        return {}
    column = hits if place is None else hits[:, place]
    return dict(zip(("right", "predicted", "true"), (int(n) for n in column), strict=True))


def with_share(rows: list[Row], total: float) -> tuple[Row, ...]:
    """Give every row its share of the total."""
    if total == 0 or not np.isfinite(total):
        return tuple(rows)
    return tuple(replace(row, share=row.contribution / total) for row in rows)
