# SPDX-License-Identifier: Apache-2.0
"""A ledger beside the loss that a model was compiled with."""

from typing import Any

import keras

from lossledger._array import library_of
from lossledger._errors import MatchError
from lossledger.keras._attach import Attachment
from lossledger.keras._bank import Bank
from lossledger.keras._evaluate import Evaluator, LossWeights
from lossledger.keras._match import names_of
from lossledger.keras._room import room
from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.term import Term

_BANK = "_lossledger_beside"


class LedgerCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep the ledger of an objective beside a model's own loss.

    What is minimised does not change: no gradient flows through the terms. They see the same
    outputs, targets, masks and sample weights, in the same pass. While `fit` or `evaluate` runs
    the logs have a number for each term, and after each epoch the model has `ledger` and
    `val_ledger`. What it has of one run stays until the next of its kind.

    Args:
        parts: An objective, or the terms of one.
        log_classes: Whether the logs also have a number for every class: its own mean.

    Attributes:
        ledger: Of the last epoch; None before its end.
        val_ledger: Of the last evaluation.

    Raises:
        MatchError: If an objective comes together with something else.

    Example:
        >>> import lossledger as ll
        >>> term = ll.Term("y", ll.losses.CrossEntropy(), axes="batch class", classes=3)
        >>> callback = ll.keras.LedgerCallback(term)
        >>> callback.objective.terms[0].name
        'cross_entropy'
    """

    def __init__(self, *parts: Objective | Term, log_classes: bool = False) -> None:
        """Make one objective of the parts."""
        super().__init__()
        self.objective = _objective(parts)
        self.log_classes = log_classes
        self._attachment: Attachment | None = None
        self._fitting = False

    @property
    def ledger(self) -> Ledger | None:
        """The ledger of the last epoch."""
        return None if self._attachment is None else self._attachment.ledgers.get("ledger")

    @property
    def val_ledger(self) -> Ledger | None:
        """The ledger of the last evaluation."""
        return None if self._attachment is None else self._attachment.ledgers.get("val_ledger")

    def set_model(self, model: Any) -> None:
        """Put the ledger on the model, before Keras compiles its steps."""
        super().set_model(model)
        self._fitting = False  # it may have been, in a fit that did not come to its end
        before = getattr(model, _BANK, None)
        if isinstance(before, Bank) and before.attachment is not None:
            before.attachment.take()  # of a fit that did not come to its end
        bank = Bank(self.objective.terms, {}, log_classes=self.log_classes)
        evaluate = Evaluator(model, self.objective, LossWeights({}), adds=False)
        attachment = Attachment(model, evaluate, bank, minimised=False, holds=lambda: True)
        if keras.backend.backend() == "jax":
            wide = library_of(keras.ops.zeros(())).wide(None)
            bank.allocate(*room(self.objective, _shapes(self.objective, model)), wide)
        bank.attachment = attachment
        if self._attachment is not None and self._attachment.model is model:
            attachment.ledgers = dict(self._attachment.ledgers)
        attachment.put(_BANK)
        self._attachment = attachment

    def on_train_begin(self, logs: Any = None) -> None:
        """Remember that evaluations are part of a fit."""
        self._fitting = True

    def on_train_end(self, logs: Any = None) -> None:
        """Give the model its own methods back."""
        self._fitting = False
        self._take()

    def on_test_end(self, logs: Any = None) -> None:
        """Likewise, if the evaluation stood alone."""
        if not self._fitting:
            self._take()

    def on_predict_end(self, logs: Any = None) -> None:
        """Likewise: a prediction has no ledger."""
        self._take()

    def _take(self) -> None:
        if self._attachment is not None:
            self._attachment.take()


def _objective(parts: tuple[Objective | Term, ...]) -> Objective:
    if len(parts) == 1 and isinstance(parts[0], Objective):
        return parts[0]
    terms = [part for part in parts if isinstance(part, Term)]
    if not parts or len(terms) != len(parts):
        raise MatchError(
            "LedgerCallback takes one objective, or terms",
            f"Found {', '.join(type(part).__name__ for part in parts) or 'nothing'}",
            "An objective was passed beside terms, or a loss without its axes",
            "Pass ll.Objective(...) alone, or ll.Term(...)s",
        )
    return Objective(*terms)


def _shapes(objective: Objective, model: Any) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of the outputs by the names that the terms use, as far as known."""
    outputs = getattr(model, "outputs", None) or []
    shapes = [tuple(output.shape) for output in outputs]
    names = names_of(model)
    reads = list(dict.fromkeys(name for term in objective.terms for name in term.outputs))
    if len(names) == len(shapes) and set(reads) <= set(names):
        return dict(zip(names, shapes, strict=True))
    places = objective.output_names or reads
    return dict(zip(places, shapes, strict=False))
