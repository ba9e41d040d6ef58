# SPDX-License-Identifier: Apache-2.0
"""Losses of differences between the elements of a sample, inner products, and plain values."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Names
from lossledger.frames import parse_axes
from lossledger.losses._base import AbstractLoss, Facts, Inputs


@dataclass(frozen=True)
class PairwiseSquaredError(AbstractLoss):
    """Mean of (e_i − e_j)² over the ordered pairs i ≠ j of a sample's n errors e = output − target.

    ∂/∂output_i = 4·(n·e_i − Σe)/(n·(n − 1)). An error that all elements share costs nothing.
    A sample of one element has the value 0.

    Args:
        within: Axes of a sample's elements, which the values lose.

    Source: tf.compat.v1.losses.mean_pairwise_squared_error.
    """

    within: Names

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "tf.compat.v1.losses.mean_pairwise_squared_error"
        return Facts(accepts="same", removes=parse_axes(self.within, "within"), source=source)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value a sample."""
        places, n = self._places(inputs)
        e = outputs[0] - targets
        mean = self._spread(xp, xp.sum(e, axis=places) / n, inputs)
        return xp.sum((e - mean) ** 2, axis=places) * (2 / max(n - 1, 1))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·4·(e − mean e)/(n − 1)."""
        places, n = self._places(inputs)
        e = outputs[0] - targets
        mean = self._spread(xp, xp.sum(e, axis=places) / n, inputs)
        outer = self._spread(xp, coefficients, inputs)
        return (outer * (e - mean) * (4 / max(n - 1, 1)),)

    def _places(self, inputs: Inputs) -> tuple[tuple[int, ...], int]:
        within = parse_axes(self.within, "within")
        places = tuple(i for i, a in enumerate(inputs.frame.axes) if a in within)
        return places, inputs.frame.only(within).size

    def _spread(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        for place in self._places(inputs)[0]:
            x = xp.expand(x, place)
        return x


@dataclass(frozen=True)
class InnerProduct(AbstractLoss):
    """b − ⟨output, target⟩ along an axis; ∂/∂output = −target.

    The cosine distance of vectors that have length 1 already: nothing is normalized.

    Args:
        axis: Name of the axis of the vectors, which the values lose.
        offset: b.

    Source: tf.compat.v1.losses.cosine_distance.
    """

    axis: str = "class"
    offset: float = 1.0

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "tf.compat.v1.losses.cosine_distance"
        return Facts(accepts="same", removes=(self.axis,), source=source)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per pair of vectors."""
        place = inputs.frame.axes.index(self.axis)
        return self.offset - xp.sum(outputs[0] * targets, axis=place)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·target."""
        place = inputs.frame.axes.index(self.axis)
        return (-xp.expand(coefficients, place) * targets,)


@dataclass(frozen=True)
class Values(AbstractLoss):
    """The outputs themselves, which are losses already; ∂/∂output = 1.

    Source: tf.compat.v1.losses.compute_weighted_loss.
    """

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(accepts="none", source="tf.compat.v1.losses.compute_weighted_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return the outputs."""
        return outputs[0]

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c."""
        return (xp.full_like(outputs[0], 0.0) + coefficients,)
