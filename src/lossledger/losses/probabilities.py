# SPDX-License-Identifier: Apache-2.0
"""Losses of probabilities as they are: nothing makes them positive, or sum to 1.

p is a probability, y or t its target. A library's clip or rescaling stands in front of them
as steps.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Callable, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative, check_probability
from lossledger.losses._rows import at_labels, by_class, row_gradient, row_values


@dataclass(frozen=True)
class LogLoss(AbstractLoss):
    """−y·log(p + ε) − (1 − y)·log(1 − p + ε).

    ∂/∂p = (1 − y)/(1 − p + ε) − y/(p + ε). With ε = 0 it is the cross entropy of a yes/no
    element; ε > 0 keeps it finite, and its derivative at most 1/ε.

    Args:
        epsilon: ε ≥ 0, added to both probabilities.

    Source: tf.compat.v1.losses.log_loss (ε = 1e-7).
    """

    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        """Check the range of epsilon."""
        check_nonnegative("epsilon", self.epsilon)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _yes_no("tf.compat.v1.losses.log_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return _entropy(xp, outputs[0], targets, self.epsilon)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·((1 − y)/(1 − p + ε) − y/(p + ε))."""
        return (coefficients * _entropy_slope(xp, outputs[0], targets, self.epsilon),)


@dataclass(frozen=True)
class FocalLogLoss(AbstractLoss):
    """a·u^γ·ℓ with u = y·(1 − p) + (1 − y)·p and ℓ the log loss of p moved into [δ, 1 − δ].

    ∂/∂p = a·(u^γ·∂ℓ + γ·u^(γ−1)·(1 − 2y)·ℓ), with ∂ℓ = 0 where p was moved. For labels 0 and
    1 and δ = 0 it is `Focal` of a probability.

    Args:
        gamma: γ ≥ 0.
        alpha: α in [0, 1]: a = α·y + (1 − α)·(1 − y); None: a = 1.
        clip: δ in [0, 1].
        epsilon: ε ≥ 0 inside the logs of ℓ, as in `LogLoss`.

    Source: keras.losses.BinaryFocalCrossentropy (δ = 1e-7); Lin et al. 2017.
    """

    gamma: float = 2.0
    alpha: float | None = None
    clip: float = 1e-7
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma", self.gamma)
        check_nonnegative("epsilon", self.epsilon)
        check_probability("clip", self.clip)
        if self.alpha is not None:
            check_probability("alpha", self.alpha)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _yes_no("keras.losses.BinaryFocalCrossentropy")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        p, _ = self._clipped(xp, outputs[0])
        entropy = _entropy(xp, p, targets, self.epsilon)
        return self._alphas(targets) * self._power(xp, outputs[0], targets) * entropy

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·a·(u^γ·∂ℓ + γ·u^(γ−1)·(1 − 2y)·ℓ)."""
        p, inside = self._clipped(xp, outputs[0])
        y = targets
        slope = _entropy_slope(xp, p, y, self.epsilon)
        slope = xp.where(inside, slope, xp.full_like(slope, 0.0))
        slope = slope * self._power(xp, outputs[0], y)
        if self.gamma:
            u = y * (1 - outputs[0]) + (1 - y) * outputs[0]
            outer = self.gamma * u ** (self.gamma - 1) * (1 - 2 * y)
            slope = slope + outer * _entropy(xp, p, y, self.epsilon)
        return (coefficients * self._alphas(y) * slope,)

    def _alphas(self, y: Array) -> Array | float:
        return 1.0 if self.alpha is None else self.alpha * y + (1 - self.alpha) * (1 - y)

    def _power(self, xp: ArrayLibrary, p: Array, y: Array) -> Array:
        if not self.gamma:
            return xp.full_like(p, 1.0)
        return (y * (1 - p) + (1 - y) * p) ** self.gamma

    def _clipped(self, xp: ArrayLibrary, p: Array) -> tuple[Array, Array]:
        """Return p in [δ, 1 − δ], and where it was there already."""
        low, high = (xp.full_like(p, end) for end in (self.clip, 1 - self.clip))
        return xp.where(p < low, low, xp.where(p > high, high, p)), (p >= low) & (p <= high)


@dataclass(frozen=True)
class FocalProbabilities(AbstractLoss):
    """Focal loss of a row of probabilities: −Σ_c t_c·α_c·(1 − p_c)^γ·log p_c.

    ∂/∂p_c = −t_c·α_c·((1 − p_c)^γ/p_c − γ·(1 − p_c)^(γ−1)·log p_c).

    Args:
        gamma: γ ≥ 0.
        alpha: α_c ≥ 0, one number or one a class.

    Source: keras.losses.CategoricalFocalCrossentropy, behind its clip.
    """

    gamma: float = 2.0
    alpha: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma", self.gamma)
        for number in (self.alpha,) if isinstance(self.alpha, int | float) else self.alpha:
            check_nonnegative("alpha", number)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="classes",
            outputs="distribution",
            targets="distribution",
            removes=("class",),
            scores="softmax",
            class_weight_within=True,
            source="keras.losses.CategoricalFocalCrossentropy",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        alpha = self._along(xp, outputs[0], inputs)
        alpha = alpha if isinstance(alpha, float) else at_labels(xp, alpha, targets, inputs)
        h: Callable[[Array], Array] = lambda x: -alpha * self._power(xp, x) * x  # noqa: E731
        return row_values(xp, xp.log(outputs[0]), targets, inputs, h)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·t·α·((1 − p)^γ/p − γ·(1 − p)^(γ−1)·log p)."""
        alpha = self._along(xp, outputs[0], inputs)

        def slope(x: Array) -> Array:
            found = self._power(xp, x)
            if self.gamma:
                p = xp.exp(x)
                found = found - self.gamma * p * (1 - p) ** (self.gamma - 1) * x
            return -alpha * found

        log_p = xp.log(outputs[0])
        return (row_gradient(xp, log_p, targets, inputs, slope, coefficients, from_logits=False),)

    def _power(self, xp: ArrayLibrary, log_p: Array) -> Array:
        return (1 - xp.exp(log_p)) ** self.gamma if self.gamma else xp.full_like(log_p, 1.0)

    def _along(self, xp: ArrayLibrary, p: Array, inputs: Inputs) -> Array | float:
        if isinstance(self.alpha, int | float):
            return float(self.alpha)
        return by_class(xp, "alpha", self.alpha, p, inputs)


@dataclass(frozen=True)
class RelativeEntropy(AbstractLoss):
    """t·(log t − log p), one class of a KL divergence; ∂/∂p = −t/p.

    A class with t = 0 adds 0. Neither t nor p need to sum to 1; single values may be negative,
    a sum over the classes of two distributions is not.

    Source: keras.losses.KLDivergence, before its sum; scipy.special.rel_entr.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="positive",
            targets="nonnegative",
            source="scipy.special.rel_entr",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        some = targets > 0
        t = xp.where(some, targets, xp.full_like(targets, 1.0))
        difference = xp.log(t) - xp.log(outputs[0])
        return xp.where(some, targets * difference, xp.full_like(targets, 0.0))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·t/p."""
        return (-coefficients * targets / outputs[0],)


def _yes_no(source: str) -> Facts:
    return Facts(
        accepts="same",
        outputs="probabilities",
        targets="probabilities",
        scores="sigmoid",
        labels=True,
        source=source,
    )


def _entropy(xp: ArrayLibrary, p: Array, y: Array, epsilon: float) -> Array:
    """Return −y·log(p + ε) − (1 − y)·log(1 − p + ε), parts of weight 0 left out."""
    one = xp.full_like(p, 1.0)
    yes = xp.where(y != 0, p + epsilon, one)
    no = xp.where(y != 1, 1 - p + epsilon, one)
    return -y * xp.log(yes) - (1 - y) * xp.log(no)


def _entropy_slope(xp: ArrayLibrary, p: Array, y: Array, epsilon: float) -> Array:
    one = xp.full_like(p, 1.0)
    yes = xp.where(y != 0, p + epsilon, one)
    no = xp.where(y != 1, 1 - p + epsilon, one)
    return (1 - y) / no - y / yes
