# SPDX-License-Identifier: Apache-2.0
"""Focal losses: cross entropy that weighs elements by how wrong they are.

z is a logit, y the target, s = 2y − 1, q = σ(s·z) the probability of the true label, p that
of "yes" (or of a class); values are in nats. Powers of 1 − q are taken through logs, so that
values and derivatives are right where 1 − q rounds to 0.
"""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Callable, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import (
    check_between,
    check_choice,
    check_finite,
    check_nonnegative,
    check_probability,
)
from lossledger.losses._elements import (
    both,
    both_slope,
    element_facts,
    focal,
    focal_slope,
    smooth,
)
from lossledger.losses._odds import odds, odds_gradient, odds_values
from lossledger.losses._rows import (
    at_labels,
    by_class,
    row_facts,
    row_gradient,
    row_values,
)

Kind = Literal["sigmoid", "softmax"]


@dataclass(frozen=True)
class Focal(AbstractLoss):
    """Focal loss: −α·(1 − q)^γ·log q; on a softmax row −Σ_c t_c·α_c·(1 − p_c)^γ·log p_c.

    ∂/∂z = s·α·(1 − q)^γ·(γ·q·log q − (1 − q)). On a softmax row, the same with s = 1 and
    q = p_y for z_y, and −p_j/(1 − p_y) times it for the other z_j.

    Args:
        gamma: γ ≥ 0; 0 gives the cross entropy.
        alpha: Sigmoid: α in [0, 1] for positives and 1 − α for negatives, one number or one
            a class. Softmax: a factor ≥ 0, one number or one a class. None: 1. Unlike
            `class_weight`, it does not enter the mean's denominator.
        kind: "sigmoid" for independent channels, "softmax" for one class out of K.
        label_smoothing: ε in [0, 1]: y becomes (1 − ε)·y + ε/2, or t (1 − ε)·t + ε/K.
        ignore_index: Label whose elements have no weight.

    Soft sigmoid targets y give y·ℓ(z, 1) + (1 − y)·ℓ(z, 0).

    Example:
        >>> import numpy as np, lossledger as ll
        >>> objective = ll.Objective(ll.Term("y", ll.losses.Focal(gamma=2.0), axes="batch"))
        >>> value = objective.loss(np.array([0.0]), np.array([1.0]))
        >>> bool(np.isclose(value, np.log(2) / 4))
        True

    Source: Lin et al. 2017; torchvision.ops.sigmoid_focal_loss; optax.sigmoid_focal_loss
    (hard labels); monai.losses.FocalLoss(use_softmax=True).
    """

    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None
    kind: Kind = "sigmoid"
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma", self.gamma)
        check_probability("label_smoothing", self.label_smoothing)
        check_choice("kind", self.kind, ("sigmoid", "softmax"))
        for number in _numbers(self.alpha):
            if self.kind == "sigmoid":
                check_probability("alpha", number)
            else:
                check_nonnegative("alpha", number)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        if self.kind == "sigmoid":
            return element_facts("torchvision.ops.sigmoid_focal_loss; Lin et al. 2017")
        return row_facts("monai.losses.FocalLoss(use_softmax=True); Lin et al. 2017")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element, or per row."""
        z = outputs[0]
        if self.kind == "sigmoid":
            return both(z, self._parts(xp, z, targets, inputs), lambda m: focal(xp, m, self.gamma))
        found = odds(xp, z, targets, inputs, self.label_smoothing)
        alpha = self._alpha(xp, z, found.targets, found.inputs)
        return odds_values(xp, found, lambda m: alpha * focal(xp, m, self.gamma))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·s·α·(1 − q)^γ·(γ·q·log q − (1 − q)), or its spread over the row."""
        z = outputs[0]
        if self.kind == "sigmoid":
            parts = self._parts(xp, z, targets, inputs)
            slope = both_slope(z, parts, lambda m: focal_slope(xp, m, self.gamma))
            return (coefficients * slope,)
        found = odds(xp, z, targets, inputs, self.label_smoothing)
        alpha = self._alpha(xp, z, found.targets, found.inputs)
        slopes: Callable[[Array], Array] = lambda m: alpha * focal_slope(xp, m, self.gamma)  # noqa: E731
        return (odds_gradient(xp, z, found, slopes, coefficients),)

    def _parts(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array]:
        y = smooth(targets, self.label_smoothing)
        if self.alpha is None:
            return y, 1 - y
        alpha = _along(xp, self.alpha, z, inputs)
        return alpha * y, (1 - alpha) * (1 - y)

    def _alpha(self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs) -> Array | float:
        if self.alpha is None:
            return 1.0
        along = _along(xp, self.alpha, z, inputs)
        return along if isinstance(along, float) else at_labels(xp, along, targets, inputs)


@dataclass(frozen=True)
class QualityFocal(AbstractLoss):
    """Quality focal loss, for soft labels: |y − p|^γ·BCE(z, y).

    ∂/∂z = |y − p|^γ·(p − y) + BCE·γ·|y − p|^(γ−1)·sign(p − y)·p·(1 − p), 0 at p = y.

    Args:
        gamma: γ ≥ 1, the β of the paper; below 1 the slope at p = y is infinite.
        ignore_index: Target value whose elements have no weight.

    Source: Li et al. 2020, Generalized Focal Loss; mmdet.models.losses.QualityFocalLoss.
    """

    gamma: float = 2.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the range of gamma."""
        check_between("gamma", self.gamma, 1, float("inf"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("Li et al. 2020, Generalized Focal Loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        off, entropy = self._pieces(xp, outputs[0], targets)
        return xp.abs(off) ** self.gamma * entropy

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·∂value/∂z."""
        z = outputs[0]
        off, entropy = self._pieces(xp, z, targets)
        size = xp.abs(off)
        narrow = self.gamma * size ** (self.gamma - 1) * xp.sigmoid(z) * xp.sigmoid(-z)
        return (-coefficients * (size**self.gamma * off + entropy * narrow * xp.sign(off)),)

    def _pieces(self, xp: ArrayLibrary, z: Array, y: Array) -> tuple[Array, Array]:
        """Return y − p = y·(1 − p) − (1 − y)·p, which no hard label cancels, and the BCE."""
        off = y * xp.sigmoid(-z) - (1 - y) * xp.sigmoid(z)
        return off, y * xp.softplus(-z) + (1 - y) * xp.softplus(z)


@dataclass(frozen=True)
class Asymmetric(AbstractLoss):
    """Asymmetric loss: −y·(1 − p)^γ₊·log p − (1 − y)·r^γ₋·log(1 − r), r = max(p − m, 0).

    ∂/∂z = y·(1 − p)^γ₊·(γ₊·p·log p − (1 − p))
    + (1 − y)·1[p > m]·p·(1 − p)·(r^γ₋/(1 − r) − γ₋·r^(γ₋−1)·log(1 − r)).

    Args:
        gamma_pos: γ₊ ≥ 0, for positives.
        gamma_neg: γ₋ ≥ 0, for negatives.
        margin: m in [0, 1): negatives with p ≤ m cost nothing. With γ₋ = 0 the slope jumps
            at p = m, where it is 0.
        ignore_index: Target value whose elements have no weight.

    The focusing factors are differentiated too, as in the paper.

    Source: Ridnik et al. 2021; timm.loss.AsymmetricLossMultiLabel, there summed.
    """

    gamma_pos: float = 1.0
    gamma_neg: float = 4.0
    margin: float = 0.05
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("gamma_pos", self.gamma_pos)
        check_nonnegative("gamma_neg", self.gamma_neg)
        check_between("margin", self.margin, 0, 1)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("Ridnik et al. 2021, Asymmetric Loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        z = outputs[0]
        if not self.margin:
            negative = focal(xp, -z, self.gamma_neg)
        else:
            inside, r, _, log = self._shifted(xp, z)
            negative = xp.where(inside, r**self.gamma_neg * log, r * 0)
        return targets * focal(xp, z, self.gamma_pos) + (1 - targets) * negative

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·∂value/∂z."""
        z, gamma = outputs[0], self.gamma_neg
        if not self.margin:
            negative = -focal_slope(xp, -z, gamma)
        else:
            inside, r, left, log = self._shifted(xp, z)
            by_r = r**gamma / left + gamma * r ** (gamma - 1) * log
            negative = xp.where(inside, by_r * xp.sigmoid(z) * xp.sigmoid(-z), r * 0)
        slope = targets * focal_slope(xp, z, self.gamma_pos) + (1 - targets) * negative
        return (coefficients * slope,)

    def _shifted(self, xp: ArrayLibrary, z: Array) -> tuple[Array, Array, Array, Array]:
        """Return where p > m, r there and 1/4 elsewhere, 1 − r = 1 − p + m, and −log(1 − r)."""
        rest = xp.sigmoid(-z)
        left = rest + self.margin
        # 1 − p is small where p is large: from it, r has the right slope there.
        r = xp.where(z > 0, 1 - self.margin - rest, xp.sigmoid(z) - self.margin)
        inside = r > 0
        r = xp.where(inside, r, r * 0 + 0.25)
        # From r where that is small, and from 1 − r where that is.
        near = r < 0.5
        log = -xp.log1p(-xp.where(near, r, r * 0)) - xp.log(xp.where(near, r * 0 + 1, left))
        return inside, r, left, log


@dataclass(frozen=True)
class Poly1(AbstractLoss):
    """Poly-1 loss: cross entropy + ε·(1 − q), q the probability of the true label.

    ∂/∂z = p − y − ε·s·p·(1 − p); on a softmax row h(l) = −l + ε·(1 − e^l) of l = log p_y.

    Args:
        epsilon: ε, any number; negative ones sharpen less (the paper has 2 for ImageNet,
            −1 for detection).
        kind: "sigmoid" for independent channels, "softmax" for one class out of K.
        label_smoothing: ε in [0, 1]: y becomes (1 − ε)·y + ε/2, or t (1 − ε)·t + ε/K.
        ignore_index: Label whose elements have no weight.

    Soft targets weigh the losses of the labels.

    Source: Leng et al. 2022, PolyLoss; optax.losses.poly_loss_cross_entropy (softmax).
    """

    epsilon: float = 1.0
    kind: Kind = "softmax"
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_finite("epsilon", self.epsilon)
        check_choice("kind", self.kind, ("sigmoid", "softmax"))
        check_probability("label_smoothing", self.label_smoothing)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        if self.kind == "sigmoid":
            return element_facts("Leng et al. 2022, PolyLoss")
        return row_facts("optax.losses.poly_loss_cross_entropy")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element, or per row."""
        z, epsilon = outputs[0], self.epsilon
        if self.kind == "sigmoid":
            y = smooth(targets, self.label_smoothing)
            return both(z, (y, 1 - y), lambda m: xp.softplus(-m) + epsilon * xp.sigmoid(-m))
        log_p = xp.log_softmax(z, inputs.class_axis)
        h: Callable[[Array], Array] = lambda x: -x + epsilon * (1 - xp.exp(x))  # noqa: E731
        return row_values(xp, log_p, targets, inputs, h, self.label_smoothing)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(p − y − ε·s·p·(1 − p)), or the row of h' = −1 − ε·p."""
        z, epsilon = outputs[0], self.epsilon
        if self.kind == "sigmoid":
            y = smooth(targets, self.label_smoothing)
            p, rest = xp.sigmoid(z), xp.sigmoid(-z)
            off = (1 - y) * p - y * rest
            return (coefficients * (off - epsilon * (2 * y - 1) * p * rest),)
        log_p = xp.log_softmax(z, inputs.class_axis)
        slope: Callable[[Array], Array] = lambda x: -1 - epsilon * xp.exp(x)  # noqa: E731
        return (
            row_gradient(xp, log_p, targets, inputs, slope, coefficients, self.label_smoothing),
        )


def _numbers(alpha: float | Sequence[float] | None) -> tuple[float, ...]:
    if alpha is None:
        return ()
    return (alpha,) if isinstance(alpha, int | float) else tuple(alpha)


def _along(
    xp: ArrayLibrary, alpha: float | Sequence[float], z: Array, inputs: Inputs
) -> Array | float:
    if isinstance(alpha, int | float):
        return float(alpha)
    return by_class(xp, "alpha", alpha, z, inputs)
