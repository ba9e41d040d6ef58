# SPDX-License-Identifier: Apache-2.0
"""Run a chain of stages on values, and read coefficients back through it."""

from collections.abc import Iterator
from dataclasses import dataclass

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
    """

    xp: ArrayLibrary
    value: Array
    presence: Array | None
    steps: tuple[_Step, ...]
    broken: Array | None = None

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

    def coefficients(self) -> Array | float:
        """Return ∂value/∂v at every element v of the first stage, without gradient."""
        found: Array | float = 1.0
        for step in reversed(self.steps):
            found = self._back(step, found)
        return found

    def attribution(self) -> tuple[Array | float, Array | float]:
        """Return (a, curvature) with Σ a·v + curvature = value over the elements v."""
        found: Array | float = 1.0
        curvature: Array | float = 0.0
        for step in reversed(self.steps):
            spread = found
            found = self._back(step, spread, step.stage.attribution)
            if step.stage.curved:
                own = self._back(step, 1.0)
                explained = step.grouping.sum(own * self.xp.detach(step.values))
                rest = (self.xp.detach(step.cells) - explained) * spread
                curvature = curvature + self.xp.sum(rest)
        return found, curvature

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
    steps: list[_Step] = []
    broken: Array | None = None
    dtype = xp.dtype(values)
    for stage in chain.stages:
        keep = stage.keep(frame.axes)
        grouping = group(xp, frame, keys, keep)
        entering = tuple(f for f in factors if enters(f, frame, keys, keep))
        factors = tuple(f for f in factors if f not in entering)
        bare = masses(xp, entering, frame, keys, dtype)
        weights = with_presence(xp, bare, presence, dtype)
        for known in _unlabeled(xp, frame, keys, keep):
            weights = with_presence(xp, weights, known, dtype)
        statistic = stage.statistic(xp, values, weights, grouping)
        cells = stage.finalize(xp, statistic)
        steps.append(_Step(stage, grouping, values, bare, weights, statistic, cells.values))
        values, presence = cells.values, cells.presence
        if cells.broken is not None:
            here = xp.any(cells.broken)
            broken = here if broken is None else broken | here
        frame, keys = grouping.cells, _surviving(keys, grouping)
    found = Evaluated(xp, values, presence, tuple(steps), broken)
    return found, Left(frame, keys, factors)


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
