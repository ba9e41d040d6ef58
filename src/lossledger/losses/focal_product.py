# SPDX-License-Identifier: Apache-2.0
"""Focal loss whose doubt is the probability of a wrong label, also for soft labels.

z is a logit, p = σ(z), y the target; values are in nats.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative, check_probability
from lossledger.losses._elements import element_facts


@dataclass(frozen=True)
class ProductFocal(AbstractLoss):
    """Focal loss as one product: a·m^γ·BCE(z, y), m = y·(1 − p) + (1 − y)·p.

    a = α·y + (1 − α)·(1 − y). ∂/∂z = a·(m^γ·(p − y) + γ·m^(γ−1)·(1 − 2y)·p·(1 − p)·BCE).
    Equal to `Focal` for hard labels. For soft ones `Focal` is the mean over a label drawn
    with probability y, and this loss is not.

    Args:
        gamma: γ ≥ 0.
        alpha: α in [0, 1] for positives and 1 − α for negatives; None: a = 1.

    Source: torchvision.ops.sigmoid_focal_loss.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma", self.gamma)
        if self.alpha is not None:
            check_probability("alpha", self.alpha)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("torchvision.ops.sigmoid_focal_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        z, y = outputs[0], targets
        doubt, entropy = self._pieces(xp, z, y)
        return self._alpha(y) * _power(xp, doubt, self.gamma) * entropy

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·∂value/∂z."""
        z, y = outputs[0], targets
        doubt, entropy = self._pieces(xp, z, y)
        p, rest = xp.sigmoid(z), xp.sigmoid(-z)
        slope = _power(xp, doubt, self.gamma) * ((1 - y) * p - y * rest)
        if self.gamma:
            narrow = self.gamma * _power(xp, doubt, self.gamma - 1) * (1 - 2 * y) * p * rest
            slope = slope + narrow * entropy
        return (coefficients * self._alpha(y) * slope,)

    def _alpha(self, y: Array) -> Array | float:
        if self.alpha is None:
            return 1.0
        return self.alpha * y + (1 - self.alpha) * (1 - y)

    def _pieces(self, xp: ArrayLibrary, z: Array, y: Array) -> tuple[Array, Array]:
        """Return m, which no hard label cancels, and the cross entropy."""
        doubt = y * xp.sigmoid(-z) + (1 - y) * xp.sigmoid(z)
        return doubt, y * xp.softplus(-z) + (1 - y) * xp.softplus(z)


def _power(xp: ArrayLibrary, x: Array, exponent: float) -> Array:
    """Return x^exponent; 0 where x is 0, whatever the exponent, unless that is 0."""
    if exponent == 0:
        return xp.full_like(x, 1)
    some = x > 0
    return xp.where(some, xp.where(some, x, xp.full_like(x, 1)) ** exponent, xp.full_like(x, 0))
