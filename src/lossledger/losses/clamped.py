# SPDX-License-Identifier: Apache-2.0
"""Losses whose logs are held above a floor, with the derivative that their library gives.

p is a probability, y the target; values are in nats.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_positive


@dataclass(frozen=True)
class ClampedBinaryCrossEntropy(AbstractLoss):
    """Cross entropy with logs held at a floor: −y·max(log p, f) − (1 − y)·max(log(1 − p), f).

    ∂/∂p = (p − y)/max(p·(1 − p), ε), which is not the derivative of the value where the
    floor holds: a prediction that is wrong beyond it costs −f and still has a slope.

    Args:
        floor: f < 0, the least log.
        epsilon: ε > 0, the least denominator of the slope.

    Outputs are probabilities, 0 and 1 included.

    Source: torch.nn.functional.binary_cross_entropy.
    """

    floor: float = -100.0
    epsilon: float = 1e-12

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("epsilon", self.epsilon)
        if not -float("inf") < self.floor < 0:
            raise DomainError(
                "`floor` must be negative and finite",
                f"Found {self.floor!r}",
                "It is the least log of a probability, not the least probability",
                "Pass floor=-100.0, as torch has it",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="probabilities",
            targets="probabilities",
            scores="sigmoid",
            labels=True,
            source="torch.nn.functional.binary_cross_entropy",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element, with the slope of `gradient` for autodiff."""
        p, y = xp.detach(outputs[0]), targets
        zero, one = xp.full_like(p, 0), xp.full_like(p, 1)
        lowest = xp.full_like(p, self.floor)
        log_p = xp.where(p > 0, xp.log(xp.where(p > 0, p, one)), lowest)
        log_q = xp.where(p < 1, xp.log1p(-xp.where(p < 1, p, zero)), lowest)
        log_p, log_q = xp.maximum(log_p, lowest), xp.maximum(log_q, lowest)
        value = -y * log_p - (1 - y) * log_q
        return value + self._slope(p, y, xp) * (outputs[0] - p)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(p − y)/max(p·(1 − p), ε)."""
        return (coefficients * self._slope(outputs[0], targets, xp),)

    def _slope(self, p: Array, y: Array, xp: ArrayLibrary) -> Array:
        least = xp.full_like(p, self.epsilon)
        return (p - y) / xp.maximum(p * (1 - p), least)
