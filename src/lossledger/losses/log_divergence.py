# SPDX-License-Identifier: Apache-2.0
"""Divergences of numbers that need not sum to 1, from outputs that are logs."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs


@dataclass(frozen=True)
class GeneralizedKL(AbstractLoss):
    """One element of a generalized KL divergence: t·(log t − x) + exp(x) − t, x a log.

    ∂/∂x = exp(x) − t. Each element is at least 0, and 0 at x = log t. A target of 0 leaves
    exp(x).

    Source: optax.losses.generalized_kl_divergence, which sums over the last axis.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            targets="nonnegative",
            source="optax.losses.generalized_kl_divergence",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        x, t = outputs[0], targets
        some = t != 0
        log_t = xp.log(xp.where(some, t, xp.full_like(t, 1.0)))
        return t * (log_t - xp.where(some, x, xp.full_like(x, 0.0))) + (xp.exp(x) - t)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(exp(x) − t)."""
        return (coefficients * (xp.exp(outputs[0]) - targets),)
