# SPDX-License-Identifier: Apache-2.0
"""Compiled metrics: their names in the log, and their numbers on one batch."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation.model._formulas import mask_of, spread
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.keras._private import user_metrics


@dataclass(frozen=True)
class Metric:
    """A metric that a model was compiled with.

    Attributes:
        name: As in the log.
        output: Of which output.
        weighted: Whether it is one of `weighted_metrics`.
        masks: Whether Keras gives it the output's mask: a mean of a function's values.
        unmasked: Its number on this batch without the mask; None if it could not be computed.
        masked: Its number with the mask; None likewise.
    """

    name: str
    output: str
    weighted: bool
    masks: bool
    unmasked: float | None
    masked: float | None


def metrics_of(reading: Reading) -> tuple[Metric, ...]:
    """Return the compiled metrics of outputs that have a loss, with numbers on this batch."""
    losses = {loss.output: loss for loss in reversed(reading.losses)}
    outputs = [loss.output for loss in reading.losses[:1]]
    if len(getattr(reading.model, "outputs", None) or outputs) > 1:
        outputs = list(getattr(reading.model, "output_names", None) or ())
    found: list[Metric] = []
    taken: set[str] = set()
    for given, weighted in zip(user_metrics(reading.model), (False, True), strict=True):
        for output, identifiers in _by_output(given, outputs).items():
            if output not in losses:
                continue
            for identifier in identifiers:
                metric = _of(identifier, losses[output], weighted)
                if metric is None:
                    continue
                prefix = f"{output}_" if len(outputs) > 1 else ""
                name = f"{prefix}{metric.name}"
                name = f"{prefix}weighted_{metric.name}" if weighted and name in taken else name
                taken.add(name)
                found.append(
                    Metric(name, output, weighted, metric.masks, metric.unmasked, metric.masked)
                )
    return tuple(found)


def _by_output(given: Any, outputs: Sequence[str]) -> dict[str, list[Any]]:
    """Return metrics by output, where they are given in a form that names one for each."""
    if not given:
        return {}
    if len(outputs) == 1:
        return {outputs[0]: [m for m in keras.tree.flatten(given) if m is not None]}
    if isinstance(given, dict) and set(given) <= set(outputs):
        return {name: _listed(metric) for name, metric in given.items()}
    if isinstance(given, list | tuple) and len(given) == len(outputs):
        return {name: _listed(m) for name, m in zip(outputs, given, strict=True)}
    return {}


def _listed(metric: Any) -> list[Any]:
    found = metric if isinstance(metric, list | tuple) else [metric]
    return [m for m in found if m is not None]


def _of(identifier: Any, loss: LossReading, weighted: bool) -> Metric | None:
    """Return a metric with its numbers; None if it cannot be made anew."""
    try:
        name, fresh = _fresh(identifier, loss)
    except Exception:  # noqa: BLE001 - a metric of the user's own may raise anything
        return None
    masks = isinstance(fresh, keras.metrics.MeanMetricWrapper)
    weight = loss.sample_weight if weighted else None
    unmasked = _number(fresh, loss, weight)
    mask = None if loss.mask is None else mask_of(loss)
    masked = _number(fresh, loss, _product(weight, mask)) if masks else unmasked
    return Metric(name, loss.output, weighted, masks, unmasked, masked)


def _fresh(identifier: Any, loss: LossReading) -> tuple[str, Any]:
    """Return the name of a metric in the log, and a new one like it."""
    if str(identifier).lower() in ("accuracy", "acc"):
        return str(identifier), _accuracy(loss)
    metric = keras.metrics.get(identifier)
    if isinstance(metric, keras.metrics.Metric):
        name = identifier if isinstance(identifier, str) else metric.name
        return str(name), type(metric).from_config(metric.get_config())
    name = identifier if isinstance(identifier, str) else getattr(metric, "__name__", "metric")
    return str(name), keras.metrics.MeanMetricWrapper(metric, name=str(name))


def _accuracy(loss: LossReading) -> Any:
    """Return the accuracy that Keras chooses by shapes."""
    y, z = np.shape(loss.targets), np.shape(loss.outputs)
    if z[-1] == 1:
        return keras.metrics.BinaryAccuracy()
    if len(y) < len(z) or (y[-1] == 1 and z[-1] > 1):
        return keras.metrics.SparseCategoricalAccuracy()
    return keras.metrics.CategoricalAccuracy()


def _product(weight: Array | None, mask: Array | None) -> Array | None:
    if weight is None or mask is None:
        return mask if weight is None else weight
    return spread(mask.shape, weight) * mask


def _number(metric: Any, loss: LossReading, weight: Array | None) -> float | None:
    """Return the number of a metric on this batch alone; None if it raises."""
    try:
        metric.reset_state()
        outputs = keras.ops.convert_to_tensor(loss.outputs)
        given = None if weight is None else np.asarray(weight, keras.config.floatx())
        metric.update_state(keras.ops.convert_to_tensor(loss.targets), outputs, given)
        found = np.asarray(keras.ops.convert_to_numpy(metric.result()))
    except Exception:  # noqa: BLE001 - a metric of the user's own may raise anything
        return None
    return float(found) if found.ndim == 0 else None
