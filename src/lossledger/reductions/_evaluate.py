# SPDX-License-Identifier: Apache-2.0
"""Run a chain of stages on values, and read coefficients back through it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array, Axes
from lossledger.frames import AbstractGrouping, Frame, Key, Keys, NamedArray, align, group
from lossledger.reductions._base import AbstractReduction, Cells, Chain
from lossledger.statistics import AbstractStatistic
from lossledger.weighting import Factor, Masses, enters, masses, with_presence


@dataclass(frozen=True, eq=False)
class Following:
    """A stage after the one that removes `batch`: its cells' axes and its own weights."""

    frame: Frame
    weights: Masses


@dataclass(frozen=True, eq=False)
class _Step:
    """One stage as it ran."""

    stage: AbstractReduction
    grouping: AbstractGrouping
    values: Array
    bare: Masses
    weights: Masses
    statistic: AbstractStatistic
    cells: Array


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A chain as it ran: its value, and enough to attribute it to the elements.

    Attributes:
        value: The scalar that the last stage gave; differentiable.
        presence: Whether that scalar exists (False only under empty="skip").
        steps: The stages, in order.
        broken: Cells of each stage that may not be empty and are, where nothing could be read.
        share: What a part bears of what is no element's: 1 for a whole batch.
    """

    xp: ArrayLibrary
    value: Array
    presence: Array | None
    steps: tuple[_Step, ...]
    broken: Array | None = None
    share: float | Array = 1.0

    @property
    def batch_at(self) -> int:
        """Place of the stage that removes `batch`; the last stage if none does."""
        for place, step in enumerate(self.steps):
            if "batch" in step.grouping.removed:
                return place
        return len(self.steps) - 1

    @property
    def statistic(self) -> AbstractStatistic:
        """The mergeable statistic: that of the stage that removes `batch`."""
        return self.steps[self.batch_at].statistic

    def following(self, after: int) -> tuple[Following, ...]:
        """Return the stages from place `after` on, without what depends on this batch."""
        return tuple(Following(s.grouping.frame, s.bare) for s in self.steps[after:])

    def coefficients(self, down_to: int = 0) -> Array | float:
        """Return ∂value/∂v at every element v of a stage (the first), without gradient."""
        found: Array | float = 1.0
        for step in reversed(self.steps[down_to:]):
            found = self._back(step, found)
        return found

    def attribution(self) -> tuple[Array | float, Array | float]:
        """Return (a, curvature) with Σ a·v + curvature = value over the elements v.

        For a part the sums over the elements of all parts, and over their curvatures, are
        the value of the whole.
        """
        found: Array | float = 1.0
        curvature: Array | float = 0.0
        batch_at = self.batch_at
        for place, step in reversed(tuple(enumerate(self.steps))):
            spread = found
            found = self._back(step, spread, step.stage.attribution)
            if step.stage.curved:
                own = self._back(step, 1.0)
                explained = step.grouping.sum(own * self.xp.detach(step.values))
                cells = self.xp.detach(step.cells)
                rest = cells * self.share if place >= batch_at else cells
                explained = explained * self.share if place > batch_at else explained
                curvature = curvature + self.xp.sum((rest - explained) * spread)
        return found, curvature

    def linear(self) -> Array:
        """Return ⟨c, v⟩ over the elements of the stage that removes `batch`, c held fixed."""
        step = self.steps[self.batch_at]
        coefficients = self.coefficients(self.batch_at)
        values = step.values
        if step.stage.split == "order":
            values = self.xp.where(coefficients != 0, values, self.xp.full_like(values, 0))
        product = coefficients * values
        return self.xp.sum(self.xp.broadcast_to(product, step.grouping.frame.shape))

    def _back(self, step: _Step, outer: Array | float, scale: float = 1.0) -> Array | float:
        """Multiply a stage's coefficients by those of the cells that it made."""
        inner = step.stage.coefficients(
            self.xp, step.values, step.weights, step.grouping, step.statistic
        )
        inner = inner if scale == 1.0 else inner * scale
        if isinstance(outer, float):
            return inner if outer == 1.0 else inner * outer
        full = self.xp.broadcast_to(outer, step.grouping.cells.shape)
        return step.grouping.spread(full) * inner


@dataclass(frozen=True, eq=False)
class Left:
    """What a chain leaves: the axes, keys and weights of the cells that it ends in."""

    frame: Frame
    keys: Keys
    factors: tuple[Factor, ...]


@dataclass(frozen=True, eq=False)
class Opened:
    """A chain as it ran up to the statistic of the stage that removes `batch`.

    Attributes:
        at: Place of that stage; the last if none does.
        before: The stages before it.
        statistic: Its statistic on these elements.
        left: What it leaves to the stages after it.
    """

    xp: ArrayLibrary
    chain: Chain
    at: int
    before: tuple[_Step, ...]
    values: Array
    entered: "_Entered"
    statistic: AbstractStatistic
    left: Left
    broken: Array | None

    @property
    def cells(self) -> Frame:
        """Axes of the statistic's cells."""
        return self.entered.grouping.cells

    def following(self) -> tuple[Following, ...]:
        """Return the stages after it: their cells' axes and their own weights."""
        return following(self.xp, self.chain, self.at + 1, self.left, self.xp.dtype(self.values))

    def close(self, statistic: AbstractStatistic, share: float | Array = 1.0) -> Evaluated:
        """Finalize with the statistic of the whole, of which these elements are a part."""
        xp, stage, here = self.xp, self.chain.stages[self.at], self.entered
        cells = stage.finalize(xp, statistic)
        last = _Step(
            stage, here.grouping, self.values, here.bare, here.weights, statistic, cells.values
        )
        broken = _either(xp, self.broken, cells)
        start = _Here((*self.before, last), cells.values, cells.presence, self.left, broken)
        end = _advance(xp, self.chain.stages[self.at + 1 :], start)
        return Evaluated(xp, end.values, end.presence, end.steps, end.broken, share)


def following(
    xp: ArrayLibrary, chain: Chain, after: int, left: Left, dtype: str
) -> tuple[Following, ...]:
    """Return the stages from place `after` on: their cells' axes and their own weights.

    Raises:
        ReductionError: If an axis is left over.
    """
    found = []
    for stage in chain.stages[after:]:
        entered = _enter(xp, stage, left, None, dtype)
        found.append(Following(left.frame, entered.bare))
        left = entered.left
    if left.frame.axes:
        raise _left_over(chain, left.frame)
    return tuple(found)


def open_chain(
    xp: ArrayLibrary,
    chain: Chain,
    values: Array,
    frame: Frame,
    keys: Keys,
    factors: tuple[Factor, ...],
    presence: Array | None = None,
) -> Opened:
    """Run a chain up to the statistic that merges over parts; nothing is judged empty there."""
    at = _batch_at(chain, frame.axes)
    here = _Here((), values, presence, Left(frame, keys, factors), None)
    here = _advance(xp, chain.stages[:at], here)
    stage = chain.stages[at]
    entered = _enter(xp, stage, here.left, here.presence, xp.dtype(here.values))
    lenient = replace(stage, empty="zero")  # type: ignore[type-var]
    statistic = lenient.statistic(xp, here.values, entered.weights, entered.grouping)
    return Opened(
        xp, chain, at, here.steps, here.values, entered, statistic, entered.left, here.broken
    )


def _batch_at(chain: Chain, axes: Axes) -> int:
    """Return the place of the stage that removes `batch`; the last if none does."""
    for at, stage in enumerate(chain.stages):
        keep = stage.keep(axes)
        if "batch" in axes and "batch" not in keep:
            return at
        axes = keep
    return len(chain.stages) - 1


def evaluate(
    xp: ArrayLibrary,
    chain: Chain,
    values: Array,
    frame: Frame,
    keys: Keys,
    factors: tuple[Factor, ...],
    presence: Array | None = None,
) -> Evaluated:
    """Reduce values to a scalar.

    Each weight factor is used by the first stage that removes one of its axes; a cell
    that a stage skips has no weight in the next.

    Raises:
        ReductionError: If an axis is left over, or nothing is left to average under "raise".
    """
    found, left = walk(xp, chain, values, frame, keys, factors, presence)
    if left.frame.axes:
        raise _left_over(chain, left.frame)
    return found


def walk(
    xp: ArrayLibrary,
    chain: Chain,
    values: Array,
    frame: Frame,
    keys: Keys,
    factors: tuple[Factor, ...],
    presence: Array | None = None,
) -> tuple[Evaluated, Left]:
    """Run the stages of a chain, and return what they leave."""
    start = _Here((), values, presence, Left(frame, keys, factors), None)
    end = _advance(xp, chain.stages, start)
    return Evaluated(xp, end.values, end.presence, end.steps, end.broken), end.left


@dataclass(frozen=True, eq=False)
class _Here:
    """How far a chain has run: its steps, the cells that they made, and what these leave."""

    steps: tuple[_Step, ...]
    values: Array
    presence: Array | None
    left: Left
    broken: Array | None


def _advance(xp: ArrayLibrary, stages: tuple[AbstractReduction, ...], here: _Here) -> _Here:
    """Run some more stages."""
    for stage in stages:
        step, cells, left = _run(xp, stage, here.left, here.values, here.presence)
        broken = _either(xp, here.broken, cells)
        here = _Here((*here.steps, step), cells.values, cells.presence, left, broken)
    return here


@dataclass(frozen=True, eq=False)
class _Entered:
    """What a stage works with: its grouping, and the weights that enter it."""

    grouping: AbstractGrouping
    bare: Masses
    weights: Masses
    left: Left


def _enter(
    xp: ArrayLibrary, stage: AbstractReduction, left: Left, presence: Array | None, dtype: str
) -> _Entered:
    frame, keys = left.frame, left.keys
    keep = stage.keep(frame.axes)
    grouping = group(xp, frame, keys, keep)
    entering = tuple(f for f in left.factors if enters(f, frame, keys, keep))
    rest = tuple(f for f in left.factors if f not in entering)
    bare = masses(xp, entering, frame, keys, dtype)
    weights = with_presence(xp, bare, presence, dtype)
    for known in _unlabeled(xp, frame, keys, keep):
        weights = with_presence(xp, weights, known, dtype)
    return _Entered(grouping, bare, weights, Left(grouping.cells, _surviving(keys, grouping), rest))


def _run(
    xp: ArrayLibrary,
    stage: AbstractReduction,
    left: Left,
    values: Array,
    presence: Array | None,
) -> tuple[_Step, Cells, Left]:
    entered = _enter(xp, stage, left, presence, xp.dtype(values))
    grouping, bare, weights = entered.grouping, entered.bare, entered.weights
    statistic = stage.statistic(xp, values, weights, grouping)
    cells = stage.finalize(xp, statistic)
    step = _Step(stage, grouping, values, bare, weights, statistic, cells.values)
    return step, cells, entered.left


def _either(xp: ArrayLibrary, broken: Array | None, cells: Cells) -> Array | None:
    if cells.broken is None:
        return broken
    here = xp.any(cells.broken)
    return here if broken is None else broken | here


def _unlabeled(xp: ArrayLibrary, frame: Frame, keys: Keys, keep: Axes) -> Iterator[Array]:
    """Yield where the elements have labels, for each key that a stage keeps and lacks some."""
    for name in keep:
        known = keys[name].known if name in keys and name not in frame.axes else None
        if known is not None:
            yield align(xp, NamedArray(known, keys[name].axes), frame)


def finish(
    xp: ArrayLibrary, stages: tuple[AbstractReduction, ...], following: tuple[Following, ...],
    cells: Cells,
) -> Cells:  # fmt: skip
    """Run the stages that follow on cells made from merged statistics."""
    for stage, each in zip(stages, following, strict=True):
        dtype = xp.dtype(cells.values)
        weights = with_presence(xp, each.weights, cells.presence, dtype)
        grouping = group(xp, each.frame, {}, stage.keep(each.frame.axes))
        cells = stage.finalize(xp, stage.statistic(xp, cells.values, weights, grouping))
    return cells


def _surviving(keys: Keys, grouping: AbstractGrouping) -> dict[str, Key]:
    """Keys whose axes are all still there; a key that was kept is an axis now."""
    left = grouping.cells.axes
    return {
        name: key
        for name, key in keys.items()
        if name not in left and all(a in left for a in key.axes)
    }


def _left_over(chain: Chain, frame: Frame) -> ReductionError:
    return ReductionError(
        "A reduction must end in one number",
        f"Found the axes {frame} left over after {chain}",
        "The reduction names some axes and nothing says what happens to the others",
        f"Add a stage, e.g. .then(ll.Mean({' '.join(frame.axes)!r})), or leave `over` out",
    )
