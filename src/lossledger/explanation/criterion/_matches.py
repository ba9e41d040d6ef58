# SPDX-License-Identifier: Apache-2.0
"""What a black box equals: a preset at its defaults or under other numbers, or a sum of two."""

from dataclasses import dataclass

from lossledger._typing import Sequence
from lossledger.explanation.criterion._batches import Wanted, wanted_of
from lossledger.explanation.criterion._candidates import Equal, equals, is_lone
from lossledger.explanation.criterion._catalog import LARGEST, Family, Meter, families
from lossledger.explanation.criterion._precision import Precise
from lossledger.explanation.criterion._probe import Probe
from lossledger.explanation.criterion._search import searched
from lossledger.explanation.criterion._sums import Sum, alone, smoothed, sums, untried

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
        searched: Whether numeric options were.
        paired: Whether sums of two were.
    """

    equal: tuple[Equal, ...] = ()
    sums: tuple[Sum, ...] = ()
    batches: int = 0
    undecided: tuple[str, ...] = ()
    searched: bool = False
    paired: bool = False


def matches_of(probe: Probe, precise: Precise, only_one: bool = False) -> Matches:
    """Return what a black box equals: a preset at its defaults, under other numbers, or two.

    What has more freedom is asked later, and within a looser tolerance nothing is fitted.

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

    strict, *held = precise.tiers
    plain = fit(equals(wanted, probe.home, strict))
    if plain:
        return Matches(plain, batches=count)
    goal, why = _goal(wanted)
    unpaired = "it gives an array" if only_one else untried(wanted, strict)
    found = None if why else _searched(wanted, goal, probe.home, strict)
    if found is not None:
        several = fit(found.equal) or fit(alone(found.smoothed, wanted, strict))
        again = not (several or unpaired)
        pairs = tuple(sums(wanted, goal, found.smoothed, strict)) if again else ()
        if several or pairs:
            return Matches(several, pairs, count, found.left, searched=True)
    for within in held:  # nothing that is fitted
        plain = tuple(e for e in equals(wanted, probe.home, within) if e.factor == 1)
        if plain:
            return Matches(plain, batches=count)
    left = (*(() if found is None else found.left), *_untried(wanted, why, unpaired, only_one))
    done = found is not None
    return Matches((), (), count, left, searched=done, paired=done and not unpaired)


def _untried(wanted: Sequence[Wanted], why: str, unpaired: str, only_one: bool) -> tuple[str, ...]:
    """Say what was not tried at all."""
    found = [f"numeric options, and sums of two losses: {why}"] if why else []
    if only_one:
        found.append("a factor in front, and sums of two losses: they are tried for numbers alone")
    elif any(w.slopes is None for w in wanted):
        found.append(
            "a factor in front, several options at once, and sums of two losses: there is no "
            "gradient to find them from"
        )
    elif is_lone(wanted):
        found.append("a factor in front: one number and one slope are too few to tell")
    elif unpaired and not why:
        found.append(f"sums of two losses: {unpaired}")
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Searched:
    """What was searched.

    Attributes:
        equal: Presets under numbers that were found.
        smoothed: What sums are made of: presets at their defaults, and with other smoothings.
        left: What was not searched, and why.
    """

    equal: Sequence[Equal]
    smoothed: Sequence[Family]
    left: tuple[str, ...]


def _searched(wanted: Sequence[Wanted], goal: Wanted, home: str, within: float) -> _Searched:
    meter = Meter()
    takers = families(goal, home, meter)
    more = smoothed(takers, goal, meter)
    equal = searched(wanted, goal, takers, within, meter)
    return _Searched(equal, more, _left(meter))


def _goal(wanted: Sequence[Wanted]) -> tuple[Wanted, str]:
    """Return the batch to search on, and why not to search."""
    small = _small(wanted)
    if sum(w.number != 0 for w in wanted) < 2:
        return wanted[0], "a lone batch leaves none to verify on"
    if small is not None and small.slopes is not None and not any(s.any() for s in small.slopes):
        return small, "the gradient is 0 everywhere"
    return (wanted[0], "two samples are too large") if small is None else (small, "")


def _small(wanted: Sequence[Wanted]) -> Wanted | None:
    """Return the batch to search on: the data if they are few, else a part; None if it is large."""
    by_name = {w.name: w for w in wanted}
    found = by_name["whole"]
    if found.data.outputs[0].size > _FEW:
        part = by_name.get("part", found)
        found = part if part.number else found
    return found if found.data.outputs[0].size <= LARGEST else None


def _left(meter: Meter) -> tuple[str, ...]:
    """Say what was not searched when the bound was reached."""
    if not meter.left:
        return ()
    return (f"numeric options of {', '.join(meter.left)}: the search was bounded",)
