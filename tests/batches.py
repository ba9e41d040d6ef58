# SPDX-License-Identifier: Apache-2.0
"""Batches with weights and keys, and what the laws do to them: cut, order, drop, repeat."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

import lossledger as ll
from cases import Case

WEIGHTS = ("none", "mask", "sample", "element", "mixed")
GROUPS = 3


@dataclass(frozen=True)
class Batch:
    """The arguments of one call by name; `batch` is the first axis of every array."""

    outputs: dict[str, Any]
    targets: dict[str, Any] | None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of samples."""
        return int(next(iter(self.outputs.values())).shape[0])

    def map(self, change: Callable[[Any], Any]) -> "Batch":
        """Change every array."""
        return Batch(
            *(_mapped(part, change) for part in (self.outputs, self.targets, self.options))
        )

    def at(self, index: Any) -> "Batch":
        """Take samples: a slice, an order, a choice, repeats."""
        return self.map(lambda a: a[index])

    def parts(self, cuts: tuple[int, ...]) -> list["Batch"]:
        """Cut into consecutive parts."""
        edges = (0, *cuts, self.length)
        return [self.at(slice(a, b)) for a, b in pairwise(edges)]

    def with_outputs(self, change: Callable[[Any], Any]) -> "Batch":
        """Change the outputs alone."""
        return replace(self, outputs=_mapped(self.outputs, change))

    def having(self, **options: Any) -> "Batch":
        """Set options of the call."""
        return replace(self, options=self.options | options)

    def call(self, objective: ll.Objective) -> tuple[Any, ll.Ledger]:
        """Return (total, ledger)."""
        return objective(self.outputs, self.targets, **self.options)

    def total(self, objective: ll.Objective) -> float:
        """Return the total on the host."""
        return float(self.call(objective)[0])

    def slopes(self, objective: ll.Objective, **more: Any) -> tuple[Any, ll.Ledger, dict[str, Any]]:
        """Return (total, ledger, closed-form gradient by output)."""
        return objective.value_and_grad(self.outputs, self.targets, **self.options, **more)

    def count(self, objective: ll.Objective) -> ll.Whole:
        """Return the denominators, made of everything but the outputs' numbers."""
        shapes = {name: output.shape for name, output in self.outputs.items()}
        return objective.count(self.targets, **self.options, shapes=shapes)

    def statistics(self, objective: ll.Objective) -> ll.Whole:
        """Return the mergeable statistics."""
        return objective.statistics(self.outputs, self.targets, **self.options)


def _mapped(part: Any, change: Callable[[Any], Any]) -> Any:
    if part is None:
        return None
    if isinstance(part, dict):
        return {name: _mapped(each, change) for name, each in part.items()}
    if isinstance(part, ll.NamedArray):
        return ll.NamedArray(change(part.array), part.axes)
    return change(part)


def left_of(case: Case) -> tuple[str, ...]:
    """Return the axes of a case's values (of its channels, for a loss of sums)."""
    removed = case.term().loss.facts().removes
    return tuple(a for a in case.axes.split() if a not in removed)


def cells_of(case: Case) -> tuple[str, ...]:
    """Return the axes that a case's reduction starts from: a loss of sums has summed some."""
    loss = case.term().loss
    gone = () if not hasattr(loss, "over") else (*_names(loss.over), *loss.pools())
    return tuple(a for a in left_of(case) if a not in gone)


def has_class(case: Case) -> bool:
    """Whether values fall into classes, by axis or by label."""
    return "class" in case.axes.split() and (
        "class" in left_of(case) or case.targets in ("index", "one_hot", "soft")
    )


def draw(case: Case, weights: str = "none", seed: int = 0, batch: int | None = None) -> Batch:
    """Draw a batch of a case with one kind of weights; a group key is always there."""
    outputs, targets = case.sample(seed, batch)
    rng = np.random.default_rng(seed + 1000)
    names = case.term().outputs
    target = None if targets is None else {"t": targets}
    shape = tuple(
        n for a, n in zip(case.axes.split(), outputs[0].shape, strict=True) if a in left_of(case)
    )
    options: dict[str, Any] = {"keys": {"group": rng.integers(0, GROUPS, shape[:1])}}

    def over_values(array: Any) -> ll.NamedArray:
        return ll.NamedArray(array, left_of(case))

    if weights in ("mask", "mixed"):
        options["mask"] = over_values(_some(rng, shape))
    if weights in ("sample", "mixed"):
        options["sample_weight"] = ll.NamedArray(rng.uniform(0.5, 2.0, shape[:1]), ("batch",))
    if weights in ("element", "mixed"):
        heavy = rng.uniform(0.5, 3.0, shape)
        options["element_weight"] = over_values(heavy * _some(rng, shape))
    return Batch(dict(zip(names, outputs, strict=True)), target, options)


def objective_of(case: Case, **settings: Any) -> ll.Objective:
    """Return an objective of one term that knows the group key."""
    return ll.Objective(case.term(keys={"group": GROUPS}, **settings))


def _some(rng: Any, shape: tuple[int, ...]) -> Any:
    """Draw booleans, mostly true and never all false."""
    kept = rng.random(shape) < 0.75
    kept.reshape(-1)[0] = True
    return kept


def _names(axes: Any) -> tuple[str, ...]:
    return tuple(axes.split()) if isinstance(axes, str) else tuple(axes)
