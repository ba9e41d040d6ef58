# SPDX-License-Identifier: Apache-2.0
"""The losses of nnU-Net 2.8 as presets: class axis second, labels in one of length 1."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Axes
from lossledger.frames import NamedArray
from lossledger.losses import BinaryCrossEntropy, CrossEntropy
from lossledger.losses.label_entropy import LabelCrossEntropy
from lossledger.losses.labels import unmarked
from lossledger.presets._base import AbstractPreset, Given, Recipe, class_second
from lossledger.presets._compound import AbstractCompound, weighted
from lossledger.presets._images import Weights, by_channel, labels, numbers
from lossledger.presets._nnunet import (
    arranged,
    check_axis,
    check_processes,
    check_reduced,
    dice,
    ignoring,
    softmax_dice,
)
from lossledger.reductions import Chain, Mean, Sum, TopMean

Options = Mapping[str, Any]
SUMS = "nnU-Net adds up the counts of its Dice in float32."
VALUE = "The value is −Dice, not 1 − Dice."


@dataclass(frozen=True)
class AbstractNnunet(AbstractPreset):
    """A loss of nnU-Net: class axis second."""

    library: ClassVar[str] = "nnU-Net"
    version: ClassVar[str] = "2.8"
    default_axes: ClassVar[str] = "batch class height width"

    def axes(self, rank: int) -> Axes:
        """Return batch, class and the rest."""
        return class_second(rank)


@dataclass(frozen=True)
class SoftDiceLoss(AbstractNnunet):
    """nnunetv2's SoftDiceLoss: −Dice by sample and class (by class, with `batch_dice`)."""

    apply_nonlin: Callable[..., Any] | None = None
    batch_dice: bool = False
    do_bg: bool = True
    smooth: float = 1.0
    ddp: bool = True
    clip_tp: float | None = None

    notes: ClassVar[tuple[str, ...]] = (
        VALUE, SUMS, "Without apply_nonlin outputs must be probabilities.",
        "Targets of the outputs' shape are masks, also where there is one channel.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the options."""
        check_processes(self.batch_dice, self.ddp)

    def arrange(self, given: Given) -> Given:
        """Read labels or masks, and the mask of pixels."""
        return arranged(given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """−Dice, then a mean over the cells."""
        return dice(self, axes, self.clip_tp)


@dataclass(frozen=True)
class MemoryEfficientSoftDiceLoss(AbstractNnunet):
    """nnunetv2's MemoryEfficientSoftDiceLoss: the same as `SoftDiceLoss` without clip_tp."""

    apply_nonlin: Callable[..., Any] | None = None
    batch_dice: bool = False
    do_bg: bool = True
    smooth: float = 1.0
    ddp: bool = True

    notes: ClassVar[tuple[str, ...]] = SoftDiceLoss.notes

    def __post_init__(self) -> None:
        """Check the options."""
        check_processes(self.batch_dice, self.ddp)

    def arrange(self, given: Given) -> Given:
        """Read labels or masks, and the mask of pixels."""
        return arranged(given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """−Dice, then a mean over the cells."""
        return dice(self, axes, None)


@dataclass(frozen=True)
class RobustCrossEntropyLoss(AbstractNnunet):
    """nnunetv2's RobustCrossEntropyLoss: torch's, of labels that may be floats."""

    weight: Weights = None
    ignore_index: int = -100
    reduction: Literal["mean", "sum", "none"] = "mean"
    label_smoothing: float = 0.0

    notes: ClassVar[tuple[str, ...]] = (
        "If no label counts, the mean is NaN in torch; here it is an error.",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        if self.reduction not in ("mean", "sum", "none"):
            raise DomainError(
                "`reduction` must be 'mean', 'sum' or 'none'",
                f"Found {self.reduction!r}",
                "Another library's name was used",
                "Choose one of torch's three",
            )

    def arrange(self, given: Given) -> Given:
        """Read labels."""
        return labels(given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy, divided by the weights of the labels that count."""
        loss = CrossEntropy(label_smoothing=self.label_smoothing, ignore_index=self.ignore_index)
        stages = {"mean": (Mean(empty="raise"),), "sum": (Sum(),), "none": ()}
        weight: Any = numbers(self.weight)
        chain = Chain(stages[self.reduction])
        return Recipe(loss, chain, self.reduction == "none", weight)


@dataclass(frozen=True)
class TopKLoss(AbstractNnunet):
    """nnunetv2's TopKLoss: the mean of the worst k percent of the pixels' cross entropies."""

    weight: Weights = None
    ignore_index: int = -100
    k: float = 10
    label_smoothing: float = 0.0

    notes: ClassVar[tuple[str, ...]] = (
        "The k percent are of all pixels, ignored ones included, which are worth 0.",
        "Class weights multiply before the worst are chosen.",
        "A term takes k percent to a fraction of a pixel; a call rounds down as nnU-Net does.",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        if not 0 < self.k <= 100:
            raise DomainError(
                "`k` must be a percentage above 0 and at most 100",
                f"Found {self.k!r}",
                "A fraction or a number of pixels was given",
                "Pass k=10 for the worst tenth",
            )

    def arrange(self, given: Given) -> Given:
        """Read labels, which need their class axis of length 1."""
        check_axis(given)
        return labels(given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy of every pixel, then the mean of the worst."""
        weight: Any = numbers(self.weight)
        loss = LabelCrossEntropy(weight, self.ignore_index, self.label_smoothing)
        if given is None:
            return Recipe(loss, Chain((TopMean(self.k / 100),)))
        pixels = 1
        for length in given.targets.shape:
            pixels *= int(length)
        count = int(pixels * self.k / 100)
        if not count:
            raise ShapeError(
                "The worst k percent must be at least one pixel",
                f"Found {pixels} pixels and k={self.k!r}",
                "The batch is small; nnU-Net's mean of no pixel is NaN",
                "Raise k, or pass more pixels",
            )
        return Recipe(loss, Chain((TopMean(count=count),)))


@dataclass(frozen=True)
class BinaryOptions:
    """Options of torch's BCEWithLogitsLoss that a sum hands on."""

    weight: Weights = None
    pos_weight: Weights = None


DICE: dict[str, type[Any]] = {
    each.__name__: each for each in (SoftDiceLoss, MemoryEfficientSoftDiceLoss)
}


@dataclass(frozen=True)
class AbstractNnunetSum(AbstractCompound):
    """weight_ce · cross entropy + weight_dice · (−Dice)."""

    library: ClassVar[str] = "nnU-Net"
    version: ClassVar[str] = "2.8"


@dataclass(frozen=True)
class DC_and_CE_loss(AbstractNnunetSum):  # noqa: N801 - the library's name
    """nnunetv2's DC_and_CE_loss: cross entropy and −Dice of a softmax.

    `soft_dice_kwargs` and `ce_kwargs` are options of `SoftDiceLoss` (without apply_nonlin) and
    of `RobustCrossEntropyLoss`; `dice_class` is one of the two classes of Dice.
    """

    soft_dice_kwargs: Options
    ce_kwargs: Options
    weight_ce: float = 1
    weight_dice: float = 1
    ignore_label: int | None = None
    dice_class: type[Any] = SoftDiceLoss

    notes: ClassVar[tuple[str, ...]] = (
        VALUE, SUMS, "One-hot targets are read by the cross entropy as labels; here an error.",
    )  # fmt: skip
    nested: ClassVar[Mapping[str, type[Any]]] = {
        "soft_dice_kwargs": SoftDiceLoss, "ce_kwargs": RobustCrossEntropyLoss,
    }  # fmt: skip

    def arrange(self, given: Given) -> Given:
        """Read labels, which need their class axis of length 1."""
        check_axis(given)
        return labels(given)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """The cross entropy and the Dice, without the pixels of `ignore_label`."""
        entropy = RobustCrossEntropyLoss(**ignoring(self.ce_kwargs, self.ignore_label))
        check_reduced(entropy)
        one = entropy.recipe(axes, given)
        if self.ignore_label is not None and entropy.reduction == "mean":
            one = replace(one, reduction=Chain((Mean(),)))
        other = softmax_dice(
            DICE[self.dice_class.__name__], self.soft_dice_kwargs, self.ignore_label, axes
        )
        factors = {"cross_entropy": self.weight_ce, "dice": self.weight_dice}
        return weighted(factors, {"cross_entropy": one, "dice": other})


@dataclass(frozen=True)
class DC_and_BCE_loss(AbstractNnunetSum):  # noqa: N801 - the library's name
    """nnunetv2's DC_and_BCE_loss: binary cross entropy and −Dice of sigmoids.

    `bce_kwargs` are options of torch's BCEWithLogitsLoss, `soft_dice_kwargs` of the class of
    Dice. With `use_ignore_label` the last channel of the targets marks what is ignored.
    """

    bce_kwargs: Options
    soft_dice_kwargs: Options
    weight_ce: float = 1
    weight_dice: float = 1
    use_ignore_label: bool = False
    dice_class: type[Any] = MemoryEfficientSoftDiceLoss

    notes: ClassVar[tuple[str, ...]] = (
        VALUE, SUMS,
        "With use_ignore_label the cross entropy is a sum over the classes, without it a mean.",
    )  # fmt: skip
    nested: ClassVar[Mapping[str, type[Any]]] = {
        "bce_kwargs": BinaryOptions, "soft_dice_kwargs": MemoryEfficientSoftDiceLoss,
    }  # fmt: skip

    def __post_init__(self) -> None:
        """Check the options."""
        known = {"weight", "pos_weight", "reduction"}
        unknown = set(self.bce_kwargs) - known
        if unknown or self.bce_kwargs.get("reduction", "mean") not in ("mean", "sum"):
            raise MatchError(
                "`bce_kwargs` may hold weight, pos_weight and reduction='mean' or 'sum'",
                f"Found {dict(self.bce_kwargs)!r}",
                "The option belongs to another loss, or would leave an array",
                "Leave it out",
            )

    def arrange(self, given: Given) -> Given:
        """Take the channel of ignored pixels off the targets."""
        if not self.use_ignore_label:
            return given
        xp, targets = given.xp, given.targets
        axes = ("batch", *(f"axis_{i}" for i in range(2, len(given.outputs[0].shape))))
        mask = NamedArray(unmarked(xp, targets[:, -1]), axes)
        return replace(given, targets=targets[:, :-1], mask=mask)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """The binary cross entropy and the Dice."""
        beta = by_channel("pos_weight", self.bce_kwargs.get("pos_weight"))
        weight = by_channel("weight", self.bce_kwargs.get("weight"))
        chain: Chain = Chain((Mean(denominator="elements"),))
        if self.use_ignore_label:
            chain = Sum(over="class").then(Mean(denominator="mask"))
        elif self.bce_kwargs.get("reduction") == "sum":
            chain = Chain((Sum(),))
        factor = weight if isinstance(weight, float) else 1.0
        each = weight if isinstance(weight, list) else None
        one = Recipe(BinaryCrossEntropy(pos_weight=beta), chain, False, each, factor)
        preset = DICE[self.dice_class.__name__](**self.soft_dice_kwargs)
        other = dice(preset, axes, getattr(preset, "clip_tp", None), "sigmoid")
        factors = {"cross_entropy": self.weight_ce, "dice": self.weight_dice}
        return weighted(factors, {"cross_entropy": one, "dice": other})


@dataclass(frozen=True)
class DC_and_topk_loss(AbstractNnunetSum):  # noqa: N801 - the library's name
    """nnunetv2's DC_and_topk_loss: `TopKLoss` and −Dice of a softmax.

    `soft_dice_kwargs` and `ce_kwargs` are options of `SoftDiceLoss` and of `TopKLoss`.
    """

    soft_dice_kwargs: Options
    ce_kwargs: Options
    weight_ce: float = 1
    weight_dice: float = 1
    ignore_label: int | None = None

    notes: ClassVar[tuple[str, ...]] = (*DC_and_CE_loss.notes, *TopKLoss.notes)
    nested: ClassVar[Mapping[str, type[Any]]] = {
        "soft_dice_kwargs": SoftDiceLoss, "ce_kwargs": TopKLoss,
    }  # fmt: skip

    def arrange(self, given: Given) -> Given:
        """Read labels, which need their class axis of length 1."""
        check_axis(given)
        return labels(given)

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """The worst pixels' cross entropy and the Dice."""
        one = TopKLoss(**ignoring(self.ce_kwargs, self.ignore_label)).recipe(axes, given)
        other = softmax_dice(SoftDiceLoss, self.soft_dice_kwargs, self.ignore_label, axes)
        factors = {"top_k": self.weight_ce, "dice": self.weight_dice}
        return weighted(factors, {"top_k": one, "dice": other})
