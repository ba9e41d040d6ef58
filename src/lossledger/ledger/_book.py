# SPDX-License-Identifier: Apache-2.0
"""Ledgers: detached sums by cell that merge over parts, steps and epochs."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from lossledger._array import ArrayLibrary, library_of
from lossledger._errors import DomainError, MatchError, ReductionError
from lossledger._typing import Array, Axes
from lossledger.engines import RULES, Account, CellNames, Limbs, Pool
from lossledger.ledger._query import gather, overlooked
from lossledger.ledger._rows import Row, cell_rows, with_share
from lossledger.ledger._state import facts_of, state_of
from lossledger.ledger._tree import on_host
from lossledger.report.text import ledger_html, ledger_table, plain
from lossledger.statistics import TopStatistic

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Note:
    """What is known of a term without its numbers.

    Attributes:
        term: Its name.
        output: Names of the outputs it reads.
        classes: Names of the classes, if they were given.
        keys: (key, names of its values), where they were given.
        reduction: The reduction in words.
        exactness: How it may be split: "one_pass", "two_pass", "threshold", "candidates".
        reason: Why.
    """

    term: str
    output: str
    classes: Axes | None
    keys: tuple[tuple[str, Axes], ...]
    reduction: str
    exactness: str
    reason: str


@dataclass(frozen=True, eq=False)
class Book:
    """One term's account, and the statistic from which its pooled value comes."""

    note: Note
    cells: CellNames
    account: Account
    pool: Pool | None

    def names(self) -> tuple[tuple[str, ...], ...]:
        """Return the name of every place on every axis of the cells."""
        found, named = [], dict(self.note.keys)
        for axis, length in zip(self.cells.axes, self.cells.shape, strict=True):
            if axis == "class" and self.note.classes is not None:
                found.append(tuple(self.note.classes))
            elif axis == "label":
                found.append(("negative", "positive"))
            elif axis in named:
                found.append(named[axis])
            else:
                found.append(tuple(str(i) for i in range(length)))
        return tuple(found)


@dataclass(frozen=True, eq=False, repr=False)
class Ledger:
    """The account of one total, or of the sum of several.

    Immutable and without a graph; a pytree whose leaves are small arrays. Nothing is read
    from the device before a row or number is asked for. Rows add up to `step_mean`, which
    for one step is the total that was minimised.

    Attributes:
        books: One for each term.
        regularizers: (name, amount) of each.
        summed: Σ of the totals of the steps; differentiable nowhere.
        wholes: How many wholes the ledger covers: a step is one, a part its share of one.
        status: Bits of rules that were broken out of sight; None if they could be raised.
    """

    books: tuple[Book, ...]
    regularizers: tuple[tuple[str, Array], ...]
    summed: Array
    wholes: float | Array
    status: Array | None

    def __add__(self, other: Self) -> Self:
        """Merge: contributions, numerators, denominators and wholes add.

        Raises:
            MatchError: If the two have different terms.
        """
        if not isinstance(other, Ledger):
            return NotImplemented
        mine = [b.note.term for b in self.books] + [n for n, _ in self.regularizers]
        theirs = [b.note.term for b in other.books] + [n for n, _ in other.regularizers]
        if mine != theirs:
            raise MatchError(
                "Only ledgers of the same terms add up",
                f"Found the terms {', '.join(mine)} and {', '.join(theirs)}",
                "The ledgers come from two objectives",
                "Keep one ledger for each objective",
            )
        xp = _library(self.summed)
        if _library(other.summed) is not xp:
            merged: Self = on_host(self) + on_host(other)
            return merged
        pairs = zip(self.regularizers, other.regularizers, strict=True)
        return type(self)(
            tuple(_merged(xp, a, b) for a, b in zip(self.books, other.books, strict=True)),
            tuple((name, a + b) for (name, a), (_, b) in pairs),
            self.summed + other.summed,
            self.wholes + other.wholes,
            _either(self.status, other.status),
        )

    def __radd__(self, other: int) -> Self:
        """Let `sum(ledgers)` start from 0."""
        return self if other == 0 else NotImplemented

    @property
    def total(self) -> float:
        """What was minimised: the step's total, or the mean over the steps merged."""
        return self.step_mean

    @cached_property
    def step_mean(self) -> float:
        """Mean over wholes of what was minimised, regularizers counted once a step."""
        return float(self._host(self.summed)) / self._wholes

    @cached_property
    def pooled(self) -> float:
        """Value of the merged statistics: for Dice, the Dice of all steps together.

        Regularizers enter with their mean over steps.

        Raises:
            ReductionError: If a term's statistic cannot be kept over steps.
        """
        self._explain_status()
        xp = _library(self.summed)
        total = sum(float(self._host(a)) for _, a in self.regularizers) / self._wholes
        for book in self.books:
            if book.pool is None:
                raise ReductionError(
                    "A pooled value needs statistics of bounded size, with the same weights",
                    f"Found `{book.note.term}` with {book.note.reduction}",
                    "The worst share of all elements needs every element to be kept; or weights "
                    "without a `batch` axis changed between the steps",
                    "Read step_mean, or merge objective.statistics(...) of the batches",
                )
            weight = float(self._host(book.account.loss_weight))
            if np.isnan(weight):
                raise ReductionError(
                    "A pooled value needs one loss weight for all steps",
                    f"Found that the loss weight of `{book.note.term}` changed",
                    "It is learned, or follows a schedule",
                    "Read step_mean: the mean of what was minimised",
                )
            total += weight * float(self._host(book.pool.value(xp)))
        return total

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every cell of every term, then curvature and regularizers; they add up to total."""
        self._explain_status()
        found: list[Row] = []
        for book in self.books:
            arrays = {
                f.name: self._host(getattr(book.account, f.name)) for f in fields(book.account)
            }
            note = book.note
            found += cell_rows(
                note.output, note.term, book.cells.axes, book.names(), arrays, self._wholes
            )
            curvature = float(arrays["curvature"]) / self._wholes
            if curvature != 0:
                found.append(Row(note.output, note.term, kind="curvature", contribution=curvature))
        for name, amount in self.regularizers:
            each = float(self._host(amount)) / self._wholes
            found.append(Row("", name, kind="regularizer", contribution=each))
        return with_share(found, self.step_mean)

    @property
    def deviation(self) -> float:
        """|Σ rows − total|: summation rounding, and nothing else."""
        return abs(sum(row.contribution for row in self.rows) - self.total)

    def by(self, *names: str) -> tuple[Row, ...]:
        """Return rows merged by "output", "term", "class", "label" or an axis of `rows`."""
        return gather(self.rows, names, self.total)

    def overlooked(self, max_support: float = 0.05) -> tuple[Row, ...]:
        """Return class (and label) rows that the average hides, worst first.

        A row is overlooked if it has at most `max_support` of the term's elements and an
        own mean above twice the term's, or an IoU below half the best class's.
        """
        return overlooked(self.rows, max_support)

    def to_dict(self) -> dict[str, Any]:
        """Return the ledger as plain numbers and strings, ready for JSON."""
        return {
            "total": self.total,
            "wholes": self._wholes,
            "terms": [self._facts(book) for book in self.books],
            "rows": [row.to_dict() for row in self.rows],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is known, ready for JSON; `objective.load_ledger` reads it.

        Ledgers that were saved by other processes and runs add up with those of this one.
        """
        return state_of("ledger", self, {b.note.term: _facts_of(b) for b in self.books})

    def to_dataframe(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        from lossledger.ledger._export import dataframe  # noqa: PLC0415 - pandas is optional

        return dataframe(self.rows)

    def __repr__(self) -> str:
        """Name the terms; numbers stay on their device until they are asked for."""
        names = [b.note.term for b in self.books] + [name for name, _ in self.regularizers]
        return f"<Ledger of {', '.join(names)}; print it to see its rows>"

    def __str__(self) -> str:
        """Write as a table whose bottom line is the total."""
        return plain(self.__rich__())

    def __rich__(self) -> Any:
        """Return the table that rich prints."""
        return ledger_table(self.rows, self.total, self._title(), self._caption())

    def _repr_html_(self) -> str:
        return ledger_html(self.rows, self.total, self._title(), self._caption())

    def plot(self, path: str | None = None) -> Any:
        """Draw the waterfall of the total; return the figure, and save it if `path` is given.

        Raises:
            MissingExtraError: If matplotlib is not installed.
        """
        from lossledger.report.plots import waterfall  # noqa: PLC0415 - matplotlib is optional

        figure = waterfall(self)
        if path is not None:
            figure.savefig(path)
        return figure

    def _title(self) -> str:
        steps = self._wholes
        return "Ledger" if steps == 1 else f"Ledger: mean of {steps:g} steps"

    def _caption(self) -> str:
        """Return one line a term: how its rows were made into one number."""
        return "\n".join(_spell(self._facts(book)) for book in self.books)

    def _facts(self, book: Book) -> dict[str, Any]:
        """Return a term's settings, and what it adds to the mean step's total."""
        divisor = None if book.pool is None or self._wholes != 1 else book.pool.divisor
        weight = float(self._host(book.account.loss_weight))
        return {
            "term": book.note.term,
            "output": book.note.output,
            "reduction": book.note.reduction,
            "exactness": book.note.exactness,
            "loss_weight": None if np.isnan(weight) else weight,
            "divisor": None if divisor is None else float(self._host(divisor)),
            "contribution": float(self._host(book.account.total)) / self._wholes,
        }

    @property
    def _wholes(self) -> float:
        wholes = self.wholes
        number = wholes if isinstance(wholes, int | float) else float(self._host(wholes))
        # Shares of a whole add up to 1 but for rounding.
        return float(round(number)) if abs(number - round(number)) < _ROUNDING else number

    def _host(self, array: Any) -> Any:
        return on_host(array)

    def _explain_status(self) -> None:
        """Raise what could not be raised under a trace or on an accelerator."""
        status = 0 if self.status is None else self._host(self.status)
        bits = int(np.bitwise_or.reduce(np.ravel(status)))
        for bit, rule, cause, remedy in RULES.values():
            if bits & bit:
                raise DomainError(
                    rule, "Found it broken in a compiled or accelerated step", cause, remedy
                )


def _spell(facts: dict[str, Any]) -> str:
    """Return a term's settings in one line; each of several steps has a divisor of its own."""
    weight, divisor = facts["loss_weight"], facts["divisor"]
    factor = "changing weight" if weight is None else f"{weight:g}"
    reduction = facts["reduction"] if weight == 1 else f"{factor} · {facts['reduction']}"
    parts = [reduction]
    if divisor is not None:
        exact = np.isfinite(divisor) and divisor == int(divisor)
        parts.append(f"divisor {int(divisor):,}" if exact else f"divisor {divisor:,.6g}")
    return f"{facts['term']}: {', '.join((*parts, facts['exactness']))}"


def _library(number: Any) -> ArrayLibrary:
    return library_of(number.high if isinstance(number, Limbs) else number)


def _merged(xp: ArrayLibrary, mine: Book, theirs: Book) -> Book:
    if mine.cells != theirs.cells:
        raise MatchError(
            f"Ledgers of `{mine.note.term}` add up only over the same cells",
            f"Found cells {mine.cells.shape} and {theirs.cells.shape}",
            "The rows follow the batch, and the last batch is shorter",
            "Choose rows that every batch has, such as 'class'",
        )
    pool = None
    if mine.pool is not None and theirs.pool is not None:
        # Weights that changed between steps leave no value of the steps together.
        pool = mine.pool.merge(xp, theirs.pool) if mine.pool.fits(xp, theirs.pool) else None
    return replace(mine, account=mine.account.merge(xp, theirs.account), pool=pool)


def _facts_of(book: Book) -> dict[str, Any]:
    """Return what a ledger knows of a term: less, where no statistic could be kept."""
    if book.pool is not None:
        return facts_of(book.pool.term)
    note = book.note
    known = {} if note.classes is None else {"classes": list(note.classes)}
    return known | {"outputs": note.output.split(", "), "reduction": note.reduction}


def keep_pool(pool: Pool | None) -> Pool | None:
    """Return the pool if its size does not grow with the number of elements."""
    if pool is None:
        return None
    statistic = pool.statistic
    unbounded = isinstance(statistic, TopStatistic) and statistic.keep is None
    return None if unbounded else pool


def _either(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return a | b
