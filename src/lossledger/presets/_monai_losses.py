# SPDX-License-Identifier: Apache-2.0
"""The single losses of MONAI 1.6 as presets: class axis second."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Sequence
from lossledger.losses._base import AbstractLoss, AbstractOverlapLoss
from lossledger.losses.focal_soft import ClassFocal, ScaledCrossEntropy
from lossledger.losses.labels import Foreground, OneHot
from lossledger.losses.overlap import Dice, Jaccard
from lossledger.losses.overlap_pooled import GeneralizedDice
from lossledger.losses.overlap_ratios import Tversky
from lossledger.presets._base import AbstractPreset, Given, Recipe, class_second
from lossledger.presets._images import Weights, channels, check_planes, numbers, summed
from lossledger.presets._monai import (
    Act,
    Reduction,
    arranged,
    cells,
    check_options,
    of_labels,
    padded,
    pixels,
    scores,
    without_background,
)
from lossledger.reductions import Chain, Mean, Sum

ONE = (
    "Of outputs with one channel MONAI ignores softmax, to_onehot_y and "
    "include_background=False, with a warning."
)
RAW = "Without an activation outputs must be probabilities; MONAI takes any numbers."
HOLE = (
    "A sample in which no pixel counts is 1 − smooth_nr/smooth_dr in MONAI, 0 by default; "
    "where that is not 0 it is an error here (and 0 unreduced)."
)
LONE = "Where a single class counts, MONAI's Dice ignores `weight`."
ROWS = "Of outputs (batch, class) MONAI sums over all axes; here they are an error."


@dataclass(frozen=True)
class AbstractMonai(AbstractPreset):
    """A loss of MONAI: class axis second, and labels in a class axis of length 1."""

    library: ClassVar[str] = "MONAI"
    version: ClassVar[str] = "1.6"
    default_axes: ClassVar[str] = "batch class height width"

    def axes(self, rank: int) -> Axes:
        """Return batch, class and the rest."""
        return class_second(rank)


@dataclass(frozen=True)
class DiceLoss(AbstractMonai):
    """monai.losses.DiceLoss: one value a sample and class (a class, with `batch`)."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    squared_pred: bool = False
    jaccard: bool = False
    reduction: Reduction = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    weight: Weights = None
    soft_label: bool = False
    ignore_index: int | None = None

    notes: ClassVar[tuple[str, ...]] = (ONE, RAW, HOLE, ROWS, LONE)

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(self.reduction, (self.sigmoid, self.softmax, self.other_act))

    def arrange(self, given: Given) -> Given:
        """Read labels, and what is ignored."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y, self.ignore_index)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Dice or Jaccard, then a mean over the cells."""
        loss = dice(self, axes, given)
        unreduced = self.reduction == "none"
        weights = class_weights(self.weight, self, given)
        return Recipe(
            of_labels(loss, self, given, self.ignore_index),
            cells(self), unreduced, *weights,
        )  # fmt: skip

    def lay_out(self, values: Array, given: Given) -> Array:
        """Leave out the background; end in axes of length 1."""
        return padded(without_background(values, self, given), given)


@dataclass(frozen=True)
class MaskedDiceLoss(AbstractMonai):
    """monai.losses.MaskedDiceLoss: `DiceLoss` of the pixels in a mask of 0 and 1."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    squared_pred: bool = False
    jaccard: bool = False
    reduction: Reduction = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    weight: Weights = None
    soft_label: bool = False

    notes: ClassVar[tuple[str, ...]] = (
        ONE, RAW, HOLE, ROWS, LONE,
        "A mask of numbers other than 0 and 1 is squared in MONAI's intersection, not here.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(self.reduction, (self.sigmoid, self.softmax, self.other_act))

    def arrange(self, given: Given) -> Given:
        """Read labels, and the mask of shape (batch or 1, 1, ...)."""
        check_planes(given, "MONAI")
        found = arranged(given, self.to_onehot_y)
        if given.mask is None:
            return found
        if self.to_onehot_y and self.include_background and channels(given) != 1:
            raise MatchError(
                "A mask needs one-hot targets, or include_background=False",
                "Found to_onehot_y=True with class 0 included",
                "MONAI multiplies the labels by the mask before it makes masks of them, so that "
                "every masked pixel is one of class 0 that was missed",
                "Pass one-hot targets and leave to_onehot_y out",
            )
        shape = tuple(given.outputs[0].shape)
        mask = given.xp.broadcast_to(given.mask, (shape[0], 1, *shape[2:]))
        return replace(found, mask=given.xp.reshape(mask, (shape[0], *shape[2:])))

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Dice or Jaccard, then a mean over the cells."""
        unreduced = self.reduction == "none"
        weights = class_weights(self.weight, self, given)
        loss = of_labels(dice(self, axes, given), self, given)
        return Recipe(loss, cells(self), unreduced, *weights)

    def lay_out(self, values: Array, given: Given) -> Array:
        """Leave out the background; end in axes of length 1."""
        return padded(without_background(values, self, given), given)


@dataclass(frozen=True)
class GeneralizedDiceLoss(AbstractMonai):
    """monai.losses.GeneralizedDiceLoss: one value a sample (one in all, with `batch`)."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    w_type: Literal["square", "simple", "uniform"] = "square"
    reduction: Reduction = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    soft_label: bool = False

    notes: ClassVar[tuple[str, ...]] = (
        ONE, RAW, ROWS, "MONAI computes the weights of the classes in float32.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(self.reduction, (self.sigmoid, self.softmax, self.other_act))

    def arrange(self, given: Given) -> Given:
        """Read labels."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Generalized Dice, then a mean over the samples."""
        loss = GeneralizedDice(
            summed(axes, self.batch),
            self.w_type,
            smooth=self.smooth_nr,
            smooth_denominator=self.smooth_dr,
            soft_labels=self.soft_label,
            **scores(self, given),
        )
        stages = {"mean": (Mean(denominator="elements"),), "sum": (Sum(),), "none": ()}
        unreduced = self.reduction == "none"
        return Recipe(of_labels(loss, self, given), Chain(stages[self.reduction]), unreduced)

    def lay_out(self, values: Array, given: Given) -> Array:
        """End in a class axis, and others, of length 1."""
        return padded(values, given, more=1)


@dataclass(frozen=True)
class TverskyLoss(AbstractMonai):
    """monai.losses.TverskyLoss: alpha for false positives, beta for false negatives."""

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Act = None
    alpha: float = 0.5
    beta: float = 0.5
    reduction: Reduction = "mean"
    smooth_nr: float = 1e-5
    smooth_dr: float = 1e-5
    batch: bool = False
    soft_label: bool = False
    ignore_index: int | None = None

    notes: ClassVar[tuple[str, ...]] = (ONE, RAW, HOLE, ROWS)

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(self.reduction, (self.sigmoid, self.softmax, self.other_act))

    def arrange(self, given: Given) -> Given:
        """Read labels, and what is ignored."""
        check_planes(given, "MONAI")
        return arranged(given, self.to_onehot_y, self.ignore_index)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Tversky, then a mean over the cells."""
        loss = Tversky(
            summed(axes, self.batch),
            self.alpha,
            self.beta,
            2 * self.smooth_nr,
            2 * self.smooth_dr,
            soft_labels=self.soft_label,
            **scores(self, given),
        )
        whole = of_labels(loss, self, given, self.ignore_index)
        return Recipe(whole, cells(self), self.reduction == "none")

    def lay_out(self, values: Array, given: Given) -> Array:
        """Leave out the background."""
        return without_background(values, self, given)


@dataclass(frozen=True)
class FocalLoss(AbstractMonai):
    """monai.losses.FocalLoss: one value a pixel and class, of sigmoids or of a softmax."""

    include_background: bool = True
    to_onehot_y: bool = False
    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None
    weight: Weights = None
    reduction: Reduction = "mean"
    use_softmax: bool = False
    ignore_index: int | None = None

    notes: ClassVar[tuple[str, ...]] = (
        "MONAI computes it in float32.",
        "'sum' is a mean over the pixels of each sample and class, and a sum of these.",
        "With ignore_index the mean divides by pixels, without it by pixels and classes.",
        "Under use_softmax a softmax runs over the classes that include_background leaves.",
        "Under use_softmax and include_background=False one alpha is ignored, with a warning.",
        "One channel ignores to_onehot_y and include_background=False, with a warning.",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(self.reduction)

    def arrange(self, given: Given) -> Given:
        """Read labels, and what is ignored."""
        return arranged(given, self.to_onehot_y, self.ignore_index)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """A focal loss, with or without class 0, then the stages of MONAI's reduction."""
        many = channels(given) != 1
        foreground = many and not self.include_background
        alpha = numbers(self.alpha)
        if self.use_softmax:
            one = foreground and isinstance(alpha, int | float)
            loss: AbstractLoss = ClassFocal(self.gamma, None if one else alpha)
        else:
            loss = ScaledCrossEntropy(self.gamma, alpha)
        ignoring = self.ignore_index is not None
        if foreground:
            mean = not ignoring and (self.reduction == "mean" or len(axes) == len("BC"))
            loss = Foreground(loss, mean and self.reduction != "none")
        if self.to_onehot_y and many:
            loss = OneHot(loss, self.ignore_index)
        chain = pixels(self.reduction, axes, ignoring)
        weights = class_weights(self.weight, self, given)
        return Recipe(loss, chain, self.reduction == "none", *weights)

    def lay_out(self, values: Array, given: Given) -> Array:
        """Leave out the background."""
        return values if self.include_background or channels(given) == 1 else values[:, 1:]


def dice(option: Any, axes: Axes, given: Given | None) -> AbstractOverlapLoss:
    """Return Dice or Jaccard; squares are right for soft labels as they are."""
    kind = Jaccard if option.jaccard else Dice
    return kind(
        summed(axes, option.batch),
        smooth=option.smooth_nr,
        smooth_denominator=option.smooth_dr,
        squared=option.squared_pred,
        soft_labels=option.soft_label and not option.squared_pred,
        **scores(option, given),
    )


def class_weights(
    weight: Weights, option: Any, given: Given | None
) -> tuple[list[float] | None, float]:
    """Return (one weight a class, a factor of the whole), class 0 included.

    Dice of a single class has no weight in MONAI.
    """
    found, classes = numbers(weight), channels(given)
    foreground = classes != 1 and not option.include_background
    focal = isinstance(option, FocalLoss)
    if classes is not None and classes - foreground == 1 and not focal:
        return None, 1.0
    if isinstance(found, list):
        return [1.0, *found] if foreground else found, 1.0
    if found is None or classes is None:
        return None, 1.0 if found is None else found
    return [found] * classes, 1.0
