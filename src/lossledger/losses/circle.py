# SPDX-License-Identifier: Apache-2.0
"""A loss of all pairs of a labeled batch of embeddings."""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_choice, check_finite, check_positive
from lossledger.losses._odds import LOWEST


@dataclass(frozen=True)
class Circle(AbstractLoss):
    """log(1 + Σ_n exp(B_n)·Σ_p exp(A_p)) over the pairs of a sample with distances d = 1 − ⟨x, x'⟩.

    Positives p have the sample's label: A = γ·[m + d]₊·(d − m); negatives n another one:
    B = γ·[1 + m − d]₊·(1 − m − d). ∂A/∂d = 2γ·d and ∂B/∂d = 2γ·(d − 1) inside the brackets;
    distances below 0 count as 0 and have no slope. Outputs are directions: nothing normalizes
    them here.

    Args:
        gamma: γ > 0, the scale.
        margin: m, the relaxation.
        remove_diagonal: Whether a sample is no positive of itself.
        bystanders: Whether samples without weight still are others' positives and negatives.
        alone: What a sample without positives or without negatives is: "zero" gives it the
            value 0, "skip", which needs bystanders, leaves it out of every mean.

    Reads an axis `feature`, which values and targets do not have. A part of a batch has fewer
    pairs: exactness "candidates".

    Source: keras.losses.Circle; Sun et al. 2020.
    """

    gamma: float = 80.0
    margin: float = 0.4
    remove_diagonal: bool = True
    bystanders: bool = False
    alone: Literal["zero", "skip"] = "zero"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("gamma", self.gamma)
        check_finite("margin", self.margin)
        check_choice("alone", self.alone, ("zero", "skip") if self.bystanders else ("zero",))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="rows",
            removes=("feature",),
            lacks=("feature",),
            couples=("batch",) if self.bystanders else (),
            candidates=True,
            source="keras.losses.Circle",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per sample."""
        _check_axes(inputs)
        positive, negative = self._pairs(xp, targets, inputs.alive)
        a, b = self._scores(xp, outputs[0])
        total = _logsumexp(xp, a, positive) + _logsumexp(xp, b, negative)
        some = _both(xp, positive, negative)
        return xp.where(some, xp.softplus(total), xp.full_like(total, 0.0))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return Σ c·σ·(softmax(A)·∂A + softmax(B)·∂B) through the distances."""
        _check_axes(inputs)
        x = outputs[0]
        positive, negative = self._pairs(xp, targets, inputs.alive)
        a, b = self._scores(xp, x)
        above, below = _logsumexp(xp, a, positive), _logsumexp(xp, b, negative)
        outer = coefficients * xp.sigmoid(above + below)
        outer = xp.where(_both(xp, positive, negative), outer, xp.full_like(outer, 0.0))
        d, live = self._distances(xp, x)
        zero = xp.full_like(d, 0.0)
        on_a = xp.where(self.margin + d > 0, 2 * self.gamma * d, zero)
        on_b = xp.where(1 + self.margin - d > 0, 2 * self.gamma * (d - 1), zero)
        slope = _share(xp, a, above, positive) * on_a + _share(xp, b, below, negative) * on_b
        slope = xp.where(live, -slope * xp.expand(outer, 1), zero)
        return (xp.matmul(slope + xp.permute(slope, (1, 0)), x),)

    def present(self, xp: ArrayLibrary, targets: Array) -> Array | None:
        """Return which samples have both a positive and a negative, if only these count."""
        if self.alone == "zero":
            return None
        return _both(xp, *self._pairs(xp, targets, None))

    def _pairs(self, xp: ArrayLibrary, labels: Array, alive: Array | None) -> tuple[Array, Array]:
        """Return which samples (columns) are positives and negatives of each (rows)."""
        same = xp.expand(labels, 0) == xp.expand(labels, 1)
        positive, negative = same, ~same
        if self.remove_diagonal:
            place = xp.arange(labels.shape[0], labels)
            positive = same & (xp.expand(place, 0) != xp.expand(place, 1))
        if alive is None:
            return positive, negative
        here = xp.expand(alive, 0)
        return positive & here, negative & here

    def _scores(self, xp: ArrayLibrary, x: Array) -> tuple[Array, Array]:
        d, _ = self._distances(xp, x)
        a = self.gamma * xp.positive(self.margin + d) * (d - self.margin)
        return a, self.gamma * xp.positive(1 + self.margin - d) * (1 - self.margin - d)

    def _distances(self, xp: ArrayLibrary, x: Array) -> tuple[Array, Array]:
        """Return distances, and where they have a slope."""
        d = 1 - xp.matmul(x, xp.permute(x, (1, 0)))
        return xp.positive(d), d > 0


def _check_axes(inputs: Inputs) -> None:
    if inputs.frame.axes != ("batch", "feature"):
        raise MatchError(
            "Circle compares the samples of a batch of vectors: axes='batch feature'",
            f"Found the axes {' '.join(inputs.frame.axes)}",
            "The vectors were not pooled yet, or their axis has another name",
            "Pass one vector a sample, or flatten the other axes into `batch`",
        )


def _both(xp: ArrayLibrary, positive: Array, negative: Array) -> Array:
    return xp.any(positive, axis=1) & xp.any(negative, axis=1)


def _logsumexp(xp: ArrayLibrary, scores: Array, here: Array) -> Array:
    """Return the log of the sum of exp over the pairs of a kind; hugely negative without one."""
    return xp.logsumexp(xp.where(here, scores, xp.full_like(scores, LOWEST)), 1)


def _share(xp: ArrayLibrary, scores: Array, total: Array, here: Array) -> Array:
    """Return the softmax over the pairs of a kind, 0 for the others."""
    off = xp.where(here, scores - xp.expand(total, 1), xp.full_like(scores, LOWEST))
    return xp.exp(off)
