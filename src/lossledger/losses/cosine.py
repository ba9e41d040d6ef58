# SPDX-License-Identifier: Apache-2.0
"""The angle between an output vector and its target vector."""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_choice, check_nonnegative
from lossledger.losses._vectors import norm, unit, unit_back

Form = Literal["distance", "similarity", "negative"]


@dataclass(frozen=True)
class CosineSimilarity(AbstractLoss):
    """1 − cos(output, target) of two vectors, or cos, or −cos.

    With u = x/max(‖x‖, floor) for either vector, cos = ⟨u, u_t⟩; ∂cos/∂output is
    (u_t − cos·u)/‖output‖, and u_t/floor for an output shorter than the floor.

    Args:
        form: "distance" 1 − cos, "similarity" cos, or "negative" −cos.
        floor: Least number that a vector is divided by. optax' `epsilon` is its square,
            Keras' the floor itself (1e-7).
        axis: Name of the axis that the vectors run along, which the values lose.

    Without a floor the cosine of a zero vector is 0, with no gradient.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> loss = ll.losses.CosineSimilarity(axis="feature")
        >>> objective = ll.Objective(ll.Term("y", loss, axes="batch feature"))
        >>> float(objective.loss(np.array([[2.0, 0.0]]), np.array([[0.0, 3.0]])))
        1.0

    Source: optax.losses.cosine_distance; keras.losses.CosineSimilarity ("negative").
    """

    form: Form = "distance"
    floor: float = 0.0
    axis: str = "class"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice("form", self.form, ("distance", "similarity", "negative"))
        check_nonnegative("floor", self.floor)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(accepts="same", removes=(self.axis,), source="optax.losses.cosine_distance")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per pair of vectors."""
        axis = inputs.frame.axes.index(self.axis)
        a, b = (direction(xp, x, axis, self.floor) for x in (outputs[0], targets))
        cosine = xp.sum(a * b, axis=axis)
        if self.form == "distance":
            return 1 - cosine
        return cosine if self.form == "similarity" else -cosine

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return ±c·∂cos."""
        axis = inputs.frame.axes.index(self.axis)
        signed = coefficients if self.form == "similarity" else -coefficients
        slope = xp.expand(signed, axis) * direction(xp, targets, axis, self.floor)
        return (direction_back(xp, outputs[0], slope, axis, self.floor),)


def direction(xp: ArrayLibrary, x: Array, axis: int, floor: float) -> Array:
    """Return x/max(‖x‖, floor), and 0 for the zero vector."""
    u = unit(xp, x, axis)
    return xp.where(_short(xp, x, axis, floor), x / floor, u) if floor else u


def direction_back(xp: ArrayLibrary, x: Array, slopes: Array, axis: int, floor: float) -> Array:
    """Return the derivative for x of Σ slope · direction(x)."""
    found = unit_back(xp, x, slopes, axis)
    return xp.where(_short(xp, x, axis, floor), slopes / floor, found) if floor else found


def _short(xp: ArrayLibrary, x: Array, axis: int, floor: float) -> Array:
    return xp.expand(norm(xp, xp.detach(x), axis), axis) < floor
