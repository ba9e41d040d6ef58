# SPDX-License-Identifier: Apache-2.0
"""Presets of a library's sum of losses: several terms that read the same arrays."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Mapping, Sequence
from lossledger.presets._base import AbstractLibraryLoss, Given, Recipe, class_second, term_of
from lossledger.term import Term


@dataclass(frozen=True)
class AbstractCompound(AbstractLibraryLoss):
    """A library's sum of losses: calling it gives the sum, `terms` its parts."""

    default_axes: ClassVar[str] = "batch class height width"

    def axes(self, rank: int) -> Axes:
        """Return names for the outputs' axes: batch, class and the rest."""
        return class_second(rank)

    def joined(self, values: Mapping[str, Array], given: Given, factors: Sequence[Any]) -> Array:
        """Refuse to add up arrays: a library whose sum can be unreduced says how it does.

        Raises:
            MatchError: Always.
        """
        raise MatchError(
            f"The parts of {type(self).__name__} must be reduced before they are added",
            f"Found arrays for {', '.join(values)}",
            "Arrays of several shapes have no sum of their own",
            "Choose a reduction",
        )

    def terms(
        self,
        outputs: str = "outputs",
        *,
        axes: str | Sequence[str] | None = None,
        loss_weight: float = 1.0,
        **options: Any,
    ) -> tuple[Term, ...]:
        """Return the parts as terms of an objective, named after what they are.

        Args:
            outputs: Name of the output.
            axes: Names of its axes, with "class" where the library has its class axis.
            loss_weight: Factor of all parts.
            options: Further options of `ll.Term`: target, classes, rows.

        Raises:
            MatchError: If the preset is unreduced, or an option is the preset's own.
        """
        own = {"reduction", "class_weight", "name"} & set(options)
        names, recipes = self._unbuilt(axes, own)
        return tuple(
            term_of(recipe, outputs, names, {"name": name, "loss_weight": loss_weight, **options})
            for name, recipe in recipes.items()
        )


def weighted(factors: Mapping[str, float], recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return recipes of a sum, each with its factor.

    Those of factor 0 are left out, unless they are unreduced: they have a say in the shape.
    """
    return {
        name: replace(recipes[name], loss_weight=recipes[name].loss_weight * factor)
        for name, factor in factors.items()
        if factor or recipes[name].unreduced
    }
