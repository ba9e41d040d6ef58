# SPDX-License-Identifier: Apache-2.0
"""An objective on what Keras hands over: outputs, targets, weights and masks of one batch."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from lossledger._array import is_array, library_of
from lossledger._errors import MatchError
from lossledger._typing import Array, Tree
from lossledger.engines import growing
from lossledger.keras._columns import fitted, shapes_of
from lossledger.keras._match import (
    masks_of,
    names_of,
    outputs_by_name,
    targets_by_name,
    weights_by_term,
)
from lossledger.keras._part import WindowPart
from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.regularizers import AbstractRegularizer
from lossledger.splitting import Whole
from lossledger.term import Term

ADDED = "model_losses"
"""Name of the row of Keras' own `model.losses`."""


class LossWeights(Mapping[str, Any]):
    """Loss weights by term, as Keras variables: `model.loss_weights["dice"].assign(0.5)`."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        """Keep the variables."""
        self._variables = dict(variables)

    def __getitem__(self, name: str) -> Any:
        """Return a term's variable."""
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the terms."""
        return iter(self._variables)

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self._variables)

    def __repr__(self) -> str:
        """Show the numbers."""
        return repr(self.numbers())

    def numbers(self) -> dict[str, float]:
        """Return the numbers as they are now."""
        return {name: float(host(v)) for name, v in self._variables.items()}


def host(variable: Any) -> Any:
    """Return a variable in NumPy, whatever keeps it."""
    if keras.backend.backend() == "tensorflow":
        return keras.ops.convert_to_tensor(variable).numpy()  # a variable's own array warns
    return np.asarray(library_of(variable.value).to_numpy(variable.value))


def live_weights(objective: Objective) -> LossWeights:
    """Make a variable of every loss weight that is a number; an array stays what it is."""
    return LossWeights(
        {
            term.name: keras.Variable(
                float(term.loss_weight), dtype=keras.backend.floatx(), trainable=False,
                autocast=False, name=f"loss_weight_{term.name}",
            )
            for term in objective.terms
            if not is_array(term.loss_weight)
        }
    )  # fmt: skip


def with_weights(objective: Objective, weights: Mapping[str, Any]) -> Objective:
    """Return the objective with other loss weights, by term."""
    terms = [_weighted(t, weights[t.name]) if t.name in weights else t for t in objective.terms]
    return Objective(
        *terms,
        *objective.regularizers,
        skip=objective.skip,
        output_names=objective.output_names,
    )


@dataclass(frozen=True, eq=False)
class Matched:
    """A batch of Keras' as an objective takes it.

    Attributes:
        outputs: By the terms' names.
        targets: Likewise.
        mask: That layers left on the outputs, by term; None for none.
        sample_weight: By name, or one for all; None for none.
    """

    outputs: Tree
    targets: Tree
    mask: Any
    sample_weight: Any


@dataclass(eq=False)
class Evaluator:
    """Evaluates an objective for one model.

    Attributes:
        model: Whose outputs, parameters and `losses` are read.
        objective: With the loss weights that it was built with.
        weights: Loss weights that are variables.
        adds: Whether Keras' own `model.losses` are part of the total.
        whole: Structure of a window's whole, and the shapes of its numbers, once there is one.
    """

    model: Any
    objective: Objective
    weights: LossWeights
    adds: bool
    whole: tuple[Any, list[tuple[int, ...]]] | None = field(default=None)
    _ready: Objective | None = field(default=None)
    _numbers: dict[str, float] | None = field(default=None)

    def __call__(self, y: Tree, y_pred: Tree, sample_weight: Tree) -> tuple[Array, Ledger]:
        """Return (total, ledger) of a batch."""
        part = sample_weight if isinstance(sample_weight, WindowPart) else None
        given = self.matched(y, y_pred, sample_weight if part is None else part.sample_weight)
        total, ledger = self._live()(
            given.outputs,
            given.targets,
            mask=given.mask,
            sample_weight=given.sample_weight,
            parameters=self._parameters(),
            whole=None if part is None else self._whole(part, given.mask),
        )
        if self.adds:
            share = None if part is None else part.numbers[2]
            total, ledger = self._with_added(total, ledger, share)
        return (total if part is None else total * part.numbers[0]), ledger

    def _whole(self, part: WindowPart, masks: Any) -> Whole:
        """Return the window that a part belongs to.

        Raises:
            MatchError: If layers left masks, which nobody could count before the forward pass.
        """
        if masks is not None:
            raise MatchError(
                "The parts of a window are counted before the forward pass",
                f"Found a mask that layers left on the outputs of {', '.join(masks)}",
                "A Masking or Embedding(mask_zero=True) layer decides which elements count",
                "Pass the mask with the data, as sample weights of 0 and 1",
            )
        if self.whole is None:
            raise MatchError(
                "Windows must be made for the model that is trained on them",
                "Found windows of another model",
                "The model was compiled again, or the windows were made with another one",
                "Make them after compiling: ll.keras.Windows(model, x, y, batch_size=...)",
            )
        return part.whole(*self.whole)

    def matched(self, y: Tree, y_pred: Tree, sample_weight: Tree) -> "Matched":
        """Return what the objective is called with."""
        objective, names = self.objective, names_of(self.model)
        outputs = outputs_by_name(objective, y_pred, names)
        return Matched(
            outputs,
            fitted(objective, shapes_of(objective, outputs), targets_by_name(objective, y, names)),
            masks_of(objective, outputs),
            weights_by_term(objective, sample_weight, y, names),
        )

    def _live(self) -> Objective:
        """Return the objective with the variables' values: in JAX those of this trace."""
        numbers = _numbers(self.weights)
        if self._ready is None or numbers != self._numbers or keras.backend.backend() == "jax":
            own = [_resolved(r) for r in self.objective.regularizers]
            bare = Objective(
                *self.objective.terms,
                *own,
                skip=self.objective.skip,
                output_names=self.objective.output_names,
            )
            weights = numbers or {name: v.value for name, v in self.weights.items()}
            self._ready, self._numbers = with_weights(bare, weights), numbers
        return self._ready

    def _parameters(self) -> list[Array] | None:
        if all(r.parameters is not None for r in self.objective.regularizers):
            return None
        return [v.value for v in self.model.trainable_variables]

    def _with_added(
        self, total: Array, ledger: Ledger, share: Array | None
    ) -> tuple[Array, Ledger]:
        """Add `model.losses`, each once, as Keras does; a part adds its share."""
        losses = [keras.ops.sum(keras.ops.cast(x, total.dtype)) for x in self.model.losses]
        if not losses:
            return total, ledger
        added = sum(losses[1:], losses[0])
        added = added if share is None else added * share
        xp = library_of(total)
        kept = growing(xp, xp.astype(xp.detach(added), xp.wide(total)))
        rows = (*ledger.regularizers, (ADDED, kept))
        if xp.name == "torch" and library_of(_high(ledger.summed)) is not xp:
            kept = xp.to_numpy(kept)  # the lean engine books in NumPy
        return total + added, replace(ledger, regularizers=rows, summed=ledger.summed + kept)


def _numbers(weights: LossWeights) -> dict[str, float] | None:
    """Return loss weights that can be read now at no cost: a term with a number runs leaner."""
    values = {name: v.value for name, v in weights.items()}
    if keras.backend.backend() != "torch" or not all(v.is_cpu for v in values.values()):
        return None
    return {name: float(v) for name, v in values.items()}


def _high(number: Any) -> Any:
    return getattr(number, "high", number)


def _weighted(term: Term, loss_weight: Any) -> Term:
    """Return a term with another loss weight, and everything else as it was checked."""
    found = copy(term)
    object.__setattr__(found, "loss_weight", loss_weight)
    return found


def _resolved(regularizer: AbstractRegularizer) -> AbstractRegularizer:
    """Let a regularizer of Keras variables read their values at every step."""
    source: Any = regularizer.parameters
    if source is None or is_array(source):
        return regularizer
    return replace(regularizer, parameters=lambda: _values(source))  # type: ignore[type-var]


def _values(source: Any) -> Any:
    if isinstance(source, keras.layers.Layer):
        return [v.value for v in source.trainable_variables]
    if isinstance(source, keras.Variable):
        return source.value
    if isinstance(source, Mapping):
        return {name: _values(part) for name, part in source.items()}
    if isinstance(source, list | tuple):
        return [_values(part) for part in source]
    return _values(source()) if callable(source) and not is_array(source) else source
