# SPDX-License-Identifier: Apache-2.0
"""A ledger as one vector of sums, so that one addition a step merges it; and back, on the host.

    vector = [ sums | broken rules | 0 … | head ]

Everything in it adds up over steps. Where 64-bit types are off it is two vectors of 32-bit
floats whose sum it is (`engines.Limbs`), which hold counts up to 2⁴⁶ exactly. What must not
change between steps (a loss weight that is a variable, weights of later stages) is a second
vector.
"""

from collections.abc import Set
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any

import numpy as np

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Callable, Mapping, Sequence
from lossledger.engines import Account, CellNames, Limbs, Pool
from lossledger.frames import Frame
from lossledger.ledger import Book, Ledger, Note
from lossledger.ledger._tree import flatten, rebuild
from lossledger.statistics import (
    AbstractStatistic,
    ChannelStatistic,
    SharesStatistic,
    SumStatistic,
)
from lossledger.term import Term

BITS = 10
"""Rules that a step may break out of sight, one place each."""
LAYOUTS = 8
"""Kinds of steps (with and without weights, …) that one bank can tell apart."""
HEAD = 3 + LAYOUTS
"""Steps, steps of training, which kind of steps they were, and a place that stays 0."""
_ADDITIVE = (SumStatistic, ChannelStatistic, SharesStatistic)
_HOST = (np.ndarray, np.generic, float, int)
_TWO_30 = float(1 << 30)
_LOW_BITS = 1 << 12


@dataclass(frozen=True)
class PoolForm:
    """A pool without its numbers."""

    frame: Frame
    kind: type[AbstractStatistic]
    names: Axes
    arrays: int
    at: int
    following: Any


@dataclass(frozen=True)
class BookForm:
    """A book without its numbers; `loss_weight` is None if it is not one number for good."""

    note: Note
    cells: CellNames
    hits: bool
    loss_weight: float | None
    pool: PoolForm | None


@dataclass(frozen=True)
class Layout:
    """Where the numbers of a ledger stand in its vector.

    Attributes:
        books: One for each term.
        regularizers: Names.
        shapes: Of every sum, in the order of `_sums`.
        whole: Which sums are integers.
        status: Whether rules can be broken out of sight.
        same: Shapes of what must not change.
    """

    books: tuple[BookForm, ...]
    regularizers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    whole: tuple[bool, ...]
    status: bool
    same: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Places that the sums and the rules take, without the head."""
        return sum(map(prod, self.shapes)) + (BITS if self.status else 0)

    @property
    def same_size(self) -> int:
        """Places of what must not change."""
        return sum(map(prod, self.same))

    def starts(self) -> list[int]:
        """Return the first place of every sum."""
        sizes = [prod(shape) for shape in self.shapes]
        return [sum(sizes[:i]) for i in range(len(sizes))]

    def places(self) -> "Places":
        """Return where the numbers for the logs stand."""
        starts, at = self.starts(), 0
        books = []
        for book in self.books:
            books.append(tuple(starts[at : at + 6]))
            at += 6 + book.hits + (book.pool.arrays if book.pool is not None else 0)
        count = len(self.regularizers)
        return Places(tuple(books), tuple(starts[at : at + count]), starts[at + count + 1])


@dataclass(frozen=True)
class Places:
    """First places: for each book of its account's six sums, of the regularizers, the wholes."""

    books: tuple[tuple[int, ...], ...]
    regularizers: tuple[int, ...]
    wholes: int


@dataclass(frozen=True, eq=False)
class Packed:
    """One step's ledger as vectors, one or a pair, and what must not change."""

    layout: Layout
    vectors: tuple[Array, ...]
    same: Array | None


def pack(
    xp: ArrayLibrary,
    ledger: Ledger,
    terms: Sequence[Term],
    live: Set[str],
    like: Array,
    tail: Callable[[Layout], Any],
    *,
    small: bool = False,
) -> Packed:
    """Write a step's ledger as vectors beside an array.

    Args:
        xp: The library of `like`.
        ledger: Of the step.
        terms: Those of the ledger, in their order.
        live: Names of terms whose loss weight is a variable.
        like: Says where the vectors are.
        tail: Gives what follows the sums, in NumPy.
        small: Whether a 32-bit float holds every count of the step.
    """
    layout, sums, same = opened(xp, ledger, terms, live)
    wide = xp.wide(like)
    fixed = [xp.reshape(xp.astype(x, wide), (-1,)) for x in same]
    vectors = _vectors(xp, [*sums, tail(layout)], like, small)
    return Packed(layout, vectors, xp.concat(fixed, 0) if fixed else None)


def opened(
    xp: ArrayLibrary, ledger: Ledger, terms: Sequence[Term], live: Set[str]
) -> tuple[Layout, list[Any], list[Any]]:
    """Return a ledger's layout, the sums in its order, and what must not change."""
    books: list[BookForm] = []
    sums: list[Any] = []
    same: list[Any] = []
    for book, term in zip(ledger.books, terms, strict=True):
        form, own, kept = _open(book, term, live)
        books.append(form)
        sums += own
        same += kept
    sums += [amount for _, amount in ledger.regularizers] + [ledger.summed, ledger.wholes]
    status = ledger.status
    layout = Layout(
        tuple(books),
        tuple(name for name, _ in ledger.regularizers),
        tuple(_shape(x) for x in sums),
        tuple(_is_whole(xp, x) for x in sums),
        status is not None,
        tuple(_shape(x) for x in same),
    )
    sums += [] if status is None else [_bits(xp, status)]
    return layout, sums, same


def _vectors(xp: ArrayLibrary, sums: list[Any], like: Array, small: bool) -> tuple[Array, ...]:
    """Join sums into one vector, or a pair."""
    wide = xp.wide(like)
    if wide == "float64":
        return (_joined(xp, sums, like),)
    pairs = [_pair(xp, x, small) for x in sums]
    return tuple(_joined(xp, list(each), like) for each in zip(*pairs, strict=True))


def _joined(xp: ArrayLibrary, sums: list[Any], like: Array) -> Array:
    """Join numbers into one vector; neighbors known on the host are joined there."""
    wide = xp.wide(like)
    pieces: list[Array] = []
    for here, group in groupby(sums, _on_host):
        if here:
            known = np.concatenate([np.ravel(np.asarray(x, wide)) for x in group])
            pieces.append(xp.asarray(known, wide, like))
        else:
            pieces += [xp.reshape(xp.astype(x, wide), (-1,)) for x in group]
    return xp.concat(pieces, 0)


def unpack(layout: Layout, vector: Any, same: Any, terms: Mapping[str, Term]) -> Ledger:
    """Return the ledger of all steps that were added up, in NumPy arrays."""
    starts, shapes = layout.starts(), layout.shapes
    sums = []
    for start, shape, whole in zip(starts, shapes, layout.whole, strict=True):
        part = np.reshape(vector[start : start + prod(shape)], shape)
        sums.append(np.rint(part).astype(np.int64) if whole else part)
    kept, at = [], 0
    for shape in layout.same:
        kept.append(np.reshape(same[at : at + prod(shape)], shape))
        at += prod(shape)
    books = tuple(_close(form, sums, kept, terms) for form in layout.books)
    amounts = tuple((name, sums.pop(0)) for name in layout.regularizers)
    summed, wholes = sums
    return Ledger(books, amounts, summed, float(wholes), _status(layout, vector))


def _open(book: Book, term: Term, live: Set[str]) -> tuple[BookForm, list[Any], list[Any]]:
    """Return a book's form, its sums, and what must not change."""
    a, pool = book.account, book.pool
    constant = term.name not in live and isinstance(term.loss_weight, int | float)
    same = [] if constant else [a.loss_weight]
    sums = [a.contribution, a.numerator, a.denominator, a.count, a.curvature, a.total]
    sums += [] if a.hits is None else [a.hits]
    form = None
    if pool is not None and isinstance(pool.statistic, _ADDITIVE):
        following: list[Any] = []
        structure = flatten(pool.following, following)
        places = tuple(isinstance(x, int | float) for x in following)
        numbers = tuple(x for x in following if isinstance(x, int | float))
        same += [x for x in following if not isinstance(x, int | float)]
        arrays, names = pool.statistic.arrays(), getattr(pool.statistic, "names", ())
        form = PoolForm(
            pool.frame, type(pool.statistic), names, len(arrays), pool.at,
            (structure, numbers, places),
        )  # fmt: skip
        sums += arrays
    weight = float(term.loss_weight) if constant else None
    return BookForm(book.note, book.cells, a.hits is not None, weight, form), sums, same


def _close(form: BookForm, sums: list[Any], same: list[Any], terms: Mapping[str, Term]) -> Book:
    """Take a book's numbers from the front of both lists."""
    weight = np.asarray(form.loss_weight) if form.loss_weight is not None else same.pop(0)
    contribution, numerator, denominator, count, curvature, total = (sums.pop(0) for _ in range(6))
    hits = sums.pop(0) if form.hits else None
    account = Account(contribution, numerator, denominator, count, curvature, total, weight, hits)
    return Book(form.note, form.cells, account, _close_pool(form, sums, same, terms))


def _close_pool(
    form: BookForm, sums: list[Any], same: list[Any], terms: Mapping[str, Term]
) -> Pool | None:
    """Return the pool; None if weights of its later stages changed, so that it has no value."""
    own = form.pool
    if own is None:
        return None
    arrays = [_plain(sums.pop(0)) for _ in range(own.arrays)]
    structure, numbers, places = own.following
    left = list(numbers)
    leaves = [left.pop(0) if number else same.pop(0) for number in places]
    if any(np.isnan(x).any() for x in leaves):
        return None
    made: Any = own.kind
    statistic = made(own.names, tuple(arrays)) if own.kind is ChannelStatistic else made(*arrays)
    following = rebuild(structure, leaves)
    return Pool(terms[form.note.term], own.frame, statistic, own.at, following)


def _plain(x: Any) -> Any:
    """Return a count that all cells share as the Python number that it was."""
    return int(x) if x.ndim == 0 and np.issubdtype(x.dtype, np.integer) else x


def _on_host(x: Any) -> bool:
    return isinstance(x, _HOST)


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(x.high.shape) if isinstance(x, Limbs) else tuple(getattr(x, "shape", ()))


def _is_whole(xp: ArrayLibrary, x: Any) -> bool:
    """Whether a sum is one of integers."""
    if isinstance(x, Limbs):
        return xp.is_integer(x.low)
    if _on_host(x):
        return x.dtype.kind != "f" if hasattr(x, "dtype") else isinstance(x, int)
    return xp.is_integer(x)


def _bits(xp: ArrayLibrary, status: Array) -> Array:
    """Return which rules were broken, one place each, as floats."""
    powers = xp.asarray([1 << i for i in range(BITS)], "int32", status)
    return xp.astype((xp.reshape(xp.astype(status, "int32"), (1,)) // powers) % 2, "float32")


def _status(layout: Layout, vector: Any) -> Any:
    if not layout.status:
        return None
    at = sum(map(prod, layout.shapes))
    return np.asarray(sum(1 << i for i in range(BITS) if vector[at + i] > 0), np.int64)


def _pair(xp: ArrayLibrary, x: Any, small: bool) -> tuple[Array, Array]:
    """Write a sum as two 32-bit floats that add up to it exactly; the second may be NumPy's 0."""
    if _on_host(x):
        high = np.asarray(x, np.float32)
        return high, np.asarray(x, np.float64) - high
    if not isinstance(x, Limbs):
        x = Limbs(np.zeros(_shape(x), np.int32), x) if xp.is_integer(x) else Limbs(x, _zeros(x))
    if not xp.is_integer(x.low):
        return x.high, x.low
    if small:
        return xp.astype(x.low, "float32"), _zeros(x.low)
    upper, rest = x.low // _LOW_BITS, x.low % _LOW_BITS
    parts = [(x.high, _TWO_30), (upper, float(_LOW_BITS)), (rest, 1.0)]
    wide = [xp.astype(part, "float32") * unit for part, unit in parts]
    added = Limbs(wide[0], wide[0] * 0) + Limbs(wide[1], wide[2])
    return added.high, added.low


def _zeros(like: Array) -> Any:
    return np.zeros(tuple(like.shape), np.float32)
