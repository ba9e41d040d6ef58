# SPDX-License-Identifier: Apache-2.0
"""How the terms of an objective run in a window, said before it is done."""

from dataclasses import dataclass

import torch

from lossledger.objective import Objective
from lossledger.term import Term
from lossledger.torch._state import batch_norms

_PASSES = {
    "replay": "two forward passes, one backward; {once}",
    "cached": "two forward passes, one backward; the loss once, on outputs that are kept; {once}",
    "checkpoint": "checkpointed forward passes, one backward of them all",
    "retain": "one forward pass with everything kept, one backward of them all",
}


@dataclass(frozen=True)
class Plan:
    """What an accumulator does.

    Attributes:
        terms: (name, exactness, reason) of each term.
        regularizers: Names; each counts once a window.
        counts: Whether denominators are counted before the first forward pass.
        passes: How a window runs, in words.
        limits: What is not the same however the batch is split, and why.
        reduction: What reduces the gradients over ranks; None before the first window.
    """

    terms: tuple[tuple[str, str, str], ...]
    regularizers: tuple[str, ...]
    counts: bool
    passes: str
    limits: tuple[str, ...]
    reduction: str | None = None

    def __str__(self) -> str:
        """Write one line for each decision."""
        lines = [f"window: {self.passes}"]
        lines += [f"{name}: {kind} ({reason})" for name, kind, reason in self.terms]
        lines += [f"{name}: once a window" for name in self.regularizers]
        lines.append(f"ranks: {self.reduction or 'measured in the first window'}")
        lines += [f"limit: {limit}" for limit in self.limits]
        return "\n".join(lines)


def planned(objective: Objective, model: torch.nn.Module, mode: str, live: int) -> Plan:
    """Decide how the terms run, from what each needs to know of the whole."""
    kinds = [(name, e.kind, e.reason) for name, e in objective.exactness.items()]
    counts = all(kind == "one_pass" for _, kind, _ in kinds) and _countable(objective)
    one = "denominators are counted first; one forward pass, one backward"
    regularizers = tuple(r.name for r in objective.regularizers)
    passes = one if counts else _PASSES[mode].format(once=_once(model, live))
    return Plan(tuple(kinds), regularizers, counts, passes, _limits(model))


def _once(model: torch.nn.Module, live: int) -> str:
    """Say which micro-batches wait with their graphs, and so run once."""
    last = "the last micro-batch runs" if live == 1 else f"the last {live} micro-batches run"
    buffers = next(model.buffers(), None) is not None
    return f"{last} once" + (", unless forward passes write buffers" if buffers else "")


def _countable(objective: Objective) -> bool:
    """Whether every denominator follows from targets, without the outputs' shape."""
    return all(_known(term) for term in objective.terms)


def _known(term: Term) -> bool:
    if term.facts.accepts not in ("same", "classes"):
        return False
    by_class = term.class_weight is not None or term.reduction.names("class")
    known = term.class_count is not None or term.facts.shards is not None
    return known or not (by_class and term.facts.accepts == "classes")


def _limits(model: torch.nn.Module) -> tuple[str, ...]:
    names = batch_norms(model)
    if not names:
        return ()
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    limit = (
        f"{shown}: batch normalization takes mean and variance of each micro-batch, so the "
        "outputs themselves change with the split; use another normalization, or .eval()"
    )
    return (limit,)
