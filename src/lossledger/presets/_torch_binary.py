# SPDX-License-Identifier: Apache-2.0
"""Losses of torch for independent yes/no elements."""

from dataclasses import dataclass
from typing import ClassVar

from lossledger._typing import Axes
from lossledger.losses import (
    Affine,
    BinaryCrossEntropy,
    ClampedBinaryCrossEntropy,
    Mapped,
    ProductFocal,
)
from lossledger.presets._base import Given, Recipe
from lossledger.presets._torch_base import (
    EPSILON,
    AbstractTorch,
    Reduction,
    Weight,
    by_class,
    mean_of,
    reduced,
    spread,
    vectors,
    weighted,
)
from lossledger.reductions import Chain, Mean, Sum

_WEIGHT = "The mean divides by the number of elements, whatever their weights."
_REFUSES = "torch refuses it"
_BROADCASTS = "torch broadcasts them to one shape without a word"


@dataclass(frozen=True)
class BCELoss(AbstractTorch):
    """torch.nn.BCELoss: outputs are probabilities, and logs are held at −100.

    `weight` broadcasts to the outputs from the last axis on.
    """

    weight: Weight = None
    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "A wrong prediction of just 0 or 1 costs 100, and its gradient is as large as 1e12.",
        _WEIGHT,
    )
    shapes: ClassVar[str] = _REFUSES

    def placed(self, given: Given) -> Given:
        """Place the weight."""
        axes = self.axes(len(given.outputs[0].shape))
        return weighted(given, self.weight, axes, "weight")

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Clamped cross entropy over all elements."""
        chain = reduced(self.reduction, mean_of(self.weight))
        by = by_class(self.weight, axes, given, "weight")
        loss = ClampedBinaryCrossEntropy(epsilon=EPSILON)
        return Recipe(loss, chain, self.reduction == "none", by)


@dataclass(frozen=True)
class BCEWithLogitsLoss(AbstractTorch):
    """torch.nn.BCEWithLogitsLoss.

    `weight` and `pos_weight` broadcast to the outputs from the last axis on.
    """

    weight: Weight = None
    reduction: Reduction = "mean"
    pos_weight: Weight = None

    notes: ClassVar[tuple[str, ...]] = (
        _WEIGHT,
        "torch takes targets outside [0, 1], such as a padding label; here they are an error.",
        "A pos_weight of shape (C,) runs along the last axis, also where classes are second.",
    )
    shapes: ClassVar[str] = _REFUSES

    def placed(self, given: Given) -> Given:
        """Place the weight."""
        axes = self.axes(len(given.outputs[0].shape))
        return weighted(given, self.weight, axes, "weight")

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy of logits over all elements."""
        chain = reduced(self.reduction, mean_of(self.weight))
        by = by_class(self.weight, axes, given, "weight")
        loss = BinaryCrossEntropy(pos_weight=self._pos_weight(axes, given))
        return Recipe(loss, chain, self.reduction == "none", by)

    def _pos_weight(self, axes: Axes, given: Given | None) -> Weight:
        if given is None or self.pos_weight is None:
            return by_class(self.pos_weight, axes, given, "pos_weight")
        return spread(given, self.pos_weight, axes, "pos_weight")


@dataclass(frozen=True)
class MultiLabelSoftMarginLoss(AbstractTorch):
    """torch.nn.MultiLabelSoftMarginLoss: the mean over the last axis, then over the rest."""

    weight: Weight = None
    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "reduction='sum' is a sum of means over classes, and 'none' keeps one mean a row.",
        "The class axis is the last one, unlike in CrossEntropyLoss.",
        _WEIGHT,
    )
    shapes: ClassVar[str] = _BROADCASTS

    def axes(self, rank: int) -> Axes:
        """Return batch first and class last."""
        return vectors(rank, "class")

    def placed(self, given: Given) -> Given:
        """Place the weight."""
        axes = self.axes(len(given.outputs[0].shape))
        return weighted(given, self.weight, axes, "weight")

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy of logits: its mean over classes, then over rows."""
        row = Mean("class", denominator="elements")
        stages = {"mean": (row, Mean()), "sum": (row, Sum()), "none": (row,)}
        by = by_class(self.weight, axes, given, "weight")
        chain = Chain(stages[self.reduction])
        return Recipe(BinaryCrossEntropy(), chain, self.reduction == "none", by)


@dataclass(frozen=True)
class SoftMarginLoss(AbstractTorch):
    """torch.nn.SoftMarginLoss: targets are −1 or 1."""

    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "A wrong logit beyond 709 (88 in float32) costs infinity in torch; here it costs |x|.",
        "torch takes any number as a target; here others than −1 and 1 are an error.",
    )
    shapes: ClassVar[str] = _BROADCASTS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy of logits, with targets from −1 and 1 to 0 and 1."""
        loss = Mapped(BinaryCrossEntropy(), targets=(Affine(0.5, 0.5),), targets_are="sign")
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class sigmoid_focal_loss(AbstractTorch):  # noqa: N801 - the function's own name
    """torchvision.ops.sigmoid_focal_loss; alpha = −1 weighs no label."""

    alpha: float = 0.25
    gamma: float = 2
    reduction: Reduction = "none"

    library: ClassVar[str] = "torchvision"
    version: ClassVar[str] = "0.29"
    notes: ClassVar[tuple[str, ...]] = (
        "The default returns an array, unlike torch's own losses.",
        "Soft targets give a product of three soft factors, not a mean over hard labels.",
        "With 0 < gamma < 1, torchvision's gradient is NaN where σ(x) rounds to the label.",
    )
    shapes: ClassVar[str] = _REFUSES

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Focal loss over all elements."""
        loss = ProductFocal(self.gamma, None if self.alpha == -1 else self.alpha)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")
