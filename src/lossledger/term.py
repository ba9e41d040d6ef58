# SPDX-License-Identifier: Apache-2.0
"""A term: which loss reads which outputs and targets, with which weights and reduction."""

import re
from dataclasses import dataclass, field

from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Callable, Mapping, Names, Sequence
from lossledger.frames import parse_axes
from lossledger.losses import AbstractLoss, AbstractOverlapLoss, Elementwise, Loss
from lossledger.reductions import AbstractReduction, Chain, Mean, parse_reduction

ClassWeight = Sequence[float] | Mapping[str, float] | Mapping[int, float] | Array


@dataclass(frozen=True, eq=False)
class Term:
    """One line of an objective: loss_weight · reduction(weights, loss(outputs, targets)).

    Args:
        outputs: Name of the output read, or a tuple of names.
        loss: A loss, or any callable `f(outputs, targets) -> values`.
        axes: Names of the outputs' axes, such as "batch height width class".
        target: Name of the target; the (first) output's name if left out.
        classes: Names of the classes, or how many there are.
        class_weight: One weight a class, in order or by class name.
        loss_weight: Factor of the term in the total: a float or a 0-d array, whose
            gradient flows.
        reduction: Default: the weighted mean over every axis that is left.
        name: Name in the ledger; the loss's own name if left out.
        rows: Cells of the ledger: names of axes and keys, "label" for positive/negative.
            Default: class and label where the loss has them.
        removes: For a callable: the axes that its values no longer have.
        keys: Sizes of the keys that are passed with each batch, by name.

    Raises:
        MatchError: If names repeat or class weights don't match the classes.
    """

    outputs: str | tuple[str, ...]
    loss: Loss | Callable[..., Array]
    axes: Names
    target: str | None = None
    classes: Sequence[str] | int | None = None
    class_weight: ClassWeight | None = None
    loss_weight: float | Array = 1.0
    reduction: AbstractReduction | Chain | str = field(default_factory=Mean)
    name: str | None = None
    rows: Names | None = None
    removes: Names = ()
    keys: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Normalize what was given in several forms, and check the names."""
        names = (self.outputs,) if isinstance(self.outputs, str) else tuple(self.outputs)
        loss = self.loss
        if not isinstance(loss, AbstractLoss | AbstractOverlapLoss):
            loss = Elementwise(loss, removes=self.removes, reads=len(names))
        facts = loss.facts()
        if facts.reads != len(names):
            raise MatchError(
                f"{type(loss).__name__} reads {facts.reads} output(s)",
                f"Found the outputs {', '.join(names)}",
                "A name is missing, or the outputs were not given as a tuple",
                "Pass a tuple of output names in the order that the loss documents",
            )
        put = object.__setattr__
        put(self, "outputs", names)
        put(self, "loss", loss)
        put(self, "axes", parse_axes(self.axes))
        put(self, "target", None if facts.accepts == "none" else self.target or names[0])
        put(self, "reduction", parse_reduction(self.reduction))
        put(self, "name", self.name or _snake(loss))
        put(self, "rows", None if self.rows is None else parse_axes(self.rows, "rows"))
        if self.classes is not None and not isinstance(self.classes, int):
            put(self, "classes", parse_axes(tuple(self.classes), "classes"))
        put(self, "class_weight", _ordered(self.class_weight, self.classes))

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


def _snake(loss: Loss) -> str:
    name = type(loss).__name__
    if isinstance(loss, Elementwise):
        name = getattr(loss.f, "__name__", type(loss.f).__name__)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("<>")


def _ordered(weights: ClassWeight | None, classes: Sequence[str] | int | None) -> ClassWeight | None:
    """Return class weights in the order of the classes."""
    if not isinstance(weights, Mapping):
        return weights
    names = list(range(classes)) if isinstance(classes, int) else list(classes or ())
    if set(names) != set(weights):
        raise MatchError(
            "`class_weight` by name needs one weight for each class and no other",
            f"Found weights for {', '.join(map(str, weights)) or 'nothing'} and the classes "
            f"{', '.join(map(str, names)) or 'nothing'}",
            "A class is missing or misspelled, or `classes` was not given",
            "Give `classes` and one weight for each of them",
        )
    return [float(weights[name]) for name in names]  # type: ignore[index]
