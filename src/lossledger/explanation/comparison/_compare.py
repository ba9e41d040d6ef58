# SPDX-License-Identifier: Apache-2.0
"""Compare two losses on one batch, and on parts of it."""

from typing import Any

import numpy as np

from lossledger._typing import Sequence, Tree
from lossledger.explanation.comparison._change import (
    CHANGES,
    CONSTANT,
    Change,
    apart,
    by_constant,
    by_factor,
    find,
)
from lossledger.explanation.comparison._comparison import Comparison
from lossledger.explanation.comparison._layouts import Layout
from lossledger.explanation.comparison._pair import Pair
from lossledger.explanation.comparison._sides import (
    Reading,
    Source,
    live,
    source_of,
    tried,
    with_dtype,
)
from lossledger.explanation.criterion._difference import CLOSE, Difference
from lossledger.explanation.criterion._host import Data, data_of
from lossledger.explanation.criterion._probe import in_numpy, is_narrow, widened
from lossledger.explanation.criterion._repeat import refuse_random
from lossledger.explanation.criterion._tests import measure


def compare(
    a: Any,
    b: Any,
    outputs: Tree,
    targets: Tree = None,
    *,
    sample_weight: Tree = None,
    mask: Tree = None,
) -> Comparison:
    """Compare two losses that should agree: number and gradient, b against a.

    Both get the same outputs and targets. Where the second wants them in another form (class
    axis last, one-hot targets, probabilities), that form is found and named.

    Args:
        a: A criterion, a preset or an objective, as `explain` takes them.
        b: The one to compare it with; of another library, version or setting.
        outputs: What the first takes: an array, or a tuple of arrays.
        targets: What the first takes.
        sample_weight: For both.
        mask: For both.

    Returns:
        The comparison: the first stage at which they part, the factor between them, and the
        change that makes them equal, verified on this data.

    Raises:
        MatchError: If one of them does not take the data in any form.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> torch, keras = ll.presets.torch, ll.presets.keras
        >>> found = ll.compare(
        ...     torch.MSELoss(reduction="sum"),
        ...     keras.MeanSquaredError(),
        ...     np.ones((4, 2)),
        ...     np.zeros((4, 2)),
        ... )
        >>> found.factor, found.constant
        (0.125, 'inverse to the batch size')
        >>> found.change.text
        'multiply the second by the number of elements'
    """
    passed = data_of(outputs, targets, sample_weight, mask)
    data = widened(passed)
    one = with_dtype(source_of(a, data), data)
    pair = Pair(one, source_of(b, data), data.on_host(), one.read(data), data)
    layout, reading = pair.laid_out_in_part()
    laid = pair.laid(layout) if layout.name else None
    for_b = data if laid is None else pair.as_given(laid)
    for source, given in ((one, data), (pair.b, for_b)):
        if source.probe is not None:
            refuse_random(source.probe, given, pair.within)
    notes = _lives((a, one, data), (b, pair.b, for_b))
    if is_narrow(passed):
        notes.append("Arrays of half precision were compared as float32.")
    return _judged(pair, layout, reading, notes)


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
    constant = _constant(pair, factor, parts)
    difference = pair.difference(layout)
    if difference is None:
        difference, more = _measured(pair, layout)
        undecided += more
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
    change = find(pair.a, pair.b, pair.data, pair.goal, layout, pair.within)
    if change is not None:
        return change
    same = factor is not None and slope is not None and abs(slope / factor - 1) < 1e-4
    if same:
        return by_factor(found, pair.goal, factor, layout, pair.data, how)
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


def _constant(pair: Pair, factor: float | None, parts: Sequence[tuple[int, float, float]]) -> str:
    """Say how the factor depends on the batch."""
    if factor is None or not parts:
        return ""
    close = max(pair.within * 10, 1e-6)
    found = [(len(pair.data.outputs[0]), factor)]
    found += [(n, theirs / mine) for n, mine, theirs in parts]
    for name, power in (
        (CONSTANT, 0),
        ("proportional to the batch size", 1),
        ("inverse to the batch size", -1),
    ):
        scaled = [k / float(n) ** power for n, k in found]
        if max(scaled) - min(scaled) <= close * abs(scaled[0]):
            return name
    return CHANGES


def _measured(pair: Pair, layout: Layout) -> tuple[Difference | None, tuple[str, ...]]:
    """Return the first measurement in which two losses differ, where one is a black box."""
    said = "where they part, step by step: one of them is not recognized"
    laid = pair.laid(layout)
    if laid is None:
        return None, (said,)
    steps = []
    for source, data in ((pair.a, pair.data), (pair.b, laid)):
        own = in_numpy(pair.as_given(data))
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
