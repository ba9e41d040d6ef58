# SPDX-License-Identifier: Apache-2.0
"""Losses of log-probabilities as they are given: nothing is normalized.

x is a log-probability, t the target; values are in nats.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Domain, Facts, Inputs
from lossledger.losses._rows import row_slopes, row_values


@dataclass(frozen=True)
class NegativeLogLikelihood(AbstractLoss):
    """Negative log-likelihood of a row of log-probabilities: −Σ_c t_c·x_c; ∂/∂x_c = −t_c.

    Targets are class indices, one-hot or soft rows. Any number is taken for a
    log-probability: rows need not sum to 1.

    Args:
        ignore_index: Label whose elements have no weight.

    Source: torch.nn.functional.nll_loss.
    """

    ignore_index: int | None = None

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="classes",
            targets="distribution",
            removes=("class",),
            scores="softmax",
            class_weight_within=True,
            source="torch.nn.functional.nll_loss",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        return row_values(xp, outputs[0], targets, inputs, lambda x: -x)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·t."""
        row = row_slopes(xp, outputs[0], targets, inputs, lambda x: x * 0 - 1)
        return (row * xp.expand(coefficients, inputs.class_axis),)


@dataclass(frozen=True)
class PointwiseKL(AbstractLoss):
    """One element of a KL divergence, from log-probabilities: t·(log t − x); ∂/∂x = −t.

    Only the sum over a distribution is a divergence; one element may be negative.

    Args:
        log_target: Targets are log t.

    An element with t = 0 is 0.

    Source: torch.nn.functional.kl_div.
    """

    log_target: bool = False

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        domain: Domain = "any" if self.log_target else "nonnegative"
        return Facts(accepts="same", targets=domain, source="torch.nn.functional.kl_div")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        if self.log_target:
            return xp.exp(targets) * (targets - outputs[0])
        safe = xp.where(targets > 0, targets, xp.full_like(targets, 1))
        return targets * (xp.log(safe) - outputs[0])

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·t."""
        return (-coefficients * (xp.exp(targets) if self.log_target else targets),)
