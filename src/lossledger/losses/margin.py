# SPDX-License-Identifier: Apache-2.0
"""Margin losses: hinges, and cross entropy with logits shifted by how frequent a class is.

z is a logit or score, y the target, s = 2y − 1, p a softmax of the (shifted) logits.
"""

import math
from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import (
    check_by_class,
    check_finite,
    check_nonnegative,
    check_positive,
    check_probability,
)
from lossledger.losses._elements import both, both_slope, element_facts
from lossledger.losses._odds import LOWEST, odds, odds_gradient, odds_values
from lossledger.losses._rows import at_labels, by_class, row_facts, row_slopes, row_values
from lossledger.losses.classification import CrossEntropy


@dataclass(frozen=True)
class Hinge(AbstractLoss):
    """Hinge loss: max(0, 1 − s·z), for targets 0 and 1; ∂/∂z = −s where s·z < 1, else 0.

    Args:
        ignore_index: Target value whose elements have no weight.

    Targets are 0 or 1 as in the other binary losses (−1 is refused), soft ones weigh the
    losses of both labels. At the kink s·z = 1 the slope is 0.

    Source: optax.losses.hinge_loss and keras.losses.Hinge, with targets s.
    """

    ignore_index: int | None = None

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("optax.losses.hinge_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return both(outputs[0], (targets, 1 - targets), lambda m: xp.positive(1 - m))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·s where s·z < 1."""
        z = outputs[0]
        parts = (targets, 1 - targets)
        slope = both_slope(z, parts, lambda m: -xp.astype(m < 1, xp.dtype(m)))
        return (coefficients * slope,)


@dataclass(frozen=True)
class SquaredHinge(AbstractLoss):
    """Squared hinge loss: max(0, 1 − s·z)², for targets 0 and 1; ∂/∂z = −2s·max(0, 1 − s·z).

    Args:
        ignore_index: Target value whose elements have no weight.

    Targets as in `Hinge`.

    Source: keras.losses.SquaredHinge, with targets s.
    """

    ignore_index: int | None = None

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("keras.losses.squared_hinge")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return both(outputs[0], (targets, 1 - targets), lambda m: xp.positive(1 - m) ** 2)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −2c·s·max(0, 1 − s·z)."""
        z = outputs[0]
        slope = both_slope(z, (targets, 1 - targets), lambda m: -2 * xp.positive(1 - m))
        return (coefficients * slope,)


@dataclass(frozen=True)
class MulticlassHinge(AbstractLoss):
    """Multiclass hinge loss: max(0, margin + max_{j≠y} z_j − z_y).

    ∂/∂z is −1 at y and 1 at the largest other score where the value is above 0. Other scores
    that tie share the 1 equally; at the kink (a value of just 0) the slope is 0.

    Args:
        margin: By how much the label's score must lead, > 0.
        ignore_index: Label whose elements have no weight.

    Soft rows t give Σ_c t_c·ℓ(z, c).

    Source: optax.losses.multiclass_hinge_loss; Crammer and Singer 2001.
    """

    margin: float = 1.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the range of the margin."""
        check_positive("margin", self.margin)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("optax.losses.multiclass_hinge_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        z = outputs[0]
        lead = z - _rivals(xp, z, inputs.class_axis).scores(z)
        return row_values(xp, lead, targets, inputs, lambda m: xp.positive(self.margin - m))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c at the rivals and −c at the label, where the value is above 0."""
        z = outputs[0]
        rivals = _rivals(xp, z, inputs.class_axis)
        a = row_slopes(
            xp, z - rivals.scores(z), targets, inputs,
            lambda m: -xp.astype(m < self.margin, xp.dtype(m)),
        )  # fmt: skip
        row = a - rivals.pull_back(a)
        return (row * xp.expand(coefficients, inputs.class_axis),)


@dataclass(frozen=True)
class LogitAdjusted(AbstractLoss):
    """Cross entropy of logits adjusted by the classes' frequencies π: CE(z + τ·log π).

    ∂/∂z_c = p_c − t_c, p the softmax of the adjusted logits. Trained so, the plain z is
    balanced: decide by z itself. τ = 1 is the balanced softmax.

    Args:
        prior: π, one positive number a class: shares or counts, only ratios matter.
        tau: τ, the strength; 0 gives the cross entropy.
        label_smoothing: ε in [0, 1]: t becomes (1 − ε)·t + ε/K.
        ignore_index: Label whose elements have no weight.

    Source: Menon et al. 2021, Long-tail learning via logit adjustment; Ren et al. 2020,
    Balanced Meta-Softmax (τ = 1).
    """

    prior: Sequence[float]
    tau: float = 1.0
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Keep the frequencies as numbers, and check the settings."""
        object.__setattr__(self, "prior", tuple(float(p) for p in self.prior))
        check_by_class("prior", self.prior)
        check_finite("tau", self.tau)
        check_probability("label_smoothing", self.label_smoothing)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("Menon et al. 2021, Long-tail learning via logit adjustment")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        inner = CrossEntropy(label_smoothing=self.label_smoothing)
        return inner.values(xp, self._adjusted(xp, outputs[0], inputs), targets, inputs)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(p − t) of the adjusted logits: a shift has the derivative 1."""
        inner = CrossEntropy(label_smoothing=self.label_smoothing)
        adjusted = self._adjusted(xp, outputs[0], inputs)
        return inner.gradient(xp, adjusted, targets, inputs, coefficients)

    def _adjusted(self, xp: ArrayLibrary, z: Array, inputs: Inputs) -> tuple[Array]:
        shift = [self.tau * math.log(p) for p in self.prior]
        return (z + by_class(xp, "prior", shift, z, inputs),)


@dataclass(frozen=True)
class LDAM(AbstractLoss):
    """Label-distribution-aware margins: CE(σ·(z − Δ_y·e_y)), Δ_c = M·(min n/n_c)^(1/4).

    e_y is 1 at the label and 0 elsewhere; ∂/∂z = σ·(p − e_y), p the softmax of those logits.

    Args:
        counts: n, how often each class occurs, > 0.
        max_margin: M, the margin of the rarest class, ≥ 0.
        scale: σ > 0. The paper's logits are cosines, in [−1, 1]; use 1 for plain logits.
        ignore_index: Label whose elements have no weight.

    Soft rows t give Σ_c t_c·ℓ(z, c). The paper adds class weights late in training:
    `class_weight` of a second term.

    Source: Cao et al. 2019, and its code LDAM-DRW.
    """

    counts: Sequence[float]
    max_margin: float = 0.5
    scale: float = 30.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Keep the counts as numbers, and check the settings."""
        object.__setattr__(self, "counts", tuple(float(n) for n in self.counts))
        check_by_class("counts", self.counts)
        check_nonnegative("max_margin", self.max_margin)
        check_positive("scale", self.scale)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("Cao et al. 2019, LDAM")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        shift = self._shift(xp, outputs[0], targets, inputs)
        found = odds(xp, self.scale * outputs[0], targets, inputs)
        return odds_values(xp, found, lambda m: xp.softplus(shift - m))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·σ·(p − e_y)."""
        scaled = self.scale * outputs[0]
        shift = self._shift(xp, scaled, targets, inputs)
        found = odds(xp, scaled, targets, inputs)
        row = odds_gradient(
            xp, scaled, found, lambda m: -xp.sigmoid(shift - m), coefficients * self.scale
        )
        return (row,)

    def _shift(self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs) -> Array:
        """Return σ·Δ of each label, or along the class axis."""
        rarest = min(self.counts)
        margins = [self.scale * self.max_margin * (rarest / n) ** 0.25 for n in self.counts]
        return at_labels(xp, by_class(xp, "counts", margins, z, inputs), targets, inputs)


@dataclass(frozen=True, eq=False)
class _Rivals:
    """The largest other score for every class of a row; scores that tie share its slope.

    Attributes:
        first: Which classes have the row's largest score.
        second: Which have the largest one below it.
        ties: How many have the largest, with a class axis of length 1.
        runners: How many have the second, likewise; 0 if all classes tie, or there is one.
    """

    xp: ArrayLibrary
    axis: int
    first: Array
    second: Array
    ties: Array
    runners: Array

    def scores(self, z: Array) -> Array:
        """Return max_{j≠c} z_j for every c, a mean over the scores that tie."""
        xp, zero = self.xp, self.xp.full_like(z, 0.0)
        total = _total(xp, xp.where(self.first, z, zero), self.axis)
        below = _total(xp, xp.where(self.second, z, zero), self.axis) / _nonzero(xp, self.runners)
        below = xp.where(self.runners == 0, below + LOWEST, below)
        beside = xp.where(self.ties > 1, (total - z) / _nonzero(xp, self.ties - 1), below)
        return xp.where(self.first, beside, total / self.ties)

    def pull_back(self, a: Array) -> Array:
        """Return Σ_c a_c·∂score_c/∂z_j for every j."""
        xp, zero = self.xp, self.xp.full_like(a, 0.0)
        own = xp.where(self.first, a, zero)
        from_first, from_rest = _total(xp, own, self.axis), _total(xp, a - own, self.axis)
        tied = xp.where(self.ties > 1, (from_first - own) / _nonzero(xp, self.ties - 1), zero)
        below = xp.where(self.ties > 1, zero, from_first / _nonzero(xp, self.runners))
        to_first = xp.where(self.first, from_rest / self.ties + tied, zero)
        return to_first + xp.where(self.second, below, zero)


def _rivals(xp: ArrayLibrary, z: Array, axis: int) -> _Rivals:
    scores, dtype = xp.detach(z), xp.dtype(z)
    first = scores == xp.expand(xp.max(scores, axis=axis), axis)
    lower = xp.where(first, xp.full_like(z, LOWEST), scores)
    second = (lower == xp.expand(xp.max(lower, axis=axis), axis)) & ~first
    ties, runners = (_total(xp, xp.astype(x, dtype), axis) for x in (first, second))
    return _Rivals(xp, axis, first, second, ties, runners)


def _total(xp: ArrayLibrary, x: Array, axis: int) -> Array:
    return xp.expand(xp.sum(x, axis=axis), axis)


def _nonzero(xp: ArrayLibrary, count: Array) -> Array:
    return xp.where(count == 0, count + 1, count)
