# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N801 - the library's losses are functions: their names are in snake case
"""Presets of optax: losses of overlap, with classes on the last axis.

`reduction` is optax's own, over the classes; `batch_reduction` stands for what the user does
with the array of samples that is left.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Sequence
from lossledger.losses import BalancedDice, Tversky
from lossledger.losses._checks import check_choice
from lossledger.losses._ratio import Kind
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.presets._optax_base import Axis, Reduction, check_same, places
from lossledger.reductions import Chain, Mean, Sum
from lossledger.reductions._base import AbstractReduction

_EMPTY = "With smooth=0, probabilities and targets that are all 0 give NaN in optax; here 0."


@dataclass(frozen=True, kw_only=True)
class AbstractDice(AbstractPreset):
    """A loss of overlap: batch first, class last."""

    library: ClassVar[str] = "optax"
    version: ClassVar[str] = "0.2.8"
    default_axes: ClassVar[str] = "batch height width class"

    def axes(self, rank: int) -> Axes:
        """Return batch, the others, class."""
        return ("batch", *(f"axis_{i}" for i in range(1, rank - 1)), "class")[-rank:]


@dataclass(frozen=True, kw_only=True)
class dice_loss(AbstractDice):
    """optax.losses.dice_loss, which with its α and β is the Tversky loss."""

    class_weights: Sequence[float] | Array | None = None
    smooth: float = 1.0
    alpha: float = 0.5
    beta: float = 0.5
    apply_softmax: bool = True
    reduction: Literal["mean", "sum", "none"] = "mean"
    ignore_background: bool = False
    axis: Axis = None
    batch_reduction: Reduction = "none"

    notes: ClassVar[tuple[str, ...]] = (
        "A class axis of length 1 goes through a sigmoid, a longer one through a softmax.",
        "Class weights multiply the classes' losses, and the mean divides by their number.",
        "Masks without a class axis are read as rows of classes along their last axis.",
        "With apply_softmax=False, optax refuses rows that do not sum to 1: every single channel.",
        _EMPTY,
    )

    def __post_init__(self) -> None:
        """Check the reductions."""
        check_choice("reduction", self.reduction, ("mean", "sum", "none"))
        check_choice("batch_reduction", self.batch_reduction, ("none", "mean", "sum"))

    def arrange(self, given: Given) -> Given:
        """Give outputs or targets the class axis that the others have."""
        return channeled(given, "dice_loss")

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Tversky by class, reduced over classes, then over what is left."""
        count = None if given is None else given.outputs[0].shape[-1]
        single = "class" not in axes if count is None else count == 1
        loss = Tversky(
            self._over(axes),
            self.alpha,
            self.beta,
            2 * self.smooth,
            kind="sigmoid" if single else "softmax",
            from_logits=self.apply_softmax,
            include_background=single or not self.ignore_background,
        )
        return overlap(loss, self.reduction, self.batch_reduction, axes, self.class_weights)

    def lay_out(self, values: Array, given: Given) -> Array:
        """Take class 0 out where it does not count."""
        left_out = self.ignore_background and given.outputs[0].shape[-1] > 1
        return values[..., 1:] if self.reduction == "none" and left_out else values

    def _over(self, axes: Axes) -> Axes:
        """Return the names of the axes that are summed over.

        Raises:
            MatchError: If the class axis is among them.
        """
        if self.axis is None:
            return tuple(a for a in axes if a not in ("batch", "class"))
        found = tuple(axes[i] for i in places(self.axis, len(axes), "dice_loss"))
        if "class" in found:
            raise MatchError(
                "`axis` of dice_loss must leave the class axis",
                f"Found axis={self.axis!r} of {len(axes)} axes, the last of them the classes",
                "optax sums the classes and then takes the mean over another axis for theirs",
                "Leave the last axis out of `axis`",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class binary_dice_loss(AbstractDice):
    """optax.losses.binary_dice_loss: a sigmoid for every element."""

    smooth: float = 1.0
    apply_sigmoid: bool = True
    batch_reduction: Reduction = "none"

    notes: ClassVar[tuple[str, ...]] = (
        "With apply_sigmoid=False, optax refuses every probability but 1.",
        _EMPTY,
    )

    def __post_init__(self) -> None:
        """Check the reduction."""
        check_choice("batch_reduction", self.batch_reduction, ("none", "mean", "sum"))

    def arrange(self, given: Given) -> Given:
        """Give outputs and targets a class axis of length 1."""
        shape, rank = tuple(given.outputs[0].shape), len(tuple(given.targets.shape))
        if len(shape) == rank and shape[-1] != 1:
            both = tuple(given.xp.expand(x, rank) for x in (given.outputs[0], given.targets))
            given = replace(given, outputs=both[:1], targets=both[1])
        return channeled(given, "binary_dice_loss")

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Dice of a sigmoid, one a sample."""
        loss = Tversky(
            tuple(a for a in axes if a not in ("batch", "class")),
            0.5,
            0.5,
            2 * self.smooth,
            from_logits=self.apply_sigmoid,
        )
        return overlap(loss, "mean", self.batch_reduction, axes, None)


@dataclass(frozen=True, kw_only=True)
class multiclass_generalized_dice_loss(AbstractDice):
    """optax.losses.multiclass_generalized_dice_loss: one number, rare classes weigh more."""

    smooth: float = 1.0
    apply_softmax: bool = True
    ignore_background: bool = False

    notes: ClassVar[tuple[str, ...]] = (
        "Weights are made of the whole batch's targets; a class that is nowhere gets nearly all.",
        "It is a weighed mean of Dice losses, not the ratio of weighed sums of Sudre et al.",
        "With apply_softmax=False, optax refuses rows that do not sum to 1.",
        _EMPTY,
    )

    def arrange(self, given: Given) -> Given:
        """Refuse class indices."""
        check_same(given, "multiclass_generalized_dice_loss")
        return given

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Weighed Dice by class, mean over samples."""
        single = given is not None and given.outputs[0].shape[-1] == 1
        kind: Kind = "sigmoid" if single else "softmax"
        loss = BalancedDice(
            tuple(a for a in axes if a not in ("batch", "class")),
            2 * self.smooth,
            kind=kind,
            from_logits=self.apply_softmax,
            include_background=single or not self.ignore_background,
        )
        return Recipe(loss, Chain((Mean(denominator="elements"),)))


def overlap(
    loss: Tversky,
    reduction: str,
    batch_reduction: Reduction,
    axes: Axes,
    class_weights: Sequence[float] | Array | None,
) -> Recipe:
    """Return a loss of overlap, reduced over classes, then over what is left."""
    every = Mean(denominator="elements")
    stages: tuple[AbstractReduction, ...] = ()
    if "class" in axes and reduction != "none":
        mean = Mean(over="class", denominator="elements")
        stages = (mean if reduction == "mean" else Sum(over="class"),)
    last = {"none": (), "mean": (every,), "sum": (Sum(),)}[batch_reduction]
    return Recipe(loss, Chain((*stages, *last)), batch_reduction == "none", class_weights)


def channeled(given: Given, name: str) -> Given:
    """Give outputs or targets a class axis of length 1, where only the others have one."""
    output, targets = given.outputs[0], given.targets
    ranks = len(tuple(output.shape)), len(tuple(targets.shape))
    if ranks[0] + 1 == ranks[1]:
        given = replace(given, outputs=(given.xp.expand(output, ranks[0]),))
    elif ranks[1] + 1 == ranks[0]:
        given = replace(given, targets=given.xp.expand(targets, ranks[1]))
    check_same(given, name)
    return given
