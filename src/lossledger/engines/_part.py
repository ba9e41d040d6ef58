# SPDX-License-Identifier: Apache-2.0
"""A term on a part of a whole: sums first, then contributions under the whole's coefficients."""

from dataclasses import dataclass, replace
from typing import Any

from lossledger._array import ArrayLibrary, is_array
from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.engines._candidates import Candidates, candidates
from lossledger.engines._factors import BatchWeights
from lossledger.engines._overlap import Overlap, finish_overlap, sum_overlap
from lossledger.engines._pool import Pool, bare_statistic, in_dtype, settled
from lossledger.engines._prepare import Prepared, prepare
from lossledger.engines._sums import MASS
from lossledger.engines._watch import Watch
from lossledger.engines.reference import Own, Ran, amount, report_broken, run
from lossledger.losses import AbstractOverlapLoss
from lossledger.reductions import Left, Opened, evaluate, following, open_chain
from lossledger.statistics import (
    AbstractStatistic,
    ChannelStatistic,
    LogSumExpStatistic,
    MaxStatistic,
    SharesStatistic,
    SumStatistic,
    TopStatistic,
)
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class OpenTerm:
    """A term on a part, up to the statistic that merges over parts.

    Attributes:
        overlap: The sums of a loss of sums.
        chain: The reduction up to the stage that removes `batch`; None where sums over
            samples come before it.
        pool: The statistic, detached.
        mass: What the part weighs, to recognize it by.
    """

    prepared: Prepared
    overlap: Overlap | None
    chain: Opened | None
    values: Array | None
    pool: Pool | Candidates
    mass: Array | float

    def trace(self) -> Array:
        """Return Σ |x| over the statistic: what the part's values are like."""
        xp = self.prepared.xp
        if isinstance(self.pool, Candidates):
            arrays = [a.array for a in self.pool.named.values()]
        else:
            arrays = [a for a in settled(xp, self.pool.statistic).arrays() if is_array(a)]
        total = xp.zeros((), xp.wide(self.prepared.outputs[0]), self.prepared.outputs[0])
        for each in arrays:
            wide = xp.astype(xp.detach(each), xp.dtype(total))
            finite = xp.isfinite(wide)
            total = total + xp.sum(xp.abs(xp.where(finite, wide, xp.full_like(wide, 0))))
        return total


@dataclass(frozen=True, eq=False)
class Place:
    """Where a part stands in its whole: its number, and its share of the samples."""

    part: int | Array | None
    share: float | Array


def open_term(
    term: Term, outputs: tuple[Array, ...], targets: Array, weights: BatchWeights, watch: Watch
) -> OpenTerm:
    """Run a term up to the statistic that merges over parts."""
    prepared = prepare(term, outputs, targets, weights, watch)
    if term.facts.candidates:
        joined = candidates(prepared, outputs, targets, weights)
        return OpenTerm(prepared, None, None, None, joined, float(joined.samples))
    return open_prepared(prepared)


def open_prepared(prepared: Prepared) -> OpenTerm:
    """Run a prepared term up to the statistic that merges over parts."""
    term, xp = prepared.term, prepared.xp
    overlap, values = None, None
    if isinstance(term.loss, AbstractOverlapLoss):
        overlap = sum_overlap(prepared)
        if overlap.over_batch:
            left = Left(overlap.frame, {}, overlap.later)
            rest = following(xp, term.reduction, 0, left, xp.dtype(overlap.statistic.sums[0]))
            return _opened(prepared, overlap, None, None, overlap.grouping.cells, -1, rest)
        overlap = finish_overlap(overlap)
        chain = open_chain(
            xp, term.reduction, overlap.cells, overlap.frame, {}, overlap.later, overlap.presence
        )
    else:
        values = term.loss.values(xp, prepared.outputs, prepared.targets, prepared.inputs)
        values = xp.astype(values, prepared.work)
        return opened_values(prepared, open_values(prepared, values), values)
    return _opened(prepared, overlap, chain, values, chain.cells, chain.at, chain.following())


def open_values(prepared: Prepared, values: Array) -> Opened:
    """Open the reduction of values of one number per element."""
    return open_chain(
        prepared.xp, prepared.term.reduction, values, prepared.frame, prepared.keys,
        prepared.factors,
    )  # fmt: skip


def opened_values(prepared: Prepared, chain: Opened, values: Array) -> OpenTerm:
    """Return a term whose reduction was opened."""
    return _opened(prepared, None, chain, values, chain.cells, chain.at, chain.following())


def _opened(
    prepared: Prepared,
    overlap: Overlap | None,
    chain: Opened | None,
    values: Array | None,
    cells: Any,
    at: int,
    rest: Any,
) -> OpenTerm:
    xp = prepared.xp
    ran = overlap if chain is None else chain
    assert ran is not None  # noqa: S101 - one of the two is there
    statistic: AbstractStatistic = ran.statistic
    pool = Pool(prepared.term, cells, bare_statistic(xp, statistic), at, rest, prepared.work)
    mass = mass_of(xp, settled(xp, pool.statistic))
    return OpenTerm(prepared, overlap, chain, values, pool, mass)


def close_term(opened: OpenTerm, whole: Pool | Candidates, place: Place, watch: Watch) -> Ran:
    """Finalize with the statistic of the whole.

    The value of the result is what the part contributes, and its derivative that of
    ⟨c, sums⟩ with the whole's coefficients held fixed: both add up over the parts.
    """
    prepared = opened.prepared
    if isinstance(whole, Candidates):
        return _close_candidates(whole, prepared, opened.pool, place, watch)
    statistic = _seen(prepared.xp, whole, place, prepared.work)
    if opened.chain is None:
        assert opened.overlap is not None and isinstance(statistic, ChannelStatistic)  # noqa: S101, PT018
        overlap = finish_overlap(opened.overlap, statistic, place.share)
        evaluated = evaluate(
            prepared.xp, prepared.term.reduction, overlap.cells, overlap.frame, {},
            overlap.later, overlap.presence,
        )  # fmt: skip
        report_broken(watch, overlap.finalized.broken)
        linear = overlap.linear(evaluated.coefficients())
    else:
        overlap = opened.overlap  # type: ignore[assignment]
        evaluated = opened.chain.close(statistic, place.share)
        linear = evaluated.linear()
    report_broken(watch, evaluated.broken)
    ran = Ran(prepared, linear, evaluated, overlap, opened.values)
    plain = all(s.attribution == 1.0 and not s.curved for s in prepared.term.reduction.stages)
    if plain and opened.chain is not None:
        return ran
    return _worth(ran, amount(ran))


def _close_candidates(
    whole: Candidates, prepared: Prepared, own: Pool | Candidates, place: Place, watch: Watch
) -> Ran:
    """Compute the whole with this part's own outputs in their place, and book them alone."""
    assert isinstance(own, Candidates) and isinstance(place.part, int)  # noqa: S101, PT018
    joined, here = whole.around(own, place.part, prepared.xp)
    ran = run(prepare(prepared.term, *joined, watch), watch)
    ran = replace(ran, own=Own(here, whole.slice_of(place.part), place.share))
    return _worth(ran, amount(ran))


def _worth(ran: Ran, contributed: Array) -> Ran:
    """Give a value another amount and keep its derivative."""
    bare = ran.prepared.xp.detach(ran.value)
    return replace(ran, value=ran.value + (contributed - bare))


def _seen(xp: ArrayLibrary, whole: Pool, place: Place, work: str) -> AbstractStatistic:
    """Return the whole's statistic as this part sees it, in the dtype of its work."""
    statistic = settled(xp, whole.statistic)
    if place.part is not None:
        statistic = statistic.seen_from(xp, place.part)
    return in_dtype(xp, statistic, work)


def mass_of(xp: ArrayLibrary, statistic: AbstractStatistic) -> Array | float:
    """Return what a statistic was made of: its weights, or what else its mean divides by."""
    if isinstance(statistic, SumStatistic | LogSumExpStatistic | TopStatistic):
        found = statistic.denominator
    elif isinstance(statistic, MaxStatistic):
        found = statistic.count
    elif isinstance(statistic, SharesStatistic):
        found = statistic.masked
    elif isinstance(statistic, ChannelStatistic):
        found = statistic.by_name()[MASS]
    else:
        raise TypeError(type(statistic).__name__)
    if not is_array(found):
        return float(found)
    return xp.sum(xp.astype(found, xp.wide(found)))


def check_same_term(opened: OpenTerm, whole: Any, *, counted: bool) -> None:
    """Require that a whole's statistic is of the same kind, over the same cells and dtype.

    Raises:
        MatchError: If they differ.
    """
    own, name = opened.pool, opened.prepared.term.name
    kinds = [type(own), type(whole)]
    found = None
    if kinds[0] is not kinds[1]:
        found = " and ".join(kind.__name__ for kind in kinds)
    elif isinstance(own, Pool):
        found = own.differs(opened.prepared.xp, whole, counted=counted)
    if found:
        raise MatchError(
            f"A part and its whole must hold the same statistic of `{name}`",
            f"Found {found}",
            "The whole was made by another objective, in another dtype or with other weights",
            "Make the whole with this objective, from the same outputs, targets and weights",
        )
