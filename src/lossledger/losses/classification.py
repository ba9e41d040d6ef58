# SPDX-License-Identifier: Apache-2.0
"""Losses for class labels: sigmoid elements and softmax rows.

z is a logit, p = σ(z) or softmax(z), y the target; values are in nats.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_probability
from lossledger.losses._rows import by_class, by_place, row_gradient, row_mass, row_values


@dataclass(frozen=True)
class CrossEntropy(AbstractLoss):
    """Cross entropy of a softmax row: −Σ_c t_c·log p_c, with t the target distribution.

    ∂/∂z_c = (Σt)·p_c − t_c;  z-loss adds λ·LSE(z)² with derivative 2λ·LSE·p_c.

    Args:
        from_logits: Outputs are logits; False takes probabilities that sum to 1.
        label_smoothing: ε in [0, 1]: t becomes (1 − ε)·t + ε/K.
        ignore_index: Label whose elements have no weight.
        z_loss: λ of the penalty on the log of the normalizer.

    Targets are class indices, one-hot rows or soft rows. Class weights multiply inside the
    sum over classes where targets are soft or smoothed; the weight that is averaged over
    is the one of the target.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes="batch class"))
        >>> bool(objective.loss(np.zeros((2, 4)), np.array([1, 3])) == np.log(4))
        True

    Source: torch.nn.functional.cross_entropy; z-loss: Chowdhery et al. 2022 (PaLM).
    """

    from_logits: bool = True
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        """Check the range of the smoothing."""
        check_probability("label_smoothing", self.label_smoothing)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="classes",
            outputs="logits" if self.from_logits else "distribution",
            targets="distribution",
            removes=("class",),
            scores="softmax",
            class_weight_within=True,
            source="torch.nn.functional.cross_entropy",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        log_p = self._log_p(xp, outputs[0], inputs)
        value = row_values(xp, log_p, targets, inputs, lambda x: -x, self.label_smoothing)
        if self.z_loss:
            square = xp.logsumexp(outputs[0], inputs.class_axis) ** 2
            value = value + self.z_loss * square * row_mass(xp, targets, inputs)
        return value

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·((Σt)·p − t + 2λ·LSE·p)."""
        log_p = self._log_p(xp, outputs[0], inputs)
        row = row_gradient(
            xp, log_p, targets, inputs, lambda x: x * 0 - 1, coefficients,
            self.label_smoothing, self.from_logits,
        )  # fmt: skip
        if self.z_loss:
            scale = 2 * self.z_loss * xp.logsumexp(outputs[0], inputs.class_axis) * coefficients
            scale = scale * row_mass(xp, targets, inputs)
            row = row + xp.exp(log_p) * xp.expand(scale, inputs.class_axis)
        return (row,)

    def _log_p(self, xp: ArrayLibrary, outputs: Array, inputs: Inputs) -> Array:
        if self.from_logits:
            return xp.log_softmax(outputs, inputs.class_axis)
        return xp.log(outputs)


@dataclass(frozen=True)
class BinaryCrossEntropy(AbstractLoss):
    """Cross entropy of independent yes/no elements: −β·y·log p − (1 − y)·log(1 − p).

    ∂/∂z = p·(1 + (β − 1)·y) − β·y.

    Args:
        from_logits: Outputs are logits; False takes probabilities.
        pos_weight: β, weight of the positive part: one number, one a class, or an array
            with the axes of the outputs, of length 1 where its numbers are alike.
        label_smoothing: ε in [0, 1]: y becomes (1 − ε)·y + ε/2.
        ignore_index: Target value whose elements have no weight.

    Source: torch.nn.functional.binary_cross_entropy_with_logits.
    """

    from_logits: bool = True
    pos_weight: float | Sequence[float] | Array | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the range of the smoothing."""
        check_probability("label_smoothing", self.label_smoothing)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="logits" if self.from_logits else "probabilities",
            targets="probabilities",
            scores="sigmoid",
            labels=True,
            source="torch.nn.functional.binary_cross_entropy_with_logits",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        z, y = outputs[0], self._targets(targets)
        beta = self._pos_weight(xp, z, inputs)
        if self.from_logits:
            return (1 - y) * xp.softplus(z) + beta * y * xp.softplus(-z)
        inside_p = xp.where(y != 0, z, xp.detach(z) * 0 + 1)
        inside_q = xp.where(y != 1, z, xp.detach(z) * 0)
        return -beta * y * xp.log(inside_p) - (1 - y) * xp.log1p(-inside_q)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(p·(1 + (β − 1)·y) − β·y), or c·((1 − y)/(1 − p) − β·y/p)."""
        z, y = outputs[0], self._targets(targets)
        beta = self._pos_weight(xp, z, inputs)
        if self.from_logits:
            return (coefficients * (xp.sigmoid(z) * (1 + (beta - 1) * y) - beta * y),)
        inside_p = xp.where(y != 0, z, z * 0 + 1)
        inside_q = xp.where(y != 1, z, z * 0)
        return (coefficients * ((1 - y) / (1 - inside_q) - beta * y / inside_p),)

    def _targets(self, targets: Array) -> Array:
        if not self.label_smoothing:
            return targets
        return targets * (1 - self.label_smoothing) + self.label_smoothing / 2

    def _pos_weight(self, xp: ArrayLibrary, like: Array, inputs: Inputs) -> Array | float:
        if self.pos_weight is None or isinstance(self.pos_weight, int | float):
            return 1.0 if self.pos_weight is None else float(self.pos_weight)
        if len(getattr(self.pos_weight, "shape", ())) == len(like.shape):
            return by_place(xp, "pos_weight", self.pos_weight, like, inputs)
        return by_class(xp, "pos_weight", self.pos_weight, like, inputs)
