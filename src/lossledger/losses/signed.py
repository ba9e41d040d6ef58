# SPDX-License-Identifier: Apache-2.0
"""Hinges of scores z for targets that are signs, or rows of indicators."""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._rows import row_facts, soften
from lossledger.losses.steps import AbstractStep


@dataclass(frozen=True)
class SignedHinge(AbstractLoss):
    """max(0, 1 − y·z)^p for targets −1 and 1; ∂/∂z = −p·y·max(0, 1 − y·z)^(p−1), 0 at the kink.

    `Hinge` and `SquaredHinge` are the same for targets 0 and 1. Other targets y are taken as
    the formula has them.

    Args:
        p: 1 or 2.

    Source: keras.losses.Hinge and keras.losses.SquaredHinge.
    """

    p: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        """Check the power."""
        if self.p not in (1, 2):
            raise DomainError(
                "`p` must be 1 or 2",
                f"Found {self.p!r}",
                "It is a power of the hinge",
                "Pass p=1 for the hinge, p=2 for its square",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(accepts="same", scores="sigmoid", labels=True, source="keras.losses.Hinge")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        return xp.positive(1 - targets * outputs[0]) ** self.p

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·p·y·max(0, 1 − y·z)^(p−1) inside."""
        lack = 1 - targets * outputs[0]
        slope = xp.full_like(lack, 1.0) if self.p == 1 else 2 * lack
        inside = xp.where(lack > 0, slope, xp.full_like(lack, 0.0))
        return (-coefficients * targets * inside,)


@dataclass(frozen=True)
class CategoricalHinge(AbstractLoss):
    """max(0, 1 + max_c (1 − t_c)·z_c − Σ_c t_c·z_c) for rows t of indicators.

    ∂/∂z_c = (1 − t_c)·m_c − t_c where the value is above 0, with m_c = 1 at the maximum
    (shared by what ties there). The label's own (1 − 1)·z = 0 is among the candidates of the
    maximum, so that the margin is never measured to a score below 0: unlike
    `MulticlassHinge`, this is no function of differences of scores.

    Source: keras.losses.CategoricalHinge.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("keras.losses.CategoricalHinge", class_weight_within=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        t, share = self._rows(xp, outputs[0], targets, inputs)
        lead = ((1 - t) * share - t) * outputs[0]
        return xp.positive(1 + xp.sum(lead, axis=inputs.class_axis))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·((1 − t)·m − t) where the value is above 0."""
        t, share = self._rows(xp, outputs[0], targets, inputs)
        slope = (1 - t) * share - t
        lack = 1 + xp.sum(slope * outputs[0], axis=inputs.class_axis)
        inside = xp.where(lack > 0, coefficients, xp.full_like(coefficients, 0.0))
        return (slope * xp.expand(inside, inputs.class_axis),)

    def _rows(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array]:
        """Return t, and the maximum's weight at each class: 1 in all."""
        t, axis = soften(xp, targets, inputs, z, 0.0), inputs.class_axis
        others = (1 - t) * xp.detach(z)
        here = others == xp.expand(xp.max(others, axis=axis), axis)
        weight = xp.astype(here, xp.dtype(z))
        return t, weight / xp.expand(xp.sum(weight, axis=axis), axis)


@dataclass(frozen=True)
class Signs(AbstractStep):
    """Labels 0 and 1 as −1 and 1; labels of which any is neither stay as they are."""

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return 2x − 1 if all numbers are 0 or 1, else x."""
        other = xp.any((x != 0) & (x != 1))
        return xp.where(xp.broadcast_to(other, tuple(x.shape)), x, 2 * x - 1)

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return 2 · slope where numbers were moved."""
        other = xp.any((x != 0) & (x != 1))
        return xp.where(xp.broadcast_to(other, tuple(x.shape)), slope, 2 * slope)
