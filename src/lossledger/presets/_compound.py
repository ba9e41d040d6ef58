# SPDX-License-Identifier: Apache-2.0
"""Presets of a library's sum of losses: several terms that read the same arrays."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lossledger._array import library_of
from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Mapping, Sequence
from lossledger.frames import parse_axes
from lossledger.objective import Objective, near
from lossledger.presets._base import (
    Given,
    Outputs,
    PresetType,
    Recipe,
    _trees,
    _weights,
    class_second,
)
from lossledger.term import Term


@dataclass(frozen=True)
class AbstractCompound(metaclass=PresetType):
    """A library's sum of losses under its own name and keyword arguments.

    Calling it gives the library's number; `terms` its parts as terms of an objective.

    Attributes:
        library: Whose loss it is, as its users say.
        version: The version whose number it gives.
        notes: What that version does that surprises, one sentence each.
        reads: Number of outputs.
        default_axes: Axes of the outputs in `terms`, if none are named.
    """

    library: ClassVar[str]
    version: ClassVar[str]
    notes: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[int] = 1
    default_axes: ClassVar[str] = "batch class height width"

    @abstractmethod
    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Say how each part is put together, by name; `loss_weight` is its factor.

        Args:
            axes: Names of the outputs' axes.
            given: The arrays as `arrange` left them; None where terms are built without.
        """

    def axes(self, rank: int) -> Axes:
        """Return names for the outputs' axes: batch, class and the rest."""
        return class_second(rank)

    def arrange(self, given: Given) -> Given:
        """Reshape arrays as the library does, and refuse what it would misread."""
        return given

    def __call__(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> Array:
        """Return the library's number.

        Args:
            outputs: What the network gives.
            targets: What it should give, shaped as the library wants it.
            sample_weight: Where the library takes one.
            mask: Likewise.
        """
        given, terms = self._parts(outputs, targets, sample_weight, mask)
        return Objective(*terms).loss(*_trees(terms[0], given), **_weights(given))

    def value_and_grad(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, Outputs]:
        """Return (number, gradient for the outputs) by closed-form derivatives: for NumPy."""
        given, terms = self._parts(outputs, targets, sample_weight, mask)
        trees = _trees(terms[0], given)
        total, _, slopes = Objective(*terms).value_and_grad(*trees, **_weights(given))
        return total, slopes[terms[0].outputs[0]]

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
        """
        own = {"reduction", "class_weight", "name"} & set(options)
        if own:
            raise MatchError(
                "Terms of a preset are named, reduced and weighted as the preset says",
                f"Found {', '.join(sorted(own))}",
                "An objective needs one number a term, made in one way",
                f"Set it where the preset is built: {type(self).__name__}(...)",
            )
        names = parse_axes(self.default_axes if axes is None else axes)
        return self._terms(outputs, names, None, loss_weight, options)

    def _terms(
        self,
        outputs: str,
        axes: Axes,
        given: Given | None,
        loss_weight: float,
        options: Mapping[str, Any],
    ) -> tuple[Term, ...]:
        return tuple(
            Term(
                outputs,
                recipe.loss,
                axes,
                name=name,
                reduction=recipe.reduction,
                class_weight=recipe.class_weight,
                loss_weight=recipe.loss_weight * loss_weight,
                **{"classes": recipe.classes, **options},
            )
            for name, recipe in self.recipes(axes, given).items()
        )

    def _parts(
        self,
        outputs: Outputs,
        targets: Array,
        sample_weight: Array | None,
        mask: Array | None,
    ) -> tuple[Given, tuple[Term, ...]]:
        xp = library_of(outputs)
        others = [near(xp, outputs, a) for a in (targets, sample_weight, mask)]
        given = self.arrange(Given(xp, (outputs,), *others))
        axes = self.axes(len(given.outputs[0].shape))
        options = {"target": "targets"}
        return given, self._terms("output_0", axes, given, 1.0, options)

    def _built(self, *arrays: Any) -> tuple[Given, Recipe, tuple[Term, ...]]:
        given, terms = self._parts(*arrays)
        first = next(iter(self.recipes(terms[0].axes, given).values()))
        return given, first, terms


def weighted(factors: Mapping[str, float], recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return recipes of a sum, each with its factor; those of factor 0 are left out."""
    return {
        name: replace(recipes[name], loss_weight=recipes[name].loss_weight * factor)
        for name, factor in factors.items()
        if factor
    }
