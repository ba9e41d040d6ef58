# SPDX-License-Identifier: Apache-2.0
"""Losses of torch that compare the classes of a row."""

from dataclasses import dataclass
from typing import ClassVar

from lossledger._errors import DomainError, MatchError
from lossledger._typing import Axes
from lossledger.losses import CrossEntropy, MultilabelMargin, MultiMargin, NegativeLogLikelihood
from lossledger.presets._base import Given, Recipe
from lossledger.presets._torch_base import (
    AbstractTorch,
    Reduction,
    Weight,
    full_name,
    mean_of,
    reduced,
    rows,
)
from lossledger.reductions import Mean


@dataclass(frozen=True)
class CrossEntropyLoss(AbstractTorch):
    """torch.nn.CrossEntropyLoss.

    The mean of index targets divides by Σ w of the labels that count; the mean of
    probability targets by the number of rows, whatever their weights. A term reads
    index targets.
    """

    weight: Weight = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0

    notes: ClassVar[tuple[str, ...]] = (
        "If no label counts, torch returns NaN; here it is an error.",
        "The mean divides by the weights of index targets, but by the rows of probabilities.",
        "Smoothing weighs the share of each class by that class, whatever the label weighs.",
    )

    def axes(self, rank: int) -> Axes:
        """Return batch, class and the rest."""
        return rows(rank)

    def placed(self, given: Given) -> Given:
        """Refuse a label to ignore where targets are probabilities."""
        if self.ignore_index >= 0 and _dense(given):
            raise MatchError(
                f"{full_name(self)} ignores no label of probability targets",
                f"Found ignore_index={self.ignore_index} and one number a class",
                "A row of probabilities has no label; torch refuses it too",
                "Pass class indices, or leave ignore_index out",
            )
        return given

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy, divided by weights or by rows."""
        dense = given is not None and _dense(given)
        ignored = None if dense else self.ignore_index
        loss = CrossEntropy(label_smoothing=self.label_smoothing, ignore_index=ignored)
        mean = Mean(denominator="elements" if dense else "weights", empty="raise")
        return Recipe(loss, reduced(self.reduction, mean), self.reduction == "none", self.weight)


@dataclass(frozen=True)
class NLLLoss(AbstractTorch):
    """torch.nn.NLLLoss: outputs are log-probabilities; the mean divides by Σ w of the labels."""

    weight: Weight = None
    ignore_index: int = -100
    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "If no label counts, torch returns NaN; here it is an error.",
        "Outputs are not checked: logits give a number without a lower bound.",
    )

    def axes(self, rank: int) -> Axes:
        """Return batch, class and the rest."""
        return rows(rank)

    def placed(self, given: Given) -> Given:
        """Refuse one number a class: only indices are read."""
        if _dense(given):
            raise MatchError(
                f"{full_name(self)} reads class indices",
                f"Found targets of shape {tuple(given.targets.shape)}, one number a class",
                "Only CrossEntropyLoss takes probabilities; torch refuses them here",
                "Pass class indices, or use CrossEntropyLoss on logits",
            )
        return given

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Log-likelihood, divided by weights."""
        loss = NegativeLogLikelihood(ignore_index=self.ignore_index)
        chain = reduced(self.reduction, Mean(empty="raise"))
        return Recipe(loss, chain, self.reduction == "none", self.weight)


@dataclass(frozen=True)
class MultiMarginLoss(AbstractTorch):
    """torch.nn.MultiMarginLoss: the mean divides by the number of rows, whatever their weights."""

    p: int = 1
    margin: float = 1.0
    weight: Weight = None
    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "Each row is divided by the number of classes, not by that of the wrong ones.",
        "Unlike in CrossEntropyLoss, the mean does not divide by the weights.",
    )

    def axes(self, rank: int) -> Axes:
        """Return batch and class."""
        return rows(rank)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Hinges of the other classes, over the number of classes."""
        chain = reduced(self.reduction, mean_of(self.weight))
        loss = MultiMargin(self.p, self.margin)
        return Recipe(loss, chain, self.reduction == "none", self.weight)


@dataclass(frozen=True)
class MultiLabelMarginLoss(AbstractTorch):
    """torch.nn.MultiLabelMarginLoss: targets are rows of class indices, ended by −1."""

    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "Labels behind the first −1 of a row are not read.",
        "A label that is listed twice counts twice.",
    )
    shapes: ClassVar[str] = "torch refuses it: lists are padded with −1 to the number of classes"

    def axes(self, rank: int) -> Axes:
        """Return batch and class."""
        return rows(rank)

    def placed(self, given: Given) -> Given:
        """Refuse lists that do not hold integers."""
        if not given.xp.is_integer(given.targets):
            raise DomainError(
                f"{full_name(self)} reads lists of class indices",
                f"Found {given.xp.dtype(given.targets)}",
                "A 0/1 mask a class was passed; torch wants int64 and refuses it",
                "Pass the indices of the wanted classes, padded with −1",
            )
        return given

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Hinges of wanted classes against the others, over the number of classes."""
        chain = reduced(self.reduction, Mean())
        return Recipe(MultilabelMargin("lists"), chain, self.reduction == "none")


def _dense(given: Given) -> bool:
    """Whether targets have the class axis."""
    return len(given.targets.shape) == len(given.outputs[0].shape)
