# SPDX-License-Identifier: Apache-2.0
"""The objectives that the demo compares: one baseline, and what could be changed about it."""

from dataclasses import dataclass, field

from lossledger._typing import Sequence
from lossledger.demo.scenes import CLASSES, RARE
from lossledger.losses import BinaryCrossEntropy, Dice
from lossledger.objective import Objective
from lossledger.reductions import AbstractReduction, Chain, Macro, Max, Mean, Sum
from lossledger.term import Term

OUTPUT = "segmentation"
AXES = "batch height width class"
PIXELS = "batch height width"


@dataclass(frozen=True)
class Recipe:
    """One objective of the comparison.

    Args:
        name: What tables call it.
        change: What differs from the baseline, in words.
        class_weight: Weight of each class in the cross entropy.
        pos_weight: Factor of the positive pixels of each class, or None.
        bce: Reduction of the cross entropy.
        dice: Reduction of the Dice losses of the classes, or None for no Dice term.
        bce_weight: Loss weight of the cross entropy.
    """

    name: str
    change: str
    class_weight: tuple[float, ...] | None = None
    pos_weight: tuple[float, ...] | None = None
    bce: AbstractReduction | Chain = field(default_factory=Mean)
    dice: AbstractReduction | Chain | None = field(default_factory=lambda: Mean("class"))
    bce_weight: float = 0.5

    def build(self) -> Objective:
        """Return the objective."""
        bce = Term(
            OUTPUT,
            BinaryCrossEntropy(pos_weight=self.pos_weight),
            axes=AXES,
            classes=CLASSES,
            class_weight=self.class_weight,
            loss_weight=self.bce_weight,
            reduction=self.bce,
            name="bce",
        )
        if self.dice is None:
            return Objective(bce)
        dice = Term(
            OUTPUT, Dice(over=PIXELS), axes=AXES, classes=CLASSES, reduction=self.dice, name="dice"
        )
        return Objective(bce, dice)


BY_HAND = (1.0, 1.0, 1.0, 1.0, 2.0)
"""The weights of the baseline: the rare class counts double."""


def baseline() -> Recipe:
    """Return the objective as its user wrote it: weighted cross entropy plus Dice."""
    says = "0.5 · BCE with class weights 1, 1, 1, 1, 2, plus Dice per class"
    return Recipe("baseline", says, class_weight=BY_HAND)


def changes(pixel_shares: Sequence[float]) -> tuple[Recipe, ...]:
    """Return the changed objectives; weights follow from the pixel shares by rule, untuned.

    Args:
        pixel_shares: Share of the training pixels that each class covers, above 0 to 1.
    """
    inverse = inverse_shares(pixel_shares)
    rarer = times_rarer(pixel_shares)
    return (
        Recipe(
            "macro",
            "BCE as the mean over classes of each class's mean",
            class_weight=BY_HAND,
            bce=Macro(by="class"),
        ),
        Recipe(
            "macro by label",
            "BCE as the mean over classes and labels: a class's positives and negatives apart",
            class_weight=BY_HAND,
            bce=Macro(by="class label"),
        ),
        Recipe(
            "class weights",
            f"BCE with class weights of one over the share of the pixels: {spell(inverse)}",
            class_weight=inverse,
        ),
        Recipe(
            f"pos_weight {CLASSES[RARE]}",
            f"BCE whose positives of {CLASSES[RARE]} count {rarer:.3g} times: it is so much rarer",
            class_weight=BY_HAND,
            pos_weight=(*(1.0 for _ in CLASSES[:RARE]), rarer),
        ),
        Recipe(
            "pos_weight all",
            f"BCE with negatives / positives of each class: {spell(odds_against(pixel_shares))}",
            class_weight=BY_HAND,
            pos_weight=odds_against(pixel_shares),
        ),
        Recipe(
            "worst class",
            "BCE and Dice as the largest class mean instead of the mean over classes",
            class_weight=BY_HAND,
            bce=Mean(PIXELS).then(Max("class")),
            dice=Max("class"),
        ),
    )


def batch_recipes() -> tuple[Recipe, Recipe]:
    """Return plain cross entropy as a mean and as a sum, for the batch size's sake."""
    return (
        Recipe("mean", "mean over all pixels and classes", dice=None, bce_weight=1.0),
        Recipe("sum", "sum over all pixels and classes", bce=Sum(), dice=None, bce_weight=1.0),
    )


def inverse_shares(pixel_shares: Sequence[float]) -> tuple[float, ...]:
    """Return 1 / share for each class, scaled to a mean of 1."""
    inverse = [1 / share for share in pixel_shares]
    mean = sum(inverse) / len(inverse)
    return tuple(one / mean for one in inverse)


def odds_against(pixel_shares: Sequence[float]) -> tuple[float, ...]:
    """Return negatives / positives for each class, as PyTorch's manual suggests."""
    return tuple((1 - share) / share for share in pixel_shares)


def times_rarer(pixel_shares: Sequence[float]) -> float:
    """Return how many times rarer the rare class is than the mean of the others."""
    others = [share for place, share in enumerate(pixel_shares) if place != RARE]
    return sum(others) / len(others) / pixel_shares[RARE]


def spell(weights: Sequence[float]) -> str:
    """Write weights with three digits."""
    return ", ".join(f"{weight:.3g}" for weight in weights)
