# SPDX-License-Identifier: Apache-2.0
"""The losses of segmentation_models_pytorch 0.6 as presets: class axis second."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Array, Axes, Sequence
from lossledger.losses import Affine, BinaryCrossEntropy, CrossEntropy, Mapped
from lossledger.losses._base import AbstractOverlapLoss
from lossledger.losses.overlap_clipped import MeanTverskyPower
from lossledger.losses.overlap_matthews import Matthews
from lossledger.presets._base import AbstractPreset, Given, Recipe, class_second
from lossledger.presets._images import by_channel, channels
from lossledger.presets._smp import (
    Mode,
    arranged,
    check_mode,
    check_reduction,
    chosen,
    focal_recipe,
    of_classes,
    ratio,
)
from lossledger.reductions import Chain, Mean, Sum

ABSENT = "A class without targets is 0 and counts in the mean."
LABELS = "Labels outside 0 … C − 1 are an error; smp's focal loss takes them for no class."
FLAT = "Unreduced losses of several classes are averaged all the same."


@dataclass(frozen=True)
class AbstractSmp(AbstractPreset):
    """A loss of segmentation_models_pytorch: class axis second."""

    library: ClassVar[str] = "segmentation_models_pytorch"
    version: ClassVar[str] = "0.6"
    default_axes: ClassVar[str] = "batch class height width"

    def axes(self, rank: int) -> Axes:
        """Return batch, class and the rest."""
        return class_second(rank)


@dataclass(frozen=True)
class DiceLoss(AbstractSmp):
    """segmentation_models_pytorch.losses.DiceLoss: one value a class, over the batch."""

    mode: Mode
    classes: Sequence[int] | None = None
    log_loss: bool = False
    from_logits: bool = True
    smooth: float = 0.0
    ignore_index: int | None = None
    eps: float = 1e-7
    class_weights: Sequence[float] | None = None

    notes: ClassVar[tuple[str, ...]] = (ABSENT,)

    def __post_init__(self) -> None:
        """Check the options."""
        check_mode(self.mode, self.classes, self.class_weights)

    def arrange(self, given: Given) -> Given:
        """Give targets the shape that the mode asks for."""
        return arranged(self.mode, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Dice, 0 where a class is absent, then a mean over the classes."""
        return of_classes(self, ratio(self, axes, 0.5, 0.5), given)


@dataclass(frozen=True)
class JaccardLoss(AbstractSmp):
    """segmentation_models_pytorch.losses.JaccardLoss: one value a class, over the batch."""

    mode: Mode
    classes: Sequence[int] | None = None
    log_loss: bool = False
    from_logits: bool = True
    smooth: float = 0.0
    ignore_index: int | None = None
    eps: float = 1e-7
    class_weights: Sequence[float] | None = None

    notes: ClassVar[tuple[str, ...]] = (ABSENT,)

    def __post_init__(self) -> None:
        """Check the options."""
        check_mode(self.mode, self.classes, self.class_weights)

    def arrange(self, given: Given) -> Given:
        """Give targets the shape that the mode asks for."""
        return arranged(self.mode, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Jaccard, 0 where a class is absent, then a mean over the classes."""
        return of_classes(self, ratio(self, axes, 1.0, 1.0), given)


@dataclass(frozen=True)
class TverskyLoss(AbstractSmp):
    """segmentation_models_pytorch.losses.TverskyLoss: a power of the mean over the classes."""

    mode: Mode
    classes: Sequence[int] | None = None
    log_loss: bool = False
    from_logits: bool = True
    smooth: float = 0.0
    ignore_index: int | None = None
    eps: float = 1e-7
    alpha: float = 0.5
    beta: float = 0.5
    gamma: float = 1.0
    class_weights: Sequence[float] | None = None

    notes: ClassVar[tuple[str, ...]] = (
        ABSENT,
        "gamma is a power of the mean over the classes, not of each class's value.",
        "Where that mean is 0 and gamma < 1 smp's gradient is NaN; here it is 0.",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_mode(self.mode, self.classes, self.class_weights)

    def arrange(self, given: Given) -> Given:
        """Give targets the shape that the mode asks for."""
        if self.mode == "binary" and self.gamma != 1 and channels(given) != 1:
            raise ShapeError(
                "A power of a binary loss needs outputs with one channel",
                f"Found shape {tuple(given.outputs[0].shape)}",
                "smp flattens all but the batch, so several channels become one",
                "Pass outputs of shape (batch, 1, height, width)",
            )
        return arranged(self.mode, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Tversky, 0 where a class is absent, then a mean over the classes and its power."""
        loss = ratio(self, axes, self.alpha, self.beta)
        if self.gamma == 1:
            return of_classes(self, loss, given)
        over = tuple(a for a in axes if a != "class")
        one = replace(loss, over=over, empty="keep")
        power = MeanTverskyPower(one, self.gamma, chosen(self, given))
        bare = replace(self, classes=None, class_weights=None)
        return of_classes(bare, power, None)


@dataclass(frozen=True)
class FocalLoss(AbstractSmp):
    """segmentation_models_pytorch.losses.FocalLoss: sigmoids in all three modes."""

    mode: Mode
    alpha: float | None = None
    gamma: float = 2.0
    ignore_index: int | None = None
    from_logits: bool = True
    eps: float = 1e-7
    reduction: str | None = "mean"
    normalized: bool = False
    reduced_threshold: float | None = None
    class_weights: Sequence[float] | None = None

    notes: ClassVar[tuple[str, ...]] = (
        "Multiclass mode is a sigmoid for every class, not a softmax.",
        "Multiclass probabilities become logits by log p, not log(p/(1 − p)).",
        "'sum' sums each class and averages the classes.",
        FLAT,
        LABELS,
        "If no label counts, the mean is NaN in smp; here it is an error.",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_mode(self.mode, None, self.class_weights)
        check_reduction(self.reduction, ("mean", "sum", "batchwise_mean", "none", None))
        if self.mode == "multilabel" and self.ignore_index is not None:
            raise MatchError(
                "`ignore_index` needs mode 'binary' or 'multiclass'",
                "Found mode='multilabel'",
                "smp indexes the pixels of one class by those of all classes, which fails",
                "Leave ignore_index out",
            )
        odd = self.reduction not in ("mean", "sum")
        binary = self.mode == "binary"
        if odd and (self.class_weights or self.normalized or (binary and self.ignore_index)):
            raise MatchError(
                f"reduction={self.reduction!r} goes without class_weights, normalized and, "
                "of a binary loss, ignore_index",
                f"Found {self!r}",
                "smp then weighs along the last axis, or returns as many numbers as there are "
                "pixels that count",
                "Use reduction='mean' or 'sum'",
            )

    def arrange(self, given: Given) -> Given:
        """Give targets the shape that the mode asks for."""
        return arranged(self.mode, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """A focal loss of sigmoids, then a mean over pixels and one over the classes."""
        return focal_recipe(self, axes)

    def lay_out(self, values: Array, given: Given) -> Array:
        """Flatten, as smp does in binary mode."""
        return given.xp.reshape(values, (-1,))


@dataclass(frozen=True)
class SoftCrossEntropyLoss(AbstractSmp):
    """segmentation_models_pytorch.losses.SoftCrossEntropyLoss: with label smoothing."""

    reduction: Literal["mean", "sum", "none"] = "mean"
    smooth_factor: float | None = None
    ignore_index: int | None = -100
    dim: int = 1

    notes: ClassVar[tuple[str, ...]] = (
        "The mean divides by all labels, ignored ones included.",
        "smooth_factor has no default that works: smp fails for None.",
        "Unreduced values keep a class axis of length 1, unless ignore_index is None.",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_reduction(self.reduction, ("mean", "sum", "none"))
        if self.smooth_factor is None:
            raise DomainError(
                "`smooth_factor` must be a number in [0, 1]",
                "Found None, the default",
                "smp computes 1 − smooth_factor, which fails for None",
                "Pass smooth_factor=0.0 for no smoothing",
            )

    def axes(self, rank: int) -> Axes:
        """Return batch, and class at `dim`."""
        place = self.dim % rank
        return tuple(
            "class" if i == place else "batch" if i == 0 else f"axis_{i}" for i in range(rank)
        )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy over all labels."""
        loss = CrossEntropy(
            label_smoothing=float(self.smooth_factor or 0.0), ignore_index=self.ignore_index
        )
        stages = {"mean": (Mean(denominator="elements"),), "sum": (Sum(),), "none": ()}
        return Recipe(loss, Chain(stages[self.reduction]), self.reduction == "none")

    def lay_out(self, values: Array, given: Given) -> Array:
        """Keep a class axis of length 1 where labels may be ignored."""
        if self.ignore_index is None:
            return values
        return given.xp.expand(values, self.dim % len(given.outputs[0].shape))


@dataclass(frozen=True)
class SoftBCEWithLogitsLoss(AbstractSmp):
    """segmentation_models_pytorch.losses.SoftBCEWithLogitsLoss: with label smoothing."""

    weight: Array | None = None
    ignore_index: int | None = -100
    reduction: Literal["mean", "sum", "none"] = "mean"
    smooth_factor: float | None = None
    pos_weight: Array | None = None

    notes: ClassVar[tuple[str, ...]] = (
        "The mean divides by all elements, ignored ones included.",
        "Labels are smoothed to ε and 1 − ε, twice as far as by BinaryCrossEntropy's ε.",
        "weight and pos_weight line up with the last axes: one a class has shape (C, 1, 1).",
    )

    def __post_init__(self) -> None:
        """Check the options."""
        check_reduction(self.reduction, ("mean", "sum", "none"))

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Binary cross entropy of smoothed targets, over all elements."""
        epsilon = self.smooth_factor or 0.0
        loss = Mapped(
            BinaryCrossEntropy(
                pos_weight=by_channel("pos_weight", self.pos_weight),
                ignore_index=self.ignore_index,
            ),
            targets=(Affine(1 - 2 * epsilon, epsilon),) if epsilon else (),
        )
        stages = {"mean": (Mean(denominator="elements"),), "sum": (Sum(),), "none": ()}
        weight: Any = by_channel("weight", self.weight)
        classes = channels(given)
        if isinstance(weight, float) and classes is not None:
            weight = [weight] * classes
        each = weight if isinstance(weight, list) else None
        factor = weight if isinstance(weight, float) else 1.0
        chain = Chain(stages[self.reduction])
        return Recipe(loss, chain, self.reduction == "none", each, factor)


@dataclass(frozen=True)
class MCCLoss(AbstractPreset):
    """segmentation_models_pytorch.losses.MCCLoss: one value for all pixels, of probabilities."""

    eps: float = 1e-5

    library: ClassVar[str] = "segmentation_models_pytorch"
    version: ClassVar[str] = "0.6"
    default_axes: ClassVar[str] = "batch height width"
    notes: ClassVar[tuple[str, ...]] = (
        "Outputs must be probabilities; smp takes logits without a word.",
    )

    def arrange(self, given: Given) -> Given:
        """Give targets the shape of the outputs."""
        return arranged("binary", given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """One minus the correlation of Matthews."""
        loss: AbstractOverlapLoss = Matthews(axes, self.eps, from_logits=False)
        return Recipe(loss, Chain((Mean(),)))
