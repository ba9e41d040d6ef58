# SPDX-License-Identifier: Apache-2.0
"""How a term may be split over micro-batches and ranks: derived from its reduction."""

from dataclasses import dataclass, replace
from typing import Literal, Self

from lossledger._array import library_of
from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping
from lossledger.engines import Pool
from lossledger.frames import parse_axes
from lossledger.losses import AbstractOverlapLoss
from lossledger.term import Term

Kind = Literal["one_pass", "two_pass", "threshold", "candidates"]


@dataclass(frozen=True)
class Exactness:
    """What must be known before a part of a term can be differentiated, and why.

    Attributes:
        kind: "one_pass": counts of targets, masks and weights. "two_pass": the sums of the
            whole, which depend on the model. "threshold": the winners of the whole.
            "candidates": the outputs of all other samples.
        reason: The stage that decides.
    """

    kind: Kind
    reason: str


def exactness(term: Term) -> Exactness:
    """Derive a term's class from the one stage that removes `batch` and those after it."""
    loss = term.loss
    if term.facts.candidates:
        name = type(loss).__name__
        return Exactness("candidates", f"{name} compares every sample with the others")
    if isinstance(loss, AbstractOverlapLoss):
        axes = tuple(a for a in term.axes if a not in loss.pools())
        over = parse_axes(loss.over, "over")
        if "batch" in over or "batch" in loss.pools():
            name = type(loss).__name__
            return Exactness("two_pass", f"{name} is a function of sums over the batch")
        axes = tuple(a for a in axes if a not in over)
    else:
        axes = tuple(a for a in term.axes if a not in term.facts.removes)
    return _of_chain(term, axes)


def _of_chain(term: Term, axes: tuple[str, ...]) -> Exactness:
    merged = "batch" not in axes
    for stage in term.reduction.stages:
        keep = stage.keep(axes)
        here = "batch" in axes and "batch" not in keep
        if here and stage.split == "order":
            return Exactness("threshold", f"{stage} chooses among the samples of the batch")
        if (here or merged) and stage.split != "linear":
            return Exactness("two_pass", f"{stage} is not linear in sums over the batch")
        merged = merged or here
        axes = keep
    return Exactness("one_pass", "denominators depend on targets, masks and weights only")


@dataclass(frozen=True, eq=False)
class Whole:
    """Merged statistics of every term: what parts are parts of.

    `a + b` merges; the order changes nothing but rounding.

    Attributes:
        pools: The statistic of each term, by name.
        weights: The loss weight of each term.
        samples: Number of samples.
        parts: Number of parts merged.
    """

    pools: Mapping[str, Pool]
    weights: Mapping[str, Array]
    samples: int
    parts: int

    def __add__(self, other: Self) -> Self:
        """Merge the statistics term by term.

        Raises:
            MatchError: If the terms differ.
        """
        if not isinstance(other, Whole):
            return NotImplemented
        if list(self.pools) != list(other.pools):
            raise MatchError(
                "Only statistics of the same terms merge",
                f"Found {', '.join(self.pools)} and {', '.join(other.pools)}",
                "The parts were computed by two objectives",
                "Use one objective for every part",
            )
        xp = library_of(*self.weights.values())
        return replace(
            self,
            pools={n: p.merge(xp, other.pools[n]) for n, p in self.pools.items()},
            samples=self.samples + other.samples,
            parts=self.parts + other.parts,
        )

    def __radd__(self, other: int) -> Self:
        """Let `sum(wholes)` start from 0."""
        return self if other == 0 else NotImplemented

    def values(self) -> dict[str, Array]:
        """Return the value of every term on the whole, before its loss weight."""
        xp = library_of(*self.weights.values())
        return {name: pool.value(xp) for name, pool in self.pools.items()}

    def total(self) -> Array:
        """Return Σ loss_weight · value over the terms (without regularizers)."""
        values = self.values()
        parts = [self.weights[name] * value for name, value in values.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
