# SPDX-License-Identifier: Apache-2.0
"""What a model minimizes, output by output: losses that can be compared as losses, and extras."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation._parts import Extra, Step
from lossledger.explanation.comparison._sides import Source
from lossledger.explanation.criterion._host import Data, host

WEIGHTS = ("sample_weight", "mask")

_NARROW = 1e-6
"""Largest relative deviation of the same targets, where one model casts them to float32."""


@dataclass(frozen=True, eq=False)
class Unit:
    """The losses of one output.

    Attributes:
        output: Its name.
        loss: As its users write it.
        value: Its own number, before its weight; None for a criterion that is yet to be called.
        loss_weight: Its factor in the total.
        steps: How its number is made, in words.
        data: Outputs, targets, weights and mask that it is called with.
        source: The same loss, called alone; None if that does not give its number.
        thing: What the source was read of.
        why: Why there is no source; "" if there is one.
    """

    output: str
    loss: str
    value: float | None
    loss_weight: float
    steps: tuple[Step, ...]
    data: Data
    source: Source | None
    thing: Any = None
    why: str = ""

    @property
    def contribution(self) -> float | None:
        """What it adds to the total."""
        return None if self.value is None else self.loss_weight * self.value

    def told(self, stage: str) -> str:
        """Return what it does at a stage, in words, with its number."""
        found = [s for s in self.steps if s.stage == stage]
        amounts = ["" if s.amount is None else f" = {s.amount:.6g}" for s in found]
        texts = [s.text + amount for s, amount in zip(found, amounts, strict=True)]
        return "; ".join(texts) or f"no {stage}"


@dataclass(frozen=True, eq=False)
class Side:
    """One of two models.

    Attributes:
        name: Of the model, with the convention that was asked for.
        units: One for each output that has losses, in order.
        extras: Regularizers and added losses.
        number: What the framework itself minimizes; None if it was not asked.
        weighs: Where its sample weights come from: "sample_weight", "class_weight" or "".
        draws: Whether layers draw random numbers in a training step.
        undecided: What could not be found out, and why.
        places: Names of its trainable variables, and of its layers, in order.
    """

    name: str
    units: tuple[Unit, ...]
    extras: tuple[Extra, ...]
    number: float | None
    weighs: str = ""
    draws: bool = False
    undecided: tuple[str, ...] = ()
    places: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def lacking(data: Data, names: Sequence[str]) -> Data:
    """Return data without weights or masks of these names."""
    none: dict[str, Any] = dict.fromkeys(names)
    return replace(data, **none)


def shared(a: Unit, b: Unit) -> tuple[Data, Source, Source] | None:
    """Return data for the losses of two units on the outputs of the first, and how each is called.

    A weight or mask that one of them lacks is kept from it. None if one cannot be called alone,
    their targets differ, or both have weights of the same kind with other numbers.
    """
    if a.source is None or b.source is None or off_targets(a.data, b.data):
        return None
    given, missing = {}, (set[str](), set[str]())
    for name in WEIGHTS:
        mine, theirs = getattr(a.data, name), getattr(b.data, name)
        if mine is not None and theirs is not None and not _same(mine, theirs):
            return None
        given[name] = theirs if mine is None else mine
        for weight, lacks in ((mine, missing[0]), (theirs, missing[1])):
            if weight is None and given[name] is not None:
                lacks.add(name)
    data = Data(a.data.outputs, a.data.targets, **given)
    one, two = (
        replace(source, without=source.without | lacks)
        for source, lacks in zip((a.source, b.source), missing, strict=True)
    )
    return data, one, two


def off_targets(a: Data, b: Data) -> str:
    """Return in words by how much targets differ; "" if they do not, dtypes and axes of 1 aside."""
    if a.targets is None or b.targets is None:
        return "" if a.targets is b.targets else "others: one of the losses has none of its own"
    mine, theirs = host(a.targets), host(b.targets)
    shapes = [tuple(n for n in t.shape if n != 1) for t in (mine, theirs)]
    if shapes[0] != shapes[1]:
        return f"others: shape {mine.shape} and shape {theirs.shape}"
    x, y = (np.asarray(t, np.float64).ravel() for t in (mine, theirs))
    far, size = (float(np.abs(d).max(initial=0.0)) for d in (x - y, x))
    if np.array_equal(x, y, equal_nan=True) or far <= _NARROW * size:
        return ""
    return f"others, by up to {far:.6g}; the first's are up to {size:.6g}"


def apart(a: Data, b: Data) -> tuple[float, float] | str:
    """Return (largest deviation of the second's outputs, largest of the first's outputs).

    Returns their shapes in words where they have others.
    """
    far = size = 0.0
    if len(a.outputs) != len(b.outputs):
        return f"{len(a.outputs)} outputs and {len(b.outputs)}"
    for x, y in zip(a.on_host().outputs, b.on_host().outputs, strict=True):
        if x.shape != y.shape:
            return f"shape {x.shape} and shape {y.shape}"
        size = max(size, float(np.abs(x).max(initial=0.0)))
        far = max(far, float(np.abs(x - y).max(initial=0.0)))
    return far, size


def paired(a: Sequence[Unit], b: Sequence[Unit]) -> list[tuple[Unit | None, Unit | None]]:
    """Return units of the same output: of the same name, or else of the same place."""
    names = [[unit.output for unit in units] for units in (a, b)]
    if len(a) == len(b) and (set(names[0]) != set(names[1]) or len(set(names[0])) < len(a)):
        return list(zip(a, b, strict=True))
    there = {unit.output: unit for unit in b}
    found: list[tuple[Unit | None, Unit | None]] = [(u, there.pop(u.output, None)) for u in a]
    return found + [(None, unit) for unit in there.values()]


def _same(one: Array, other: Array) -> bool:
    return np.shape(one) == np.shape(other) and bool((host(one) == host(other)).all())
