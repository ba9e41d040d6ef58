# SPDX-License-Identifier: Apache-2.0
"""What a preset is: a library's loss, named and configured as that library does it.

A preset computes nothing. It says how the library's loss is put together from the parts of
`lossledger.losses` and `lossledger.reductions`, and hands its arrays to the same engine.
"""

import difflib
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from lossledger._array import ArrayLibrary, library_of
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Mapping, Sequence
from lossledger.engines import Watch, prepare, unreduced
from lossledger.frames import NamedArray, parse_axes
from lossledger.ledger import Ledger
from lossledger.losses import Loss
from lossledger.objective import Objective, match, near
from lossledger.reductions import Chain
from lossledger.term import Term, snake

Outputs = Array | tuple[Array, ...]


class PresetType(ABCMeta):
    """Checks the names of options before a preset is built."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        """Build a preset.

        Raises:
            MatchError: If the library's loss does not have an option of that name.
        """
        known = [f.name for f in fields(cls) if f.init]  # type: ignore[arg-type]
        unknown = [name for name in options if name not in known]
        if unknown:
            library, name = cls.library, cls.__name__  # type: ignore[attr-defined]
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.4)
            raise MatchError(
                f"{library}'s {name} has the options {', '.join(known) or 'none'}",
                f"Found {', '.join(unknown)}",
                "The option belongs to another loss, another library or another version",
                f"The nearest is {near[0]}" if near else "Leave it out",
            )
        return super().__call__(*args, **options)


@dataclass(frozen=True, eq=False)
class Given:
    """The arrays of one call, of one library.

    Attributes:
        outputs: One or several.
        targets: None if the loss takes none.
        sample_weight: As passed.
        mask: As passed.
        element_weight: A weight that is an option of the library's loss, placed by name.
    """

    xp: ArrayLibrary
    outputs: tuple[Array, ...]
    targets: Array
    sample_weight: Array | NamedArray | None = None
    mask: Array | NamedArray | None = None
    element_weight: NamedArray | None = None


@dataclass(frozen=True)
class Recipe:
    """How a library's loss is put together.

    Attributes:
        loss: One value per element (or per cell of sums).
        reduction: Its stages. For "none": those that the library always runs, maybe none;
            what they leave is returned, times the weights that they have not used.
        unreduced: Whether the library returns an array.
        class_weight: One weight a class.
        loss_weight: A factor of the whole.
        classes: Number of classes, where outputs cannot tell.
    """

    loss: Loss
    reduction: Chain
    unreduced: bool = False
    class_weight: Sequence[float] | Array | None = None
    loss_weight: float | Array = 1.0
    classes: int | None = None


@dataclass(frozen=True, eq=False)
class OnBatch:
    """A preset as the terms that it is on one batch, and what they are called with.

    Attributes:
        terms: One a part, each with its factor.
        outputs: By name.
        targets: By name; None if the loss takes none.
        weights: `mask`, `sample_weight` and `element_weight`.
        unreduced: Whether the library returns an array.
    """

    terms: tuple[Term, ...]
    outputs: Mapping[str, Array]
    targets: Mapping[str, Array] | None
    weights: Mapping[str, Any]
    unreduced: bool


@dataclass(frozen=True)
class AbstractLibraryLoss(metaclass=PresetType):
    """A library's loss under its own name and keyword arguments, of one part or several.

    Calling it gives the library's number, differentiable in the arrays' own library;
    for "none", its array.

    Attributes:
        library: Whose loss it is, as its users say.
        version: The version whose number it gives.
        notes: What that version does that surprises, one sentence each.
        reads: Number of outputs.
        default_axes: Axes of the outputs in a term, if none are named.
        nested: Options that hold options themselves: of which loss.
    """

    library: ClassVar[str]
    version: ClassVar[str]
    notes: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[int] = 1
    default_axes: ClassVar[str] = "batch class"
    nested: ClassVar[Mapping[str, type[Any]]] = {}

    @abstractmethod
    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Say how each part is put together, by name; `loss_weight` is its factor.

        Args:
            axes: Names of the outputs' axes.
            given: The arrays as `arrange` left them; None where terms are built without.
        """

    def axes(self, rank: int) -> Axes:
        """Return names for the outputs' axes: batch first, class where the library has it."""
        names = tuple(f"axis_{i}" for i in range(1, rank))
        return ("batch", *names)[:rank]

    def arrange(self, given: Given) -> Given:
        """Reshape arrays as the library does, and refuse what it would misread."""
        return given

    @abstractmethod
    def joined(self, values: Mapping[str, Array], given: Given, factors: Sequence[Any]) -> Array:
        """Return the library's array, from one array a part and the parts' factors."""

    def __call__(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> Array:
        """Return the library's number, or its array for "none".

        Args:
            outputs: What the network gives; a tuple for a loss of several outputs.
            targets: What it should give, shaped as the library wants it.
            sample_weight: Where the library takes one.
            mask: Likewise.
        """
        given, recipes, terms = self._built(outputs, targets, sample_weight, mask)
        trees, weights = _trees(terms[0], given), _weights(given)
        if not any(r.unreduced for r in recipes.values()):
            return Objective(*terms).loss(*trees, **weights)
        found = {term.name: _array_of(term, trees, weights) for term in terms}
        return self.joined(found, given, [r.loss_weight for r in recipes.values()])

    def account(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
        classes: Sequence[str] | None = None,
    ) -> tuple[Array, Ledger]:
        """Return the library's number and its ledger; one term a part.

        Args:
            outputs: As in the call.
            targets: As in the call.
            sample_weight: As in the call.
            mask: As in the call.
            classes: Names of the classes, for rows that people can read.

        Raises:
            MatchError: If the preset is unreduced: an array has no total.
        """
        found = self.on_batch(outputs, targets, sample_weight, mask, classes)
        self._check_reduced(found.unreduced, "Only a number has a ledger")
        return Objective(*found.terms)(found.outputs, found.targets, **found.weights)

    def on_batch(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
        classes: Sequence[str] | None = None,
    ) -> OnBatch:
        """Return the terms that the preset is on this batch, named after what they are."""
        given, recipes, terms = self._built(outputs, targets, sample_weight, mask)
        own = {"preset": snake(type(self).__name__)}
        terms = tuple(replace(term, name=own.get(term.name, term.name)) for term in terms)
        if classes is not None:
            terms = tuple(replace(term, classes=tuple(classes)) for term in terms)
        unreduced = any(r.unreduced for r in recipes.values())
        return OnBatch(terms, *_trees(terms[0], given), _weights(given), unreduced)

    def value_and_grad(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, Outputs]:
        """Return (number, gradient for the outputs) by closed-form derivatives: for NumPy."""
        given, recipes, terms = self._built(outputs, targets, sample_weight, mask)
        unreduced = any(r.unreduced for r in recipes.values())
        self._check_reduced(unreduced, "Only a number has a gradient")
        trees = _trees(terms[0], given)
        total, _, slopes = Objective(*terms).value_and_grad(*trees, **_weights(given))
        arrays = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
        pairs = zip(terms[0].outputs, arrays, strict=True)
        found = tuple(self.restore(given.xp, slopes[name], array) for name, array in pairs)
        return total, found if self.reads > 1 else found[0]

    def restore(self, xp: ArrayLibrary, slope: Array, output: Array) -> Array:
        """Return a gradient in the shape of the output that was passed.

        Raises:
            ShapeError: If `arrange` gave the output another shape: only autodiff leads back.
        """
        found, wanted = tuple(slope.shape), tuple(np.shape(output))
        if found != wanted:
            raise ShapeError(
                f"The closed-form gradient of {type(self).__name__} needs outputs laid out as "
                "its axes are",
                f"Found outputs of shape {wanted}, computed with as {found}",
                "Several axes were taken for one, or an axis was added",
                "Use torch or JAX arrays, whose autodiff leads back to the outputs",
            )
        return slope

    def _check_reduced(self, unreduced: bool, rule: str) -> None:
        if unreduced:
            raise MatchError(
                rule,
                f"Found reduction={getattr(self, 'reduction', None)!r}",
                "Unreduced values are an array",
                "Choose a reduction",
            )

    def _built(
        self,
        outputs: Outputs,
        targets: Array,
        sample_weight: Array | None,
        mask: Array | None,
    ) -> tuple[Given, Mapping[str, Recipe], tuple[Term, ...]]:
        arrays = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
        xp = library_of(*arrays)
        others = [near(xp, arrays[0], a) for a in (targets, sample_weight, mask)]
        given = self.arrange(Given(xp, arrays, *others))
        axes = self.axes(len(given.outputs[0].shape))
        recipes = self.recipes(axes, given)
        names = tuple(f"output_{i}" for i in range(len(given.outputs)))
        terms = tuple(
            term_of(recipe, names, axes, {"name": name, "target": "targets"})
            for name, recipe in recipes.items()
        )
        return given, recipes, terms

    def _unbuilt(
        self, axes: str | Sequence[str] | None, own: set[str]
    ) -> tuple[Axes, Mapping[str, Recipe]]:
        """Return the axes' names and the parts, for terms built without arrays.

        Raises:
            MatchError: If the preset is unreduced, or an option is the preset's `own`.
        """
        names = parse_axes(self.default_axes if axes is None else axes)
        recipes = self.recipes(names, None)
        if own or any(r.unreduced for r in recipes.values()):
            raise MatchError(
                "A term of a preset is reduced and weighted as the preset says",
                f"Found {', '.join(sorted(own)) or 'an unreduced preset'}",
                "An objective needs one number a term, made in one way",
                f"Set it where the preset is built: {type(self).__name__}(...)",
            )
        return names, recipes


@dataclass(frozen=True)
class AbstractPreset(AbstractLibraryLoss):
    """A library's loss of one part: a preset that is one term of an objective."""

    @abstractmethod
    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Say how the loss is put together.

        Args:
            axes: Names of the outputs' axes.
            given: The arrays as `arrange` left them; None where a term is built without.
        """

    def recipes(self, axes: Axes, given: Given | None) -> Mapping[str, Recipe]:
        """Return the one part there is."""
        return {"preset": self.recipe(axes, given)}

    def lay_out(self, values: Array, given: Given) -> Array:
        """Give an unreduced array the library's shape: no axis may change its numbers."""
        return values

    def joined(self, values: Mapping[str, Array], given: Given, factors: Sequence[Any]) -> Array:
        """Return the only array, in the library's shape."""
        return self.lay_out(values["preset"], given)

    def term(
        self,
        outputs: str | tuple[str, ...] = "outputs",
        *,
        axes: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Term:
        """Return the same loss as a term of an objective.

        Args:
            outputs: Names of the outputs.
            axes: Names of their axes, with "class" where the library has its class axis.
            options: Further options of `ll.Term`: name, classes, loss_weight, rows, target.

        Raises:
            MatchError: If the preset is unreduced, or an option is the preset's own.
        """
        names, recipes = self._unbuilt(axes, {"reduction", "class_weight"} & set(options))
        settings = {"name": snake(type(self).__name__)} | options
        return term_of(recipes["preset"], outputs, names, settings)


def class_second(rank: int) -> Axes:
    """Return the names batch, class and the rest, as PyTorch and what is built on it order them."""
    return ("batch", "class", *(f"axis_{i}" for i in range(2, rank)))[:rank]


def term_of(
    recipe: Recipe, outputs: str | tuple[str, ...], axes: Axes, settings: Mapping[str, Any]
) -> Term:
    """Return a part as a term; `loss_weight` among the settings multiplies the part's own."""
    given = {"classes": recipe.classes} | dict(settings)
    given["loss_weight"] = recipe.loss_weight * given.get("loss_weight", 1.0)
    return Term(
        outputs,
        recipe.loss,
        axes,
        reduction=recipe.reduction,
        class_weight=recipe.class_weight,
        **given,
    )


def _array_of(term: Term, trees: tuple[Any, Any], weights: Mapping[str, Any]) -> Array:
    """Return what a term leaves unreduced, times the weights it has not used."""
    call = match((term,), (), (), *trees, {"element_weight": None, **weights}, {})
    watch = Watch(call.xp)
    arrays = tuple(call.outputs[n] for n in term.outputs)
    goal = None if term.target is None else call.targets[term.target]
    return unreduced(prepare(term, arrays, goal, call.weights[term.name], watch), watch)


def _trees(term: Term, given: Given) -> tuple[Any, Any]:
    outputs = dict(zip(term.outputs, given.outputs, strict=True))
    return outputs, None if term.target is None else {"targets": given.targets}


def _weights(given: Given) -> dict[str, Any]:
    return {
        "mask": given.mask,
        "sample_weight": given.sample_weight,
        "element_weight": given.element_weight,
    }
