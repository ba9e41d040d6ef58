# SPDX-License-Identifier: Apache-2.0
"""Models that cannot be compared: they do not run, give no number, or minimize another one."""

import math

from lossledger._errors import DomainError, MatchError
from lossledger._typing import Sequence
from lossledger.explanation._parts import Extra

_CLOSE = 1e-4
"""Largest deviation of a total from the sum of its parts, relative to the sum of their sizes."""


def failed(who: str, error: Exception) -> MatchError:
    """Return that a model or its loss raised on the data."""
    return MatchError(
        f"{who} must run on this data, and so must its losses",
        f"Found {type(error).__name__}: {error}",
        "x or y is not what this model takes, or code of its loss fails",
        "Call model.evaluate(x, y) on it alone, and compare once that works",
    )


def require_sum(
    who: str,
    number: float | None,
    losses: Sequence[tuple[str, float]],
    extras: Sequence[Extra],
) -> None:
    """Require that a model minimizes a number, and that it is the sum of its parts.

    Args:
        who: Which model, for errors.
        number: What Keras itself minimizes.
        losses: What each is called, and what it adds.
        extras: Regularizers and added losses.

    Raises:
        DomainError: If the number, or that of a part, is NaN or inf.
        MatchError: If the number is another one: only parts can be compared.
    """
    amounts = [*losses, *((extra.formula, extra.amount) for extra in extras)]
    told = ", ".join(f"{name} = {amount:.6g}" for name, amount in amounts) or "no loss at all"
    found = math.nan if number is None else number
    if not all(map(math.isfinite, (found, *(amount for _, amount in amounts)))):
        raise DomainError(
            f"{who} must minimize a number on this data",
            f"Found {found:.6g}, made of {told}",
            "A log of 0 or of a negative number, a mean of nothing, or NaN in the data or weights",
            "Look at outputs and targets; compare on a batch where it is a number",
        )
    total = sum(amount for _, amount in amounts)
    if amounts and abs(found - total) <= _CLOSE * max(sum(abs(x) for _, x in amounts), 0.1):
        return
    raise MatchError(
        f"{who} must minimize the sum of its parts, to be compared part by part",
        f"Found {found:.6g}, and parts that add up to {total:.6g}: {told}",
        "Its class writes its own compute_loss, which does something else with them",
        "Compare what it computes as a criterion, a function of outputs and targets; or write it "
        "as losses, loss_weights and add_loss",
    )
