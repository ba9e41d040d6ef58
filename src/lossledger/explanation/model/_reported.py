# SPDX-License-Identifier: Apache-2.0
"""What `fit` reports of a compiled model, and why it is not what it minimizes."""

import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from lossledger.explanation._parts import Reported
from lossledger.explanation._show import number
from lossledger.explanation.model._formulas import (
    TERMS,
    WEIGHTED_MEAN,
    batch_of,
    mask_of,
    outputs_of,
    reduction_of,
    weighted_sum,
)
from lossledger.explanation.model._layers import flat
from lossledger.explanation.model._metrics import Metric, metrics_of
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.keras._loss import ObjectiveLoss


def reported(reading: Reading) -> tuple[Reported, ...]:
    """Return the numbers that `fit` logs for this model: how each is made, why it differs.

    Args:
        reading: What was read of the model and one batch.

    Returns:
        `loss`, one a loss where there are several, `val_loss`, metrics, and what gradient
        accumulation makes of the update. A number stands where one batch decides it: that of
        an epoch of this batch alone.
    """
    return (
        _loss(reading),
        *_outputs(reading),
        *_validation(reading),
        *_metrics(reading),
        *_accumulated(reading),
    )


def _loss(reading: Reading) -> Reported:
    """Return what the log calls `loss`."""
    size = batch_of(reading)
    of_size = "" if size is None else f" ({size} here)"
    rule = (
        "Over the epoch so far, the mean of each batch's total, weighted by the length of x"
        f"{of_size}, each computed before the batch's own update."
    )
    differs = ["The batches are those of different weights of the model: it lags behind."]
    if reading.extras:
        amount = sum(e.amount for e in reading.extras)
        of_losses = sum(loss.loss_weight * loss.value for loss in reading.losses)
        differs.append(
            f"One number holds the losses, {number(of_losses)}, and regularizers and added losses, "
            f"{number(amount)}."
        )
    differs += dict.fromkeys(_of_batches(reading))
    return Reported("loss", rule, " ".join(differs), reading.number)


def _of_batches(reading: Reading) -> Iterator[str]:
    """Say why the mean over batches is not the number of all samples at once."""
    for loss in reading.losses:
        name, reduction = f"`{loss.output}`", reduction_of(loss)
        if reduction == TERMS:
            yield (
                f"{name} is made of terms: where their divisors differ between batches, the mean "
                "over batches is not the number of all samples."
            )
        elif reduction == "sum":
            yield (
                f"{name} is a sum: the number depends on the batch size and on a shorter last "
                "batch."
            )
        elif reduction == WEIGHTED_MEAN and loss.sample_weight is not None:
            yield (
                f"{name} is divided by each batch's own weights: the mean over batches, weighted "
                "by samples, is not the weighted mean of all samples."
            )
        elif _is_ratio(loss):
            found = mask_of(loss)
            valid = "" if found is None else f", {int(found.sum()):,} of {found.size:,} here,"
            yield (
                f"{name} is divided by each batch's unmasked elements{valid} but batches are "
                "weighed by samples: a mean of ratios, not the mean over all unmasked elements."
            )


def _is_ratio(loss: LossReading) -> bool:
    """Whether the loss is divided by something that varies from batch to batch."""
    if loss.values is not None and np.ndim(loss.values) == 0:
        return False
    masked = loss.mask is not None or loss.own_mask is not None
    reduction = reduction_of(loss)
    weighted = reduction == WEIGHTED_MEAN and loss.sample_weight is not None
    return weighted or (masked and reduction not in ("sum", "none"))


def _outputs(reading: Reading) -> Iterator[Reported]:
    """Yield what the log says of each loss, where there are several."""
    if len(reading.losses) < 2 or isinstance(reading.compiled_loss, ObjectiveLoss):
        return
    if outputs_of(reading) == 1:
        named = getattr(reading.model, "output_names", None)
        names = [x.output if named else str(getattr(x.loss, "name", "")) for x in reading.losses]
        for name in dict.fromkeys(names):
            told = "The model has one output: Keras computes its losses, and records none of them."
            yield Reported(f"{name}_loss", "Always 0.", told, 0.0)
        return
    if reading.backend == "tensorflow":
        rule = (
            "The loss before its weight; a plain mean over batches, a shorter last batch counting "
            "as much as any other (TensorFlow: the batch's length is not known in the graph)."
        )
    else:
        rule = "The loss before its weight; a mean over batches, weighted by the output's length."
    for loss in reading.losses:
        differs = []
        if loss.loss_weight != 1:
            differs.append(
                f"The total has {number(loss.loss_weight)} times it, "
                f"{number(loss.loss_weight * loss.value)}."
            )
        if reading.backend == "tensorflow":
            differs.append(
                "The total is weighted by batch length: if the last batch is shorter, the parts do "
                "not add up to it."
            )
        if reading.extras:
            differs.append("Regularizers are in the total alone.")
        yield Reported(f"{loss.output}_loss", rule, " ".join(differs), loss.value)


def _validation(reading: Reading) -> Iterator[Reported]:
    """Yield what validation would say of this batch."""
    differs = ["Computed after the epoch's updates, with the layers in inference mode."]
    if any(loss.weight_source == "sample_weight" for loss in reading.losses):
        differs.append("It has sample weights only if `validation_data` holds them.")
    if reading.extras:
        differs.append("Regularizers are in it too.")
    total = sum(e.amount for e in reading.extras)
    decided = True
    for loss in reading.losses:
        value: float | None = loss.value
        if loss.weight_source == "class_weight":
            value = _unweighted(loss)
            what = "" if value is None else f": {number(value)} instead of {number(loss.value)}"
            differs.append(f"`{loss.output}` has no class weights there{what}.")
        decided = decided and value is not None
        total += 0.0 if value is None else loss.loss_weight * value
    acting = _act_otherwise(reading.model)
    if acting:
        differs.append(f"{', '.join(acting)}: something else is computed in inference.")
    yield Reported(
        "val_loss",
        "As `loss`, over the validation batches.",
        " ".join(differs),
        total if decided and not acting and reading.losses else None,
    )


def _unweighted(loss: LossReading) -> float | None:
    """Return the loss without its weights; None if its values are not known."""
    if loss.values is None:
        return None
    if np.ndim(loss.values) == 0:
        return float(loss.values)
    mask, reduction = mask_of(loss), reduction_of(loss)
    try:
        above = weighted_sum(loss.values, mask)
    except ValueError:
        return None
    if reduction == "none":
        return None
    below = float(np.size(loss.values) if mask is None else mask.sum())
    return above if reduction == "sum" else above / below if below else 0.0


def _act_otherwise(model: Any) -> list[str]:
    """Return the layers that compute something else in training."""
    return [f"`{x.name}` ({type(x).__name__})" for x in flat(model) if _acts_otherwise(x)]


def _acts_otherwise(layer: Any) -> bool:
    rates = [getattr(layer, name) for name in _RATES if hasattr(layer, name)]
    try:
        takes = "training" in inspect.signature(layer.call).parameters
    except (TypeError, ValueError):
        takes = True
    home = type(layer).__module__
    if rates or not home.startswith("keras."):
        return takes and (not rates or any(rates))
    averages = isinstance(
        layer, keras.layers.BatchNormalization | keras.layers.SpectralNormalization
    )
    return averages or (takes and ".preprocessing." in home)


_RATES = ("rate", "dropout", "recurrent_dropout", "stddev")


def _metrics(reading: Reading) -> Iterator[Reported]:
    """Yield what the log says of each metric."""
    losses = {loss.output: loss for loss in reading.losses}
    for metric in metrics_of(reading):
        loss = losses[metric.output]
        sees = metric.masks and reading.backend != "jax"
        shown = metric.masked if sees else metric.unmasked
        if metric.weighted:
            rule = "Over the epoch: Σ weight · value / Σ weight."
        else:
            rule = "Over the epoch: the mean of its values, without weights."
        if not metric.masks:
            rule = "Its own, over the epoch." + (" With weights." if metric.weighted else "")
        yield Reported(metric.name, rule, _differs(metric, loss, sees), shown)


def _differs(metric: Metric, loss: LossReading, sees: bool) -> str:
    differs = []
    if loss.sample_weight is not None and not metric.weighted:
        differs.append("It takes no sample or class weights; the loss does.")
    if loss.sample_weight is not None and metric.weighted:
        if reduction_of(loss) in (WEIGHTED_MEAN, TERMS):
            differs.append("It divides by the weights of the epoch, the loss by each batch's.")
        elif reduction_of(loss) != "sum":
            differs.append("It divides by the weights, the loss by the number of values.")
    if reduction_of(loss) == "sum":
        differs.append("The loss is a sum.")
    if loss.mask is not None and metric.masks and not sees:
        differs.append(
            "In `fit` on JAX the mask does not reach it (in `evaluate` it does)"
            + ("." if metric.masked is None else f": with the mask it is {number(metric.masked)}.")
        )
    elif loss.mask is not None and metric.masks and reduction_of(loss) != "sum":
        differs.append("It divides by the epoch's unmasked elements, the loss by each batch's.")
    elif loss.mask is not None and not metric.masks:
        differs.append("It does not see the mask.")
    return " ".join(differs)


_OF_WINDOWS = (
    "One for every window of {} batches, with the gradient of the window in one batch: `fit` takes "
    "`ll.keras.Windows`, and refuses other data. A learning-rate schedule counts batches."
)


def _accumulated(reading: Reading) -> Iterator[Reported]:
    """Yield what gradient accumulation makes of the update."""
    optimizer = getattr(reading.model, "optimizer", None)
    steps = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    if steps < 2:
        return
    if isinstance(reading.compiled_loss, ObjectiveLoss):
        yield Reported("update", _OF_WINDOWS.format(steps), "`loss` is of parts of windows.")
        return
    differs = [
        "`loss` stays each batch's own.",
        f"Batches left over at the end of an epoch, fewer than {steps}, wait for the next one's.",
    ]
    for loss in reading.losses:
        name, reduction = f"`{loss.output}`", reduction_of(loss)
        if reduction == TERMS:
            differs.append(
                f"{name} is made of terms: the update follows the mean of {steps} totals, each "
                "with its own batch's divisors."
            )
        elif reduction == "sum":
            differs.append(f"{name} is a sum: the update is 1/{steps} of the whole sum's.")
        elif _is_ratio(loss):
            differs.append(
                f"{name} is a ratio: the update follows the mean of {steps} ratios, not the ratio "
                "of the sums."
            )
        else:
            differs.append(
                f"{name} is a mean: batches of the same length add up to the mean over all, a "
                "shorter one counts as much as a full one."
            )
    rule = (
        f"One for every {steps} batches: the gradients of their own losses, summed and divided by "
        f"{steps}. `optimizer.iterations` counts these updates; a learning-rate schedule counts "
        "batches."
    )
    yield Reported("update", rule, " ".join(differs))
