# SPDX-License-Identifier: Apache-2.0
"""The sums of two losses of MONAI 1.6 as presets."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from lossledger._typing import Axes, Mapping
from lossledger.losses import BinaryCrossEntropy, CrossEntropy
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.presets._compound import AbstractCompound, weighted
from lossledger.presets._images import Weights, channels, check_planes, numbers
from lossledger.presets._monai import Act, arranged, check_options, check_sum
from lossledger.presets._monai_losses import (
    ONE,
    RAW,
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
)
from lossledger.reductions import Chain, Mean, Sum


@dataclass(frozen=True)
class AbstractMonaiSum(AbstractCompound):
    """A sum of two losses of MONAI."""

    library: ClassVar[str] = "MONAI"
    version: ClassVar[str] = "1.6"


@dataclass(frozen=True)
class DiceCELoss(AbstractMonaiSum):
    """monai.losses.DiceCELoss: lambda_dice · Dice + lambda_ce · cross entropy."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    squared_pred: bool = False
    jaccard: bool = False
    reduction: Literal["mean", "sum"] = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    weight: Weights = None
    lambda_dice: float = 1.0
    lambda_ce: float = 1.0
    label_smoothing: float = 0.0

    notes: ClassVar[tuple[str, ...]] = (
        "The cross entropy counts class 0 whatever include_background says.",
        "Of one channel it is a sigmoid's, with `weight` as its pos_weight.",
        ONE,
        RAW,
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_sum(self.reduction)
        activations = (self.sigmoid, self.softmax, self.other_act)
        check_options(self.reduction, activations, (self.lambda_dice, self.lambda_ce))

    def arrange(self, given: Given) -> Given:
        """Read labels."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Dice, and the cross entropy of rows (or of one sigmoid)."""
        weight = numbers(self.weight)
        own = weight[1:] if isinstance(weight, list) and not self.include_background else weight
        many = channels(given) != 1
        mean = Mean(denominator="weights" if self.to_onehot_y and many else "elements")
        stage = Chain((mean if self.reduction == "mean" else Sum(),))
        entropy: Recipe
        if many:
            loss = CrossEntropy(label_smoothing=self.label_smoothing)
            entropy = Recipe(loss, stage, class_weight=weight)
        else:
            entropy = Recipe(BinaryCrossEntropy(pos_weight=weight), stage)
        parts = {"dice": part(DiceLoss, self, own).recipe(axes, given), "cross_entropy": entropy}
        return weighted({"dice": self.lambda_dice, "cross_entropy": self.lambda_ce}, parts)


@dataclass(frozen=True)
class DiceFocalLoss(AbstractMonaiSum):
    """monai.losses.DiceFocalLoss: lambda_dice · Dice + lambda_focal · focal loss."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    squared_pred: bool = False
    jaccard: bool = False
    reduction: Literal["mean", "sum"] = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    gamma: float = 2.0
    weight: Weights = None
    lambda_dice: float = 1.0
    lambda_focal: float = 1.0
    alpha: float | None = None

    notes: ClassVar[tuple[str, ...]] = (
        "The focal loss is one of sigmoids, whatever the activation of the Dice loss.",
        "MONAI computes the focal loss in float32.",
        ONE,
        RAW,
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_sum(self.reduction)
        activations = (self.sigmoid, self.softmax, self.other_act)
        check_options(self.reduction, activations, (self.lambda_dice, self.lambda_focal))

    def arrange(self, given: Given) -> Given:
        """Read labels."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Dice and the focal loss."""
        parts = {
            "dice": part(DiceLoss, self, self.weight).recipe(axes, given),
            "focal": part(FocalLoss, self, self.weight).recipe(axes, given),
        }
        return weighted({"dice": self.lambda_dice, "focal": self.lambda_focal}, parts)


@dataclass(frozen=True)
class GeneralizedDiceFocalLoss(AbstractMonaiSum):
    """monai.losses.GeneralizedDiceFocalLoss: lambda_gdl · GDL + lambda_focal · focal loss."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    w_type: Literal["square", "simple", "uniform"] = "square"
    reduction: Literal["mean", "sum"] = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    gamma: float = 2.0
    weight: Weights = None
    lambda_gdl: float = 1.0
    lambda_focal: float = 1.0

    notes: ClassVar[tuple[str, ...]] = (
        "The focal loss is one of sigmoids, and `weight` is its own alone.",
        "MONAI computes the focal loss in float32.",
        ONE,
        RAW,
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_sum(self.reduction)
        activations = (self.sigmoid, self.softmax, self.other_act)
        check_options(self.reduction, activations, (self.lambda_gdl, self.lambda_focal))

    def arrange(self, given: Given) -> Given:
        """Read labels."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Generalized Dice and the focal loss."""
        parts = {
            "generalized_dice": part(GeneralizedDiceLoss, self, None).recipe(axes, given),
            "focal": part(FocalLoss, self, self.weight).recipe(axes, given),
        }
        return weighted({"generalized_dice": self.lambda_gdl, "focal": self.lambda_focal}, parts)


def part(kind: Any, option: AbstractMonaiSum, weight: Weights) -> AbstractPreset:
    """Return the preset of one part of a sum, with the options that the sum hands on."""
    names = [f.name for f in fields(kind) if f.name != "weight"]
    given = {name: getattr(option, name) for name in names if hasattr(option, name)}
    given |= {"weight": weight} if any(f.name == "weight" for f in fields(kind)) else {}
    found: AbstractPreset = kind(**given)
    return found
