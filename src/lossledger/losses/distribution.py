# SPDX-License-Identifier: Apache-2.0
"""Losses between distributions over classes: divergences, noise-robust and proper scores.

z are logits, p = softmax(z/T) the student's row, t the target's; sums run over classes and
values are in nats. The classes of a divergence are not weighed one by one, because its single
parts may be negative: `class_weight` weighs rows by their most likely class.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Domain, Facts, Inputs
from lossledger.losses._checks import check_choice, check_positive, check_share
from lossledger.losses._odds import LOWEST
from lossledger.losses._rows import (
    row_facts,
    row_gradient,
    row_slopes,
    row_values,
    soften,
)

TargetsAre = Literal["probabilities", "logits"]
_LOG_2 = math.log(2)


@dataclass(frozen=True)
class KLDivergence(AbstractLoss):
    """Forward KL divergence, for distillation: T²·Σ t·(log t − log p).

    ∂/∂z_c = T·((Σt)·p_c − t_c). A class with t_c = 0 adds 0.

    Args:
        temperature: T > 0, of the student, and of the teacher if its logits are given.
        targets_are: "probabilities" t (already at the temperature T), or the teacher's
            "logits", with t = softmax(logits/T).

    The factor T² keeps gradients at the scale they have with T = 1.

    Source: torch.nn.functional.kl_div (its input is log p); Hinton et al. 2015 (T²).
    """

    temperature: float = 1.0
    targets_are: TargetsAre = "probabilities"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check(self.temperature, self.targets_are)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts(self.targets_are, "distribution", "torch.nn.functional.kl_div")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        log_p = xp.log_softmax(outputs[0] / self.temperature, inputs.class_axis)
        t, log_t = _target(xp, targets, inputs, self.temperature, self.targets_are)
        difference = xp.where(t > 0, log_t - log_p, t * 0)
        return self.temperature**2 * xp.sum(t * difference, axis=inputs.class_axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·T·((Σt)·p − t)."""
        axis = inputs.class_axis
        p = xp.exp(xp.log_softmax(outputs[0] / self.temperature, axis))
        t, _ = _target(xp, targets, inputs, self.temperature, self.targets_are)
        row = p * xp.expand(xp.sum(t, axis=axis), axis) - t
        return (row * xp.expand(self.temperature * coefficients, axis),)


@dataclass(frozen=True)
class ReverseKL(AbstractLoss):
    """Reverse KL divergence, which seeks one mode: T²·Σ p·(log p − log t).

    ∂/∂z_c = T·p_c·(d_c − Σ p·d), d = log p − log t.

    Args:
        temperature: T > 0, as in `KLDivergence`.
        targets_are: "probabilities" t, all above 0 (a class with t_c = 0 would cost ∞), or the
            teacher's "logits".

    Source: torch.nn.functional.kl_div with its arguments exchanged; Gu et al. 2024, MiniLLM.
    """

    temperature: float = 1.0
    targets_are: TargetsAre = "probabilities"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check(self.temperature, self.targets_are)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _facts(self.targets_are, "interior", "torch.nn.functional.kl_div, exchanged")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        p, d = self._pieces(xp, outputs[0], targets, inputs)
        return self.temperature**2 * xp.sum(p * d, axis=inputs.class_axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·T·p·(d − Σ p·d)."""
        p, d = self._pieces(xp, outputs[0], targets, inputs)
        return (_centered(xp, p, d, self.temperature * coefficients, inputs.class_axis),)

    def _pieces(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array]:
        """Return p and log p − log t, 0 where p is 0."""
        log_p = xp.log_softmax(z / self.temperature, inputs.class_axis)
        _, log_t = _target(xp, targets, inputs, self.temperature, self.targets_are)
        p = xp.exp(log_p)
        return p, xp.where(p > 0, log_p - log_t, p * 0)


@dataclass(frozen=True)
class JensenShannon(AbstractLoss):
    """Jensen–Shannon divergence: T²·½·(KL(p‖m) + KL(t‖m)), m = (p + t)/2.

    ∂/∂z_c = T·p_c·(d_c − Σ p·d), d = ½·(log p − log m). At most T²·log 2, so that wrong labels
    cannot cost more than that.

    Args:
        temperature: T > 0, as in `KLDivergence`.
        targets_are: "probabilities" t (0 and 1 included), or the teacher's "logits".

    Source: Lin 1991; scipy.spatial.distance.jensenshannon, squared.
    """

    temperature: float = 1.0
    targets_are: TargetsAre = "probabilities"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check(self.temperature, self.targets_are)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "scipy.spatial.distance.jensenshannon, squared"
        return _facts(self.targets_are, "distribution", source)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        p, t, lead = self._pieces(xp, outputs[0], targets, inputs)
        # log(p/m) = log 2 − log(1 + t/p), and the same with p and t exchanged.
        parts = p * (_LOG_2 - xp.softplus(-lead)) + t * (_LOG_2 - xp.softplus(lead))
        return 0.5 * self.temperature**2 * xp.sum(parts, axis=inputs.class_axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·T·p·(d − Σ p·d)."""
        p, _, lead = self._pieces(xp, outputs[0], targets, inputs)
        d = 0.5 * (_LOG_2 - xp.softplus(-lead))
        return (_centered(xp, p, d, self.temperature * coefficients, inputs.class_axis),)

    def _pieces(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array, Array]:
        """Return p, t and log p − log t."""
        log_p = xp.log_softmax(z / self.temperature, inputs.class_axis)
        t, log_t = _target(xp, targets, inputs, self.temperature, self.targets_are)
        p = xp.exp(log_p)
        return p, t, xp.where(p > 0, log_p, xp.full_like(p, LOWEST)) - log_t


@dataclass(frozen=True)
class GeneralizedCrossEntropy(AbstractLoss):
    """Generalized cross entropy, for noisy labels: (1 − p_y^q)/q.

    ∂/∂z_c = −p_y^q·(1[c=y] − p_c); of a probability, ∂/∂p_y = −p_y^(q−1). q → 0 is
    the cross entropy; q = 1 is 1 − p_y, half of the absolute error of the row.

    Args:
        q: In (0, 1]; at most 1/q is lost on one label.
        ignore_index: Label whose elements have no weight.
        from_logits: Outputs are logits; False takes probabilities. The derivative at p_y = 0
            is then taken as 0 (it is infinite).

    Soft rows t give Σ_c t_c·ℓ(z, c).

    Source: Zhang and Sabuncu 2018; keras.losses.CategoricalGeneralizedCrossEntropy.
    """

    q: float = 0.7
    ignore_index: int | None = None
    from_logits: bool = True

    def __post_init__(self) -> None:
        """Check the range of q."""
        check_share("q", self.q)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        facts = row_facts("keras.losses.CategoricalGeneralizedCrossEntropy")
        return facts if self.from_logits else replace(facts, outputs="distribution")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        if not self.from_logits:
            return row_values(xp, outputs[0], targets, inputs, lambda p: self._value(xp, p))
        log_p = xp.log_softmax(outputs[0], inputs.class_axis)
        return row_values(xp, log_p, targets, inputs, lambda x: (1 - xp.exp(self.q * x)) / self.q)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·p_y^q·(1[c=y] − p), or −c·p_y^(q−1) at the label."""
        if not self.from_logits:
            row = row_slopes(xp, outputs[0], targets, inputs, lambda p: self._slope(xp, p))
            return (row * xp.expand(coefficients, inputs.class_axis),)
        log_p = xp.log_softmax(outputs[0], inputs.class_axis)
        slope = row_gradient(
            xp, log_p, targets, inputs, lambda x: -xp.exp(self.q * x), coefficients
        )
        return (slope,)

    def _value(self, xp: ArrayLibrary, p: Array) -> Array:
        """Return (1 − p^q)/q of a probability."""
        some = xp.where(p > 0, p, xp.full_like(p, 1.0))
        return xp.where(p > 0, 1 - some**self.q, xp.full_like(p, 1.0)) / self.q

    def _slope(self, xp: ArrayLibrary, p: Array) -> Array:
        some = xp.where(p > 0, p, xp.full_like(p, 1.0))
        return xp.where(p > 0, -(some ** (self.q - 1)), xp.full_like(p, 0.0))


@dataclass(frozen=True)
class Brier(AbstractLoss):
    """Brier score of a softmax row: Σ (p − t)²; ∂/∂z_c = 2p_c·((p_c − t_c) − Σ p·(p − t)).

    Args:
        ignore_index: Label whose elements have no weight.

    Targets are indices, one-hot or soft rows; class weights weigh rows by their most likely
    class. Between 0 and 2.

    Source: Brier 1950.
    """

    ignore_index: int | None = None

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("Brier 1950", class_weight_within=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        p = xp.exp(xp.log_softmax(outputs[0], inputs.class_axis))
        off = p - soften(xp, targets, inputs, p, 0.0)
        return xp.sum(off * off, axis=inputs.class_axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return 2c·p·((p − t) − Σ p·(p − t))."""
        p = xp.exp(xp.log_softmax(outputs[0], inputs.class_axis))
        off = p - soften(xp, targets, inputs, p, 0.0)
        return (_centered(xp, p, off, 2 * coefficients, inputs.class_axis),)


@dataclass(frozen=True)
class Entropy(AbstractLoss):
    """Entropy of a softmax row, without targets: −Σ p·log p; ∂/∂z_c = −p_c·(log p_c + H).

    A positive `loss_weight` makes outputs confident (entropy minimization), a negative one is
    the confidence penalty. Between 0 and log K.

    Source: Grandvalet and Bengio 2004; Pereyra et al. 2017 (penalty).
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="none",
            outputs="logits",
            removes=("class",),
            source="torch.distributions.Categorical.entropy",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        p, log_p = self._pieces(xp, outputs[0], inputs)
        return -xp.sum(p * log_p, axis=inputs.class_axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·p·(log p + H)."""
        p, log_p = self._pieces(xp, outputs[0], inputs)
        return (_centered(xp, p, log_p, -coefficients, inputs.class_axis),)

    def _pieces(self, xp: ArrayLibrary, z: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Return p and log p, 0 where p is 0."""
        log_p = xp.log_softmax(z, inputs.class_axis)
        p = xp.exp(log_p)
        return p, xp.where(p > 0, log_p, p * 0)


def _check(temperature: float, targets_are: str) -> None:
    check_positive("temperature", temperature)
    check_choice("targets_are", targets_are, ("probabilities", "logits"))


def _facts(targets_are: TargetsAre, domain: Domain, source: str) -> Facts:
    return Facts(
        accepts="same",
        outputs="logits",
        targets="any" if targets_are == "logits" else domain,
        removes=("class",),
        scores="softmax",
        source=source,
    )


def _target(
    xp: ArrayLibrary, targets: Array, inputs: Inputs, temperature: float, targets_are: TargetsAre
) -> tuple[Array, Array]:
    """Return t and log t, `LOWEST` where t is 0."""
    if targets_are == "logits":
        log_t = xp.log_softmax(targets / temperature, inputs.class_axis)
        return xp.exp(log_t), log_t
    some = targets > 0
    log_t = xp.log(xp.where(some, targets, xp.full_like(targets, 1.0)))
    return targets, xp.where(some, log_t, xp.full_like(targets, LOWEST))


def _centered(xp: ArrayLibrary, p: Array, d: Array, coefficients: Array, axis: int) -> Array:
    """Return c·p·(d − Σ p·d): what a softmax makes of slopes d for its probabilities."""
    mean = xp.expand(xp.sum(p * d, axis=axis), axis)
    return p * (d - mean) * xp.expand(coefficients, axis)
