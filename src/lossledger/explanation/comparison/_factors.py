# SPDX-License-Identifier: Apache-2.0
"""A factor in words: the lengths that it is made of, each named only after it was varied."""

import math

from lossledger._typing import Mapping, Sequence
from lossledger.explanation.comparison._layouts import Layout
from lossledger.explanation.comparison._pair import Pair

CONSTANT = "constant"
PROPORTIONAL = "proportional to the batch size"
INVERSE = "inverse to the batch size"
CHANGES = "changes with the data"
_POWERS = {CONSTANT: 0, PROPORTIONAL: 1, INVERSE: -1}
_NEAR = 1e-4


def over_batches(
    pair: Pair, factor: float | None, parts: Sequence[tuple[int, float, float]]
) -> str:
    """Say how the factor of the second over the first depends on the batch; "" if not known."""
    if factor is None or not parts:
        return ""
    found = [(len(pair.data.outputs[0]), factor)]
    found += [(n, theirs / mine) for n, mine, theirs in parts]
    for name, power in _POWERS.items():
        scaled = [k / float(n) ** power for n, k in found]
        if max(scaled) - min(scaled) <= _within(pair) * abs(scaled[0]):
            return name
    return CHANGES


def in_words(pair: Pair, layout: Layout, factor: float, constant: str) -> str:
    """Return by what the second is multiplied, in words that hold for other data where they can.

    Args:
        pair: The losses and their data.
        layout: Of the data for the second.
        factor: Of the second over the first.
        constant: How it depends on the batch.
    """
    change = 1 / factor
    if constant not in _POWERS:
        below = pair.denominators(layout)
        if below is not None and below[0] and abs(below[1] / below[0] / change - 1) <= _NEAR:
            mine, theirs = below
            return f"its denominator over the first's, {theirs:.6g} / {mine:.6g} on this batch"
        return f"{change:.6g}, on this batch alone"
    shape = pair.data.outputs[0].shape
    powers: dict[int, int | None] = {0: -_POWERS[constant]} if shape else {}
    for axis in range(1, len(shape)):
        if shape[axis] > 1:
            changed = pair.along(layout, axis)
            power = None if changed is None else _power(pair, factor, *changed, shape[axis])
            if power is not None and math.isnan(power):
                return f"{change:.6g}, for data of this shape alone"
            powers[axis] = None if power is None else -int(power)
    return _spelled(change, shape, powers)


def _power(pair: Pair, factor: float, length: int, other: float, full: int) -> float:
    """Return p with factor ~ length^p; NaN if it is none of -1, 0 and 1."""
    for power in (0, 1, -1):
        if abs(other / factor / (length / full) ** power - 1) <= _within(pair):
            return power
    return math.nan


def _spelled(change: float, shape: Sequence[int], powers: Mapping[int, int | None]) -> str:
    """Return a number as a product of lengths that were varied, and what is left."""
    known = {axis: power for axis, power in powers.items() if power is not None}
    rest = change / math.prod(float(shape[axis]) ** power for axis, power in known.items())
    above, below = (
        _names([a for a, power in known.items() if power == sign], list(powers)) for sign in (1, -1)
    )
    if abs(rest - 1) > _NEAR or not above + below:
        above.insert(0, f"{rest:.6g}")
    text = " times ".join(above or ["1"]) + "".join(f" / {name}" for name in below)
    for axis in (axis for axis, power in powers.items() if power is None):
        if min(abs(rest / shape[axis] - 1), abs(rest * shape[axis] - 1)) < _NEAR:
            long = "as long as" if rest > 1 else "one over the length of"
            return f"{text}, {long} axis {axis} here, which was not varied"
    return text


def _names(axes: Sequence[int], every: Sequence[int]) -> list[str]:
    """Return the names of lengths; of all axes, or of all but the batch, as one."""
    others = [axis for axis in every if axis]
    if others and set(axes) == set(every):
        return ["the number of elements"]
    found = ["the number of samples"] if 0 in axes else []
    if len(others) > 1 and set(axes) - {0} == set(others):
        return [*found, "the number of elements of a sample"]
    return found + [f"the length of axis {axis}" for axis in axes if axis]


def _within(pair: Pair) -> float:
    return max(pair.within * 10, 1e-6)
