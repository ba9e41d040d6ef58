# SPDX-License-Identifier: Apache-2.0
"""Losses whose targets are a map of prices, such as distances to a boundary."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_choice
from lossledger.losses._ratio import Kind


@dataclass(frozen=True)
class Boundary(AbstractLoss):
    """φ·p for every element: the probability times the signed distance to the true boundary.

    ∂/∂z = φ·p(1 − p) for a sigmoid, p_c·(φ_c − Σ_k p_k·φ_k) for a softmax; ∂/∂p = φ.
    Linear in p: values may be negative, and the smallest is reached by p = 1 inside.

    Args:
        kind: "sigmoid" or "softmax" of the logits.
        from_logits: False takes probabilities.

    Targets are φ with the axes of the outputs: negative inside the true region, positive
    outside, in any unit of length.

    Source: Kervadec et al. 2019.
    """

    kind: Kind = "sigmoid"
    from_logits: bool = True

    def __post_init__(self) -> None:
        """Check the kind."""
        check_choice("kind", self.kind, ("sigmoid", "softmax"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="logits" if self.from_logits else "probabilities",
            couples=("class",) if self.from_logits and self.kind == "softmax" else (),
            source="Kervadec et al. 2019",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element (of each class)."""
        return targets * self._probabilities(xp, outputs[0], inputs)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·φ through the derivative of the probability."""
        price = coefficients * targets
        if not self.from_logits:
            return (price,)
        p = self._probabilities(xp, outputs[0], inputs)
        if self.kind == "sigmoid":
            return (price * p * (1 - p),)
        axis = inputs.class_axis
        return (p * (price - xp.expand(xp.sum(p * price, axis=axis), axis)),)

    def _probabilities(self, xp: ArrayLibrary, outputs: Array, inputs: Inputs) -> Array:
        if not self.from_logits:
            return outputs
        if self.kind == "sigmoid":
            return xp.sigmoid(outputs)
        return xp.exp(xp.log_softmax(outputs, inputs.class_axis))
