# SPDX-License-Identifier: Apache-2.0
"""The sums of two losses of MONAI 1.6 as presets."""

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from lossledger._typing import Array, Axes, Mapping, Sequence
from lossledger.engines import spread_sum
from lossledger.losses import BinaryCrossEntropy, CrossEntropy
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.presets._compound import AbstractCompound, weighted
from lossledger.presets._images import Weights, channels, check_planes, numbers
from lossledger.presets._monai import Act, Reduction, arranged, check_options, check_reduced
from lossledger.presets._monai_losses import (
    ONE,
    RAW,
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
)
from lossledger.reductions import Chain, Mean, Sum

REPEATED = "Unreduced, the value of a cell is added to each of its pixels, so sums count it often."


@dataclass(frozen=True)
class AbstractMonaiSum(AbstractCompound):
    """A sum of two losses of MONAI, with the options that all of them have first."""

    library: ClassVar[str] = "MONAI"
    version: ClassVar[str] = "1.6"

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None

    def __post_init__(self) -> None:
        """Check the options."""
        option: Any = self
        activations = (self.sigmoid, self.softmax, self.other_act)
        check_options(option.reduction, activations, tuple(self.factors().values()))

    @abstractmethod
    def factors(self) -> Mapping[str, float]:
        """Return the factor of each part, by name."""

    @abstractmethod
    def members(self) -> Mapping[str, AbstractPreset]:
        """Return the parts that are losses of MONAI, by name."""

    def arrange(self, given: Given) -> Given:
        """Read labels."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """The two parts."""
        parts = {name: each.recipe(axes, given) for name, each in self.members().items()}
        return weighted(self.factors(), parts)

    def joined(self, values: Mapping[str, Array], given: Given, factors: Sequence[Any]) -> Array:
        """Return the sum of the parts' arrays, each in the shape that MONAI gives it."""
        members = self.members()
        shaped = [members[name].lay_out(array, given) for name, array in values.items()]
        return spread_sum(shaped, factors)


@dataclass(frozen=True)
class DiceCELoss(AbstractMonaiSum):
    """monai.losses.DiceCELoss: lambda_dice · Dice + lambda_ce · cross entropy."""

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
        "It has no reduction='none', unlike the other sums: MONAI refuses it where it is built.",
    )

    def __post_init__(self) -> None:
        """Check the options, of which MONAI refuses more than for the other sums."""
        super().__post_init__()
        check_reduced(self.reduction)

    def factors(self) -> Mapping[str, float]:
        """Return lambda_dice and lambda_ce."""
        return {"dice": self.lambda_dice, "cross_entropy": self.lambda_ce}

    def members(self) -> Mapping[str, AbstractPreset]:
        """Dice, without the weight of a background that does not count."""
        weight = numbers(self.weight)
        own = weight[1:] if isinstance(weight, list) and not self.include_background else weight
        return {"dice": part(DiceLoss, self, own)}

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Dice, and the cross entropy of rows (or of one sigmoid)."""
        weight: Any = numbers(self.weight)
        many = channels(given) != 1
        mean = Mean(denominator="weights" if self.to_onehot_y and many else "elements")
        chain = Chain((mean if self.reduction == "mean" else Sum(),))
        if many:
            loss = CrossEntropy(label_smoothing=self.label_smoothing)
            entropy = Recipe(loss, chain, class_weight=weight)
        else:
            entropy = Recipe(BinaryCrossEntropy(pos_weight=weight), chain)
        dice = self.members()["dice"].recipe(axes, given)
        return weighted(self.factors(), {"dice": dice, "cross_entropy": entropy})


@dataclass(frozen=True)
class DiceFocalLoss(AbstractMonaiSum):
    """monai.losses.DiceFocalLoss: lambda_dice · Dice + lambda_focal · focal loss."""

    squared_pred: bool = False
    jaccard: bool = False
    reduction: Reduction = "mean"
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
        REPEATED,
    )

    def factors(self) -> Mapping[str, float]:
        """Return lambda_dice and lambda_focal."""
        return {"dice": self.lambda_dice, "focal": self.lambda_focal}

    def members(self) -> Mapping[str, AbstractPreset]:
        """Dice and the focal loss."""
        weight = self.weight
        return {"dice": part(DiceLoss, self, weight), "focal": part(FocalLoss, self, weight)}


@dataclass(frozen=True)
class GeneralizedDiceFocalLoss(AbstractMonaiSum):
    """monai.losses.GeneralizedDiceFocalLoss: lambda_gdl · GDL + lambda_focal · focal loss."""

    w_type: Literal["square", "simple", "uniform"] = "square"
    reduction: Reduction = "mean"
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
        REPEATED,
    )

    def factors(self) -> Mapping[str, float]:
        """Return lambda_gdl and lambda_focal."""
        return {"generalized_dice": self.lambda_gdl, "focal": self.lambda_focal}

    def members(self) -> Mapping[str, AbstractPreset]:
        """Generalized Dice and the focal loss."""
        return {
            "generalized_dice": part(GeneralizedDiceLoss, self, None),
            "focal": part(FocalLoss, self, self.weight),
        }


def part(kind: Any, option: AbstractMonaiSum, weight: Weights) -> AbstractPreset:
    """Return the preset of one part of a sum, with the options that the sum hands on."""
    names = [f.name for f in fields(kind) if f.name != "weight"]
    given = {name: getattr(option, name) for name in names if hasattr(option, name)}
    given |= {"weight": weight} if any(f.name == "weight" for f in fields(kind)) else {}
    found: AbstractPreset = kind(**given)
    return found
