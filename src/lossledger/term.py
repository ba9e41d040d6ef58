# SPDX-License-Identifier: Apache-2.0
"""A term: which loss reads which outputs and targets, with which weights and reduction."""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossledger._array import is_array
from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Array, Axes, Callable, Mapping, Names, Sequence
from lossledger.frames import parse_axes
from lossledger.losses import AbstractLoss, AbstractOverlapLoss, AbstractShards, Elementwise, Loss
from lossledger.losses._base import Facts
from lossledger.losses._checks import check_settings
from lossledger.reductions import AbstractReduction, Chain, parse_reduction

ClassWeight = Sequence[float] | Mapping[str, float] | Mapping[int, float] | Array


@dataclass(frozen=True, eq=False, init=False)
class Term:
    """One line of an objective: loss_weight · reduction(weights, loss(outputs, targets)).

    Args:
        outputs: Name of the output read, or a tuple of names.
        loss: A loss, or any callable `f(outputs, targets) -> values`.
        axes: Names of the outputs' axes, such as "batch height width class".
        target: Name of the target; the (first) output's name if left out.
        classes: Names of the classes (a list, or "road sky sign"), or how many there are.
        class_weight: One weight a class, in order or by class name.
        loss_weight: Factor of the term in the total: a float or a 0-d array, whose
            gradient flows.
        reduction: Default: the weighted mean over every axis that is left.
        name: Name in the ledger; the loss's own name if left out.
        rows: Cells of the ledger: names of axes and keys, "label" for positive/negative.
            Default: class and label where the loss has them.
        removes: For a callable: the axes that its values no longer have.
        keys: Keys that are passed with each batch, by name: how many values one has, or
            the names of its values.

    Attributes:
        key_names: The names of the values of those keys that have names.
        facts: What the loss declares about itself.

    Raises:
        MatchError: If names repeat or class weights don't match the classes.
        ShapeError: If `loss_weight` is not one number.
    """

    outputs: tuple[str, ...]
    loss: Loss
    axes: Axes
    target: str | None
    classes: Axes | int | None
    class_weight: Sequence[float] | Array | None
    loss_weight: float | Array
    reduction: Chain
    name: str
    rows: Axes | None
    keys: Mapping[str, int]
    key_names: Mapping[str, Axes] = field(init=False, repr=False)
    facts: Facts = field(init=False, repr=False)

    def __init__(  # noqa: PLR0913 - one argument for each part of a line
        self,
        outputs: str | tuple[str, ...],
        loss: Loss | Callable[..., Array],
        axes: Names,
        *,
        target: str | None = None,
        classes: Sequence[str] | int | None = None,
        class_weight: ClassWeight | None = None,
        loss_weight: float | Array = 1.0,
        reduction: AbstractReduction | Chain | str = "mean",
        name: str | None = None,
        rows: Names | None = None,
        removes: Names = (),
        keys: Mapping[str, int | Names] | None = None,
    ) -> None:
        """Normalize what was given in several forms, and check the names."""
        names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        if not isinstance(loss, AbstractLoss | AbstractOverlapLoss):
            loss = Elementwise(loss, removes=removes, reads=len(names))
        _check_reads(loss, names)
        _check_factor(loss_weight)
        facts = loss.facts()
        sizes = {k: v for k, v in (keys or {}).items() if isinstance(v, int)}
        named = {
            k: parse_axes(v, f"keys[{k!r}]")
            for k, v in (keys or {}).items()
            if not isinstance(v, int)
        }
        if classes is not None and not isinstance(classes, int):
            classes = parse_axes(classes, "classes")
        _check_keys(sizes | dict.fromkeys(named, 1), parse_axes(axes), loss)
        check_settings(loss)
        settings = {
            "outputs": names,
            "loss": loss,
            "axes": parse_axes(axes),
            "target": None if facts.accepts == "none" else target or names[0],
            "classes": classes,
            "class_weight": _ordered(class_weight, classes),
            "loss_weight": loss_weight,
            "reduction": parse_reduction(reduction),
            "name": name or _name_of(loss),
            "rows": None if rows is None else parse_axes(rows, "rows"),
            "keys": sizes | {k: len(names) for k, names in named.items()},
            "key_names": named,
            "facts": facts,
        }
        for setting, value in settings.items():
            object.__setattr__(self, setting, value)

    @property
    def class_names(self) -> Axes | None:
        """Names of the classes, if they were given."""
        return self.classes if isinstance(self.classes, tuple) else None

    @property
    def class_count(self) -> int | None:
        """Number of classes, if it was given."""
        if isinstance(self.classes, int) or self.classes is None:
            return self.classes
        return len(self.classes)


def _check_keys(sizes: Mapping[str, int], axes: Axes, loss: Loss) -> None:
    facts = loss.facts()
    own = {"class"} if "class" in axes or facts.accepts == "classes" else set()
    own |= {"label"} if facts.labels else set()
    taken = [k for k in sizes if k in axes or k in own]
    empty = [k for k, n in sizes.items() if isinstance(n, bool) or n < 1]
    if taken or empty:
        raise MatchError(
            "A key needs a name that nothing else has, and at least one value",
            f"Found {', '.join(taken or empty)}",
            "It is an axis of the outputs, or the loss's own class or label"
            if taken
            else "The number of values was not counted yet",
            "Rename the key" if taken else "Give the number of values, or their names",
        )


def snake(name: str) -> str:
    """Return a class's name as a variable's: CrossEntropy as cross_entropy."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("<>")


def _name_of(loss: Loss) -> str:
    if isinstance(loss, Elementwise):
        return snake(getattr(loss.f, "__name__", type(loss.f).__name__))
    return snake(type(loss).__name__)


def _check_reads(loss: Loss, names: tuple[str, ...]) -> None:
    shards, reads = loss.facts().shards, loss.facts().reads
    if shards is not None and not isinstance(loss, AbstractShards):
        raise MatchError(
            "A loss of a sharded class axis must stand alone in its term",
            f"Found {type(shards).__name__} inside {type(loss).__name__}",
            "Steps or other targets were put in front of it, which see one shard and no row",
            f"Pass the {type(shards).__name__} itself, and take the steps in the model",
        )
    if reads != len(names):
        raise MatchError(
            f"{type(loss).__name__} reads {reads} output(s)",
            f"Found the outputs {', '.join(names)}",
            "A name is missing, or the outputs were not given as a tuple",
            "Pass a tuple of output names in the order that the loss documents",
        )


def _check_factor(loss_weight: float | Array) -> None:
    shape = tuple(getattr(loss_weight, "shape", ()))
    if shape or isinstance(loss_weight, list | tuple):
        raise ShapeError(
            "`loss_weight` must be one number: a float or a 0-d array",
            f"Found shape {shape}" if shape else f"Found {type(loss_weight).__name__}",
            "The weights of several terms were passed to one, or a parameter has shape (1,)",
            "Index it: loss_weight=weights[0]; its gradient flows",
        )
    if is_array(loss_weight):
        if isinstance(loss_weight, np.ndarray | np.generic):
            _check_factor(float(loss_weight))
        return
    if not isinstance(loss_weight, int | float) or not math.isfinite(loss_weight):
        raise DomainError(
            "`loss_weight` must be a finite number",
            f"Found {loss_weight!r}",
            "A weight was divided by 0 where it was made, or read as text",
            "Pass a float, or a 0-d array",
        )


def _ordered(
    weights: ClassWeight | None, classes: Axes | int | None
) -> Sequence[float] | Array | None:
    """Return class weights in the order of the classes; NumPy's as numbers, read here once."""
    if isinstance(weights, str):
        raise MatchError(
            "`class_weight` must be numbers: one a class, in order or by name",
            f"Found {weights!r}",
            "scikit-learn's 'balanced' needs counts of the classes, which a batch does not have",
            "Count the classes in the data and pass total / (classes · count) for each",
        )
    if isinstance(weights, np.ndarray):
        listed: list[float] = weights.tolist()
        return listed
    if not isinstance(weights, Mapping):
        return weights
    names: list[Any] = list(range(classes) if isinstance(classes, int) else classes or ())
    by_name: dict[Any, float] = dict(weights)
    if set(names) != set(by_name):
        raise MatchError(
            "`class_weight` by name needs one weight for each class and no other",
            f"Found weights for {', '.join(map(str, by_name)) or 'nothing'} and the classes "
            f"{', '.join(map(str, names)) or 'nothing'}",
            "A class is missing or misspelled, or `classes` was not given",
            "Give `classes` and one weight for each of them",
        )
    return [float(by_name[name]) for name in names]
