# SPDX-License-Identifier: Apache-2.0
"""The losses of `torch.nn` 2.13 as presets."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lossledger._typing import Array, Axes, Sequence
from lossledger.losses import CrossEntropy, SquaredError
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.reductions import Chain, Mean, Sum

Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True)
class AbstractTorch(AbstractPreset):
    """A loss of `torch.nn`: class axis second."""

    library: ClassVar[str] = "torch"
    version: ClassVar[str] = "2.13"

    def axes(self, rank: int) -> Axes:
        """Return batch, class and the rest."""
        return ("batch", "class", *(f"axis_{i}" for i in range(2, rank)))[:rank]


@dataclass(frozen=True)
class CrossEntropyLoss(AbstractTorch):
    """torch.nn.CrossEntropyLoss.

    The mean of index targets divides by Σ w of the labels that count; the mean of
    probability targets by the number of rows, whatever their weights.
    """

    weight: Sequence[float] | Array | None = None
    ignore_index: int = -100
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0

    notes: ClassVar[tuple[str, ...]] = (
        "If no label counts, torch returns NaN; here it is an error.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy, divided by weights or by rows."""
        dense = given is not None and len(given.targets.shape) == len(axes)
        ignored = None if dense else self.ignore_index
        loss = CrossEntropy(label_smoothing=self.label_smoothing, ignore_index=ignored)
        mean = Mean(denominator="elements" if dense else "weights", empty="raise")
        return Recipe(loss, reduced(self.reduction, mean), self.reduction == "none", self.weight)


@dataclass(frozen=True)
class MSELoss(AbstractTorch):
    """torch.nn.MSELoss: the mean over all elements."""

    reduction: Reduction = "mean"
    default_axes: ClassVar[str] = "batch unit"

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Squared error over all elements."""
        return Recipe(SquaredError(), reduced(self.reduction, Mean()), self.reduction == "none")


def reduced(reduction: Reduction, mean: Mean) -> Chain:
    """Return the stages of one of torch's three reductions."""
    stages = {"mean": (mean,), "sum": (Sum(),), "none": ()}
    return Chain(stages[reduction])
