# SPDX-License-Identifier: Apache-2.0
"""What a black box does to batches that are repeated, split, scaled or shifted."""

from dataclasses import dataclass, replace

import numpy as np

from lossledger._typing import Array, Callable
from lossledger.explanation._parts import STAGES, Step
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._probe import Probe, taken, tried


@dataclass(frozen=True)
class Measured:
    """What was found out by trying.

    Attributes:
        steps: In the order of the flow.
        undecided: What could not be, and why.
        kind: "mean", "sum", "ratio" (of sums that differ between parts), "other".
    """

    steps: tuple[Step, ...]
    undecided: tuple[str, ...]
    kind: str


def measure(probe: Probe, data: Data, value: float, tolerance: float) -> Measured:
    """Try a black box that gives one number.

    Args:
        probe: The criterion.
        data: NumPy arrays in their own dtypes.
        value: Its number on them.
        tolerance: Largest relative deviation of what is called equal.
    """
    near = _Near(max(abs(value), 1e-12) * tolerance)
    steps: list[Step] = []
    undecided: list[str] = []
    if value == 0:
        undecided.append("how it is reduced: it is 0 on this data, and 0 repeated is 0")
        return Measured(_dead(probe, data, undecided), tuple(undecided), "other")
    for step in (_scale(probe, data, value), _shift(probe, data, value, near)):
        steps += [] if step is None else [step]
    steps += _axes(probe, data, value, near, undecided)
    steps += _dead(probe, data, undecided)
    kind, batch = _batch(probe, data, value, near, undecided)
    steps += batch
    undecided.append("which function of outputs and targets it is: values and gradients alone")
    ordered = sorted(steps, key=lambda s: STAGES.index(s.stage))
    return Measured(tuple(ordered), tuple(undecided), kind)


@dataclass(frozen=True)
class _Near:
    """Equality of numbers up to a deviation."""

    within: float

    def __call__(self, one: float | None, other: float) -> bool:
        return one is not None and abs(one - other) <= self.within * 4


def number(probe: Probe, data: Data) -> float | None:
    """Return the number on other data; None if the criterion refuses it or it is no number."""
    found = tried(probe, data)
    if found is None:
        return None
    return float(found.array) if found.reduced else None


def matching(data: Data, axis: int) -> int | str | None:
    """Return the axis of the targets that goes with one of the outputs; None if none does.

    Returns a reason where two readings are possible.
    """
    if data.targets is None:
        return None
    shape, goal = data.outputs[0].shape, data.targets.shape
    if goal == shape or axis == 0:
        return axis
    readings = {
        tuple(i for i in range(len(shape)) if i != gone)
        for gone in range(1, len(shape))
        if tuple(n for i, n in enumerate(shape) if i != gone) == goal
    }
    if not readings:
        return f"targets of shape {goal} have no axis of their own for axis {axis} of {shape}"
    if len(readings) > 1:
        return f"targets of shape {goal} lack one of several axes of {shape}"
    kept = next(iter(readings))
    return kept.index(axis) if axis in kept else None


def _batch(
    probe: Probe, data: Data, value: float, near: _Near, undecided: list[str]
) -> tuple[str, list[Step]]:
    """Decide between a mean and a sum over the batch: repeat it, and split it."""
    count = int(data.outputs[0].shape[0]) if data.outputs[0].ndim else 0
    if not count or any(o.ndim == 0 or o.shape[0] != count for o in data.outputs):
        undecided.append("how the batch is reduced: outputs have no batch axis in common")
        return "other", []
    twice = number(probe, taken(data, np.tile(np.arange(count), 2)))
    if twice is None:
        undecided.append("how the batch is reduced: it refuses a batch of twice the size")
        return "other", []
    ratio = twice / value
    kind = "mean" if near(twice, value) else "sum" if near(twice / 2, value) else "other"
    grown = {"mean": "does not change: a mean", "sum": "doubles: a sum"}.get(
        kind, f"becomes {ratio:.4g} times as large: neither mean nor sum over samples"
    )
    text = f"the batch repeated twice: the number {grown}"
    step = Step("denominator", text, None, None, {"repeated": round(ratio, 4)})
    if count < 2 or kind == "other":
        undecided.append("whether parts of the batch add up: it takes a mean or a sum of 2 samples")
        return kind, [step]
    kind, split = _split(probe, data, value, kind, near)
    return kind, [step, split]


def _split(probe: Probe, data: Data, value: float, kind: str, near: _Near) -> tuple[str, Step]:
    """Split off the first third, and see how the parts make the whole."""
    count = int(data.outputs[0].shape[0])
    cut = max(1, count // 3)
    parts = [number(probe, taken(data, np.arange(*ends))) for ends in ((0, cut), (cut, count))]
    if None in parts:
        text = f"parts of {cut} and {count - cut} samples: it refuses one of them"
        return kind, Step("denominator", text, settings={"parts": "refused"})
    one, two = (float(p) for p in parts if p is not None)
    sizes = f"parts of {cut} and {count - cut} samples"
    if kind == "sum" and near(one + two, value):
        return kind, Step(
            "denominator", f"{sizes}: they add up to the whole", settings={"parts": "add up"}
        )
    if kind == "mean" and near((cut * one + (count - cut) * two) / count, value):
        text = f"{sizes}: the mean of the parts, weighted by samples, is the whole"
        return kind, Step("denominator", text, settings={"parts": "by samples"})
    if probe.slopes(data) is None:
        text = f"{sizes}: {one:.6g} and {two:.6g}, neither their sum nor their mean by samples"
        return "other", Step("denominator", text, settings={"parts": "not by samples"})
    share = _share(probe, data, cut, value, one, two)
    if kind == "mean" and share is not None:
        text = (
            f"{sizes}: the parts count {share:.4g} and {1 - share:.4g} of the whole, not "
            f"{cut / count:.4g} and {1 - cut / count:.4g}: the mean divides by something that "
            "is not the number of samples (weights, or labels that count)"
        )
        return "ratio", Step("denominator", text, settings={"parts": "by weight"})
    text = (
        f"{sizes}: {one:.6g} and {two:.6g} do not make {value:.6g} by any weights that the "
        "gradient agrees with: the loss is not a sum over samples, divided once"
    )
    return "other", Step("denominator", text, settings={"parts": "not additive"})


def _share(
    probe: Probe, data: Data, cut: int, value: float, one: float, two: float
) -> float | None:
    """Return the first part's share of the denominator, if number and gradient agree on one."""
    whole = probe.slopes(data)
    first = probe.slopes(taken(data, np.arange(cut)))
    second = probe.slopes(taken(data, np.arange(cut, data.outputs[0].shape[0])))
    if whole is None or first is None or second is None:
        return None
    a, b = _factor(first[0], whole[0][:cut]), _factor(second[0], whole[0][cut:])
    if a is None or b is None:
        return None
    right = abs(a + b - 1) < 1e-3 and abs(a * one + b * two - value) <= 1e-3 * abs(value)
    return a if right else None


def _factor(mine: Array, goal: Array) -> float | None:
    """Return k with goal = k · mine; None if no number does."""
    square = float((mine * mine).sum())
    k = float((mine * goal).sum()) / square if square else 0.0
    rest = float(np.abs(goal - k * mine).max(initial=0.0))
    return k if rest <= 1e-3 * float(np.abs(goal).max(initial=0.0)) else None


def _axes(probe: Probe, data: Data, value: float, near: _Near, undecided: list[str]) -> list[Step]:
    """Repeat along every other axis."""
    steps = []
    first = data.outputs[0]
    for axis in range(1, first.ndim):
        matched = matching(data, axis)
        same = all(o.shape == first.shape for o in data.outputs)
        if isinstance(matched, str) or not same:
            why = matched if isinstance(matched, str) else "outputs differ in shape"
            undecided.append(f"how axis {axis} is reduced: {why}")
            continue
        at = np.tile(np.arange(first.shape[axis]), 2)
        found = number(probe, taken(data, at, axis, matched))
        if found is None:
            undecided.append(f"how axis {axis} is reduced: it refuses outputs of twice the length")
            continue
        ratio = found / value
        grown = "mean" if near(found, value) else "sum" if near(found / 2, value) else ""
        lone = "" if matched is not None or data.targets is None else " (an axis targets lack)"
        text = f"axis {axis}{lone} repeated twice: the number "
        text += {"mean": "does not change: a mean", "sum": "doubles: a sum"}.get(
            grown, f"becomes {ratio:.4g} times as large: neither mean nor sum over it"
        )
        settings = {"axis": axis, "repeated": round(ratio, 4)}
        steps.append(Step("inner", text, settings=settings))
    return steps


def _scale(probe: Probe, data: Data, value: float) -> Step | None:
    """Say of which degree it is in outputs and targets together, if it is of one."""
    if not all(a.dtype.kind == "f" for a in (*data.outputs, data.targets) if a is not None):
        return None
    grown = [number(probe, _times(data, factor)) for factor in (0.5, 0.25)]
    if None in grown or not all(grown):
        return None
    degrees = [
        float(np.log(g / value) / np.log(f)) for g, f in zip(grown, (0.5, 0.25), strict=True) if g
    ]
    if abs(degrees[0] - degrees[1]) > 1e-3 or any(not np.isfinite(d) for d in degrees):
        return None
    degree = round(degrees[0], 3) + 0.0  # + 0.0: no negative zero
    text = f"outputs and targets times s: the number times s^{degree:.3g}"
    return Step("values", text, settings={"degree": degree})


def _times(data: Data, factor: float) -> Data:
    def times(array: Array) -> Array:
        return (array * factor).astype(array.dtype)

    targets = None if data.targets is None else times(data.targets)
    return replace(data, outputs=tuple(times(o) for o in data.outputs), targets=targets)


def _shift(probe: Probe, data: Data, value: float, near: _Near) -> Step | None:
    """Say whether a constant added to all outputs changes the number."""
    if not all(o.dtype.kind == "f" for o in data.outputs):
        return None
    moved = replace(data, outputs=tuple((o + 1).astype(o.dtype) for o in data.outputs))
    if not near(number(probe, moved), value):
        return None
    text = "1 added to all outputs: the number does not change, as under a softmax"
    return Step("values", text, settings={"shift": "none"})


def _dead(probe: Probe, data: Data, undecided: list[str]) -> tuple[Step, ...]:
    """Find the elements, and the labels, that get no gradient."""
    found = probe.slopes(data)
    if found is None:
        undecided.append(
            "which elements count: no gradient flows to the outputs, or the arrays have none"
        )
        return ()
    steps = []
    slopes = found[0]
    none = int((slopes == 0).sum())
    if none:
        text = f"{none} of {slopes.size} outputs have no gradient"
        steps.append(Step("weights", text, slopes.shape, float(none)))
    labels = data.targets
    if labels is None or labels.dtype.kind not in "iu" or slopes.ndim < 2:
        return tuple(steps)
    for axis in range(1, slopes.ndim):
        rows = np.abs(slopes).sum(axis)
        if rows.shape == labels.shape:
            ignored = [k for k in np.unique(labels) if not rows[labels == k].any()]
            steps += [_ignored(probe, data, axis, int(label)) for label in ignored]
            break
    return tuple(steps)


def _moved(other: float | None, before: float) -> bool:
    return other is None or abs(other - before) > 1e-6 * max(abs(before), 1e-12)


def _mixed(there: Array, other: Array, own: Array) -> Array:
    found: Array = np.where(there, other, own)
    return found.astype(own.dtype)


def _ignored(probe: Probe, data: Data, axis: int, label: int) -> Step:
    """Say whether a label without gradient is ignored: whether its outputs change the number."""
    there: Array = np.expand_dims(data.targets == label, axis)
    count = int(there.sum())
    text = f"label {label} has no gradient in any of its {count} elements"
    before = number(probe, data)
    changes: tuple[Callable[[Array], Array], ...] = (
        lambda o: -o,
        lambda o: o[::-1],
        lambda o: np.flip(o, axis),
        lambda o: o * 0,
    )
    others = []
    for change in changes:
        outputs = tuple(_mixed(there, change(o), o) for o in data.outputs)
        others.append(number(probe, replace(data, outputs=outputs)))
    if before is None or any(_moved(o, before) for o in others):
        text += ", though other outputs there change the number: it is not ignored"
        return Step("weights", text, settings={"flat": label})
    return Step("weights", f"{text}: ignored", None, float(count), {"ignored": label})
