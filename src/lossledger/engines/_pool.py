# SPDX-License-Identifier: Apache-2.0
"""A term's merged statistic and what turns it into the term's value."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._errors import ReductionError
from lossledger._typing import Array, Callable
from lossledger.engines._limbs import Limbs, counted, growing, number
from lossledger.engines._sums import finalize_cells
from lossledger.engines.reference import Ran
from lossledger.frames import Frame
from lossledger.reductions import Cells, Following, Mean, finish
from lossledger.reductions.shares import ShareMean
from lossledger.statistics import (
    AbstractStatistic,
    ChannelStatistic,
    SharesStatistic,
    SumStatistic,
    TopStatistic,
)
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class Pool:
    """The statistic of the stage that removes `batch`, and the stages that follow it.

    Pools of parts merge to the pool of the whole, whose value is the term's value on all
    elements together: not a mean of the parts' values.
    """

    term: Term
    frame: Frame
    statistic: AbstractStatistic
    at: int
    following: tuple[Following, ...]

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Merge the statistics of two parts.

        Raises:
            ReductionError: If the pools are of different terms.
        """
        if not _same_term(self.term, other.term):
            raise ReductionError(
                "Only statistics of one objective merge",
                f"Found the terms `{self.term.name}` and `{other.term.name}`",
                "The parts were computed by two objectives, or one was rebuilt in between",
                "Build the objective once and use it for every part",
            )
        if not self.fits(xp, other):
            raise ReductionError(
                f"Weights of `{self.term.name}` without a `batch` axis must be the same in all "
                "parts",
                "Found parts with different ones",
                "A mask or weight over the classes (or another axis that stays) changed on the way",
                "Give it a `batch` axis, or merge only parts that share it",
            )
        return replace(self, statistic=self.statistic.merge(xp, other.statistic))

    @property
    def divisor(self) -> Array | float | None:
        """What a mean over everything divides by, summed over parts; None for other values."""
        alone = self.term.reduction.stages[self.at :] if self.at >= 0 else ()
        if len(alone) != 1 or self.at != 0 or not isinstance(alone[0], Mean | ShareMean):
            return None
        if isinstance(alone[0], ShareMean):
            assert isinstance(self.statistic, SharesStatistic)  # noqa: S101 - its statistic
            divisor: Array | float = alone[0].divisor(
                library_of(self.statistic.numerator), self.statistic
            )
            return divisor
        assert isinstance(self.statistic, SumStatistic)  # noqa: S101 - a mean's statistic
        constant = alone[0].denominator
        return self.statistic.denominator if isinstance(constant, str) else constant

    def fits(self, xp: ArrayLibrary, other: Self) -> bool:
        """Whether the stages that follow have the same weights, as far as can be seen."""
        mine, theirs = _weights_after(self), _weights_after(other)
        return not any(_differ(xp, a, b) for a, b in zip(mine, theirs, strict=True))

    def differs(self, xp: ArrayLibrary, whole: Self, *, counted: bool = False) -> str | None:
        """Say how the statistic of a whole differs from one of its parts'; None if it fits.

        Counts are kept in the widest dtype, whatever that of the outputs will be.
        """
        if not _same_term(self.term, whole.term):
            return f"another term of the name `{whole.term.name}`"
        mine, theirs = (type(p.statistic).__name__ for p in (self, whole))
        if mine != theirs or self.at != whole.at:
            return f"{mine} and {theirs}"
        if self.frame != whole.frame:
            return f"the cells {self.frame} and {whole.frame}"
        if not self.fits(xp, whole):
            return "other weights over the axes that stay"
        pairs = zip(self.statistic.arrays(), whole.statistic.arrays(), strict=True)
        for a, b in () if counted else pairs:
            if is_array(a) and is_array(b) and xp.dtype(a) != xp.dtype(b):
                return f"{xp.dtype(a)} and {xp.dtype(b)}"
        return None

    def value(self, xp: ArrayLibrary) -> Array:
        """Return the value of the merged statistic, before the loss weight."""
        stages, statistic = self.term.reduction.stages, settled(xp, self.statistic)
        if isinstance(statistic, ChannelStatistic):
            made = finalize_cells(xp, self.term, self.frame, statistic)
            cells = Cells(made.values, made.presence)
            value = finish(xp, stages, self.following, cells).values
            if made.broken is None:
                return value
            return xp.where(xp.any(made.broken), xp.full_like(value, math.nan), value)
        cells = stages[self.at].finalize(xp, statistic)
        return finish(xp, stages[self.at + 1 :], self.following, cells).values


def pool(ran: Ran) -> Pool:
    """Return the pool of one batch."""
    term, xp = ran.prepared.term, ran.prepared.xp
    if ran.overlap is not None and "batch" in ran.overlap.grouping.removed:
        rest = ran.evaluated.following(0)
        return Pool(
            term, ran.overlap.grouping.cells, bare_statistic(xp, ran.overlap.statistic), -1, rest
        )
    at = ran.evaluated.batch_at
    step = ran.evaluated.steps[at]
    statistic = bare_statistic(xp, step.statistic)
    return Pool(term, step.grouping.cells, statistic, at, ran.evaluated.following(at + 1))


def _weights_after(pool: Pool) -> list[Array | None]:
    """The weights that stages use after the one that removes `batch`."""
    return [m for f in pool.following for m in (f.weights.numerator, f.weights.denominator)]


def _differ(xp: ArrayLibrary, a: Array | None, b: Array | None) -> bool:
    """Whether two arrays are known to differ; under a trace nothing is known."""
    if a is None or b is None:
        return a is not b
    if a is b or not (xp.readable(a) and xp.readable(b)):
        return False
    return tuple(a.shape) != tuple(b.shape) or bool(xp.any(a != b))


def bare_statistic(xp: ArrayLibrary, statistic: AbstractStatistic) -> AbstractStatistic:
    """Return a statistic that holds no graph, no element that is not needed, and can grow.

    Where 64-bit types are off, sums and counts become pairs of 32-bit numbers.
    """
    parts = {f.name: getattr(statistic, f.name) for f in fields(statistic)}  # type: ignore[arg-type]
    found = {name: _bare(xp, x) for name, x in parts.items()}
    bare = replace(statistic, **found)  # type: ignore[type-var]
    bare = bare.cut(xp) if isinstance(bare, TopStatistic) else bare
    like = next(x for part in found.values() for x in _each(part) if is_array(x))
    if xp.wide(like) != "float32":
        return bare
    return _changed(bare, lambda x: growing(xp, x) if is_array(x) else counted(xp, x, like))


def settled(xp: ArrayLibrary, statistic: AbstractStatistic) -> AbstractStatistic:
    """Return a statistic whose sums and counts are plain arrays, ready to be finalized."""
    if not any(isinstance(x, Limbs) for x in statistic.arrays()):
        return statistic
    plain = _changed(statistic, lambda x: number(xp, x) if isinstance(x, Limbs) else x)
    if isinstance(plain, SumStatistic):  # a count that all cells share is one number
        shape = tuple(plain.numerator.shape)
        return replace(plain, denominator=xp.broadcast_to(plain.denominator, shape))
    return plain


# Fields that grow with the number of elements; the others are chosen from them.
_GROWING = ("numerator", "denominator", "count", "sums")


def _changed(statistic: AbstractStatistic, change: Callable[[Any], Any]) -> AbstractStatistic:
    """Change what grows with the number of elements."""
    grown = {}
    for each in fields(statistic):  # type: ignore[arg-type]
        part = getattr(statistic, each.name)
        if each.name in _GROWING:
            grown[each.name] = tuple(map(change, part)) if each.name == "sums" else change(part)
    found: AbstractStatistic = replace(statistic, **grown)  # type: ignore[type-var]
    return found


def _each(part: Any) -> tuple[Any, ...]:
    return part if isinstance(part, tuple) else (part,)


def _bare(xp: ArrayLibrary, part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(_bare(xp, x) for x in part)
    return xp.detach(part) if is_array(part) else part


def _same_term(mine: Term, theirs: Term) -> bool:
    """Whether two terms sum the same things: one object, or a copy from another process."""
    if mine is theirs:
        return True
    parts = ("name", "outputs", "target", "axes", "loss", "reduction", "classes", "keys")
    if not _same_weights(mine.class_weight, theirs.class_weight):
        return False
    return all(getattr(mine, part) == getattr(theirs, part) for part in parts)


def _same_weights(mine: Any, theirs: Any) -> bool:
    """Whether class weights are the same, as far as it can be seen without a device."""
    if mine is None or theirs is None:
        return mine is theirs
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return [*mine] == [*theirs]
    return True
