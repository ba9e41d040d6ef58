# SPDX-License-Identifier: Apache-2.0
"""Perceptrons: the score of the label against 0, or against the best score, plus a margin.

z is a score, y the target. At a kink an autodiff library takes a mean of the slopes on both
sides, and so do these: all scores start out equal where a layer starts out as zero.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative, check_probability
from lossledger.losses._hinges import hinge, hinge_slope
from lossledger.losses._rows import indicators, row_facts


@dataclass(frozen=True)
class Perceptron(AbstractLoss):
    """max(0, margin − y·z), for targets −1 and 1.

    ∂/∂z = −y where the value is above 0, and −y·kink at margin = y·z.

    Args:
        margin: How far on its side a score has to be; 1 is the hinge loss.
        kink: Share of the slope at the kink, in [0, 1]: 1/2 in JAX, 0 in torch's clamp.

    Source: optax.losses.perceptron_loss; with a margin of 1 optax.losses.hinge_loss.
    """

    margin: float = 0.0
    kink: float = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("margin", self.margin)
        check_probability("kink", self.kink)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(accepts="same", targets="sign", source="optax.losses.perceptron_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        m = self.margin - outputs[0] * targets
        return hinge(xp, m, self.kink)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·y where the value is above 0."""
        m = self.margin - outputs[0] * targets
        return (-coefficients * targets * hinge_slope(xp, m, self.kink),)


@dataclass(frozen=True)
class MulticlassPerceptron(AbstractLoss):
    """max_j (z_j + margin·1[j ≠ y]) − z_y, for class indices y.

    ∂/∂z_j = s_j − 1[j = y], with s the indicator of the largest, shared equally by all that
    tie, the label's own among them.

    Args:
        margin: By how much the label's score must lead; 1 is the multiclass hinge loss.
        ignore_index: Label whose elements have no weight.

    Source: optax.losses.multiclass_perceptron_loss; Collins 2002.
    """

    margin: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the range of the margin."""
        check_nonnegative("margin", self.margin)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("optax.losses.multiclass_perceptron_loss", class_weight_within=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        label, raised, share = self._pieces(xp, outputs[0], targets, inputs)
        zero = xp.full_like(raised, 0.0)
        best = xp.where(share > 0, raised * share, zero)
        return xp.sum(best - xp.where(label, outputs[0], zero), axis=inputs.class_axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(s − 1[j = y])."""
        label, _, share = self._pieces(xp, outputs[0], targets, inputs)
        row = share - xp.astype(label, xp.dtype(share))
        return (row * xp.expand(coefficients, inputs.class_axis),)

    def _pieces(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array, Array]:
        """Return where the label is, scores with the margin, and the shares of the largest."""
        if inputs.form != "index":
            raise MatchError(
                "MulticlassPerceptron needs class indices as targets",
                "Found one number a class",
                "Labels were one-hot encoded, or smoothed",
                "Pass the labels themselves, as integers without the class axis",
            )
        axis, dtype = inputs.class_axis, xp.dtype(z)
        label = indicators(xp, targets, z.shape[axis], axis, dtype) != 0
        raised = xp.where(label, z, z + self.margin)
        scores = xp.detach(raised)
        first = scores == xp.expand(xp.max(scores, axis=axis), axis)
        share = xp.astype(first, dtype)
        return label, raised, share / xp.expand(xp.sum(share, axis=axis), axis)
