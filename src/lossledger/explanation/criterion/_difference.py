# SPDX-License-Identifier: Apache-2.0
"""The first stage at which two flows have other numbers on the same data."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation._parts import Step
from lossledger.explanation.criterion._flow import Flow, is_of_sums
from lossledger.explanation.criterion._words import steps_of

CLOSE = 1e-9


@dataclass(frozen=True)
class Difference:
    """Where two losses part.

    Attributes:
        stage: One of `lossledger.explanation.STAGES`, "layout" or "parts"; of models also
            "outputs", "regularizer", "activity regularizer" or "add_loss".
        of_a: What the first does there, with its number.
        of_b: What the second does.
    """

    stage: str
    of_a: str
    of_b: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain strings."""
        return dict(vars(self))


def first_difference(a: Sequence[Flow], b: Sequence[Flow]) -> Difference | None:
    """Return the first stage whose numbers differ; None if none does."""
    if len(a) != len(b):
        names = [", ".join(f.term.name for f in flows) for flows in (a, b)]
        return Difference("parts", f"{len(a)} part(s): {names[0]}", f"{len(b)} part(s): {names[1]}")
    for one, other in zip(a, _paired(a, b), strict=True):
        stage = _stage(one, other)
        if stage is not None:
            names = [f"{f.term.name}: " if len(a) > 1 else "" for f in (one, other)]
            told = [_told(steps_of(f), stage) for f in (one, other)]
            return Difference(stage, names[0] + told[0], names[1] + told[1])
    return None


def _paired(a: Sequence[Flow], b: Sequence[Flow]) -> Sequence[Flow]:
    """Return the second's parts in the order in which most of them go with the first's."""
    if len(a) == 1:
        return b

    def misfits(order: Sequence[Flow]) -> int:
        stages = [_stage(one, other) for one, other in zip(a, order, strict=True)]
        kinds = sum(is_of_sums(x) != is_of_sums(y) for x, y in zip(a, order, strict=True))
        return 10 * kinds + sum(stage is not None for stage in stages)

    return min(itertools.permutations(b), key=misfits)


def _stage(a: Flow, b: Flow) -> str | None:
    if not _alike(a.values, b.values) and not _alike(_alive(a), _alive(b)):
        if a.values.size == b.values.size and _smoothing(a) != _smoothing(b):
            return "smoothing"
        one_within = (a.within is None) != (b.within is None)
        weights = one_within or _weighs(a.pooled) != _weighs(b.pooled) or _count_others(a, b)
        return "weights" if weights else "values"
    if not _alike(_entering(a), _entering(b)) and not _alike(_counted(a), _counted(b)):
        return "inner"
    if not _alike(_mass(a), _mass(b)):
        return "weights"
    for stage, one, other in (
        ("numerator", a.last.numerator, b.last.numerator),
        ("denominator", a.last.denominator, b.last.denominator),
        ("denominator", np.asarray(a.value), np.asarray(b.value)),
        ("loss_weight", np.asarray(a.loss_weight), np.asarray(b.loss_weight)),
    ):
        if (one is None) != (other is None) or (
            one is not None and other is not None and not _alike(one, other)
        ):
            return stage
    return None


def _told(steps: Sequence[Step], stage: str) -> str:
    """Return what a loss does at a stage, with its number."""
    found = []
    for step in steps:
        if step.stage == stage and not step.settings.get("all"):
            amount = "" if step.amount is None else f" = {step.amount:.6g}"
            shape = "" if not step.shape else f", shape {step.shape}"
            found.append(f"{step.text}{amount}{shape}")
    nothing = {"inner": "no reduction before the last", "weights": "no weights"}
    return "; ".join(found) or nothing.get(stage, f"no {stage.replace('_', ' ')}")


def _smoothing(flow: Flow) -> list[Any]:
    return [dict(s.settings) for s in steps_of(flow) if s.stage == "smoothing"]


def _weighs(weights: Sequence[Any]) -> list[str]:
    return sorted(w.name for w in weights)


def _alive(flow: Flow) -> Array:
    """Return the values that the first stage's masks keep."""
    first = flow.stages[0]
    alive = np.ones(first.before.shape, bool)
    for weight in first.weights:
        alive &= weight.array != 0
    return flow.values[alive] if flow.values.shape == alive.shape else flow.values


def _count_others(a: Flow, b: Flow) -> bool:
    """Whether masks keep other values, and those that both keep are alike."""
    if a.values.shape != b.values.shape:
        return False
    one, other = _kept(a), _kept(b)
    both = one & other
    apart = bool((one != other).any())
    return apart and bool(both.any()) and _alike(a.values[both], b.values[both])


def _kept(flow: Flow) -> Array:
    """Return which values have no weight of 0 in any stage."""
    kept = np.ones(flow.values.shape, bool)
    axes = flow.left.axes
    for stage in flow.stages:
        here = stage.before.axes
        if tuple(a for a in axes if a in here) == tuple(here):
            place = tuple(slice(None) if a in here else None for a in axes)
            for weight in stage.weights:
                kept = kept & (weight.array != 0)[place]
    return kept


def _entering(flow: Flow) -> Array:
    """Return what the last stage reduces."""
    return flow.values if not flow.inner else flow.inner[-1].cells


def _counted(flow: Flow) -> Array:
    return _alive(flow) if not flow.inner else flow.inner[-1].cells


def _mass(flow: Flow) -> Array:
    """Return the products of the weights of the last stage that are not 0."""
    last = flow.last
    product = np.ones(last.before.shape)
    for weight in last.weights:
        product = product * weight.array
    return product[product != 0]


def _alike(one: Array, other: Array) -> bool:
    """Whether two arrays hold the same numbers, in whatever order of axes."""
    if one.size != other.size:
        return False
    a, b = np.sort(np.ravel(one)), np.sort(np.ravel(other))
    size = max(float(np.abs(a).max(initial=0.0)), 1e-12)
    return bool(np.abs(a - b).max(initial=0.0) <= CLOSE * size)
