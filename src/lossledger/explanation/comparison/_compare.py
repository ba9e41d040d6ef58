# SPDX-License-Identifier: Apache-2.0
"""Compare two losses on one batch, and on parts of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossledger._errors import MatchError
from lossledger._typing import Array, Sequence, Tree
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
from lossledger.explanation.comparison._layouts import Layout, layouts
from lossledger.explanation.comparison._sides import (
    Reading,
    Source,
    live,
    source_of,
    tried,
    with_dtype,
)
from lossledger.explanation.criterion._difference import CLOSE, Difference, first_difference
from lossledger.explanation.criterion._host import Data, data_of, framework_of, into
from lossledger.explanation.criterion._probe import in_numpy, taken
from lossledger.explanation.criterion._tests import measure

_MOST = 8192
"""Outputs of the part of large data on which layouts are tried."""


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
    data = data_of(outputs, targets, sample_weight, mask)
    one = with_dtype(source_of(a, data), data)
    pair = _Pair(one, source_of(b, data), in_numpy(data), one.read(data), data)
    layout, reading = pair.laid_out_in_part()
    notes = _lives((a, one, pair.data), (b, pair.b, pair.layed(layout)))
    return pair.judged(layout, reading, notes)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two losses and the data of the first.

    Attributes:
        a: The first.
        b: The second.
        data: Arrays of NumPy, in their own dtypes.
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
        floats = [o.dtype.name for o in self.data.outputs]
        return 2e-4 if coarse and "float64" not in floats else max(self.a.within, self.b.within)

    def layed(self, layout: Layout) -> Data:
        """Return the data as the second takes it."""
        if not layout.name:
            return self.given
        found = layout.apply(self.data)
        assert found is not None  # noqa: S101 - a layout that was chosen applies
        return found.map(lambda x: _like(x, self.given))

    def laid_out_in_part(self) -> tuple[Layout, Reading]:
        """Choose a layout, of large data by a small part of it; read the whole under it."""
        first = self.data.outputs[0]
        count = first.shape[0] if first.ndim else 0
        few = max(2, _MOST * count // max(1, first.size))
        if first.size <= _MOST or few >= count:
            return self.laid_out()
        at = np.arange(few)
        goal = tried(self.a, taken(self.data, at))
        if goal is None:
            return self.laid_out()
        data = taken(self.data, at)
        given = data.map(lambda x: _like(x, self.given))
        layout, _ = _Pair(self.a, self.b, data, goal, given).laid_out()
        whole = tried(self.b, self.layed(layout))
        return self.laid_out() if whole is None else (layout, whole)

    def laid_out(self) -> tuple[Layout, Reading]:
        """Choose how the data is laid out for the second: as it agrees, or as it is.

        Raises:
            LossLedgerError: If the second takes it in no form.
        """
        found: list[tuple[int, int, Layout, Reading]] = []
        for place, layout in enumerate(layouts(self.data)):
            laid = layout.apply(self.data)
            reading = None if laid is None else tried(self.b, self.layed(layout))
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
        """Return how well a layout fits: equal, by a factor, by values, as it is, or at all."""
        far, off = apart(reading, self.goal, 1.0, layout, self.data)
        if far <= self.within and (off is None or off <= self.within):
            return 0
        if off is not None and self.goal.number and reading.number:
            factor = reading.number / self.goal.number
            far, off = apart(reading, self.goal, 1 / factor, layout, self.data)
            if off is not None and off <= self.within:
                return 1
        if self._same_values(layout):
            return 2
        return 4 if layout.name else 3

    def _same_values(self, layout: Layout) -> bool:
        stage = self._difference(layout)
        return stage is not None and stage.stage not in ("values", "parts", "smoothing")

    def _difference(self, layout: Layout) -> Difference | None:
        laid = layout.apply(self.data)
        if laid is None:
            return None
        mine, theirs = self.a.flows(self.data), self.b.flows(laid)
        return first_difference(mine, theirs) if mine and theirs else None

    def judged(self, layout: Layout, found: Reading, notes: Sequence[str]) -> Comparison:
        """Return the comparison under a layout."""
        far, off = apart(found, self.goal, 1.0, layout, self.data)
        equal = far <= self.within and (off is None or off <= self.within)
        deviation = abs(found.number - self.goal.number) / max(1.0, abs(self.goal.number))
        names = (self.a.name, self.b.name, self.goal.number, found.number, deviation, off)
        undecided: tuple[str, ...] = ()
        if off is None:
            undecided = ("whether gradients agree: one of them has none",)
        if equal:
            return Comparison(
                *names, equal=True, layout=layout.name, notes=tuple(notes), undecided=undecided
            )
        factor = found.number / self.goal.number if self.goal.number else None
        slope = self._slope_factor(layout, found)
        parts = self._on_parts(layout)
        constant = self._constant(factor, parts)
        difference = self._difference(layout)
        if difference is None:
            difference, more = self._measured(layout)
            undecided += more
        return Comparison(
            *names,
            equal=False,
            factor=factor,
            gradient_factor=slope,
            constant=constant,
            layout=layout.name,
            difference=difference,
            change=self._change(layout, found, (factor, slope), constant, parts),
            notes=tuple(notes),
            undecided=undecided,
        )

    def _change(
        self,
        layout: Layout,
        found: Reading,
        factors: tuple[float | None, float | None],
        how: str,
        parts: Sequence[tuple[int, float, float]],
    ) -> Change | None:
        """Search the second's settings, then a factor, then a constant."""
        factor, slope = factors
        change = find(self.a, self.b, self.data, self.goal, layout, self.within)
        if change is not None:
            return change
        same = factor is not None and slope is not None and abs(slope / factor - 1) < 1e-4
        if same:
            return by_factor(found, self.goal, factor, layout, self.data, how)
        if slope is None or abs(slope - 1) > max(self.within, CLOSE):
            return None
        return by_constant(found, self.goal, layout, self.data, parts)

    def _slope_factor(self, layout: Layout, found: Reading) -> float | None:
        """Return k with (gradient of the second) = k · (gradient of the first) everywhere."""
        if found.slopes is None or self.goal.slopes is None:
            return None
        back = layout.back(found.slopes, self.data.on_host())
        if any(m.shape != t.shape for m, t in zip(back, self.goal.slopes, strict=True)):
            return None
        mine, theirs = (np.concatenate([np.ravel(s) for s in x]) for x in (back, self.goal.slopes))
        square = float(theirs @ theirs)
        k = float(mine @ theirs) / square if square else 0.0
        rest = float(np.abs(mine - k * theirs).max(initial=0.0))
        return k if k and rest <= max(self.within, CLOSE) * float(np.abs(mine).max()) else None

    def _on_parts(self, layout: Layout) -> list[tuple[int, float, float]]:
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
            data = taken(self.data, at)
            given = data.map(lambda x: _like(x, self.given))
            part = _Pair(self.a, self.b, data, self.goal, given)
            mine = tried(self.a, given)
            laid = layout.apply(data)
            theirs = None if laid is None else tried(self.b, part.layed(layout))
            if mine is None or theirs is None or not mine.number:
                return []
            found.append((len(at), mine.number, theirs.number))
        return found

    def _constant(self, factor: float | None, parts: Sequence[tuple[int, float, float]]) -> str:
        """Say how the factor depends on the batch."""
        if factor is None or not parts:
            return ""
        close = max(self.within * 10, 1e-6)
        found = [(len(self.data.outputs[0]), factor)]
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

    def _measured(self, layout: Layout) -> tuple[Difference | None, tuple[str, ...]]:
        """Return the first measurement in which two losses differ, where one is a black box."""
        said = "where they part, step by step: one of them is not recognized"
        laid = layout.apply(self.data)
        if laid is None:
            return None, (said,)
        steps = []
        for source, data in ((self.a, self.data), (self.b, laid)):
            reading = tried(source, data.map(lambda x: _like(x, self.given)))
            if reading is None:
                return None, (said,)
            probe = source.as_probe(self.given)
            steps.append(measure(probe, data, reading.number, max(self.within, 1e-6)).steps)
        for mine in steps[0]:
            for theirs in steps[1]:
                alike = mine.stage == theirs.stage and set(mine.settings) == set(theirs.settings)
                if alike and dict(mine.settings) != dict(theirs.settings):
                    return Difference(mine.stage, mine.text, theirs.text), (said,)
        return None, (said,)


def _like(array: Array, given: Data) -> Array:
    """Return an array of NumPy in the framework of the data that was passed."""
    return into(framework_of(given.outputs[0]), array)


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
