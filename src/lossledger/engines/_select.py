# SPDX-License-Identifier: Apache-2.0
"""Which engine computes a term: one seam, one result."""

from dataclasses import dataclass

from lossledger._array import is_array, library_of
from lossledger._typing import Array
from lossledger.engines._account import Account, CellNames
from lossledger.engines._factors import BatchWeights
from lossledger.engines._part import OpenTerm
from lossledger.engines._pool import Pool, pool
from lossledger.engines._prepare import prepare
from lossledger.engines._watch import Watch
from lossledger.engines.reference import Ran, account, run
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class Result:
    """A term on a batch: what an engine gives.

    Attributes:
        weighted: loss_weight · value; differentiable.
        account: By cell, detached.
        cells: Names of the account's axes.
        pool: The mergeable statistic.
    """

    weighted: Array
    account: Account
    cells: CellNames
    pool: Pool | None


def compute(
    term: Term, outputs: tuple[Array, ...], targets: Array, weights: BatchWeights, watch: Watch
) -> Result:
    """Compute a term by the reference engine."""
    return result_of(run(prepare(term, outputs, targets, weights, watch), watch))


def result_of(ran: Ran) -> Result:
    """Return the result of a term that the reference engine ran on a whole batch."""
    return _result(ran, pool(ran))


def result_of_part(ran: Ran, opened: OpenTerm) -> Result:
    """Return the result of a part: its own statistic is what merges over parts."""
    return _result(ran, opened.pool if isinstance(opened.pool, Pool) else None)


def _result(ran: Ran, statistic: Pool | None) -> Result:
    given = ran.prepared.term.loss_weight
    weight = loss_weight(ran)
    if is_array(given):
        weighted = ran.value * weight
    else:
        weighted = ran.value if given == 1 else ran.value * given
    booked, cells = account(ran, weight)
    return Result(weighted, booked, cells, statistic)


def loss_weight(ran: Ran) -> Array:
    """Return a term's factor as an array beside its value; its gradient flows."""
    xp, given = ran.prepared.xp, ran.prepared.term.loss_weight
    if is_array(given) and library_of(given) is xp:
        return xp.astype(given, xp.dtype(ran.value))
    return xp.asarray(given, xp.dtype(ran.value), ran.value)
