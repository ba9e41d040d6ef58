# SPDX-License-Identifier: Apache-2.0
"""Statistics and ledgers over the ranks of a process group: one packed all-reduce each."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch

from lossledger._array import is_array, library_of
from lossledger.engines import Pool
from lossledger.ledger import Ledger
from lossledger.ledger._tree import flatten, rebuild
from lossledger.splitting import Whole
from lossledger.statistics import ChannelStatistic, SharesStatistic, SumStatistic, TopStatistic
from lossledger.torch._ranks import Ranks

Node = TypeVar("Node", Whole, Ledger)
_SAME = ("loss_weight",)
_ADDED = (SumStatistic, SharesStatistic, ChannelStatistic)
_BITS = 16


def all_reduce(
    node: Node, group: Any = None, *, step: int | None = None, timeout: float | None = None
) -> Node:
    """Merge statistics or ledgers over the ranks of a process group, in the order of ranks.

    Sums travel in one packed all-reduce in float64, whatever the number of terms; statistics
    that are no sums (maxima, lists of the largest, samples to compare) in one gather.

    Args:
        node: What this rank has.
        group: A process group; None for all ranks.
        step: Number of the step, for messages.
        timeout: Seconds to wait for a rank that does not answer; on gloo the message names it.

    Returns:
        The same on every rank.

    Raises:
        RankError: If the ranks hold different terms or numbers of parts, or do not answer.
    """
    ranks = Ranks(group, step, timeout)
    if ranks.size == 1:
        return node
    if isinstance(node, Whole):
        return _whole(node, ranks)
    return _ledger(node, ranks)


def _whole(whole: Whole, ranks: Ranks) -> Whole:
    assert isinstance(whole.parts, int)  # noqa: S101 - an eager library
    ranks.agree(_print(whole), whole.parts, "micro-batches")
    sums = Sums(_device(whole))
    pools = {name: _pooled(pool, sums, ranks) for name, pool in whole.pools.items()}
    members = {n: sums.add(_placed(m, ranks)) for n, m in whole.members.items()}
    samples, parts = sums.add(whole.samples), sums.add(whole.parts)
    sums.reduce(ranks)
    return replace(
        whole,
        pools={name: found() for name, found in pools.items()},
        members={name: found() for name, found in members.items()},
        samples=samples(),
        parts=parts(),
    )


def _ledger(ledger: Ledger, ranks: Ranks) -> Ledger:
    ranks.agree(_print(ledger), 1, "ledgers")
    sums = Sums(_device(ledger))
    books = []
    for book in ledger.books:
        account = {
            f.name: sums.add(getattr(book.account, f.name))
            for f in fields(book.account)
            if f.name not in _SAME
        }
        pool = None if book.pool is None else _pooled(book.pool, sums, ranks)
        books.append((book, account, pool))
    amounts = [(name, sums.add(amount)) for name, amount in ledger.regularizers]
    summed, wholes = sums.add(ledger.summed), sums.add(ledger.wholes)
    status = None if ledger.status is None else sums.add(_bits(ledger.status))
    sums.reduce(ranks)
    return Ledger(
        tuple(
            replace(
                book,
                account=replace(book.account, **{n: found() for n, found in account.items()}),
                pool=None if pool is None else pool(),
            )
            for book, account, pool in books
        ),
        tuple((name, found()) for name, found in amounts),
        summed(),
        wholes(),
        None if status is None else _unbits(status()),
    )


@dataclass(eq=False)
class Sums:
    """Arrays and numbers that travel together: added here, read after `reduce`."""

    device: torch.device
    given: list[Any] = field(default_factory=list)
    found: list[torch.Tensor] = field(default_factory=list)

    def add(self, x: Any) -> Callable[[], Any]:
        """Put something into the pack; return what gives its sum over the ranks."""
        if x is None:
            return lambda: None
        place = len(self.given)
        self.given.append(x)
        return lambda: self._read(place)

    def reduce(self, ranks: Ranks) -> None:
        """Add everything up over the ranks, in one all-reduce."""
        flat = [torch.as_tensor(x).to(self.device, torch.float64).reshape(-1) for x in self.given]
        lengths = [x.numel() for x in flat]
        packed = torch.cat(flat)
        ranks.sum(packed)
        self.found = list(torch.split(packed, lengths))

    def _read(self, place: int) -> Any:
        given, found = self.given[place], self.found[place]
        if isinstance(given, int):
            return round(float(found))
        if isinstance(given, float):
            return float(found)
        if isinstance(given, torch.Tensor):
            return found.reshape(given.shape).to(given.dtype)
        return found.cpu().numpy().reshape(given.shape).astype(given.dtype)[()]


def _pooled(pool: Any, sums: Sums, ranks: Ranks) -> Callable[[], Any]:
    """Add a pool's sums to the pack; gather and merge what is no sum."""
    statistic = pool.statistic if isinstance(pool, Pool) else None
    if isinstance(statistic, SumStatistic | SharesStatistic):
        parts, kind = [sums.add(x) for x in statistic.arrays()], type(statistic)
        return lambda: replace(pool, statistic=kind(*(found() for found in parts)))
    if isinstance(statistic, ChannelStatistic):
        channels = [sums.add(x) for x in statistic.sums]
        names = statistic.names
        return lambda: replace(
            pool, statistic=ChannelStatistic(names, tuple(found() for found in channels))
        )
    merged = _gathered(pool, ranks)
    return lambda: merged


def _gathered(pool: Any, ranks: Ranks) -> Any:
    """Gather the numbers of a pool from every rank, and merge in the order of the ranks."""
    if isinstance(getattr(pool, "statistic", None), TopStatistic):
        own = library_of(pool.statistic.values)
        pool = replace(pool, statistic=pool.statistic.located(own))
    leaves: list[Any] = []
    structure = flatten(pool, leaves)
    device = next(x.device for x in leaves if isinstance(x, torch.Tensor))
    sent = [x.cpu() if isinstance(x, torch.Tensor) else x for x in leaves]
    lengths = getattr(pool, "lengths", None)
    merged = None
    for numbers, theirs in ranks.gather((sent, lengths)):
        here = [x.to(device) if isinstance(x, torch.Tensor) else x for x in numbers]
        each = rebuild(structure, list(here))
        each = each if theirs is None else replace(each, lengths=theirs)
        xp = library_of(next(x for x in here if is_array(x)))
        merged = each if merged is None else merged.merge(xp, each)
    return merged


def _placed(members: Any, ranks: Ranks) -> torch.Tensor:
    """Lay this rank's parts out among those of all ranks."""
    mine = torch.as_tensor(members)
    every = mine.new_zeros(len(mine) * ranks.size)
    every[ranks.rank * len(mine) : (ranks.rank + 1) * len(mine)] = mine
    return every


def _bits(status: Any) -> torch.Tensor:
    numbers = torch.as_tensor(status)
    return (numbers >> torch.arange(_BITS, device=numbers.device)) & 1


def _unbits(counts: torch.Tensor) -> torch.Tensor:
    powers = 2 ** torch.arange(_BITS, device=counts.device)
    return ((counts > 0) * powers).sum().to(torch.int32)


def _device(node: Any) -> torch.device:
    leaves: list[Any] = []
    flatten(node, leaves)
    return next((x.device for x in leaves if isinstance(x, torch.Tensor)), torch.device("cpu"))


def _print(node: Any) -> int:
    """Return a number that ranks share if their terms, cells, dtypes and settings are the same."""
    parts = [type(node).__name__]
    if isinstance(node, Whole):
        parts += [part for name, pool in node.pools.items() for part in (name, *_of_pool(pool))]
    else:
        parts += [repr([name for name, _ in node.regularizers]), repr(node.status is None)]
        for book in node.books:
            parts += [book.note.term, repr(book.cells), repr(book.account.hits is None)]
            parts += _of_pool(book.pool)
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _of_pool(pool: Any) -> list[str]:
    """Return what ranks must share of one term's statistic."""
    if pool is None:
        return ["none"]
    term = pool.term
    # A function has another address on each rank.
    loss = re.sub(r" at 0x[0-9a-f]+", "", repr(term.loss))
    weight = term.loss_weight if isinstance(term.loss_weight, int | float) else "learned"
    parts = [loss, str(term.reduction), repr(weight)]
    if not isinstance(pool, Pool):
        return [*parts, repr([(name, a.axes) for name, a in pool.named.items()])]
    leaves: list[Any] = []
    for each in pool.following:
        flatten(each.weights, leaves)
    parts += [repr((pool.frame, pool.at, pool.work)), type(pool.statistic).__name__]
    if isinstance(pool.statistic, _ADDED):
        arrays = [x for x in pool.statistic.arrays() if is_array(x)]
        parts.append(repr([(tuple(x.shape), str(x.dtype)) for x in arrays]))
    return parts + [repr(torch.as_tensor(leaf).tolist()) for leaf in leaves]
