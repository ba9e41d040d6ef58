# SPDX-License-Identifier: Apache-2.0
"""`compile` with an objective: what `fit` minimises is its total, and its ledger is kept."""

from typing import Any

import keras

from lossledger._errors import DomainError, MatchError
from lossledger.keras._attach import Attachment
from lossledger.keras._bank import Bank
from lossledger.keras._evaluate import Evaluator, live_weights
from lossledger.keras._loss import ObjectiveLoss
from lossledger.keras._private import mark_loss_built, replicas
from lossledger.ledger import Ledger
from lossledger.objective import Objective

BANK = "_lossledger"
"""Attribute of the model that holds the metric."""


def compile(  # noqa: A001, PLR0913 - Keras' name, and its arguments
    model: Any,
    objective: Objective,
    optimizer: Any = "rmsprop",
    *,
    metrics: Any = None,
    weighted_metrics: Any = None,
    run_eagerly: bool = False,
    steps_per_execution: int = 1,
    jit_compile: bool | str = "auto",
    auto_scale_loss: bool = True,
    log_classes: bool = False,
) -> None:
    """Compile a Keras model with an objective as its loss.

    `fit` minimises the objective's total plus the model's own `losses` (weight and activity
    regularizers, `add_loss`), each once a step. Outputs and targets are matched by the names of
    the output layers; targets may have a last axis of length 1 too many or too few, such as labels
    of shape (batch, 1), and nothing else is reshaped. Masks that layers left on the outputs, and
    sample weights, reach the terms.
    Afterwards the model has

    - `model.ledger` and `model.val_ledger`: of the last epoch and the last evaluation;
    - `model.loss_weights`: a variable for every loss weight that is a number;
    - a number for each term in the logs: what it adds to `model.ledger.total`.

    Args:
        model: Sequential, functional or subclassed; built or not, compiled before or not.
        objective: What is minimised. Regularizers without parameters get the model's trainable
            variables.
        optimizer: As in `model.compile`; so are the arguments below.
        metrics: Metrics beside the terms.
        weighted_metrics: Likewise, with sample weights.
        run_eagerly: Whether steps run uncompiled.
        steps_per_execution: Batches in one call.
        jit_compile: Whether steps are compiled.
        auto_scale_loss: Whether a float16 model gets a loss scale.
        log_classes: Whether the logs also have a number for every class: its own mean.

    Raises:
        MatchError: If the model computes its loss by itself, or is no Keras model.
        DomainError: If a TensorFlow strategy splits batches over replicas.
    """
    _check_model(model)
    carrier = ObjectiveLoss(objective, log_classes)
    model.compile(
        optimizer=optimizer,
        loss=carrier,
        metrics=metrics,
        weighted_metrics=weighted_metrics,
        run_eagerly=run_eagerly,
        steps_per_execution=steps_per_execution,
        jit_compile=jit_compile,
        auto_scale_loss=auto_scale_loss,
    )
    _attach(model, carrier)


def restore(model: Any) -> None:
    """Give a loaded model what `ll.keras.compile` had given it; its optimizer stays as it is.

    Args:
        model: From `keras.models.load_model`, of a model compiled with `ll.keras.compile`.

    Raises:
        MatchError: If it was compiled otherwise.
    """
    carrier = getattr(model, "loss", None)
    if not isinstance(carrier, ObjectiveLoss):
        raise MatchError(
            "Only a model that was compiled with `ll.keras.compile` can be restored",
            f"Found a model with the loss {carrier!r}",
            "It was saved before that call, or loaded with compile=False",
            "Call ll.keras.compile(model, objective, optimizer=...)",
        )
    _check_model(model)
    mark_loss_built(model, built=False)
    _attach(model, carrier)


def read_ledger(model: Any) -> Ledger | None:
    """Return the ledger of the steps since Keras last reset its metrics; None if there were none.

    For `train_on_batch`, custom loops and callbacks within an epoch: `model.ledger` and
    `model.val_ledger` are read at the end of an epoch or an evaluation.

    Args:
        model: A model compiled with `ll.keras.compile`.

    Raises:
        MatchError: If it was compiled otherwise.
    """
    bank = getattr(model, BANK, None)
    if not isinstance(bank, Bank):
        raise MatchError(
            "Only a model that was compiled with `ll.keras.compile` keeps a ledger",
            f"Found {type(model).__name__} without one",
            "It was compiled by Keras, or loaded and not restored",
            "Call ll.keras.compile(model, objective), or ll.keras.restore(model)",
        )
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    found = bank.read()
    return None if found is None else found[0]


def _attach(model: Any, carrier: ObjectiveLoss) -> None:
    before = getattr(model, BANK, None)
    if isinstance(before, Bank) and before.attachment is not None:
        before.attachment.take()
    objective = carrier.objective
    weights = live_weights(objective)
    bank = Bank(objective.terms, weights, log_classes=carrier.log_classes)
    evaluate = Evaluator(model, objective, weights, adds=True)
    attachment = Attachment(
        model, evaluate, bank, minimised=True, holds=lambda: model.loss is carrier
    )
    bank.attachment = attachment
    carrier.weights = weights
    model.loss_weights = weights
    attachment.put(BANK)


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise MatchError(
            "ll.keras.compile needs a Keras model",
            f"Found {type(model).__name__}",
            "The objective was passed first, or a model of another library",
            "Write ll.keras.compile(model, objective, optimizer=...)",
        )
    if type(model).compute_loss is not keras.Model.compute_loss:
        raise MatchError(
            "The objective takes the place of the model's compute_loss",
            f"Found {type(model).__name__}, which has a compute_loss of its own",
            "The model computes its loss by itself",
            "Use ll.keras.LedgerCallback(objective) beside it, or leave compute_loss to Keras",
        )
    if replicas() > 1:
        raise DomainError(
            "A batch must not be split over replicas by TensorFlow's strategy",
            f"Found {replicas()} replicas",
            "The mean of the replicas' means is another number than the mean of the batch",
            "Use the JAX backend with keras.distribution.DataParallel, or one replica",
        )
