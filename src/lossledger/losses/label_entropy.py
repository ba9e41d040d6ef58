# SPDX-License-Identifier: Apache-2.0
"""Cross entropy whose values are those that a library sorts: weighted, 0 where ignored."""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_probability
from lossledger.losses._rows import indicators, row_gradient, row_values


@dataclass(frozen=True)
class LabelCrossEntropy(AbstractLoss):
    """Cross entropy of labels with weights inside its values: −Σ_c t_c·w_c·log p_c.

    ∂/∂z_c = p_c·Σ_k t_k·w_k − t_c·w_c, with t the label's indicators, moved by ε toward 1/K.
    An ignored label has the value 0 and counts as an element: what sorts values (the mean of
    the worst share) sees w·v, where `CrossEntropy` has v and the weight w beside it.

    Args:
        weights: w_c, one a class; None for ones.
        ignored_label: Label whose values are 0.
        label_smoothing: ε in [0, 1].

    Targets are labels, as numbers without the class axis.

    Source: torch.nn.functional.cross_entropy with reduction="none"; nnU-Net's TopKLoss.
    """

    weights: Sequence[float] | None = None
    ignored_label: int = -100
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the range of the smoothing."""
        check_probability("label_smoothing", self.label_smoothing)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="rows",
            outputs="logits",
            removes=("class",),
            lacks=("class",),
            couples=("class",),
            source="torch.nn.functional.cross_entropy",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        log_p, soft, counted, inner = self._rows(xp, outputs[0], targets, inputs)
        found = row_values(xp, log_p, soft, inner, lambda x: -x, self.label_smoothing)
        return xp.where(counted, found, xp.full_like(found, 0.0))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(p·Σ t·w − t·w), 0 where the label is ignored."""
        log_p, soft, counted, inner = self._rows(xp, outputs[0], targets, inputs)
        outer = xp.where(counted, coefficients + 0 * targets, 0 * targets)
        slope = row_gradient(
            xp, log_p, soft, inner, lambda x: x * 0 - 1, outer, self.label_smoothing
        )
        return (slope,)

    def _rows(
        self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs
    ) -> tuple[Array, Array, Array, Inputs]:
        axis, dtype = inputs.class_axis, xp.dtype(z)
        counted = targets != self.ignored_label
        index = xp.astype(xp.where(counted, targets, xp.full_like(targets, 0.0)), xp.counter(z))
        weight = None if self.weights is None else xp.asarray(list(self.weights), dtype, z)
        inner = replace(inputs, form="dense", class_weight=weight)
        soft = indicators(xp, index, z.shape[axis], axis, dtype)
        return xp.log_softmax(z, axis), soft, counted, inner
