# SPDX-License-Identifier: Apache-2.0
"""The change that makes the second loss equal to the first: tried on the data, then told."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation.comparison._layouts import Layout
from lossledger.explanation.comparison._sides import Reading, Source, name_in, tried
from lossledger.explanation.criterion._candidates import configured
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._known import spelling
from lossledger.explanation.criterion._probe import taken
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._registry import library_of
from lossledger.presets._samples import class_weights
from lossledger.presets._settings import configurations
from lossledger.presets.migration import REFUSALS


@dataclass(frozen=True)
class Change:
    """What makes the second loss equal to the first on this data.

    Attributes:
        text: What to do, as code where it is code.
        number: What the second gives then.
        deviation: Of the numbers, relative.
        slope: Of the gradients, relative to the largest; None if there is none.
    """

    text: str
    number: float
    deviation: float
    slope: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings."""
        return dict(vars(self))


def find(
    a: Source, b: Source, data: Data, goal: Reading, layout: Layout, within: float, stays: bool
) -> Change | None:
    """Return the change of fewest settings after which both agree, on the data and a part of it.

    Args:
        a: The first.
        b: The second, whose settings are changed.
        data: Of the first.
        goal: The first's number and gradient.
        layout: Of the data for the second.
        within: Largest deviation of what agrees.
        stays: Whether the second stays in its version of Keras.
    """
    laid = layout.apply(data)
    if laid is None or b.known is None:
        return None
    part = _part(a, data)
    best: tuple[float, Change] | None = None
    now = b.known.preset
    for preset, weight, passed in _options(a, now, laid):
        if stays and getattr(preset, "convention", "") != getattr(now, "convention", ""):
            continue
        without = b.without if weight is None else b.without - {"sample_weight"}
        known = replace(b.known, preset=preset)
        source = Source(spelling(preset), known, None, None, without=without)
        given = laid if weight is None else replace(laid, sample_weight=weight)
        found = tried(source, given)
        if found is None:
            continue
        far, off = apart(found, goal, 1.0, layout, data)
        if far > within or (off is not None and off > within):
            continue
        if part is not None and not _holds(source, given, part, within):
            continue
        cost = _cost(now, preset) + 3 * bool(passed) + 0.5 * _is_elsewhere(a, preset)
        text = f"replace the second by {name_in(preset) if b.convention else source.name}"
        text += f", called with {passed}" if passed else ""
        if best is None or cost < best[0]:
            best = (cost, Change(text, found.number, far, off))
    return None if best is None else best[1]


def _part(a: Source, data: Data) -> tuple[Array, float] | None:
    """Return places of a part of the batch, and the first loss's number there."""
    shape = data.outputs[0].shape
    if not shape or shape[0] < 2:
        return None
    at = np.arange(max(1, 2 * shape[0] // 3))
    found = tried(a, taken(data, at))
    return None if found is None else (at, found.number)


def _holds(source: Source, given: Data, part: tuple[Array, float], within: float) -> bool:
    """Whether a change holds on a part of the batch as well."""
    at, goal = part
    found = tried(source, taken(given, at))
    return found is not None and abs(found.number - goal) <= within * max(abs(goal), 1e-12)


def by_factor(
    number: Reading, goal: Reading, factor: float, layout: Layout, data: Data, told: str
) -> Change:
    """Return the factor that makes both equal, where number and gradient have the same."""
    far, off = apart(number, goal, 1 / factor, layout, data)
    return Change(f"multiply the second by {told}", number.number / factor, far, off)


def by_constant(
    number: Reading,
    goal: Reading,
    layout: Layout,
    data: Data,
    parts: Sequence[tuple[int, float, float]],
) -> Change | None:
    """Return the constant between two numbers of one gradient, if it is that of every part."""
    gap = goal.number - number.number
    size = max(abs(goal.number), abs(gap))
    worst = max((abs(mine - theirs - gap) / size for _, mine, theirs in parts), default=1.0)
    if worst > 1e-6:
        return None
    _, off = apart(number, goal, 1.0, layout, data)
    text = f"add {gap:.6g} to the second, which changes no gradient"
    return Change(text, number.number + gap, worst, off)


def apart(
    found: Reading, goal: Reading, factor: float, layout: Layout, data: Data
) -> tuple[float, float | None]:
    """Return the deviation of numbers and of gradients, the second times a factor."""
    size = max(abs(goal.number), 1e-12)
    far = abs(factor * found.number - goal.number) / size
    if found.slopes is None or goal.slopes is None:
        return far, None
    back = layout.back(found.slopes, data.on_host())
    worst = 0.0
    for mine, theirs in zip(back, goal.slopes, strict=True):
        if mine.shape != theirs.shape:
            return far, float("inf")
        largest = max(float(np.abs(theirs).max(initial=0.0)), 1e-12)
        worst = max(worst, float(np.abs(factor * mine - theirs).max(initial=0.0)) / largest)
    return far, worst


def _options(
    a: Source, preset: AbstractLibraryLoss, data: Data
) -> Iterator[tuple[AbstractLibraryLoss, Array | None, str]]:
    """Yield settings of the second loss that may mean the first's."""
    found = list(_own(preset))
    weights: Sequence[float] | None = None
    if a.known is not None:
        try:
            found += configurations(type(preset), a.known.preset)
        except REFUSALS:
            found = list(found)
        weights = class_weights(a.known.preset)
        found += [one for kept in found[:40] for one in _own(kept)]
    else:
        weights = _term_weights(a)
        reads = len(data.outputs)
        own = [p for p in configured(library_of(preset), reads) if type(p) is type(preset)]
        found += own
    labels = data.targets is not None and data.targets.dtype.kind in "iu"
    by_label = None
    if weights is not None and labels and np.ndim(weights) == 1:
        row = np.asarray(weights, np.float64)
        inside = (data.targets >= 0) & (data.targets < len(row))
        by_label = np.where(inside, row[np.where(inside, data.targets, 0)], 0.0)
    seen: set[str] = set()
    for each in found:
        if repr(each) in seen:
            continue
        seen.add(repr(each))
        yield each, None, ""
        if by_label is not None:
            yield each, by_label, "sample_weight=weight[labels]"


def _term_weights(a: Source) -> Sequence[float] | None:
    """Return the class weights of an objective of one term; None if there are none."""
    terms = () if a.objective is None else a.objective.terms
    found: Any = terms[0].class_weight if len(terms) == 1 else None
    return None if found is None or np.ndim(found) != 1 else found


def _own(preset: AbstractLibraryLoss) -> Iterator[AbstractLibraryLoss]:
    """Yield a preset with its own settings, one or two of the usual suspects changed."""
    names = {f.name for f in fields(preset) if f.init}
    choices: dict[str, tuple[Any, ...]] = {
        "reduction": (
            "mean", "sum", "sum_over_batch_size", "mean_with_sample_weight", "batchmean",
            "weighted_sum", "weighted_mean", "weighted_sum_over_batch_size",
            "weighted_sum_by_nonzero_weights",
        ),
        "convention": ("keras3", "keras2.11", "keras2.3", "keras1"),
        "from_logits": (True, False),
    }  # fmt: skip
    own = {n: (getattr(preset, n), *v) for n, v in choices.items() if n in names}
    options = [{n: v} for n, values in own.items() for v in values]
    pairs = [{**x, **y} for x in options for y in options if {*x} != {*y}]
    for chosen in [{}, *options, *pairs]:
        try:
            yield replace(preset, **chosen)
        except REFUSALS:
            continue


def _is_elsewhere(a: Source, preset: AbstractLibraryLoss) -> bool:
    """Whether a preset is of another version of Keras than the first loss."""
    here = getattr(a.known and a.known.preset, "convention", None)
    return here is not None and getattr(preset, "convention", here) != here


def _cost(before: AbstractLibraryLoss, after: AbstractLibraryLoss) -> int:
    """Return how many settings differ; names that Keras logs do not count."""
    names = [f.name for f in fields(before) if f.name not in ("name", "dtype")]
    return sum(1 for n in names if repr(getattr(before, n)) != repr(getattr(after, n)))
