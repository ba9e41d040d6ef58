# SPDX-License-Identifier: Apache-2.0
"""Whether a black box gives the same number twice, and with other random numbers."""

import random
import sys

import numpy as np

from lossledger._errors import DomainError
from lossledger.explanation.criterion._call import Answer
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._probe import Probe
from lossledger.explanation.criterion._untouched import untouched

_SEED = 20_011


def drawn(probe: Probe, data: Data, first: Answer, within: float) -> Answer | None:
    """Return the answer with other random numbers; None if they make no difference.

    Args:
        probe: The criterion.
        data: What it was called with.
        first: What it gave.
        within: Largest relative deviation of what is called equal.

    Raises:
        DomainError: If the same call gives another number.
    """
    refuse_change(probe, data, first, within)
    with untouched(probe.thing):
        _reseed()
        other = probe.answer(data)
    return other if _apart(first, other, within) else None


def refuse_change(probe: Probe, data: Data, first: Answer, within: float) -> None:
    """Check that the same call gives the same number.

    Raises:
        DomainError: If it gives another.
    """
    again = probe.answer(data)
    if _apart(first, again, within):
        raise _changes(probe, first, again)


def refuse_total(probe: Probe, first: Answer, total: float, within: float) -> None:
    """Check that what a black box was found to equal adds up to the number that it gave first.

    Raises:
        DomainError: If it does not: while it was compared, it gave other numbers.
    """
    size = max(float(np.abs(first.array).sum()), 1e-12)
    if abs(total - float(first.array.sum())) > within * size:
        raise _changes(probe, first, Answer(np.array(total), first.dtype))


def refuse_random(probe: Probe, data: Data, within: float) -> None:
    """Check that a black box always gives the same.

    Raises:
        DomainError: If it draws random numbers, or gives another number each time.
    """
    first = probe.answer(data)
    other = drawn(probe, data, first, within)
    if other is not None:
        raise DomainError(
            "Losses that are compared draw no random numbers",
            f"Found {probe.name}, which gives {_told(first)}, and {_told(other)} with other draws",
            "It holds dropout, or adds noise: factors between such numbers mean nothing",
            "Turn it off (e.g. with .eval()), or draw outside and bind what was drawn",
        )


def _changes(probe: Probe, first: Answer, again: Answer) -> DomainError:
    return DomainError(
        f"{probe.name} must give the same number twice on the same data",
        f"Found {_told(first)}, then {_told(again)}",
        "It counts its calls, keeps a running average, or draws from a generator of its own",
        "Take that part out, or make it an argument that is bound",
    )


def _apart(one: Answer, other: Answer, within: float) -> bool:
    if one.array.shape != other.array.shape:
        return True
    size = max(float(np.abs(one.array).max(initial=0.0)), 1e-12)
    return bool(np.abs(one.array - other.array).max(initial=0.0) > within * size)


def _told(answer: Answer) -> str:
    return f"{float(answer.array.sum()):.6g}"


def _reseed() -> None:
    """Set other states of random numbers; the caller restores them."""
    np.random.seed(_SEED)  # noqa: NPY002 - what a user's function draws from
    random.seed(_SEED)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(_SEED)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(_SEED)
