# SPDX-License-Identifier: Apache-2.0
"""Contrasts by labels or by triplets, with distances that are smooth where vectors are equal."""

import math
from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, MatchError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative, check_positive, check_probability
from lossledger.losses._hinges import hinge, hinge_slope
from lossledger.losses._odds import LOWEST
from lossledger.losses.cosine import direction, direction_back


@dataclass(frozen=True)
class NTXent(AbstractLoss):
    """(B/M)·Σ_j log(1 + Σ_k exp(s_ik − s_ij)), s the cosines over a temperature.

    j runs over the other samples with the label of i, k over those with another one; B is the
    number of samples and M that of pairs (i, j), so that a mean over samples is one over
    pairs. ∂/∂s_ij = −σ(L_i − s_ij) and ∂/∂s_ik = Σ_j σ(L_i − s_ij)·exp(s_ik − L_i), times
    B/M, with L_i = log Σ_k exp s_ik.

    Args:
        temperature: Divisor of the cosines.
        floor: As in `CosineSimilarity`.

    Outputs have the axes `batch feature`, targets are labels along `batch`. Samples with mask
    or weight 0 are left out. Without any pair the value is 0.

    Source: optax.losses.ntxent; Chen et al. 2020 (SimCLR).
    """

    temperature: float = 0.07
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("temperature", self.temperature)
        check_nonnegative("floor", self.floor)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="rows",
            removes=("feature",),
            lacks=("feature",),
            candidates=True,
            source="optax.losses.ntxent",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per sample."""
        scores = self._scores(xp, outputs[0], inputs)
        same, other, scale = _pairs(xp, targets, inputs)
        lowest = xp.full_like(scores, LOWEST)
        total = xp.logsumexp(xp.where(other, scores, lowest), 1)
        apart = xp.softplus(xp.expand(total, 1) - scores)
        return scale * xp.sum(xp.where(same, apart, xp.full_like(scores, 0.0)), axis=1)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return the slopes of the scores, through the cosines."""
        x = outputs[0]
        scores = self._scores(xp, x, inputs)
        same, other, scale = _pairs(xp, targets, inputs)
        zero, lowest = xp.full_like(scores, 0.0), xp.full_like(scores, LOWEST)
        inside = xp.where(other, scores, lowest)
        total = xp.expand(xp.logsumexp(inside, 1), 1)
        wrong = xp.where(same, xp.sigmoid(total - scores), zero)
        share = xp.where(other, xp.exp(inside - total), zero)
        slope = share * xp.expand(xp.sum(wrong, axis=1), 1) - wrong
        slope = slope * xp.expand(scale * coefficients, 1) / self.temperature
        u = direction(xp, x, 1, self.floor)
        back = xp.matmul(slope + xp.permute(slope, (1, 0)), u)
        return (direction_back(xp, x, back, 1, self.floor),)

    def _scores(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        if inputs.frame.axes != ("batch", "feature"):
            raise MatchError(
                "NTXent compares the samples of a batch of vectors: axes='batch feature'",
                f"Found the axes {' '.join(inputs.frame.axes)}",
                "The vectors were not pooled yet, or their axis has another name",
                "Pass one vector a sample, or flatten the other axes into `batch`",
            )
        u = direction(xp, x, 1, self.floor)
        return xp.matmul(u, xp.permute(u, (1, 0))) / self.temperature


@dataclass(frozen=True)
class SmoothTriplet(AbstractLoss):
    """max(0, d(a, p) − d(a, n) + margin) with d(a, b) = (Σ(a − b)^power + ε)^(1/power).

    Reads (anchor, positive, negative); ∂d/∂a = ((a − b)/d)^(power − 1), which is 0 at a = b.

    Args:
        margin: How much farther the negative has to be.
        power: Even, at least 2.
        epsilon: ε, added under the root.
        kink: Share of the slope where the value is just 0.

    Outputs have an axis `feature`, which the values lose.

    Source: optax.losses.triplet_margin_loss.
    """

    margin: float = 1.0
    power: float = 2.0
    epsilon: float = 1e-6
    kink: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("margin", self.margin)
        check_nonnegative("epsilon", self.epsilon)
        check_probability("kink", self.kink)
        if not (self.power >= 2 and math.fmod(self.power, 2) == 0):
            raise DomainError(
                "`power` must be an even number",
                f"Found {self.power!r}",
                "Other powers keep the signs of differences, or have none for negative ones",
                "Pass 2, or use TripletMargin, which has any norm",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="none",
            removes=("feature",),
            reads=3,
            source="optax.losses.triplet_margin_loss",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per triplet."""
        axis = inputs.frame.axes.index("feature")
        a, p, n = outputs
        m = self._distance(xp, a - p, axis) - self._distance(xp, a - n, axis) + self.margin
        return hinge(xp, m, self.kink)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(∂d(a, p) − ∂d(a, n)) where the value is above 0."""
        axis = inputs.frame.axes.index("feature")
        a, p, n = outputs
        near, far = (self._distance(xp, x, axis) for x in (a - p, a - n))
        held = coefficients * hinge_slope(xp, near - far + self.margin, self.kink)
        toward, away = (
            self._slope(xp, x, xp.expand(d, axis)) * xp.expand(held, axis)
            for x, d in ((a - p, near), (a - n, far))
        )
        return toward - away, -toward, away

    def _distance(self, xp: ArrayLibrary, x: Array, axis: int) -> Array:
        power = xp.sum(x**self.power, axis=axis) + self.epsilon
        zero = power == 0
        root = xp.where(zero, xp.full_like(power, 1.0), power) ** (1 / self.power)
        return xp.where(zero, xp.full_like(power, 0.0), root)

    def _slope(self, xp: ArrayLibrary, x: Array, distance: Array) -> Array:
        safe = xp.where(distance == 0, xp.full_like(distance, 1.0), distance)
        return (x / safe) ** (self.power - 1)


def _pairs(xp: ArrayLibrary, labels: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
    """Return which pairs have one label (not i = i) and which have two, and B/M."""
    equal = xp.expand(labels, 0) == xp.expand(labels, 1)
    place = xp.arange(equal.shape[0], equal)
    same = equal & (xp.expand(place, 0) != xp.expand(place, 1))
    other = ~equal
    dtype = xp.dtype(labels)
    count = xp.sum(xp.full_like(labels, 1.0))
    if inputs.alive is not None:
        alive = xp.broadcast_to(inputs.alive, tuple(labels.shape))
        here = xp.expand(alive, 0) & xp.expand(alive, 1)
        same, other = same & here, other & here
        count = xp.sum(xp.astype(alive, dtype))
    pairs = xp.sum(xp.astype(same, dtype))
    some = xp.where(pairs == 0, xp.full_like(pairs, 1.0), pairs)
    return same, other, count / some
