# SPDX-License-Identifier: Apache-2.0
"""Losses of a residual e = output − target."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_positive


def _facts(source: str) -> Facts:
    return Facts(accepts="same", source=source)


@dataclass(frozen=True)
class SquaredError(AbstractLoss):
    """e², or e²/2 with `half=True`; ∂/∂output = 2e, or e.

    Source: torch.nn.functional.mse_loss (no half); optax.losses.l2_loss (half).
    """

    half: bool = False

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts("torch.nn.functional.mse_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e = outputs[0] - targets
        return e * e * 0.5 if self.half else e * e

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·2e, or c·e."""
        e = outputs[0] - targets
        return (coefficients * e if self.half else coefficients * 2 * e,)


@dataclass(frozen=True)
class AbsoluteError(AbstractLoss):
    """|e|; ∂/∂output = sign(e), 0 at e = 0.

    Source: torch.nn.functional.l1_loss.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts("torch.nn.functional.l1_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return xp.abs(outputs[0] - targets)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·sign(e)."""
        return (coefficients * xp.sign(outputs[0] - targets),)


@dataclass(frozen=True)
class Huber(AbstractLoss):
    """e²/2 for |e| ≤ δ, else δ·(|e| − δ/2); ∂/∂output = e clipped to [−δ, δ].

    Source: torch.nn.functional.huber_loss; Huber 1964.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        """Check the range of delta."""
        check_positive("delta", self.delta)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts("torch.nn.functional.huber_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e = outputs[0] - targets
        size = xp.abs(e)
        inside = xp.where(size <= self.delta, e, e * 0)
        far = self.delta * (size - 0.5 * self.delta)
        return xp.where(size <= self.delta, 0.5 * inside * inside, far)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·e, clipped to c·δ."""
        e = outputs[0] - targets
        near = xp.abs(e) <= self.delta
        return (coefficients * xp.where(near, e, self.delta * xp.sign(e)),)
