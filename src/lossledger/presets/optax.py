# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N801 - the library's losses are functions: their names are in snake case
"""The losses of `optax.losses` 0.2.8 as presets.

They return arrays, as there; `reduction="mean"` or "sum" stands for what is called on one.
CTC, the ranking losses and `smooth_labels`, which is no loss, are left out.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from lossledger._typing import Axes
from lossledger.losses import (
    BinaryCrossEntropy,
    BinarySparsemax,
    Huber,
    LogCosh,
    Perceptron,
    ProductFocal,
    SquaredError,
)
from lossledger.presets._base import Given, Recipe
from lossledger.presets._optax_base import AbstractOptax, check_same
from lossledger.presets._optax_dice import (
    binary_dice_loss,
    dice_loss,
    multiclass_generalized_dice_loss,
)
from lossledger.presets._optax_rows import (
    convex_kl_divergence,
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
    make_fenchel_young_loss,
    multiclass_hinge_loss,
    multiclass_perceptron_loss,
    multiclass_sparsemax_loss,
    poly_loss_cross_entropy,
    safe_softmax_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from lossledger.presets._optax_vectors import (
    cosine_distance,
    cosine_similarity,
    ntxent,
    triplet_margin_loss,
)

__all__ = [
    "binary_dice_loss",
    "convex_kl_divergence",
    "cosine_distance",
    "cosine_similarity",
    "dice_loss",
    "generalized_kl_divergence",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "l2_loss",
    "log_cosh",
    "make_fenchel_young_loss",
    "multiclass_generalized_dice_loss",
    "multiclass_hinge_loss",
    "multiclass_perceptron_loss",
    "multiclass_sparsemax_loss",
    "ntxent",
    "perceptron_loss",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "sparsemax_loss",
    "squared_error",
    "triplet_margin_loss",
]


@dataclass(frozen=True, kw_only=True)
class AbstractResidual(AbstractOptax):
    """A loss of residuals, with targets of zeros if there are none."""

    default_axes: ClassVar[str] = "batch"

    def arrange(self, given: Given) -> Given:
        """Stand zeros in for targets that are left out."""
        if given.targets is not None:
            check_same(given, type(self).__name__)
            return given
        xp, output = given.xp, given.outputs[0]
        return replace(given, targets=xp.zeros(tuple(output.shape), xp.dtype(output), output))


@dataclass(frozen=True, kw_only=True)
class AbstractElements(AbstractOptax):
    """A loss of elements with labels of the same shape."""

    default_axes: ClassVar[str] = "batch"

    def arrange(self, given: Given) -> Given:
        """Refuse labels that would broadcast."""
        check_same(given, type(self).__name__)
        return given


@dataclass(frozen=True)
class squared_error(AbstractResidual):
    """optax.losses.squared_error."""

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """e²."""
        return self.finished(SquaredError())


@dataclass(frozen=True)
class l2_loss(AbstractResidual):
    """optax.losses.l2_loss: half of the squared error."""

    notes: ClassVar[tuple[str, ...]] = ("optax takes half of the square.",)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """e²/2."""
        return self.finished(SquaredError(half=True))


@dataclass(frozen=True)
class huber_loss(AbstractResidual):
    """optax.losses.huber_loss."""

    delta: float = 1.0

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Square within delta, line beyond."""
        return self.finished(Huber(self.delta))


@dataclass(frozen=True)
class log_cosh(AbstractResidual):
    """optax.losses.log_cosh."""

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Log cosh e."""
        return self.finished(LogCosh())


@dataclass(frozen=True)
class sigmoid_binary_cross_entropy(AbstractElements):
    """optax.losses.sigmoid_binary_cross_entropy."""

    notes: ClassVar[tuple[str, ...]] = (
        "optax takes any number for a label; here labels outside [0, 1] are an error.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy of independent elements."""
        return self.finished(BinaryCrossEntropy())


@dataclass(frozen=True)
class sigmoid_focal_loss(AbstractElements):
    """optax.losses.sigmoid_focal_loss: one factor α for positives and 1 − α for negatives."""

    alpha: float | None = None
    gamma: float = 2.0

    notes: ClassVar[tuple[str, ...]] = (
        "Soft labels are mixed inside the focusing factor, not as a mean over hard labels.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Focal loss of logits."""
        return self.finished(ProductFocal(self.gamma, self.alpha))


@dataclass(frozen=True)
class hinge_loss(AbstractElements):
    """optax.losses.hinge_loss: labels −1 and 1."""

    notes: ClassVar[tuple[str, ...]] = (
        "At the kink the slope is half of the one beside it.",
        "optax takes labels 0 and 1 too, for which a 0 always costs 1; here they are an error.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Margin of 1."""
        return self.finished(Perceptron(1.0))


@dataclass(frozen=True)
class perceptron_loss(AbstractElements):
    """optax.losses.perceptron_loss: labels −1 and 1."""

    notes: ClassVar[tuple[str, ...]] = (
        "At a score of 0, where a last layer of zeros starts, the slope is half of a wrong one's.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Margin of 0."""
        return self.finished(Perceptron())


@dataclass(frozen=True)
class sparsemax_loss(AbstractElements):
    """optax.losses.sparsemax_loss: labels 0 and 1."""

    notes: ClassVar[tuple[str, ...]] = (
        "optax takes every label but 0 for a 1, soft ones and −1 too.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Quadratic between −1 and 1."""
        return self.finished(BinarySparsemax())
