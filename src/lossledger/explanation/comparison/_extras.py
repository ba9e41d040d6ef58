# SPDX-License-Identifier: Apache-2.0
"""What two models add to their losses: regularizers and added losses, each with its like."""

from lossledger._typing import Sequence
from lossledger.explanation._parts import Extra
from lossledger.explanation.comparison._change import Change
from lossledger.explanation.comparison._comparison import Part
from lossledger.explanation.criterion._difference import Difference

CLOSE = 1e-5
"""Largest deviation of numbers that a model computes in float32, relative."""

_SUMMED, _EVERY = "regularizer", "of the variables"
"""The kind of which one of a side may be several of the other: a penalty of all variables."""


def alike(one: float, other: float) -> bool:
    """Whether two numbers agree up to rounding in float32."""
    return abs(one - other) <= CLOSE * max(abs(one), abs(other))


def close(one: float, other: float, size: float = 0.1) -> bool:
    """Whether a number recomputed in float64 is a model's own, which has an absolute rounding."""
    return abs(one - other) <= CLOSE * max(abs(one), abs(other), size)


def extra_parts(a: Sequence[Extra], b: Sequence[Extra]) -> list[Part]:
    """Return the extras of two models, paired: by name, by formula, then by place."""
    mine, theirs = list(a), list(b)
    pairs: list[tuple[Extra, Extra]] = []
    for key in (_by_name, _by_formula, _by_kind):
        for one in list(mine):
            other = next((e for e in theirs if key(e) == key(one)), None)
            if other is not None and (key is not _by_kind or _as_many(one.kind, mine, theirs)):
                pairs.append((one, other))
                mine.remove(one)
                theirs.remove(other)
    found = [_part(one, other) for one, other in pairs]
    rest = [[e for e in side if e.kind == _SUMMED] for side in (mine, theirs)]
    if all(rest):
        found.append(_summed(*rest))
        mine, theirs = ([e for e in side if e.kind != _SUMMED] for side in (mine, theirs))
    return found + [_alone(e, first=True) for e in mine] + [_alone(e, first=False) for e in theirs]


def _by_name(extra: Extra) -> tuple[str, ...]:
    return extra.kind, extra.name


def _by_formula(extra: Extra) -> tuple[str, ...]:
    return extra.kind, extra.formula.replace(extra.name, "·")


def _by_kind(extra: Extra) -> tuple[str, ...]:
    return (extra.kind,)


def _as_many(kind: str, a: Sequence[Extra], b: Sequence[Extra]) -> bool:
    """Whether both sides have as many of a kind left, none of them a penalty of all variables."""
    counts = [sum(e.kind == kind for e in side) for side in (a, b)]
    return counts[0] == counts[1] and all("/" in e.name for e in (*a, *b) if e.kind == _SUMMED)


def _part(one: Extra, other: Extra) -> Part:
    """Return an extra that both have."""
    same = _by_formula(one) == _by_formula(other)
    if alike(one.amount, other.amount):
        none = Difference(one.kind, one.formula, other.formula)
        idle = None if same or one.amount else none
        return Part(one.name, one.kind, one.amount, other.amount, equal=True, difference=idle)
    told = ", of other variables or outputs" if same else ""
    difference = Difference(one.kind, _told(one), _told(other) + told)
    change = None
    if not same and one.name == other.name:
        text = f"add {one.formula} to the second instead of {other.formula}"
        change = Change(text, one.amount, 0.0, None)
    return Part(one.name, one.kind, one.amount, other.amount, False, difference, change)


def _alone(extra: Extra, *, first: bool) -> Part:
    """Return an extra that one of them lacks."""
    mine, theirs = (extra.amount, None) if first else (None, extra.amount)
    texts = (_told(extra), "none") if first else ("none", _told(extra))
    if extra.amount == 0:
        idle = Difference(extra.kind, *texts)
        return Part(extra.name, extra.kind, mine, theirs, equal=True, difference=idle)
    text = f"add {extra.formula} to" if first else f"take {extra.formula} out of"
    change = Change(f"{text} the second", mine or 0.0, 0.0, None)
    difference = Difference(extra.kind, *texts)
    return Part(extra.name, extra.kind, mine, theirs, False, difference, change)


def _summed(a: Sequence[Extra], b: Sequence[Extra]) -> Part:
    """Return penalties that each side writes in its own way, by their sums."""
    mine, theirs = (sum(e.amount for e in side) for side in (a, b))
    if alike(mine, theirs):
        return Part(_EVERY, _SUMMED, mine, theirs, equal=True)
    one, other = (" + ".join(e.formula for e in side) for side in (a, b))
    difference = Difference(_SUMMED, f"{one} = {mine:.6g}", f"{other} = {theirs:.6g}")
    change = Change(f"add {one} to the second instead of {other}", mine, 0.0, None)
    return Part(_EVERY, _SUMMED, mine, theirs, False, difference, change)


def _told(extra: Extra) -> str:
    return f"{extra.formula} = {extra.amount:.6g}"
