# SPDX-License-Identifier: Apache-2.0
"""Terms on one output as a Keras loss, and what stands for an objective in `compile`."""

from typing import Any

import keras

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array, Mapping
from lossledger.keras._columns import fitted, shapes_of
from lossledger.keras._evaluate import LossWeights, with_weights
from lossledger.keras._match import masks_of
from lossledger.keras._plain import objective_from_dict, objective_to_dict
from lossledger.objective import Objective
from lossledger.term import Term


@keras.saving.register_keras_serializable(package="lossledger")
class Loss(keras.losses.Loss):  # type: ignore[misc]
    """One term, or several on one output, as a loss for `model.compile(loss=...)`.

        L = Σ loss_weight · reduction(weights, loss(y_pred, y_true))

    It divides by what its terms say, on every backend and under `fit`: a `(B,)` sample weight
    weighs samples, whatever the axes of the values, and a mask that layers left on the output
    removes elements. Targets may have a last axis of length 1 too many or too few, such as labels
    of shape (batch, 1); nothing else is reshaped.

    Args:
        terms: Terms that read one output, all the same one; its name means nothing here.
        name: Name of the loss; the terms' names if left out.

    Raises:
        MatchError: If the terms read several outputs, or there are none.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> term = ll.Term("y", ll.losses.SquaredError(), axes="batch")
        >>> loss = ll.keras.Loss(term)
        >>> float(loss(np.array([0.0, 0.0]), keras.ops.array([1.0, 3.0])))
        5.0
    """

    def __init__(self, *terms: Term, name: str | None = None) -> None:
        """Check that one output is read."""
        _check_terms(terms)
        super().__init__(name=name or "_".join(t.name for t in terms), reduction="sum")
        self.objective = Objective(*terms)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """Return the sum of the terms; differentiable in `y_pred`."""
        mine = self.objective
        goals = fitted(mine, shapes_of(mine, y_pred), y_true)
        total, _ = mine(y_pred, goals, mask=masks_of(mine, y_pred), sample_weight=sample_weight)
        return total

    def get_config(self) -> dict[str, Any]:
        """Return the name and the terms as plain data."""
        return {"name": self.name, "objective": objective_to_dict(self.objective)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Loss":
        """Return the loss that a configuration describes."""
        return cls(*objective_from_dict(config["objective"]).terms, name=config["name"])


@keras.saving.register_keras_serializable(package="lossledger")
class ObjectiveLoss(keras.losses.Loss):  # type: ignore[misc]
    """What `ll.keras.compile` leaves as `model.loss`: the objective, to be saved with the model."""

    def __init__(self, objective: Objective, log_classes: bool = False) -> None:
        """Keep the objective."""
        super().__init__(name="objective", reduction="sum")
        self.objective, self.log_classes = objective, log_classes
        self.weights: LossWeights | None = None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """Refuse: a loss sees one output and no parameters.

        Raises:
            LossLedgerError: Always.
        """
        raise LossLedgerError(
            "A model compiled with `ll.keras.compile` must be restored after it was loaded",
            "Found its objective called as the loss of one output",
            "`keras.models.load_model` compiles a model by itself, without outputs' names, "
            "regularizers and the ledger",
            "Call ll.keras.restore(model) after loading; the optimizer keeps its state",
        )

    def get_config(self) -> dict[str, Any]:
        """Return the objective as plain data, with the loss weights as they are now."""
        now = {} if self.weights is None else self.weights.numbers()
        return {
            "objective": objective_to_dict(with_weights(self.objective, now)),
            "log_classes": self.log_classes,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ObjectiveLoss":
        """Return the objective that a configuration describes."""
        return cls(objective_from_dict(config["objective"]), config["log_classes"])


def _check_terms(terms: tuple[Any, ...]) -> None:
    others = [type(t).__name__ for t in terms if not isinstance(t, Term)]
    if others or not terms:
        raise MatchError(
            "A Keras loss is made of terms",
            f"Found {', '.join(others) or 'none'}",
            "A loss was passed without its axes, or a regularizer, which reads no output",
            "Pass ll.Term(...)s; ll.keras.compile takes objectives with regularizers",
        )
    read = list(dict.fromkeys(name for term in terms for name in term.outputs))
    goals = list(dict.fromkeys(t.target for t in terms if t.target is not None))
    if len(read) > 1 or len(goals) > 1:
        raise MatchError(
            "A Keras loss sees one output and its target",
            f"Found terms that read {', '.join(dict.fromkeys(read + goals))}",
            "The terms belong to several outputs of the model",
            "Use ll.keras.compile(model, objective), which sees all outputs, or one loss for each",
        )
