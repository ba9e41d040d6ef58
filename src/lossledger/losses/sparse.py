# SPDX-License-Identifier: Apache-2.0
"""Sparsemax losses: like cross entropy, with probabilities that reach 0 and 1.

z is a score; values are differences of quadratics, so they are 0 beyond a lead of 1.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._elements import both, both_slope, element_facts
from lossledger.losses._rows import row_facts, soften


@dataclass(frozen=True)
class BinarySparsemax(AbstractLoss):
    """h(−s·z) with s = 2y − 1 and h(x) = (x + 1)²/4 in [−1, 1], 0 below and x above.

    ∂/∂z = −s·h'(−s·z), where h'(x) = (x + 1)/2 moved into [0, 1].

    Targets are 0 or 1; soft ones weigh the losses of both labels.

    Source: optax.losses.sparsemax_loss; Blondel et al. 2020.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return element_facts("optax.losses.sparsemax_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return both(outputs[0], (targets, 1 - targets), lambda m: self._h(xp, -m))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·s·h'(−s·z)."""
        parts = (targets, 1 - targets)
        slope = both_slope(outputs[0], parts, lambda m: -self._slope(xp, -m))
        return (coefficients * slope,)

    def _h(self, xp: ArrayLibrary, x: Array) -> Array:
        inside = (x > -1) & (x < 1)
        safe = xp.where(inside, x, xp.full_like(x, -1.0))
        return xp.where(x >= 1, x, (safe + 1) * (safe + 1) * 0.25)

    def _slope(self, xp: ArrayLibrary, x: Array) -> Array:
        half = (x + 1) * 0.5
        top = xp.where(x >= 1, xp.full_like(x, 1.0), half)
        return xp.where(x <= -1, xp.full_like(x, 0.0), top)


@dataclass(frozen=True)
class Sparsemax(AbstractLoss):
    """⟨p, z⟩ − |p|²/2 − ⟨t, z⟩ + |t|²/2 with p = sparsemax(z), the nearest point of the simplex.

    ∂/∂z = p − t.

    Args:
        ignore_index: Label whose elements have no weight.

    Targets t are indices, one-hot or soft rows; class weights weigh rows by their most
    likely class.

    Source: optax.losses.multiclass_sparsemax_loss; Martins and Astudillo 2016.
    """

    ignore_index: int | None = None

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("optax.losses.multiclass_sparsemax_loss", class_weight_within=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row; p is held, as it is the largest of ⟨p, z⟩ − |p|²/2."""
        z, axis = outputs[0], inputs.class_axis
        p, t = self._pair(xp, z, targets, inputs)
        # p and t sum to 1: what is taken off every score changes nothing, and keeps digits.
        scores = z - xp.expand(xp.max(xp.detach(z), axis=axis), axis)
        zero = xp.full_like(z, 0.0)
        moved = xp.where(p != t, (p - t) * xp.where(p != t, scores, zero), zero)
        return xp.sum(moved - 0.5 * (p * p - t * t), axis=axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(p − t)."""
        p, t = self._pair(xp, outputs[0], targets, inputs)
        return ((p - t) * xp.expand(coefficients, inputs.class_axis),)

    def _pair(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array]:
        p = sparsemax(xp, xp.detach(z), inputs.class_axis)
        return p, soften(xp, targets, inputs, p, 0.0)


def sparsemax(xp: ArrayLibrary, z: Array, axis: int) -> Array:
    """Return max(z − τ, 0) along an axis, with τ such that it sums to 1; no gradient."""
    rank, n = len(z.shape), z.shape[axis]
    last = tuple(i for i in range(rank) if i != axis)
    rows = xp.permute(z, (*last, axis))
    rows = rows - xp.expand(xp.max(rows, axis=rank - 1), rank - 1)
    ordered = xp.take_along(rows, xp.sort_order(rows), rank - 1)
    count = xp.astype(xp.arange(n, rows), xp.dtype(rows)) + 1
    # τ is (sum of the k largest − 1)/k for the k that makes it largest.
    tau = xp.max((xp.cumsum(ordered, rank - 1) - 1) / count, axis=rank - 1)
    p = xp.positive(rows - xp.expand(tau, rank - 1))
    back = (*range(axis), rank - 1, *range(axis, rank - 1))
    return xp.permute(p, back)
