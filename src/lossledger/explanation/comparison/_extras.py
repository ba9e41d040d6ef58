# SPDX-License-Identifier: Apache-2.0
"""What two models add to their losses: regularizers and added losses, each with its like."""

from collections.abc import Collection

from lossledger._typing import Callable, Mapping, Sequence
from lossledger.explanation._parts import Extra
from lossledger.explanation.comparison._change import Change
from lossledger.explanation.comparison._comparison import Part
from lossledger.explanation.criterion._difference import Difference

CLOSE = 1e-5
"""Largest deviation of numbers that a model computes in float32, relative."""

Places = tuple[Sequence[str], Sequence[str]]
Key = Callable[[Extra], tuple[str, ...]]

_SUMMED, _EVERY = "regularizer", "of the variables"
"""The kind of which one of a side may be several of the other: a penalty of all variables."""


def alike(one: float, other: float) -> bool:
    """Whether two numbers agree up to rounding in float32."""
    return abs(one - other) <= CLOSE * max(abs(one), abs(other))


def close(one: float, other: float, size: float = 0.1) -> bool:
    """Whether a number recomputed in float64 is a model's own, which has an absolute rounding."""
    return abs(one - other) <= CLOSE * max(abs(one), abs(other), size)


def extra_parts(
    a: Sequence[Extra], b: Sequence[Extra], places: tuple[Places, Places]
) -> list[Part]:
    """Return the extras of two models, paired by what they are of; else by formula, then by place.

    Args:
        a: Of the first.
        b: Of the second.
        places: Names of variables, and of layers, that each model has, in order.
    """
    here = {k: v for x, y in zip(*places, strict=True) for k, v in counterparts(x, y).items()}
    mine, theirs = list(a), list(b)
    pairs: list[tuple[Extra, Extra]] = []
    for key in (_by_name, _by_formula, _by_kind):
        for one in list(mine):
            other = next((e for e in theirs if _fits(one, e, key, here)), None)
            if other is not None and (key is not _by_kind or _as_many(one.kind, mine, theirs)):
                pairs.append((one, other))
                mine.remove(one)
                theirs.remove(other)
    found = [_part(one, other, here.get(other.name) == one.name) for one, other in pairs]
    whole = any(e.kind == _SUMMED and e.name not in names for e, names in _each(mine, theirs, here))
    rest = [[e for e in side if e.kind == _SUMMED] for side in (mine, theirs)]
    if all(rest) and whole:
        found.append(_summed(*rest))
        mine, theirs = ([e for e in side if e.kind != _SUMMED] for side in (mine, theirs))
    return found + [_alone(e, first=True) for e in mine] + [_alone(e, first=False) for e in theirs]


def counterparts(a: Sequence[str], b: Sequence[str]) -> dict[str, str]:
    """Return {name in the second: name in the first}; nothing if they have not as many.

    Keras numbers names as models are built: where names are not the same, the place counts.
    """
    if set(a) == set(b):
        return {name: name for name in b}
    return dict(zip(b, a, strict=True)) if len(a) == len(b) else {}


def _each(
    a: Sequence[Extra], b: Sequence[Extra], here: Mapping[str, str]
) -> list[tuple[Extra, Collection[str]]]:
    """Return extras with the names of their own side that the other has."""
    return [(e, here.values()) for e in a] + [(e, here.keys()) for e in b]


def _fits(one: Extra, other: Extra, key: Key, here: Mapping[str, str]) -> bool:
    """Whether two extras are a pair by one key; what has a counterpart is of no other place."""
    if key is _by_name:
        return one.kind == other.kind and here.get(other.name, other.name) == one.name
    placed = one.name in here.values() or other.name in here
    return not placed and key(one) == key(other)


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


def _part(one: Extra, other: Extra, placed: bool) -> Part:
    """Return an extra that both have; `placed` if it is of one variable or layer."""
    same = _by_formula(one) == _by_formula(other)
    amounts = one.amount, other.amount
    if not any(amounts) or (same and alike(*amounts)):
        whole = one.name == other.name and "/" not in one.name
        sure = same and (placed or whole) and _is_told(one)
        idle = None if sure else Difference(one.kind, _told(one), _told(other))
        return Part(one.name, one.kind, *amounts, equal=True, difference=idle)
    told = ", of other variables or outputs" if same else ""
    difference = Difference(one.kind, _told(one), _told(other) + told)
    change = None
    if not same and (placed or one.name == other.name):
        text = f"add {one.formula} to the second instead of {other.formula}"
        change = Change(text, one.amount, 0.0, None)
    return Part(one.name, one.kind, *amounts, False, difference, change)


def _is_told(extra: Extra) -> bool:
    """Whether a formula says all there is; code of its user's own is told by its name alone."""
    return extra.formula == "0" or ("Σ" in extra.formula and "Σ add" not in extra.formula)


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
    """Return penalties that each side writes in its own way, by their formulas and sums."""
    mine, theirs = (sum(e.amount for e in side) for side in (a, b))
    one, other = (" + ".join(e.formula for e in side) for side in (a, b))
    difference = Difference(_SUMMED, f"{one} = {mine:.6g}", f"{other} = {theirs:.6g}")
    kinds = [{_of_any(e) for e in side} for side in (a, b)]
    if alike(mine, theirs) and kinds[0] == kinds[1]:
        return Part(_EVERY, _SUMMED, mine, theirs, equal=True, difference=difference)
    change = Change(f"add {one} to the second instead of {other}", mine, 0.0, None)
    return Part(_EVERY, _SUMMED, mine, theirs, False, difference, change)


def _of_any(extra: Extra) -> str:
    """Return a formula without the name of its variable, `w` where it is of all."""
    text = extra.formula.replace(extra.name, "w") if "/" in extra.name else extra.formula
    return text.replace(" ", "")


def _told(extra: Extra) -> str:
    return f"{extra.formula} = {extra.amount:.6g}"
