# SPDX-License-Identifier: Apache-2.0
"""One term on one batch, stage by stage: the arrays that an explanation puts into words."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossledger._typing import Array, Axes, Mapping
from lossledger.engines import Watch, prepare, run
from lossledger.frames import Frame
from lossledger.losses import AbstractOverlapLoss
from lossledger.objective import match
from lossledger.reductions import AbstractReduction, Chain, Sum
from lossledger.statistics import SumStatistic
from lossledger.term import Term
from lossledger.weighting import Factor, enters, masses


@dataclass(frozen=True, eq=False)
class Weight:
    """One source of weight as a stage uses it.

    Attributes:
        name: "class_weight", "ignore_index", "mask", "sample_weight" or "element_weight".
        is_mask: Whether it says which elements exist.
        above: Whether the numerator is multiplied by it here (the loss may have done so).
        array: At every element of the stage.
    """

    name: str
    is_mask: bool
    above: bool
    array: Array


@dataclass(frozen=True, eq=False)
class Stage:
    """One reduction as it ran.

    Attributes:
        reduction: Which.
        before: Axes and lengths that it reduces.
        after: Axes and lengths of the cells that it makes.
        weights: What enters here.
        numerator: By cell; None where a cell is no fraction.
        denominator: By cell; None where nothing is divided by.
        cells: What it makes.
    """

    reduction: AbstractReduction
    before: Frame
    after: Frame
    weights: tuple[Weight, ...]
    numerator: Array | None
    denominator: Array | None
    cells: Array

    @property
    def removed(self) -> Axes:
        """Axes that are gone after it."""
        return tuple(a for a in self.before.axes if a not in self.after.axes)


@dataclass(frozen=True, eq=False)
class Flow:
    """One term as it ran.

    Attributes:
        term: The term.
        frame: Axes of the outputs.
        values: One a value, before any weight; of a loss of sums, one a cell.
        left: Their axes.
        sums: Of a loss of sums: name -> one a cell.
        within: Weights inside the values: "class_weight" of smoothed or soft targets.
        pooled: Weights inside the sums of a loss of sums.
        stages: Reductions in order; the last ends in one number.
        value: The number, before the loss weight.
        present: Of a loss of sums: which cells count; None for all.
    """

    term: Term
    frame: Frame
    values: Array
    left: Frame
    sums: Mapping[str, Array]
    within: Array | None
    pooled: tuple[Weight, ...]
    stages: tuple[Stage, ...]
    value: float
    present: Array | None = None

    @property
    def loss_weight(self) -> float:
        """The term's factor."""
        return float(self.term.loss_weight)

    @property
    def last(self) -> Stage:
        """The stage that makes the number."""
        return self.stages[-1]

    @property
    def inner(self) -> tuple[Stage, ...]:
        """The stages before it."""
        return self.stages[:-1]

    @property
    def weights(self) -> tuple[Weight, ...]:
        """All weights, in the order in which they enter."""
        return (*self.pooled, *(w for s in self.stages for w in s.weights))


def flow_of(term: Term, outputs: Any, targets: Any, weights: Mapping[str, Any]) -> Flow:
    """Run a term on arrays of NumPy and keep every stage."""
    if not term.reduction.stages:  # one cell is left: it is the number
        term = replace(term, reduction=Chain((Sum(),)))
    call = match((term,), (), (), outputs, targets, {"element_weight": None, **weights}, {})
    watch = Watch(call.xp)
    arrays = tuple(call.outputs[n] for n in term.outputs)
    goal = None if term.target is None else call.targets[term.target]
    prepared = prepare(term, arrays, goal, call.weights[term.name], watch)
    ran = run(prepared, watch)
    overlap, factors, keys = ran.overlap, prepared.factors, prepared.keys
    pooled: tuple[Weight, ...] = ()
    if overlap is not None:
        inside = tuple(f for f in factors if f not in overlap.later)
        pooled = _weights(call.xp, inside, prepared.frame, keys)
        factors, keys = overlap.later, {}
    stages = []
    for step in ran.evaluated.steps:
        before, after = step.grouping.frame, step.grouping.cells
        keep = step.stage.keep(before.axes)
        here = tuple(f for f in factors if enters(f, before, keys, keep))
        factors = tuple(f for f in factors if f not in here)
        entering = _weights(call.xp, here, before, keys)
        stages.append(_stage(step, before, after, entering))
        keys = {n: k for n, k in keys.items() if all(a in after.axes for a in k.axes)}
    values = ran.values if overlap is None else overlap.cells
    return Flow(
        term,
        prepared.inputs.frame,
        np.asarray(values),
        prepared.frame if overlap is None else overlap.frame,
        {} if overlap is None else _sums(overlap),
        prepared.inputs.class_weight,
        pooled,
        tuple(stages),
        float(ran.value),
        None if overlap is None else _present(overlap),
    )


def _present(overlap: Any) -> Array | None:
    """Return which cells count; None if all do."""
    if overlap.presence is None:
        return None
    found = np.broadcast_to(np.asarray(overlap.presence) != 0, np.shape(overlap.cells))
    return None if found.all() else found


def _sums(overlap: Any) -> dict[str, Array]:
    return {n: np.asarray(s) for n, s in overlap.statistic.by_name().items()}


def _weights(
    xp: Any, factors: tuple[Factor, ...], frame: Frame, keys: Mapping[str, Any]
) -> tuple[Weight, ...]:
    """Return what enters a stage, without labels to ignore that do not occur."""
    found = [_weight(xp, f, frame, keys) for f in factors]
    idle = ("ignore_index", "present")
    return tuple(w for w in found if w.name not in idle or not (w.array == 1).all())


def _weight(xp: Any, factor: Factor, frame: Frame, keys: Mapping[str, Any]) -> Weight:
    mass = masses(xp, (factor,), frame, keys, "float64").denominator
    array = np.broadcast_to(np.asarray(mass), frame.shape)
    return Weight(factor.name, factor.is_mask, factor.in_numerator, array)


def _stage(step: Any, before: Frame, after: Frame, weights: tuple[Weight, ...]) -> Stage:
    statistic, reduction = step.statistic, step.stage
    numerator = denominator = None
    if isinstance(statistic, SumStatistic):
        numerator = np.asarray(statistic.numerator)
        kind = getattr(reduction, "denominator", None)
        if kind is not None:
            given = statistic.denominator if isinstance(kind, str) else float(kind)
            denominator = np.asarray(given, dtype=np.float64)
    elif hasattr(reduction, "divisor"):
        numerator = np.asarray(statistic.numerator)
        denominator = np.asarray(reduction.divisor(step.grouping.xp, statistic))
    return Stage(reduction, before, after, weights, numerator, denominator, np.asarray(step.cells))


def is_of_sums(flow: Flow) -> bool:
    """Whether the loss is a function of sums."""
    return isinstance(flow.term.loss, AbstractOverlapLoss)
