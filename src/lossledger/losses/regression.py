# SPDX-License-Identifier: Apache-2.0
"""Losses of a residual e = output − target."""

import math
from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_positive, check_probability

# Below it, log cosh is taken from tanh², which keeps the digits of a small square.
_SMALL = 1.0


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
        inside = xp.where(size <= self.delta, e, xp.full_like(e, 0))
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


@dataclass(frozen=True)
class SmoothL1(AbstractLoss):
    """e²/(2β) for |e| ≤ β, else |e| − β/2: Huber's loss over β.

    ∂/∂output = e/β clipped to [−1, 1].

    Source: torch.nn.functional.smooth_l1_loss; Girshick 2015.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        """Check the range of beta."""
        check_positive("beta", self.beta)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts("torch.nn.functional.smooth_l1_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e = outputs[0] - targets
        size = xp.abs(e)
        inside = xp.where(size <= self.beta, e, xp.full_like(e, 0))
        return xp.where(size <= self.beta, inside * inside / (2 * self.beta), size - self.beta / 2)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·e/β, clipped to c."""
        e = outputs[0] - targets
        return (coefficients * xp.where(xp.abs(e) <= self.beta, e / self.beta, xp.sign(e)),)


@dataclass(frozen=True)
class LogCosh(AbstractLoss):
    """log cosh e = |e| + log(1 + exp(−2|e|)) − log 2; ∂/∂output = tanh e.

    Near e = 0 it is computed as −½·log(1 − tanh² e), which keeps the digits of e²/2.

    Source: keras.losses.LogCosh.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts("keras.losses.LogCosh")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e = outputs[0] - targets
        size = xp.abs(e)
        small = size < _SMALL
        slope = xp.tanh(xp.where(small, e, xp.full_like(e, 0)))
        far = size + xp.softplus(-2 * size) - math.log(2)
        return xp.where(small, -0.5 * xp.log1p(-slope * slope), far)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·tanh e."""
        return (coefficients * xp.tanh(outputs[0] - targets),)


@dataclass(frozen=True)
class Charbonnier(AbstractLoss):
    """√(e² + ε²), a smooth |e| that is ε at e = 0; ∂/∂output = e/√(e² + ε²).

    Source: Charbonnier et al. 1994; Barron 2019 (α = 1, up to scale and offset).
    """

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        """Check the range of epsilon."""
        check_positive("epsilon", self.epsilon)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts("Charbonnier et al. 1994")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return self._root(xp, outputs[0] - targets)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·e/√(e² + ε²)."""
        e = outputs[0] - targets
        return (coefficients * (e / self._root(xp, e)),)

    def _root(self, xp: ArrayLibrary, e: Array) -> Array:
        return xp.sqrt(e * e + self.epsilon * self.epsilon)


@dataclass(frozen=True)
class Quantile(AbstractLoss):
    """τ·(−e) below the target, (1 − τ)·e above it: its least mean is at the τ-quantile.

    ∂/∂output = −τ for e < 0, 1 − τ for e > 0, and 0 at e = 0.

    Args:
        tau: One level in [0, 1]; or several, one for each place on an axis `quantile` of
            the outputs, which the targets do not have and the values keep.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> loss = ll.losses.Quantile([0.1, 0.9])
        >>> objective = ll.Objective(ll.Term("y", loss, axes="batch quantile"))
        >>> values = objective.values(np.array([[0.0, 2.0]]), np.array([1.0]))["quantile"]
        >>> values.round(3).tolist()  # 0.1·1 and (1 − 0.9)·1
        [[0.1, 0.1]]

    Source: Koenker and Bassett 1978; sklearn.metrics.mean_pinball_loss.
    """

    tau: float | Sequence[float] = 0.5

    def __post_init__(self) -> None:
        """Check the range of the levels."""
        if not isinstance(self.tau, int | float):
            object.__setattr__(self, "tau", tuple(float(t) for t in self.tau))
        for level in self._levels():
            check_probability("tau", level)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "Koenker and Bassett 1978"
        if isinstance(self.tau, int | float):
            return _facts(source)
        return Facts(accepts="rows", lacks=("quantile",), source=source)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        e, tau = self._place(xp, outputs[0], targets, inputs)
        return tau * xp.positive(-e) + (1 - tau) * xp.positive(e)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·τ, c·(1 − τ) or 0."""
        e, tau = self._place(xp, outputs[0], targets, inputs)
        none = xp.full_like(e, 0)
        slope = xp.where(e > 0, none + (1 - tau), none - tau)
        return (coefficients * xp.where(e == 0, none, slope),)

    def _levels(self) -> tuple[float, ...]:
        return (self.tau,) if isinstance(self.tau, int | float) else tuple(self.tau)

    def _place(
        self, xp: ArrayLibrary, outputs: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array | float]:
        """Return residuals and levels, aligned along the quantile axis."""
        if isinstance(self.tau, int | float):
            return outputs - targets, self.tau
        axes, levels = inputs.frame.axes, self._levels()
        at = axes.index("quantile")
        if outputs.shape[at] != len(levels):
            raise ShapeError(
                "The axis `quantile` must have one place for each level of tau",
                f"Found {outputs.shape[at]} places and {len(levels)} levels",
                "A level was added without an output for it, or the axes are in another order",
                f"Give the network {len(levels)} outputs along `quantile`",
            )
        shape = tuple(-1 if i == at else 1 for i in range(len(axes)))
        tau = xp.reshape(xp.asarray(levels, xp.dtype(outputs), outputs), shape)
        return outputs - xp.expand(targets, at), tau
