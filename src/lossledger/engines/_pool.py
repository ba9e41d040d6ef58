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
from lossledger.weighting import Masses


@dataclass(frozen=True, eq=False)
class Pool:
    """The statistic of the stage that removes `batch`, and the stages that follow it.

    Pools of parts merge to the pool of the whole, whose value is the term's value on all
    elements together: not a mean of the parts' values.

    `work` is the dtype that the values were made in; the sums of them are wider.
    """

    term: Term
    frame: Frame
    statistic: AbstractStatistic
    at: int
    following: tuple[Following, ...]
    work: str = ""

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
        known = self.work and whole.work and not counted
        return f"{self.work} and {whole.work}" if known and self.work != whole.work else None

    def value(self, xp: ArrayLibrary) -> Array:
        """Return the value of the merged statistic, before the loss weight; in the widest float."""
        stages, statistic = self.term.reduction.stages, settled(xp, self.statistic)
        statistic = in_dtype(xp, statistic, _wide(xp, statistic))
        following = tuple(replace(f, weights=_widened(xp, f.weights)) for f in self.following)
        if isinstance(statistic, ChannelStatistic):
            made = finalize_cells(xp, self.term, self.frame, statistic)
            cells = Cells(made.values, made.presence)
            value = finish(xp, stages, following, cells).values
            if made.broken is None:
                return value
            return xp.where(xp.any(made.broken), xp.full_like(value, math.nan), value)
        cells = stages[self.at].finalize(xp, statistic)
        return finish(xp, stages[self.at + 1 :], following, cells).values


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

    Sums of float32 stop growing at 2²⁴: they merge in the widest float that there is. Where
    64-bit types are off, sums and counts become pairs of 32-bit numbers.
    """
    bare = _changed(statistic, xp.detach)
    bare = bare.cut(xp) if isinstance(bare, TopStatistic) else bare
    like = next(a for a in bare.arrays() if is_array(a))
    if xp.wide(like) == "float32":
        return _grown(bare, lambda x: growing(xp, x) if is_array(x) else counted(xp, x, like))
    if isinstance(bare, TopStatistic):
        return replace(bare, denominator=_wider(xp, bare.denominator))
    return in_dtype(xp, bare, xp.wide(like))


def settled(xp: ArrayLibrary, statistic: AbstractStatistic) -> AbstractStatistic:
    """Return a statistic whose sums and counts are plain arrays, ready to be finalized."""
    if not any(isinstance(x, Limbs) for x in statistic.arrays()):
        return statistic
    plain = _grown(statistic, lambda x: number(xp, x) if isinstance(x, Limbs) else x)
    if isinstance(plain, SumStatistic):  # a count that all cells share is one number
        shape = tuple(plain.numerator.shape)
        return replace(plain, denominator=xp.broadcast_to(plain.denominator, shape))
    return plain


# Fields that grow with the number of elements; the others are chosen from them.
_GROWING = ("numerator", "denominator", "count", "sums")


def _grown(statistic: AbstractStatistic, change: Callable[[Any], Any]) -> AbstractStatistic:
    """Change what grows with the number of elements."""
    grown = {}
    for each in fields(statistic):  # type: ignore[arg-type]
        part = getattr(statistic, each.name)
        if each.name in _GROWING:
            grown[each.name] = tuple(map(change, part)) if each.name == "sums" else change(part)
    found: AbstractStatistic = replace(statistic, **grown)  # type: ignore[type-var]
    return found


def in_dtype(xp: ArrayLibrary, statistic: AbstractStatistic, dtype: str) -> AbstractStatistic:
    """Return a statistic with its floats in a dtype; counts in integers stay."""
    return _changed(statistic, lambda a: xp.astype(a, dtype) if xp.is_float(a) else a)


def _changed(statistic: AbstractStatistic, change: Callable[[Array], Array]) -> AbstractStatistic:
    """Change every array of a statistic."""
    if isinstance(statistic, ChannelStatistic):
        return replace(statistic, sums=tuple(change(s) for s in statistic.sums))
    arrays = {f.name: getattr(statistic, f.name) for f in fields(statistic)}  # type: ignore[arg-type]
    found = {name: change(a) for name, a in arrays.items() if is_array(a)}
    changed: AbstractStatistic = replace(statistic, **found)  # type: ignore[type-var]
    return changed


def _wide(xp: ArrayLibrary, statistic: AbstractStatistic) -> str:
    return xp.wide(next(a for a in statistic.arrays() if is_array(a)))


def _wider(xp: ArrayLibrary, x: Array) -> Array:
    return xp.astype(x, xp.wide(x)) if is_array(x) and xp.is_float(x) else x


def _widened(xp: ArrayLibrary, masses: Masses) -> Masses:
    """Return the weights of a later stage beside wide cells."""
    found = {f.name: _wider(xp, getattr(masses, f.name)) for f in fields(masses)}
    beside = tuple(_wider(xp, each) for each in masses.beside)
    return replace(masses, **found | {"beside": beside})


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
