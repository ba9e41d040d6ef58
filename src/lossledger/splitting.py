# SPDX-License-Identifier: Apache-2.0
"""How a term may be split over micro-batches and ranks: derived from its reduction."""

import operator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal, Self

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._errors import MatchError, ReductionError
from lossledger._typing import Array, Mapping, Sequence
from lossledger.engines import Candidates, OpenTerm, Place, Pool, Watch, check_same_term
from lossledger.frames import parse_axes
from lossledger.ledger._state import facts_of, state_of
from lossledger.ledger._tree import flatten, on_host, rebuild
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

    `a + b` merges; the order changes nothing but rounding, and which part is which. Wholes of
    two array libraries merge on the host.

    Attributes:
        pools: The statistic of each term, by name.
        weights: The loss weight of each term.
        samples: Number of samples.
        parts: Number of parts merged.
        members: What each part weighs, by term, to recognize it by: arrays along the parts.
        counted: Whether only denominators are known: `objective.count` saw no outputs.
    """

    pools: Mapping[str, Pool | Candidates]
    weights: Mapping[str, Array]
    samples: int | Array
    parts: int | Array
    members: Mapping[str, Array]
    counted: bool = False

    def __add__(self, other: Self) -> Self:
        """Merge the statistics term by term.

        Raises:
            MatchError: If the terms differ, or one was counted and the other not.
        """
        if not isinstance(other, Whole):
            return NotImplemented
        if list(self.pools) != list(other.pools) or self.counted != other.counted:
            raise MatchError(
                "Only statistics of the same terms merge, and counts with counts",
                f"Found {', '.join(self.pools)} and {', '.join(other.pools)}"
                + ("" if self.counted == other.counted else "; one of them counted"),
                "The parts were computed by two objectives, or in two ways",
                "Use one objective for every part, and count(...) or statistics(...) for all",
            )
        xp = library_of(*self.weights.values())
        if library_of(*other.weights.values()) is not xp:
            merged: Self = on_host(self) + on_host(other)
            return merged
        pairs = {n: (m, other.members[n]) for n, m in self.members.items()}
        return replace(
            self,
            pools={n: p.merge(xp, other.pools[n]) for n, p in self.pools.items()},  # type: ignore[arg-type]
            samples=self.samples + other.samples,
            parts=self.parts + other.parts,
            members={n: xp.concat(both, 0) for n, both in pairs.items()},
        )

    def __radd__(self, other: int) -> Self:
        """Let `sum(wholes)` start from 0."""
        return self if other == 0 else NotImplemented

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics ready for JSON; `objective.load_whole` reads them."""
        return state_of("whole", self, {n: facts_of(p.term) for n, p in self.pools.items()})

    def all_reduce(self, group: Any = None, *, timeout: float | None = None) -> "Whole":
        """Merge over the ranks of a torch process group, in the order of the ranks.

        The result is the same on every rank; part i of rank r is part r·parts + i of it.

        Args:
            group: A process group; None for all ranks.
            timeout: Seconds to wait for a rank that does not answer (gloo).

        Raises:
            RankError: If ranks have other terms or numbers of parts, or do not answer.
        """
        merge = import_module("lossledger.torch").all_reduce
        found: Whole = merge(self, group, timeout=timeout)
        return found

    def values(self) -> dict[str, Array]:
        """Return the value of every term on the whole, before its loss weight.

        Raises:
            ReductionError: If only denominators were counted.
        """
        if self.counted:
            raise ReductionError(
                "The value of a whole needs the sums of its values",
                "Found counts: denominators, made without outputs",
                "objective.count(...) sees targets, masks and weights alone",
                "Use objective.statistics(outputs, targets, ...)",
            )
        xp = library_of(*self.weights.values())
        return {name: pool.value(xp) for name, pool in self.pools.items()}

    def near(self, xp: ArrayLibrary, like: Array) -> "Whole":
        """Return the whole beside an array: in its library and on its device."""
        leaves: list[Any] = []
        structure = flatten(self, leaves)
        away = [is_array(x) and _elsewhere(xp, x, like) for x in leaves]
        if not any(away):
            return self
        pairs = zip(leaves, away, strict=True)
        found: Whole = rebuild(structure, [xp.asarray(x, None, like) if a else x for x, a in pairs])
        return found

    def total(self) -> Array:
        """Return Σ loss_weight · value over the terms (without regularizers)."""
        values, xp = self.values(), library_of(*self.weights.values())
        parts = [xp.astype(self.weights[n], xp.dtype(v)) * v for n, v in values.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def _elsewhere(xp: ArrayLibrary, x: Array, like: Array) -> bool:
    """Whether an array is of another library, or a tensor on another device."""
    return library_of(x) is not xp or (xp.name == "torch" and x.device != like.device)


def place_in(
    whole: Whole,
    terms: Sequence[Term],
    kinds: Mapping[str, Exactness],
    opened: Sequence[OpenTerm],
    samples: int,
    part: int | Array | None,
    watch: Watch,
) -> Place:
    """Check that a part belongs to a whole, and return where it stands there.

    Raises:
        MatchError: If the whole has other terms, cells or dtypes, or the part is not in it.
        ReductionError: If the whole lacks what a term needs before parts can be told apart.
    """
    if list(whole.pools) != [t.name for t in terms]:
        raise MatchError(
            "A whole must have the terms of the objective",
            f"Found {', '.join(whole.pools)} and {', '.join(t.name for t in terms)}",
            "It was made by another objective",
            "Make it with this one",
        )
    part = _checked(whole, part, watch)
    for each in opened:
        name = each.prepared.term.name
        if whole.counted:
            _check_counted(name, kinds[name])
        check_same_term(each, whole.pools[name], counted=whole.counted)
        _check_part(name, kinds[name], part)
        _check_member(each, each.mass, whole.members[name], _SAME, part, watch)
        trace = whole.members.get(trace_of(name))
        if trace is not None and part is not None:
            _check_member(each, each.trace(), trace, _LIKE, part, watch)
    return Place(part, samples / whole.samples)


def _checked(whole: Whole, part: Any, watch: Watch) -> int | Array | None:
    """Return a part's number, as a Python number where it can be read."""
    if part is None:
        return None
    parts = whole.parts
    if is_array(part) and not library_of(part).readable(part):
        watch.require((part >= 0) & (part < parts), "whole", lambda: "")
        return part
    number = None if isinstance(part, bool) else _whole_number(part)
    if number is None or (isinstance(parts, int) and not 0 <= number < parts):
        raise MatchError(
            "`part` must be the place of the part in its whole",
            f"Found part={part!r} and a whole of {parts} parts",
            "It was counted from 1, it is no whole number, or the whole lacks a part",
            f"Pass a number from 0 to {parts - 1}, in the order of sum(wholes)",
        )
    return number


def _whole_number(part: Any) -> int | None:
    try:
        return operator.index(part)
    except TypeError:
        return None


def _check_counted(name: str, kind: Exactness) -> None:
    if kind.kind != "one_pass":
        raise ReductionError(
            "Counts are enough for terms of one pass alone",
            f"Found `{name}`, which is `{kind.kind}`: {kind.reason}",
            "Its coefficients depend on the outputs of all parts",
            "Make the whole in a pass of its own without gradient: "
            "sum(objective.statistics(outputs, targets, ...)); "
            "lossledger.torch.Accumulator and lossledger.jax.accumulate do both passes",
        )


def _check_part(name: str, kind: Exactness, part: int | Array | None) -> None:
    if part is None and kind.kind in ("threshold", "candidates"):
        raise ReductionError(
            "A term that chooses among samples, or compares them, must know which part it sees",
            f"Found `{name}`, which is `{kind.kind}`, and no part=",
            "Winners are known by part and position, so that recomputed values need not agree",
            "Pass part=i: the place of this part in sum(wholes)",
        )
    if kind.kind == "candidates" and not isinstance(part, int):
        raise ReductionError(
            "The part of a loss that compares samples must be a number",
            f"Found {type(part).__name__} for `{name}`",
            "It is traced, and the samples of a part are taken out by their place",
            "Compute the loss on the whole batch: sharded arrays under jit need no parts",
        )


def trace_of(name: str) -> str:
    """Return the name under which a whole keeps what its parts' values were like."""
    return f"{name} values"


def _check_member(
    each: OpenTerm,
    mine: Array | float,
    members: Array,
    bound: float,
    part: int | Array | None,
    watch: Watch,
) -> None:
    """Recognize a part by what it weighs, and by its values: others give other sums."""
    xp = watch.xp
    mine = mine if is_array(mine) else xp.asarray(mine, None, members)
    known = members if part is None else xp.take(members, xp.asarray([part], None, members))
    mine = xp.astype(mine, xp.dtype(known))
    near = xp.abs(known - mine) <= bound * (xp.abs(known) + xp.abs(mine))
    blind = ~xp.isfinite(known + mine)
    found = f"Found a part of `{each.prepared.term.name}` that weighs something else"
    if bound == _LIKE:
        found = (
            f"Found values of `{each.prepared.term.name}` that are not those of that part: another "
            "part's, another model's, or with other dropout"
        )
    watch.require(xp.any(near | blind), "whole", lambda: found, MatchError)


# Sums of the same float32 weights in another order differ by less.
_SAME = 1e-5
# Values that are computed again differ by rounding, up to that of bfloat16 networks.
_LIKE = 0.05
