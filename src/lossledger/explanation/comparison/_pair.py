# SPDX-License-Identifier: Apache-2.0
"""Two losses on one batch, and on parts of it: which data the second gets."""

from dataclasses import dataclass, replace

import numpy as np

from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.explanation.comparison._change import apart
from lossledger.explanation.comparison._layouts import LABELS, ONE_HOT, Layout, layouts
from lossledger.explanation.comparison._sides import COARSE, Reading, Source, tried
from lossledger.explanation.criterion._difference import Difference, first_difference
from lossledger.explanation.criterion._host import Data, framework_of, into
from lossledger.explanation.criterion._probe import taken
from lossledger.explanation.criterion._tests import matching

_MOST = 8192
"""Outputs of the part of large data on which layouts are tried."""

_WEIGHTS = ("sample_weight", "mask")

_NUMBER = 1e-6
"""Largest deviation of numbers that are too close to agree by chance."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two losses and the data of the first.

    Attributes:
        a: The first.
        b: The second.
        data: Arrays of NumPy, floats as float64.
        goal: Number and gradient of the first.
        given: The arrays as they were passed.
    """

    a: Source
    b: Source
    data: Data
    goal: Reading
    given: Data

    @property
    def within(self) -> float:
        """Largest deviation of what is equal: that of the coarser dtype."""
        coarse = any(s.probe is not None for s in (self.a, self.b))
        wide = "float64" in str(self.given.outputs[0].dtype)
        return COARSE if coarse and not wide else max(self.a.within, self.b.within)

    def as_given(self, data: Data) -> Data:
        """Return data in the framework and the dtype of what was passed."""
        return data.map(lambda x: _like(x, self.given.outputs[0]))

    def laid(self, layout: Layout) -> Data | None:
        """Return the data as the second takes it; None if they cannot be laid out so."""
        return layout.apply(self.data)

    def theirs(self, layout: Layout) -> Reading | None:
        """Return the second's number and gradient; None if it refuses them."""
        if not layout.name:
            return tried(self.b, self.given)
        laid = self.laid(layout)
        if laid is None:
            return None
        return tried(self.b, laid if self.b.probe is None else self.as_given(laid))

    def part(self, at: Array, axis: int = 0) -> "Pair | None":
        """Return the same on places of an axis; None if the first refuses it."""
        matched = matching(self.data, axis)
        if isinstance(matched, str):
            return None
        data = taken(self.data, at, axis, matched)
        if axis:
            length = self.data.outputs[0].shape[axis]
            weights = {n: _cut(getattr(data, n), at, axis, length) for n in _WEIGHTS}
            data = replace(data, **weights)
        given = self.as_given(data)
        goal = tried(self.a, given)
        return None if goal is None else replace(self, data=data, goal=goal, given=given)

    def along(self, layout: Layout, axis: int) -> tuple[int, float] | None:
        """Return (length, second's number over the first's) with half of an axis left.

        None if one of the losses refuses it, or the first is 0 on it.
        """
        first = self.data.outputs[0]
        if any(o.shape != first.shape for o in self.data.outputs):
            return None
        half = (first.shape[axis] + 1) // 2
        part = self.part(np.arange(half), axis)
        theirs = None if part is None else part.theirs(layout)
        if part is None or theirs is None or not part.goal.number:
            return None
        return half, theirs.number / part.goal.number

    def denominators(self, layout: Layout) -> tuple[float, float] | None:
        """Return what each divides by in the end; None if not both divide sums, once."""
        laid = self.laid(layout)
        if laid is None:
            return None
        mine, theirs = self.a.flows(self.data), self.b.flows(laid)
        below = [np.asarray(f.last.denominator, np.float64) for f in (*mine, *theirs)]
        if len(mine) != 1 or len(theirs) != 1 or any(d.ndim or np.isnan(d) for d in below):
            return None
        return float(below[0]), float(below[1])

    def laid_out_in_part(self) -> tuple[Layout, Reading]:
        """Choose a layout, of large data by a small part of it; read the whole under it."""
        first = self.data.outputs[0]
        count = first.shape[0] if first.ndim else 0
        few = max(2, _MOST * count // max(1, first.size))
        if first.size <= _MOST or few >= count:
            return self.laid_out()
        part = self.part(np.arange(few))
        layout = None if part is None else part.laid_out()[0]
        whole = None if layout is None else self.theirs(layout)
        return self.laid_out() if layout is None or whole is None else (layout, whole)

    def laid_out(self) -> tuple[Layout, Reading]:
        """Choose how the data is laid out for the second: as it agrees, or as it is.

        Raises:
            LossLedgerError: If the second takes it in no form.
        """
        found: list[tuple[int, int, Layout, Reading]] = []
        for place, layout in enumerate(layouts(self.data)):
            as_they_are = any(x.outputs == layout.outputs and not x.form for _, _, x, _ in found)
            if as_they_are and layout.form in (ONE_HOT, LABELS):
                continue
            reading = self.theirs(layout)
            if reading is None:
                continue
            rank = self._rank(layout, reading)
            found.append((rank, place, layout, reading))
            if rank == 0:
                break
        if not found:
            self.b.read(self.given)  # raises what the second says of the data as it is
            raise MatchError(
                f"{self.b.name} must take the data of {self.a.name}",
                "Found no form of it that gives a number",
                "The two losses are of different kinds",
                "Compare losses of the same outputs and targets",
            )
        best = min(found, key=lambda each: each[:2])
        return best[2], best[3]

    def _rank(self, layout: Layout, reading: Reading) -> int:
        """Return how well a layout fits: the less the better.

        Equal, equal up to a factor, equal in the number alone, of the same values, as it is.
        """
        far, off = apart(reading, self.goal, 1.0, layout, self.data)
        if far <= self.within and (off is None or off <= self.within):
            return 0
        if off is not None and self.goal.number and reading.number:
            factor = reading.number / self.goal.number
            _, off = apart(reading, self.goal, 1 / factor, layout, self.data)
            if off is not None and off <= self.within:
                return 1
        if far <= max(self.within, _NUMBER):
            return 2
        if self._same_values(layout):
            return 3
        return 5 if layout.name else 4

    def _same_values(self, layout: Layout) -> bool:
        stage = self.difference(layout)
        return stage is not None and stage.stage not in ("values", "parts", "smoothing")

    def difference(self, layout: Layout) -> Difference | None:
        """Return the first stage at which both part; None if none, or one is a black box."""
        laid = self.laid(layout)
        if laid is None:
            return None
        mine, theirs = self.a.flows(self.data), self.b.flows(laid)
        return first_difference(mine, theirs) if mine and theirs else None

    def on_parts(self, layout: Layout) -> list[tuple[int, float, float]]:
        """Return (size, first's number, second's) on two parts of the batch and on it twice.

        Nothing if one of them is refused.
        """
        first = self.data.outputs[0]
        if not first.ndim or first.shape[0] < 2:
            return []
        count = first.shape[0]
        cut = max(1, count // 3)
        found = []
        for at in (np.arange(cut), np.arange(cut, count), np.tile(np.arange(count), 2)):
            part = self.part(at)
            theirs = None if part is None else part.theirs(layout)
            if part is None or theirs is None or not part.goal.number:
                return []
            found.append((len(at), part.goal.number, theirs.number))
        return found


def _cut(weight: Array, at: Array, axis: int, length: int) -> Array:
    """Return places of a weight's axis, if it has that axis."""
    has = weight is not None and weight.ndim > axis and weight.shape[axis] == length
    return np.take(weight, at, axis=axis) if has else weight


def _like(array: Array, given: Array) -> Array:
    """Return an array of NumPy in the framework of one that was passed, floats in its dtype."""
    home = framework_of(given)
    found = into(home, array)
    if array.dtype.kind != "f" or "float" not in str(given.dtype):
        return found
    if home == "torch":
        return found.to(given.dtype)
    return (
        into(home, array, given.dtype.name) if home == "tensorflow" else found.astype(given.dtype)
    )
