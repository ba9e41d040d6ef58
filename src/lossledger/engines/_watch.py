# SPDX-License-Identifier: Apache-2.0
"""Rules about numbers: raised where numbers can be read, remembered where they cannot."""

import math
from dataclasses import dataclass, field

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, LossLedgerError
from lossledger._typing import Array, Callable

# name -> (bit in the ledger's status, rule, likely cause, remedy)
RULES: dict[str, tuple[int, str, str, str]] = {
    "labels": (
        1,
        "Labels must be class indices from 0 to the number of classes − 1",
        "Labels start at 1, a padding label was left in, or the class axis is another one",
        "Shift the labels, or set ignore_index= to the padding label",
    ),
    "targets": (
        2,
        "Targets must lie in the domain of the loss",
        "Targets were not scaled, or hold NaN or another code for missing places",
        "Scale the targets, or pass a mask that is 0 at the missing places",
    ),
    "weights": (
        4,
        "Weights and masks must be finite and not negative",
        "A difference or a log was used as a weight, or a division by 0 made it infinite",
        "Clip the weights where they are made; a weight of 0 removes an element",
    ),
    "outputs": (
        8,
        "Outputs must lie in the domain of the loss",
        "Logits were passed where from_logits=False asks for probabilities, or the reverse",
        "Pass logits with from_logits=True (the default), or probabilities with False",
    ),
    "empty": (
        16,
        "Every cell needs some weight under empty='raise'",
        "All elements are masked, ignored or weighted 0, or a class is absent",
        "Check the mask, or choose empty='zero' or empty='skip'",
    ),
    "mask": (
        64,
        "A mask must hold 0 and 1, or booleans: it says which elements exist",
        "An image of 0 and 255 was passed, or weights between 0 and 1",
        "Compare it first (mask > 0), or pass weights as sample_weight or element_weight",
    ),
    "whole": (
        512,
        "A part must be one of those that its whole was made of",
        "The whole was counted with other masks or weights, or parts come in another order",
        "Count with the same arguments, and pass part=i: the place of the part in sum(wholes)",
    ),
    "shards": (
        128,
        "The shards of all ranks must add up to the classes of the loss, in one dtype",
        "The vocabulary was padded so that the ranks divide it, or a rank passed the full logits",
        "Give classes= the number of logits in all shards together, and every rank its own shard",
    ),
    "ranks": (
        256,
        "All ranks that share a vocabulary must be given the same batch",
        "Each rank loaded data of its own, or the group holds data-parallel ranks",
        "Give group= the ranks whose shards make up one row of logits, and all of them one batch",
    ),
    "numbers": (
        32,
        "Outputs that stand for a variance, a scale or a rate must lie in the loss's domain",
        "The network ends in a linear layer, or its last activation reached 0",
        "Let the network give the log: variance='log', scale='log', log_input=True",
    ),
}


@dataclass(eq=False)
class Watch:
    """Collects broken rules of one call.

    On NumPy and eager CPU a broken rule raises. Under a trace or on an accelerator it is
    kept as a bit: the total becomes NaN, and the ledger says why when it is read.
    """

    xp: ArrayLibrary
    status: Array | None = field(default=None)

    def require(
        self,
        good: Array,
        rule: str,
        found: Callable[[], str],
        error: type[LossLedgerError] = DomainError,
    ) -> None:
        """Check that every element of a boolean array is true."""
        bit, text, cause, remedy = RULES[rule]
        bad = self.xp.any(~good)
        if self.xp.readable(good):
            if bool(bad):
                raise error(text, found(), cause, remedy)
            return
        flag = self.xp.astype(bad, "int32") * bit
        self.status = flag if self.status is None else self.status | flag

    def guard(self, total: Array) -> Array:
        """Turn the total and its gradient into NaN if a rule was broken out of sight."""
        if self.status is None:
            return total
        one, nan = (self.xp.full_like(total, number) for number in (1.0, math.nan))
        return total * self.xp.where(self.status == 0, one, nan)

    def report(self, like: Array) -> Array | None:
        """Return the status for a ledger; None if every broken rule was raised.

        JAX always gets an array, so that traced and untraced steps have one structure.
        """
        if self.status is None and self.xp.name == "jax":
            return self.xp.zeros((), "int32", like)
        return self.status
