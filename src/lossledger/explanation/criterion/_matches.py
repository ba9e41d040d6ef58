# SPDX-License-Identifier: Apache-2.0
"""What a black box equals: a preset at its defaults or under other numbers, or a sum of two."""

from dataclasses import dataclass

from lossledger._typing import Sequence
from lossledger.explanation.criterion._batches import Wanted, wanted_of
from lossledger.explanation.criterion._candidates import Equal, equals
from lossledger.explanation.criterion._catalog import LARGEST, Meter, families
from lossledger.explanation.criterion._precision import Precise
from lossledger.explanation.criterion._probe import Probe
from lossledger.explanation.criterion._search import searched
from lossledger.explanation.criterion._sums import Sum, sums

_FEW = 1024
"""Outputs of data that are searched on as they are."""


@dataclass(frozen=True)
class Matches:
    """What a black box equals on these data.

    Attributes:
        equal: Presets, the best first.
        sums: Pairs of presets, if no preset alone equals it.
        batches: On how many batches they were verified.
        undecided: What was not searched, and why.
        searched: Whether numeric options and sums of two were.
    """

    equal: tuple[Equal, ...] = ()
    sums: tuple[Sum, ...] = ()
    batches: int = 0
    undecided: tuple[str, ...] = ()
    searched: bool = False


def matches_of(probe: Probe, precise: Precise, only_one: bool = False) -> Matches:
    """Return what a black box equals: at defaults, else as a sum of two, else by a search.

    Args:
        probe: The criterion, giving a number.
        precise: It on the data.
        only_one: Whether nothing that differs by a factor is of use.
    """
    wanted = wanted_of(probe, precise.data)
    if not wanted:
        return Matches(undecided=("what it equals: it gives 0 on this data",))
    count = len(wanted)

    def fit(found: Sequence[Equal]) -> tuple[Equal, ...]:
        return tuple(e for e in found if e.factor == 1 or not only_one)

    for within in precise.tiers:
        plain = fit(equals(wanted, probe.home, within))
        if plain:
            return Matches(plain, batches=count)
    goal = _small(wanted)
    if goal is None or count < 2:
        why = "a lone batch leaves none to verify on" if count < 2 else "two samples are too large"
        return Matches(
            batches=count, undecided=(f"numeric options, and sums of two losses: {why}",)
        )
    meter = Meter()
    takers = families(goal, probe.home, meter)
    pairs = () if only_one else tuple(sums(wanted, goal, takers, precise.tiers, meter))
    if pairs:
        return Matches((), pairs, count, ("numeric options: a sum of two was found first",))
    found = fit(searched(wanted, goal, takers, precise.tiers, meter))
    return Matches(found, (), count, _left(meter), searched=True)


def _small(wanted: Sequence[Wanted]) -> Wanted | None:
    """Return the batch to search on: the data if they are few, else a part; None if it is large."""
    by_name = {w.name: w for w in wanted}
    found = by_name["whole"]
    if found.data.outputs[0].size > _FEW:
        found = by_name.get("part", found)
    return found if found.data.outputs[0].size <= LARGEST else None


def _left(meter: Meter) -> tuple[str, ...]:
    """Say what was not searched when the bound was reached."""
    if not meter.left:
        return ()
    return (f"numeric options of {', '.join(meter.left)}: the search was bounded",)
