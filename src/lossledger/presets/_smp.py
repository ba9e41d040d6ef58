# SPDX-License-Identifier: Apache-2.0
"""What the presets of segmentation_models_pytorch share: modes, classes, the focal loss."""

from dataclasses import replace
from typing import Any, Literal

from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Axes, Sequence
from lossledger.losses import Clip, Mapped
from lossledger.losses._base import AbstractLoss, AbstractOverlapLoss
from lossledger.losses.focal_soft import ScaledCrossEntropy
from lossledger.losses.focal_sums import NormalizedFocal
from lossledger.losses.labels import OneHot, OneHotSums
from lossledger.losses.logit_steps import Log, Logit
from lossledger.losses.overlap_clipped import ClippedTversky, MeanTverskyPower
from lossledger.losses.steps import AbstractStep
from lossledger.presets._base import Given, Recipe
from lossledger.presets._images import channels, labels
from lossledger.reductions import Chain, Mean, Sum

Mode = Literal["binary", "multiclass", "multilabel"]


def check_mode(mode: str, classes: Any, weights: Any) -> None:
    """Refuse what smp refuses where a loss is built.

    Raises:
        DomainError: For an unknown mode.
        MatchError: For classes or class weights of a binary loss.
    """
    if mode not in ("binary", "multiclass", "multilabel"):
        raise DomainError(
            "`mode` must be 'binary', 'multiclass' or 'multilabel'",
            f"Found {mode!r}",
            "The name is misspelled",
            "Use 'multiclass' for labels, 'multilabel' for one mask a class",
        )
    if mode == "binary" and (classes is not None or weights is not None):
        raise MatchError(
            "A binary loss has no classes to choose or to weigh",
            f"Found classes={classes!r} and class_weights={weights!r}",
            "smp refuses them as well",
            "Leave them out, or use mode='multilabel'",
        )


def check_reduction(reduction: str | None, known: tuple[str | None, ...]) -> None:
    """Refuse reductions that smp does not name, and takes for none.

    Raises:
        DomainError: For another.
    """
    if reduction not in known:
        raise DomainError(
            f"`reduction` must be one of {', '.join(map(repr, known))}",
            f"Found {reduction!r}",
            "smp takes a name that it does not know for 'none'",
            "Use 'mean' or 'sum'",
        )


def arranged(mode: Mode, given: Given) -> Given:
    """Give targets the shape of the outputs, or of labels.

    Raises:
        ShapeError: If there are more or fewer numbers.
    """
    if mode == "multiclass":
        return labels(given)
    shape, wanted = tuple(given.targets.shape), tuple(given.outputs[0].shape)
    if shape == wanted:
        return given
    if [n for n in shape if n != 1] != [n for n in wanted if n != 1]:
        raise ShapeError(
            f"Targets of mode {mode!r} must have the shape of the outputs",
            f"Found {shape} beside {wanted}",
            "smp flattens both, and compares what does not belong together",
            f"Pass targets of shape {wanted}",
        )
    return replace(given, targets=given.xp.reshape(given.targets, wanted))


def ratio(option: Any, axes: Axes, alpha: float, beta: float) -> ClippedTversky:
    """Return the loss of one class over the batch (of all outputs, in binary mode)."""
    binary = option.mode == "binary"
    return ClippedTversky(
        axes if binary else tuple(a for a in axes if a != "class"),
        alpha,
        beta,
        2 * option.smooth,
        "log" if option.log_loss else "complement",
        option.eps,
        kind="softmax" if option.mode == "multiclass" else "sigmoid",
        from_logits=option.from_logits,
        empty="zero",
        soft_labels=True,
    )


def chosen(option: Any, given: Given | None) -> list[float] | None:
    """Return one weight a class: how often it was chosen, times its class weight.

    Raises:
        MatchError: If only the outputs tell how many classes there are, and they are not here.
    """
    weights = option.class_weights
    if option.classes is None:
        return None if weights is None else [float(w) for w in weights]
    many = len(weights) if weights is not None else channels(given)
    if many is None:
        raise MatchError(
            "A term of some classes needs class_weights",
            f"Found classes={list(option.classes)} alone",
            "How many classes there are is not known before there are outputs",
            "Pass class_weights, one a class",
        )
    one = [1.0] * many if weights is None else [float(w) for w in weights]
    times = [sum(1 for c in option.classes if int(c) % many == i) for i in range(many)]
    return [t * w for t, w in zip(times, one, strict=True)]


def of_classes(option: Any, loss: ClippedTversky | MeanTverskyPower, given: Given | None) -> Recipe:
    """Return a loss of classes and its weighted mean; ignored classes count in the mean."""
    weights = chosen(option, given)
    whole: AbstractOverlapLoss = loss
    if option.ignore_index is not None:
        whole = OneHotSums(loss, option.ignore_index, option.mode == "multiclass")
    classes = channels(given)
    denominator: Any = "elements" if weights is None else "weights"
    if option.mode == "multilabel" and option.ignore_index is not None and classes is not None:
        denominator = float(classes if weights is None else sum(weights))
    return Recipe(whole, Chain((Mean(denominator=denominator),)), class_weight=weights)


def focal_recipe(option: Any, axes: Axes) -> Recipe:
    """Return smp's focal loss: by class over the batch, then over the classes."""
    binary = option.mode == "binary"
    over = axes if binary else tuple(a for a in axes if a != "class")
    focal = ScaledCrossEntropy(
        option.gamma,
        option.alpha,
        "confidence",
        option.reduced_threshold,
        None if option.mode == "multiclass" else option.ignore_index,
    )
    weights: Sequence[float] | None = option.class_weights
    last: tuple[Any, ...] = () if binary else (Mean(),)
    if option.normalized:
        return _normalized(option, focal, over, weights)
    loss: AbstractLoss = focal
    if not option.from_logits:
        loss = Mapped(focal, outputs=to_logits(option), outputs_are="probabilities")
    if option.mode == "multiclass":
        loss = OneHot(loss, option.ignore_index)
    if option.reduction == "mean" or (not binary and option.reduction in ("none", None)):
        first: Any = Mean(over=over, empty="raise")
    elif option.reduction in ("none", None):
        return Recipe(loss, Chain(()), unreduced=True)
    else:
        first = Sum(over=over)
        if option.reduction == "batchwise_mean" and not binary and option.ignore_index is None:
            spread = tuple(a for a in over if a != "batch")
            stages = (Sum(over="batch"), Mean(over=spread, denominator="elements"), *last)
            return Recipe(loss, Chain(stages))
    return Recipe(loss, Chain((first, *last)), class_weight=weights)


def to_logits(option: Any) -> tuple[AbstractStep, ...]:
    """Return the steps from probabilities to what smp takes for logits."""
    if option.from_logits:
        return ()
    last: AbstractStep = Log() if option.mode == "multiclass" else Logit()
    return (Clip(option.eps, 1 - option.eps), last)


def _normalized(
    option: Any, focal: ScaledCrossEntropy, over: Axes, weights: Sequence[float] | None
) -> Recipe:
    """Return the focal loss divided by the sum of its factors."""
    mean = option.reduction == "mean"
    loss: AbstractOverlapLoss = NormalizedFocal(over, focal, mean, steps=to_logits(option))
    if option.ignore_index is not None or option.mode == "multiclass":
        loss = OneHotSums(loss, option.ignore_index, option.mode == "multiclass")
    return Recipe(loss, Chain((Mean(),)), class_weight=weights)
