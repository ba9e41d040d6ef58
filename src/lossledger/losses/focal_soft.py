# SPDX-License-Identifier: Apache-2.0
"""Focal losses as libraries write them: for soft labels, and with one value a class.

z is a logit, y the target, p = σ(z), ℓ = −y·log p − (1 − y)·log(1 − p) its cross entropy.
For labels 0 and 1 all of them are `Focal`; for others each library has a number of its own.
"""

from dataclasses import dataclass, replace
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import (
    check_choice,
    check_nonnegative,
    check_positive,
    check_probability,
)
from lossledger.losses._elements import element_facts, focal, focal_slope
from lossledger.losses._odds import Odds, odds, odds_gradient
from lossledger.losses._rows import by_class

Doubt = Literal["margin", "confidence"]


@dataclass(frozen=True)
class ScaledCrossEntropy(AbstractLoss):
    """Cross entropy times a power of the doubt: a·u^γ·ℓ, with ∂u/∂z by the rule for u.

    u = σ(−(2y − 1)·z) under "margin", with ∂/∂z = a·u^γ·(p − y − γ·(2y − 1)·(1 − u)·ℓ);
    u = 1 − exp(−ℓ) under "confidence", with ∂/∂z = a·(u^γ + γ·u^(γ−1)·exp(−ℓ)·ℓ)·(p − y).

    Args:
        gamma: γ ≥ 0.
        alpha: α in [0, 1]: a = α·y + (1 − α)·(1 − y); a sequence, one number a class, gives
            a = α at y = 1 and 1 elsewhere. None: a = 1.
        doubt: What u is.
        threshold: With "confidence", (u/threshold)^γ stands for u^γ, and 1, which does not
            depend on z, where exp(−ℓ) < threshold.
        ignore_index: Target value whose elements have no weight.

    Source: monai.losses.FocalLoss ("margin"); segmentation_models_pytorch's
    focal_loss_with_logits ("confidence"); Sergievskiy and Ponamarev 2019 (threshold).
    """

    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None
    doubt: Doubt = "margin"
    threshold: float | None = None
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma", self.gamma)
        check_choice("doubt", self.doubt, ("margin", "confidence"))
        if isinstance(self.alpha, int | float):
            check_probability("alpha", self.alpha)
        if self.threshold is not None:
            check_positive("threshold", self.threshold)
            check_choice("doubt", self.doubt, ("confidence",))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("monai.losses.FocalLoss; Lin et al. 2017")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        z = outputs[0]
        entropy = cross_entropy(xp, z, targets)
        scale = self.factor(xp, z, targets, entropy)
        return self.alphas(xp, z, targets, inputs) * scale * entropy

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·a·(u^γ·(p − y) + ℓ·∂u^γ/∂z)."""
        z = outputs[0]
        entropy = cross_entropy(xp, z, targets)
        off = entropy_slope(xp, z, targets)
        slope = self.factor(xp, z, targets, entropy) * off
        slope = slope + entropy * self.factor_slope(xp, z, targets, entropy)
        return (coefficients * self.alphas(xp, z, targets, inputs) * slope,)

    def alphas(self, xp: ArrayLibrary, z: Array, y: Array, inputs: Inputs) -> Array | float:
        """Return a."""
        if self.alpha is None:
            return 1.0
        if isinstance(self.alpha, int | float):
            return self.alpha * y + (1 - self.alpha) * (1 - y)
        along = xp.broadcast_to(by_class(xp, "alpha", self.alpha, z, inputs), tuple(y.shape))
        return xp.where(y == 1, along, xp.full_like(along, 1.0))

    def factor(self, xp: ArrayLibrary, z: Array, y: Array, entropy: Array) -> Array:
        """Return u^γ."""
        if self.doubt == "margin":
            return xp.exp(-self.gamma * xp.softplus((2 * y - 1) * z))
        one = xp.full_like(z, 1.0)
        if not self.gamma:
            return one
        u, some = _doubt(xp, entropy)
        power = xp.where(some, xp.exp(self.gamma * xp.log(u)), one * 0)
        if self.threshold is None:
            return power
        return xp.where(self._hard(xp, entropy), one, power * self.threshold**-self.gamma)

    def factor_slope(self, xp: ArrayLibrary, z: Array, y: Array, entropy: Array) -> Array:
        """Return ∂u^γ/∂z."""
        if self.doubt == "margin":
            sign = 2 * y - 1
            return self.factor(xp, z, y, entropy) * (-self.gamma * sign * xp.sigmoid(sign * z))
        zero = xp.full_like(z, 0.0)
        if not self.gamma:
            return zero
        u, some = _doubt(xp, entropy)
        by_entropy = self.gamma * xp.exp((self.gamma - 1) * xp.log(u) - entropy)
        by_entropy = xp.where(some, by_entropy, zero)
        if self.threshold is not None:
            by_entropy = by_entropy * self.threshold**-self.gamma
            by_entropy = xp.where(self._hard(xp, entropy), zero, by_entropy)
        return by_entropy * entropy_slope(xp, z, y)

    def _hard(self, xp: ArrayLibrary, entropy: Array) -> Array:
        return xp.exp(-xp.detach(entropy)) < (self.threshold or 0.0)


@dataclass(frozen=True)
class ClassFocal(AbstractLoss):
    """Focal loss of a softmax row, one value a class: −t_c·α_c·(1 − p_c)^γ·log p_c.

    ∂/∂z_c = t_c·α_c·(1 − p_c)^γ·(γ·p_c·log p_c − (1 − p_c)), and −p_j/(1 − p_c) times it for
    the other z_j. Summed over the classes it is `Focal` with kind="softmax".

    Args:
        gamma: γ ≥ 0.
        alpha: α_c ≥ 0, one a class; one number gives 1 − α to class 0 and α to the others.

    Source: monai.losses.FocalLoss(use_softmax=True).
    """

    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma", self.gamma)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="logits",
            targets="distribution",
            scores="softmax",
            couples=("class",),
            source="monai.losses.FocalLoss(use_softmax=True)",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value a class."""
        z = outputs[0]
        found = self._odds(xp, z, targets, inputs)
        return self._alphas(xp, z, inputs) * targets * focal(xp, found.m, self.gamma)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·α·t times the slopes of every class, spread over the row."""
        z = outputs[0]
        outer = coefficients * self._alphas(xp, z, inputs) * targets
        found = replace(self._odds(xp, z, targets, inputs), targets=outer)
        one = xp.full_like(xp.sum(z, axis=inputs.class_axis), 1.0)
        return (odds_gradient(xp, z, found, lambda m: focal_slope(xp, m, self.gamma), one),)

    def _odds(self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs) -> Odds:
        return odds(xp, z, targets, replace(inputs, form="dense", class_weight=None))

    def _alphas(self, xp: ArrayLibrary, z: Array, inputs: Inputs) -> Array | float:
        if self.alpha is None:
            return 1.0
        numbers = self.alpha
        if isinstance(numbers, int | float):
            numbers = [1 - numbers, *[numbers] * (inputs.frame.length("class") - 1)]
        return by_class(xp, "alpha", numbers, z, inputs)


def cross_entropy(xp: ArrayLibrary, z: Array, y: Array) -> Array:
    """Return ℓ."""
    return (1 - y) * xp.softplus(z) + y * xp.softplus(-z)


def entropy_slope(xp: ArrayLibrary, z: Array, y: Array) -> Array:
    """Return p − y, as (1 − y)·p − y·(1 − p)."""
    return (1 - y) * xp.sigmoid(z) - y * xp.sigmoid(-z)


def _doubt(xp: ArrayLibrary, entropy: Array) -> tuple[Array, Array]:
    """Return 1 − exp(−ℓ), 1 where that is 0, and where it is not."""
    half = xp.tanh(entropy * 0.5)
    u = 2 * half / (1 + half)
    some = u > 0
    return xp.where(some, u, xp.full_like(u, 1.0)), some
