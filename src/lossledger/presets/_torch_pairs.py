# SPDX-License-Identifier: Apache-2.0
"""Losses of torch that compare outputs with each other, or read distances."""

from dataclasses import dataclass
from typing import ClassVar

from lossledger._errors import ShapeError
from lossledger._typing import Axes
from lossledger.losses import CosineEmbedding, HingeEmbedding, MarginRanking, TripletMargin
from lossledger.presets._base import Given, Recipe
from lossledger.presets._torch_base import (
    EPSILON,
    AbstractTorch,
    Reduction,
    full_name,
    reduced,
    vectors,
)
from lossledger.reductions import Mean

_BROADCASTS = "torch broadcasts them to one shape without a word"
_SIGNS = "torch takes any number as a target; here others than −1 and 1 are an error."
_KINK = "At the kink torch's slope is that of the cost, not 0."


@dataclass(frozen=True)
class CosineEmbeddingLoss(AbstractTorch):
    """torch.nn.CosineEmbeddingLoss: reads (x1, x2), with a target of −1 or 1 for each pair."""

    margin: float = 0.0
    reduction: Reduction = "mean"

    reads: ClassVar[int] = 2
    default_axes: ClassVar[str] = "batch feature"
    notes: ClassVar[tuple[str, ...]] = (
        "torch adds 1e-12 to squared norms, so a zero vector has a gradient as large as 1e6.",
        "A target that is neither −1 nor 1 costs nothing in torch; here it is an error.",
        "torch takes a margin outside [−1, 1], which no cosine reaches; here it is an error.",
        _KINK,
    )

    def axes(self, rank: int) -> Axes:
        """Return batch first and feature last."""
        return vectors(rank, "feature")

    def placed(self, given: Given) -> Given:
        """Refuse pairs that torch would broadcast."""
        return _alike(self, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cosine of two vectors, over pairs."""
        loss = CosineEmbedding(self.margin, epsilon=EPSILON, kink=1.0)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class HingeEmbeddingLoss(AbstractTorch):
    """torch.nn.HingeEmbeddingLoss: outputs are distances, targets −1 or 1."""

    margin: float = 1.0
    reduction: Reduction = "mean"

    default_axes: ClassVar[str] = "batch unit"
    notes: ClassVar[tuple[str, ...]] = (
        "A target that is neither −1 nor 1 adds both costs in torch; here it is an error.",
        _KINK,
    )
    shapes: ClassVar[str] = _BROADCASTS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Distances and hinges over all elements."""
        loss = HingeEmbedding(self.margin, kink=1.0)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class MarginRankingLoss(AbstractTorch):
    """torch.nn.MarginRankingLoss: reads (x1, x2); a target of 1 wants x1 larger, −1 smaller."""

    margin: float = 0.0
    reduction: Reduction = "mean"

    reads: ClassVar[int] = 2
    default_axes: ClassVar[str] = "batch unit"
    notes: ClassVar[tuple[str, ...]] = (_SIGNS, _KINK)
    shapes: ClassVar[str] = _BROADCASTS

    def placed(self, given: Given) -> Given:
        """Refuse pairs that torch would broadcast."""
        return _alike(self, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Hinges of pairs of scores."""
        loss = MarginRanking(self.margin, kink=1.0)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class TripletMarginLoss(AbstractTorch):
    """torch.nn.TripletMarginLoss: reads (anchor, positive, negative), and no targets."""

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    reduction: Reduction = "mean"

    reads: ClassVar[int] = 3
    takes_targets: ClassVar[bool] = False
    default_axes: ClassVar[str] = "batch feature"
    notes: ClassVar[tuple[str, ...]] = (
        "eps is added to each difference, so a distance of 0 is not 0.",
        "torch takes a p below 1, which gives no norm; here it is an error.",
        _KINK,
    )

    def axes(self, rank: int) -> Axes:
        """Return batch first and feature last."""
        return vectors(rank, "feature")

    def placed(self, given: Given) -> Given:
        """Refuse triplets that torch would broadcast."""
        return _alike(self, given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Hinges of distances, over triplets."""
        loss = TripletMargin(self.margin, self.p, self.swap, self.eps, kink=1.0)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


def _alike(preset: AbstractTorch, given: Given) -> Given:
    """Require outputs of one shape."""
    found = [tuple(output.shape) for output in given.outputs]
    if len(set(found)) > 1:
        raise ShapeError(
            f"The outputs of {full_name(preset)} must have one shape",
            f"Found {' and '.join(map(str, found))}",
            f"One of them has an axis of length 1; {_BROADCASTS}",
            f"Reshape them to {found[0]}",
        )
    return given
