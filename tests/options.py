# SPDX-License-Identifier: Apache-2.0
"""Reductions, weights and cells of the ledger, and which of them meet on which case."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from batches import WEIGHTS, Batch, cells_of, draw, has_class, left_of, objective_of

import lossledger as ll
from cases import LOSSES, Case
from lossledger.reductions.shares import ShareMean

DENOMINATORS: tuple[Any, ...] = ("weights", "passed", "elements", "nonzero", "mask", "samples", 7.0)
Build = Callable[[str], Any]


@dataclass(frozen=True)
class Option:
    """A reduction by name.

    Attributes:
        id: Name in messages.
        build: Names of the axes without `batch`, as one string -> the reduction.
        needs: What must be there: "inner" axes beside batch, a "class", or the elements'
            own "group" (a loss of sums has cells in place of elements).
        signed: Whether values may be negative.
        removes: Whether an element of weight 0 may as well not be there.
        copies: What the total of a batch written k times is: the "same", k "times" as
            much, or "other".
    """

    id: str
    build: Build
    needs: tuple[str, ...] = ()
    signed: bool = True
    removes: bool = True
    copies: str = "same"


def _mean(kind: Any) -> Option:
    removes = kind in ("weights", "passed", "nonzero")
    copies = "times" if kind == 7.0 else "same"
    return Option(f"mean-{kind}", lambda _: ll.Mean(denominator=kind), (), True, removes, copies)


def _option(name: str, build: Build, needs: str = "", **facts: Any) -> Option:
    return Option(name, build, tuple(needs.split()), **facts)


REDUCTIONS: tuple[Option, ...] = (
    *(_mean(kind) for kind in DENOMINATORS),
    _option("sum", lambda _: ll.Sum(), copies="times"),
    _option("root-mean", lambda _: ll.RootMean(), signed=False),
    _option("max", lambda _: ll.Max()),
    _option("top-fraction", lambda _: ll.TopMean(0.3)),
    _option("top-count", lambda _: ll.TopMean(count=3), copies="other"),
    _option("tilted", lambda _: ll.LogMeanExp(2.0)),
    _option("tilted-down", lambda _: ll.LogMeanExp(-1.5)),
    _option("macro", lambda _: ll.Macro(), "class"),
    _option("macro-group", lambda _: ll.Macro("group"), "group"),
    _option("worst-class", lambda _: ll.Mean(by="class").then(ll.Max()), "class"),
    _option(
        "sum-class-tilted",
        lambda _: ll.Sum(by="class").then(ll.LogMeanExp(0.5)),
        "class",
        copies="other",
    ),
    _option(
        "elements-class-top",
        lambda _: ll.Mean(by="class", denominator="elements").then(ll.TopMean(0.5)),
        "class",
        removes=False,
    ),
    _option("worst-group", lambda _: ll.Mean(by="group").then(ll.Max()), "group"),
    _option("max-group-mean", lambda _: ll.Max(by="group").then(ll.Mean()), "group"),
    _option("top-group-sum", lambda _: ll.TopMean(0.5, by="group").then(ll.Sum()), "group"),
    _option(
        "tilted-group-root",
        lambda _: ll.LogMeanExp(1.0, by="group").then(ll.RootMean()),
        "group",
        signed=False,
    ),
    _option("mean-inner-max", lambda inner: ll.Mean(inner).then(ll.Max()), "inner"),
    _option("max-inner-mean", lambda inner: ll.Max(inner).then(ll.Mean()), "inner"),
    _option("skip-inner-mean", lambda inner: ll.Mean(inner, empty="skip").then(ll.Mean()), "inner"),
    _option(
        "top-inner-sum",
        lambda inner: ll.TopMean(0.5, over=inner).then(ll.Sum()),
        "inner",
        copies="times",
    ),
    _option(
        "tilted-inner-mean", lambda inner: ll.LogMeanExp(1.0, over=inner).then(ll.Mean()), "inner"
    ),
    _option(
        "root-inner-mean", lambda inner: ll.RootMean(inner).then(ll.Mean()), "inner", signed=False
    ),
    _option("mean-batch-max", lambda _: ll.Mean("batch").then(ll.Max()), "inner"),
    _option("max-batch-tilted", lambda _: ll.Max("batch").then(ll.LogMeanExp(1.0)), "inner"),
    _option("top-batch-mean", lambda _: ll.TopMean(0.4, over="batch").then(ll.Mean()), "inner"),
    _option("tilted-batch-max", lambda _: ll.LogMeanExp(0.7, over="batch").then(ll.Max()), "inner"),
    _option(
        "samples-inner-root",
        lambda inner: ll.Sum(inner).then(ll.Mean(denominator="samples")).then(ll.RootMean()),
        "inner",
        signed=False,
        removes=False,
    ),
    _option("shares", lambda _: ShareMean(), removes=False),
    _option(
        "shares-of-groups", lambda _: ShareMean(by="group").then(ll.Mean()), "group", removes=False
    ),
    _option(
        "shares-inner-mean", lambda inner: ShareMean(inner).then(ll.Mean()), "inner", removes=False
    ),
)
ROWS = ("default", "batch", "group", "none", "class label", "class group")


def reductions_of(case: Case) -> list[Option]:
    """Return the reductions that fit a case's axes and the sign of its values."""
    cells = cells_of(case)
    sums = cells != left_of(case)
    there = {
        "inner": "batch" in cells and len(cells) > 1,
        "class": "class" in cells or (has_class(case) and not sums),
        "group": not sums,
    }
    signed = _signed(case)
    return [r for r in REDUCTIONS if all(there[n] for n in r.needs) and (r.signed or not signed)]


def build(case: Case, option: Option) -> Any:
    """Return an option's reduction for a case."""
    return option.build(" ".join(a for a in cells_of(case) if a != "batch"))


def rows_of(case: Case, rows: str) -> str | None:
    """Return the ledger's cells as a term takes them, less what the case does not have."""
    if rows == "default":
        return None
    labels = case.term().loss.facts().labels and case.targets != "index"
    there = {"batch": True, "group": True, "class": has_class(case), "label": labels}
    return " ".join(name for name in rows.split() if there.get(name))


@dataclass(frozen=True)
class Combination:
    """One case with one reduction, one kind of weights and one choice of cells.

    `turn` counts through the table, for whatever else is to rotate.
    """

    case: Case
    option: Option
    weights: str
    rows: str
    turn: int = 0

    def __str__(self) -> str:
        """Write as it stands in messages."""
        return f"{self.case.id} / {self.option.id} / {self.weights} / rows {self.rows}"

    def objective(self, **settings: Any) -> ll.Objective:
        """Return the objective."""
        settings = {"reduction": build(self.case, self.option), **settings}
        return objective_of(self.case, rows=rows_of(self.case, self.rows), **settings)

    def batch(self, length: int | None = None, seed: int = 0) -> Batch:
        """Return the batch."""
        return draw(self.case, self.weights, seed, length)


def combinations(case: Case) -> Iterator[Combination]:
    """Yield a case with its reductions; weights and cells rotate, so that all pairs meet.

    The first case of each loss meets every reduction, its variants every third. Over the
    table each pair of (loss, reduction), (reduction, weights), (reduction, cells) and
    (weights, cells) occurs; the full product would be a hundred times as long.
    """
    place = next((i for i, c in enumerate(LOSSES) if c.id == case.id), 0)
    first = case.id not in VARIANTS
    for option in reductions_of(case):
        turn = place + REDUCTIONS.index(option)
        if first or turn % 3 == 0:
            weights = WEIGHTS[turn % len(WEIGHTS)]
            yield Combination(case, option, weights, ROWS[turn % len(ROWS)], turn)


def _variants() -> frozenset[str]:
    seen: set[type] = set()
    repeated = []
    for case in LOSSES:
        kind = type(case.loss)
        if kind in seen:
            repeated.append(case.id)
        seen.add(kind)
    return frozenset(repeated)


VARIANTS = _variants()


def _signed(case: Case) -> bool:
    objective, batch = objective_of(case), draw(case)
    values = objective.values(batch.outputs, batch.targets, **batch.options)
    return bool(np.min(next(iter(values.values()))) < 0)
