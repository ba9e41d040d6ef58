# SPDX-License-Identifier: Apache-2.0
"""Losses that compare outputs with each other: distances, similarities, preferences.

A zero vector has no direction: its cosine with anything is 0, and it gets no gradient.
"""

import math
from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, MatchError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative, check_positive, check_probability
from lossledger.losses._hinges import hinge, hinge_slope
from lossledger.losses._rows import pick
from lossledger.losses._vectors import norm, norm_slope, unit, unit_back


@dataclass(frozen=True)
class InfoNCE(AbstractLoss):
    """−log softmax_j(s_ij) at j = i, with s_ij = ⟨q_i, k_j⟩/temperature.

    Reads (queries, keys) with the axes `batch feature`; query i belongs to key i, and the
    other keys of the batch are its negatives. ∂/∂s_ij = p_ij − 1[i = j].

    Args:
        temperature: Divisor of the similarities. For one that is learned, scale the queries
            by its inverse and switch `normalize` off.
        symmetric: Mean of that and the same for each key among the queries (CLIP).
        normalize: Compare directions (cosines); False takes dot products as they are.

    Samples with mask or weight 0 are neither rows nor negatives. A part of a batch has
    fewer negatives, so the loss means something else in parts: exactness "candidates".

    Source: van den Oord et al. 2018; symmetric: Radford et al. 2021 (CLIP).
    """

    temperature: float = 0.07
    symmetric: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        """Check the range of the temperature."""
        check_positive("temperature", self.temperature)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="none",
            removes=("feature",),
            reads=2,
            candidates=True,
            source="van den Oord et al. 2018",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per sample."""
        scores = self._scores(xp, outputs, inputs)
        place = xp.arange(scores.shape[0], scores)
        value = -pick(xp, xp.log_softmax(scores, 1), place, 1)
        if not self.symmetric:
            return value
        return 0.5 * (value - pick(xp, xp.log_softmax(scores, 0), place, 0))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return Σ c·(p − 1[i = j])/temperature through the similarities."""
        scores = self._scores(xp, outputs, inputs)
        same = xp.astype(_diagonal(xp, scores), xp.dtype(scores))
        by_row = xp.expand(coefficients, 1)
        slope = by_row * (xp.exp(xp.log_softmax(scores, 1)) - same)
        if self.symmetric:
            by_column = xp.expand(coefficients, 0)
            slope = 0.5 * (slope + by_column * (xp.exp(xp.log_softmax(scores, 0)) - same))
        slope = slope / self.temperature
        queries, keys = self._directions(xp, outputs)
        found = xp.matmul(slope, keys), xp.matmul(xp.permute(slope, (1, 0)), queries)
        if not self.normalize:
            return found
        pairs = zip(outputs, found, strict=True)
        return tuple(unit_back(xp, x, g, 1) for x, g in pairs)

    def _directions(self, xp: ArrayLibrary, outputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(unit(xp, x, 1) for x in outputs) if self.normalize else outputs

    def _scores(self, xp: ArrayLibrary, outputs: tuple[Array, ...], inputs: Inputs) -> Array:
        """Return similarities of queries (rows) and keys, −inf where one has no weight."""
        if inputs.frame.axes != ("batch", "feature"):
            raise MatchError(
                "InfoNCE compares the samples of a batch of vectors: axes='batch feature'",
                f"Found the axes {' '.join(inputs.frame.axes)}",
                "The vectors were not pooled yet, or their axis has another name",
                "Pass one vector a sample, or flatten the other axes into `batch`",
            )
        queries, keys = self._directions(xp, outputs)
        scores = xp.matmul(queries, xp.permute(keys, (1, 0))) / self.temperature
        if inputs.alive is None:
            return scores
        # A pair without weight keeps its own place, so that its value stays finite.
        here = xp.expand(inputs.alive, 0) & xp.expand(inputs.alive, 1)
        nothing = xp.zeros(tuple(scores.shape), xp.dtype(scores), scores) - math.inf
        return xp.where(here | _diagonal(xp, scores), scores, nothing)


@dataclass(frozen=True)
class TripletMargin(AbstractLoss):
    """max(0, ‖a − p‖ − ‖a − n‖ + margin); reads (anchor, positive, negative).

    The derivative is that of the distances where the value is above 0, and 0 at the kink;
    the derivative of a distance of 0 is 0.

    Args:
        margin: How much farther the negative has to be.
        p: Power of the norm, at least 1; infinity for the largest difference.
        swap: Use ‖p − n‖ where it is smaller than ‖a − n‖.
        epsilon: Added to each difference inside the norms, as torch does with 1e-6.
        kink: Share of the slope at the kink; torch has 1.

    Outputs have an axis `feature`, which the values lose. Distances that `swap` finds equal
    share the slope.

    Source: torch.nn.functional.triplet_margin_loss; swap: Balntas et al. 2016.
    """

    margin: float = 1.0
    p: float = 2.0
    swap: bool = False
    epsilon: float = 0.0
    kink: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("margin", self.margin)
        check_nonnegative("epsilon", self.epsilon)
        check_probability("kink", self.kink)
        if not self.p >= 1:
            raise DomainError(
                "`p` must be at least 1",
                f"Found {self.p!r}",
                "Below 1 it is no norm",
                "Pass p=2 for the Euclidean distance",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="none",
            removes=("feature",),
            reads=3,
            source="torch.nn.functional.triplet_margin_loss",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per triplet."""
        near, far, other = self._distances(xp, outputs, inputs)
        if self.swap:
            far = _smaller(xp, far, other)
        return hinge(xp, near - far + self.margin, self.kink)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(∂‖a − p‖ − ∂‖a − n‖) where the value is above 0."""
        axis = inputs.frame.axes.index("feature")
        near, far, other = self._distances(xp, outputs, inputs)
        swapped = self._swapped(xp, far, other)
        active = near - _smaller(xp, far, other) + self.margin
        active = coefficients * hinge_slope(xp, active, self.kink)
        ap, an, pn = (
            norm_slope(xp, d, axis, self.p) * xp.expand(active, axis)
            for d in self._differences(outputs)
        )
        swapped = xp.expand(swapped, axis)
        an, pn = (1 - swapped) * an, swapped * pn
        return ap - an, -ap - pn, an + pn

    def _swapped(self, xp: ArrayLibrary, far: Array, other: Array) -> Array:
        """Return the share of the slope that ‖p − n‖ takes: 0, 1, or 1/2 of a tie."""
        none = xp.full_like(far, 0)
        if not self.swap:
            return none
        return xp.where(other < far, none + 1, xp.where(other == far, none + 0.5, none))

    def _differences(self, outputs: tuple[Array, ...]) -> tuple[Array, ...]:
        a, p, n = outputs
        return a - p + self.epsilon, a - n + self.epsilon, p - n + self.epsilon

    def _distances(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], inputs: Inputs
    ) -> tuple[Array, ...]:
        """Return ‖a − p‖, ‖a − n‖ and ‖p − n‖ (used with `swap` alone)."""
        axis = inputs.frame.axes.index("feature")
        ap, an, pn = self._differences(outputs)
        near, far = norm(xp, ap, axis, self.p), norm(xp, an, axis, self.p)
        return near, far, norm(xp, pn, axis, self.p) if self.swap else far


@dataclass(frozen=True)
class PairwiseLogistic(AbstractLoss):
    """log(1 + exp(−(a − b))); reads the scores (of the preferred a, of the other b).

    ∂/∂a = −σ(b − a), ∂/∂b = σ(b − a).

    Source: Burges et al. 2005 (RankNet); Bradley and Terry 1952.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(accepts="none", reads=2, source="Burges et al. 2005")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per pair."""
        preferred, other = outputs
        return xp.softplus(other - preferred)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·σ(b − a) and c·σ(b − a)."""
        preferred, other = outputs
        slope = coefficients * xp.sigmoid(other - preferred)
        return -slope, slope


@dataclass(frozen=True)
class CosineEmbedding(AbstractLoss):
    """1 − cos(a, b) for a target of 1, max(0, cos(a, b) − margin) for a target of −1.

    Reads two outputs with an axis `feature`, which values and targets do not have.
    ∂cos/∂a = (u_b − cos·u_a)/‖a‖ with u = x/‖x‖; 0 at the kink cos = margin.

    Args:
        margin: Cosine below which a pair of target −1 costs nothing, in [−1, 1].
        epsilon: Added to squared norms, as torch does with 1e-12. With it, a zero vector
            has a (steep) slope.
        kink: Share of the slope at the kink; torch has 1.

    Source: torch.nn.functional.cosine_embedding_loss.
    """

    margin: float = 0.0
    epsilon: float = 0.0
    kink: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("epsilon", self.epsilon)
        check_probability("kink", self.kink)
        if not -1 <= self.margin <= 1:
            raise DomainError(
                "`margin` must be a cosine, from −1 to 1",
                f"Found {self.margin!r}",
                "It was meant as a distance",
                "Pass a margin from 0 to 0.5, as is usual",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="rows",
            targets="sign",
            removes=("feature",),
            lacks=("feature",),
            reads=2,
            source="torch.nn.functional.cosine_embedding_loss",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per pair."""
        axis = inputs.frame.axes.index("feature")
        a, b = (unit(xp, x, axis, self.epsilon) for x in outputs)
        cosine = xp.sum(a * b, axis=axis)
        apart = hinge(xp, cosine - self.margin, self.kink)
        return xp.where(targets > 0, 1 - cosine, apart)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return ∓c·∂cos, 0 where a target of −1 costs nothing."""
        axis = inputs.frame.axes.index("feature")
        a, b = (unit(xp, x, axis, self.epsilon) for x in outputs)
        costs = xp.sum(a * b, axis=axis) - self.margin
        apart = coefficients * hinge_slope(xp, costs, self.kink)
        slope = xp.expand(xp.where(targets > 0, -coefficients, apart), axis)
        pairs = zip(outputs, (b, a), strict=True)
        return tuple(unit_back(xp, x, slope * other, axis, self.epsilon) for x, other in pairs)


def _smaller(xp: ArrayLibrary, far: Array, other: Array) -> Array:
    """Return the smaller distance, the mean of two that tie."""
    return xp.where(other < far, other, xp.where(other == far, 0.5 * (far + other), far))


def _diagonal(xp: ArrayLibrary, square: Array) -> Array:
    place = xp.arange(square.shape[0], square)
    return xp.expand(place, 0) == xp.expand(place, 1)
