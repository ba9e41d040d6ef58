# SPDX-License-Identifier: Apache-2.0
"""An objective on parts: wholes made of them, and their shares of one."""

from dataclasses import dataclass
from typing import Any

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._errors import ReductionError
from lossledger._typing import Array, Callable, Mapping
from lossledger.engines import (
    BatchWeights,
    Candidates,
    OpenTerm,
    Ran,
    Result,
    Watch,
    bare,
    close_term,
    count_term,
    open_term,
    result_of_part,
)
from lossledger.ledger._tree import register
from lossledger.objective._matching import Call
from lossledger.splitting import Exactness, Whole, place_in, trace_of
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class Closed:
    """The terms of a part, finalized with the whole."""

    opened: list[OpenTerm]
    ran: list[Ran]
    share: float | Array

    def results(self) -> list[Result]:
        """Return what each term gives."""
        pairs = zip(self.ran, self.opened, strict=True)
        return [result_of_part(ran, opened) for ran, opened in pairs]


def read(term: Term, call: Call) -> tuple[tuple[Array, ...], Array, BatchWeights]:
    """Return a term's outputs, targets and weights."""
    outputs = tuple(call.outputs[n] for n in term.outputs)
    targets = None if term.target is None else call.targets[term.target]
    return outputs, targets, call.weights[term.name]


@dataclass(frozen=True, eq=False)
class OpenPart:
    """A part up to its statistics: the loss has run, and waits for the whole.

    Attributes:
        whole: The part's own statistics, to be merged with those of the others.
        opened: The terms; they keep the graph of the outputs.
    """

    whole: Whole
    opened: list[OpenTerm]
    watch: Watch
    terms: tuple[Term, ...]
    kinds: Mapping[str, Exactness]
    total: Callable[[Watch, list[Result], float | Array], tuple[Array, Any]]

    def close(self, whole: Whole, part: int | Array | None = None) -> tuple[Array, Any]:
        """Return (total, ledger) of the part, as `objective(..., whole=whole, part=part)`.

        Raises:
            MatchError: If the part does not belong to the whole.
        """
        closed = close_opened(self.terms, self.kinds, self.opened, whole, part, self.watch)
        return self.total(self.watch, closed.results(), closed.share)


def close_parts(
    terms: tuple[Term, ...],
    kinds: Mapping[str, Exactness],
    call: Call,
    whole: Whole | None,
    part: int | Array | None,
    watch: Watch,
) -> Closed:
    """Evaluate the terms on a part, with the coefficients of the whole.

    Raises:
        ReductionError: If there is no whole, or not the one that the terms need.
        MatchError: If the part does not belong to the whole.
    """
    if whole is None:
        raise ReductionError(
            "A part needs its whole",
            f"Found part={part!r} without whole=",
            "The sums of all parts were not passed on",
            "Pass whole=sum(objective.count(...) for every part), or of objective.statistics(...)",
        )
    opened = open_terms(terms, call, watch)
    return close_opened(terms, kinds, opened, whole, part, watch)


def close_opened(
    terms: tuple[Term, ...],
    kinds: Mapping[str, Exactness],
    opened: list[OpenTerm],
    whole: Whole,
    part: int | Array | None,
    watch: Watch,
) -> Closed:
    """Finalize terms that were opened on a part, with the coefficients of the whole.

    Raises:
        MatchError: If the part does not belong to the whole.
    """
    whole = whole.near(opened[0].prepared.xp, opened[0].prepared.outputs[0])
    samples = _samples(opened[0])
    place = place_in(whole, terms, kinds, opened, samples, part, watch)
    ran = [close_term(each, whole.pools[each.prepared.term.name], place, watch) for each in opened]
    return Closed(opened, ran, place.share)


def open_terms(terms: tuple[Term, ...], call: Call, watch: Watch) -> list[OpenTerm]:
    """Run the terms up to the statistics that merge over parts."""
    return [open_term(t, *read(t, call), watch) for t in terms]


def whole_of(
    opened: list[OpenTerm], kinds: Mapping[str, Exactness], watch: Watch, *, counted: bool = False
) -> Whole:
    """Return the mergeable statistics of a batch, or what was counted of one."""
    xp = watch.xp
    register(xp, Whole)
    pools, weights, members = {}, {}, {}
    for each in opened:
        name, pool = each.prepared.term.name, each.pool
        pools[name] = bare(xp, pool) if isinstance(pool, Candidates) else pool
        weights[name] = watch.guard(_loss_weight(xp, each))
        mass = each.mass if is_array(each.mass) else _number(xp, each, each.mass)
        members[name] = xp.reshape(mass, (1,))
        if kinds[name].kind != "one_pass":  # in one pass parts may come in any order
            members[trace_of(name)] = xp.reshape(each.trace(), (1,))
    return Whole(pools, weights, _samples(opened[0]), 1, members, counted)


def counted_whole(
    terms: tuple[Term, ...],
    kinds: Mapping[str, Exactness],
    call: Call,
    shapes: Mapping[str, tuple[int, ...]],
    watch: Watch,
) -> Whole:
    """Return the denominators of a batch.

    Raises:
        ReductionError: If a term's denominators depend on outputs.
    """
    late = [t.name for t in terms if kinds[t.name].kind != "one_pass"]
    if late:
        raise ReductionError(
            "Only terms of one pass can be counted before their outputs are there",
            f"Found `{late[0]}`, which is `{kinds[late[0]].kind}`: {kinds[late[0]].reason}",
            "Its coefficients depend on the outputs of all parts",
            "Use sum(objective.statistics(outputs, targets, ...)) in a pass without gradient, or "
            "lossledger.torch.Accumulator or lossledger.jax.accumulate, which do both passes",
        )
    opened = []
    for term in terms:
        targets = None if term.target is None else call.targets[term.target]
        opened.append(count_term(call.xp, term, targets, call.weights[term.name], shapes, watch))
    return whole_of(opened, kinds, watch, counted=True)


def _samples(opened: OpenTerm) -> int:
    frame = opened.prepared.inputs.frame
    return frame.length("batch") if "batch" in frame.axes else 1


def _loss_weight(xp: ArrayLibrary, opened: OpenTerm) -> Array:
    """Return the factor as an array that no later step of a learned weight changes."""
    given, like = opened.prepared.term.loss_weight, opened.prepared.outputs[0]
    if is_array(given) and library_of(given) is xp:
        return xp.astype(xp.detach(given), xp.dtype(like)) + 0
    return xp.asarray(given, xp.dtype(like), like)


def _number(xp: ArrayLibrary, opened: OpenTerm, number: Array | float) -> Array:
    like = opened.prepared.outputs[0]
    return xp.asarray(number, xp.wide(like), like)
