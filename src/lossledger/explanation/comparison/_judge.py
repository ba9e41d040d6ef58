# SPDX-License-Identifier: Apache-2.0
"""Two losses on one batch, and on parts of it: equal, or where they part and by how much."""

from dataclasses import replace
from typing import Any

import numpy as np

from lossledger._typing import Sequence
from lossledger.explanation.comparison._change import (
    Change,
    apart,
    by_constant,
    by_factor,
    find,
)
from lossledger.explanation.comparison._comparison import Comparison
from lossledger.explanation.comparison._factors import in_words, over_batches
from lossledger.explanation.comparison._layouts import Layout
from lossledger.explanation.comparison._pair import Pair
from lossledger.explanation.comparison._sides import (
    HELD,
    Reading,
    Source,
    live,
    tried,
    widest,
    with_dtype,
)
from lossledger.explanation.criterion._call import dtype_of
from lossledger.explanation.criterion._difference import CLOSE, Difference
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._probe import in_numpy, is_narrow, widened
from lossledger.explanation.criterion._repeat import refuse_random
from lossledger.explanation.criterion._tests import measure


def between(a: Source, b: Source, passed: Data, things: tuple[Any, Any]) -> Comparison:
    """Compare two losses on the same data: number and gradient, b against a.

    Args:
        a: The first, whose data they are.
        b: The second; data is laid out for it where it wants another form.
        passed: What both get.
        things: What the two were read of.

    Raises:
        LossLedgerError: If one of them does not take the data in any form.
    """
    data = widest((a, b), widened(passed))
    narrow = data.outputs[0].dtype != passed.outputs[0].dtype
    one, other = (with_dtype(source, data, narrow) for source in (a, b))
    pair = Pair(one, other, data.on_host(), one.read(data), data)
    layout, reading = pair.laid_out_in_part()
    laid = pair.laid(layout) if layout.name else None
    for_b = data if laid is None else pair.as_given(laid)
    for source, given in ((one, data), (pair.b, for_b)):
        if source.probe is not None:
            refuse_random(source.probe, source.own(given), pair.within)
    notes = _lives((things[0], one, data), (things[1], pair.b, for_b))
    if is_narrow(passed):
        notes.append(f"Arrays of half precision were compared as {dtype_of(data.outputs[0])}.")
    notes += _precision(pair)
    return _judged(pair, layout, reading, notes)


def _precision(pair: Pair) -> list[str]:
    """Say in which dtype black boxes were run, and what is taken for equal, where it matters."""
    if all(s.probe is None for s in (pair.a, pair.b)) or pair.within < HELD:
        return []
    coarse = pair.within > HELD
    ran = "in less than float64" if coarse else "in float64, and may hold constants rounded to less"
    equal = f"what deviates by less than {pair.within:.0e} is taken for equal"
    return [f"Losses that are not recognized were run {ran}: {equal}."]


def _judged(pair: Pair, layout: Layout, found: Reading, notes: Sequence[str]) -> Comparison:
    """Return the comparison under a layout."""
    far, off = apart(found, pair.goal, 1.0, layout, pair.data)
    equal = far <= pair.within and (off is None or off <= pair.within)
    deviation = abs(found.number - pair.goal.number) / max(1.0, abs(pair.goal.number))
    names = (pair.a.name, pair.b.name, pair.goal.number, found.number, deviation, off)
    undecided: tuple[str, ...] = ()
    if off is None:
        undecided = ("whether gradients agree: one of them has none",)
    elif equal and not found.number and not any(s.any() for s in found.slopes or ()):
        undecided = ("whether they agree elsewhere: both are 0 here, and so are their gradients",)
    if equal:
        return Comparison(
            *names, equal=True, layout=layout.name, notes=tuple(notes), undecided=undecided
        )
    factor = found.number / pair.goal.number if pair.goal.number else None
    slope = _slope_factor(pair, layout, found)
    parts = pair.on_parts(layout)
    constant = over_batches(pair, factor, parts)
    difference = pair.difference(layout)
    if difference is None:
        difference, more = _measured(pair, layout)
        undecided += more
    elif difference.stage != "denominator":
        notes = [*notes, *_divided(pair, layout)]
    return Comparison(
        *names,
        equal=False,
        factor=factor,
        gradient_factor=slope,
        constant=constant,
        layout=layout.name,
        difference=difference,
        change=_change(pair, layout, found, (factor, slope), constant, parts),
        notes=tuple(notes),
        undecided=undecided,
    )


def _change(
    pair: Pair,
    layout: Layout,
    found: Reading,
    factors: tuple[float | None, float | None],
    how: str,
    parts: Sequence[tuple[int, float, float]],
) -> Change | None:
    """Search the second's settings, then a factor, then a constant."""
    factor, slope = factors
    searched = (pair.a, pair.b, pair.data, pair.goal, layout, pair.within)
    change = find(*searched, stays=bool(pair.b.convention))
    if change is not None:
        return change
    same = factor is not None and slope is not None and abs(slope / factor - 1) < 1e-4
    told = in_words(pair, layout, factor, how) if same and factor else ""
    if pair.b.convention:
        change = find(*searched, stays=False)
        if change is not None:
            times = f"; or, in {pair.b.convention}, multiply it by {told}" if told else ""
            return replace(change, text=change.text + times)
    if same and factor:
        return by_factor(found, pair.goal, factor, layout, pair.data, told)
    if slope is None or abs(slope - 1) > max(pair.within, CLOSE):
        return None
    return by_constant(found, pair.goal, layout, pair.data, parts)


def _slope_factor(pair: Pair, layout: Layout, found: Reading) -> float | None:
    """Return k with (gradient of the second) = k · (gradient of the first) everywhere."""
    if found.slopes is None or pair.goal.slopes is None:
        return None
    back = layout.back(found.slopes, pair.data)
    if any(m.shape != t.shape for m, t in zip(back, pair.goal.slopes, strict=True)):
        return None
    mine, theirs = (np.concatenate([np.ravel(s) for s in x]) for x in (back, pair.goal.slopes))
    square = float(theirs @ theirs)
    k = float(mine @ theirs) / square if square else 0.0
    rest = float(np.abs(mine - k * theirs).max(initial=0.0))
    return k if k and rest <= max(pair.within, CLOSE) * float(np.abs(mine).max()) else None


def _measured(pair: Pair, layout: Layout) -> tuple[Difference | None, tuple[str, ...]]:
    """Return the first measurement in which two losses differ, where one is a black box."""
    said = "where they part, step by step: one of them is not recognized"
    laid = pair.laid(layout)
    if laid is None:
        return None, (said,)
    steps = []
    for source, data in ((pair.a, pair.data), (pair.b, laid)):
        own = source.own(in_numpy(pair.as_given(data)))
        reading = tried(source, pair.as_given(data))
        if reading is None:
            return None, (said,)
        probe = source.as_probe(pair.given)
        steps.append(measure(probe, own, reading.number, max(pair.within, 1e-6)).steps)
    for mine in steps[0]:
        for theirs in steps[1]:
            alike = mine.stage == theirs.stage and set(mine.settings) == set(theirs.settings)
            if alike and dict(mine.settings) != dict(theirs.settings):
                return Difference(mine.stage, mine.text, theirs.text), (said,)
    return None, (said,)


def _divided(pair: Pair, layout: Layout) -> list[str]:
    """Say that two losses that part earlier also divide by other numbers."""
    below = pair.denominators(layout)
    if below is None or abs(below[0] - below[1]) <= CLOSE * max(map(abs, below)):
        return []
    mine, theirs = below
    return [
        f"They also divide by other numbers: the first by {mine:.6g}, the second by {theirs:.6g}."
    ]


def _lives(*each: tuple[Any, Source, Data]) -> list[str]:
    """Say what recognized criteria themselves give, where it is not what their presets give."""
    found = []
    for thing, source, data in each:
        answer = live(source, thing, data)
        if answer is None:
            continue
        number, own = float(answer.array.sum()), source.read(data).number
        far = abs(number - own) / max(1.0, abs(own))
        if far > answer.resolution:
            found.append(
                f"{source.name} itself gives {number:.9g} in {answer.dtype}, its preset {own:.9g}: "
                "check for hooks or another version."
            )
        if answer.array.ndim:
            shape = tuple(answer.array.shape)
            found.append(f"{source.name} returns an array of shape {shape}: its sum is compared.")
    return found
