# SPDX-License-Identifier: Apache-2.0
"""What can be read of each call of a loss: its arrays, weights, masks, values and number."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lossledger._errors import DomainError
from lossledger._typing import Array, Sequence, Tree
from lossledger.explanation.model._data import host
from lossledger.explanation.model._masks import mask_maker, mask_of, own_mask_of
from lossledger.explanation.model._private import Private
from lossledger.explanation.model._probe import Call
from lossledger.explanation.model._reading import LossReading
from lossledger.explanation.model._spelled import spelled
from lossledger.keras._loss import Loss


@dataclass(frozen=True, eq=False)
class Told:
    """What is the same for every call of a loss.

    Attributes:
        model: The Keras model.
        y_pred: What it gave.
        source: Where weights come from: "sample_weight", "class_weight" or "".
    """

    model: Any
    y_pred: Tree
    source: str


def number_of(total: Array) -> float:
    """Return Keras' total.

    Raises:
        DomainError: If it is no single number.
    """
    found = host(total)
    if found is None or found.shape != ():
        shape = "None" if found is None else f"an array of shape {found.shape}"
        raise DomainError(
            "What a model minimizes must be one number",
            f"Found {shape}",
            "A loss has reduction=None or 'none': JAX and PyTorch raise in fit, TensorFlow "
            "minimizes the sum and reports the mean",
            "Give the loss a reduction, such as 'sum_over_batch_size'",
        )
    return float(found)


def readings(
    calls: Sequence[Call], weights: Sequence[float] | None, told: Told, private: Private
) -> tuple[LossReading, ...]:
    """Return each call of a loss with what can be read of it.

    Args:
        calls: In Keras' order.
        weights: Each one's factor in the total; None where Keras raised, and there is none: a
            loss's own number is then NaN too, and its values None if it does not give them.
        told: What is the same for all of them.
        private: Which private names of Keras are read.

    Raises:
        DomainError: If a loss gave no number.
    """
    names = _output_names(told.model, told.y_pred)
    maker = mask_maker(told.model, private)
    found = []
    for i, call in enumerate(calls):
        mask = None if keras.tree.is_nested(call.outputs) else mask_of(call.outputs, private)
        values, own_mask = _values(call, private) if weights else _values_if_any(call, private)
        found.append(
            LossReading(
                output=names.get(id(call.outputs), "output"),
                loss=call.loss,
                spelled=spelled(call.identifier, call.loss),
                loss_weight=float(str(np.float32(weights[i]))) if weights else math.nan,
                outputs=_hosted(call.outputs),
                targets=_hosted(call.targets),
                sample_weight=call.sample_weight,
                weight_source=told.source if call.sample_weight is not None else "",
                mask=host(mask),
                mask_source=maker if mask is not None else "",
                values=host(values),
                own_mask=host(own_mask),
                value=number_of(call.value) if weights else math.nan,
                terms=call.loss.objective.terms if isinstance(call.loss, Loss) else (),
            )
        )
    return tuple(found)


def _hosted(tree: Tree) -> Any:
    """Return one array, or the nested structure that a loss was called with."""
    return keras.tree.map_structure(host, tree) if keras.tree.is_nested(tree) else host(tree)


def _output_names(model: Any, y_pred: Tree) -> dict[int, str]:
    """Return the name of every output, by the identity of its tensor."""
    leaves = keras.tree.flatten_with_path(y_pred)
    known = list(getattr(model, "output_names", None) or ())
    if not keras.tree.is_nested(y_pred) and known:
        return {id(y_pred): str(known[0])}
    found = {}
    for i, (path, leaf) in enumerate(leaves):
        spelled_path = "/".join(str(p) for p in path)
        named = isinstance(y_pred, dict) or len(known) != len(leaves)
        name = spelled_path if named else str(known[i])
        found[id(leaf)] = name if not name.isdigit() else f"output_{name}"
    return {k: v or "output" for k, v in found.items()}


def _values(call: Call, private: Private) -> tuple[Array, Array]:
    """Return (what is left after the loss's own reduction, the mask it sets); None if unknown."""
    loss = call.loss
    if type(loss).__call__ is not keras.losses.Loss.__call__:
        return None, None

    def cast(leaf: Array) -> Array:
        return keras.ops.convert_to_tensor(leaf, dtype=loss.dtype)

    targets = keras.tree.map_structure(cast, call.targets)
    values = loss.call(targets, keras.tree.map_structure(cast, call.outputs))
    return values, own_mask_of(loss, values, targets, private)


def _values_if_any(call: Call, private: Private) -> tuple[Array, Array]:
    """Return the same of a loss that may fail once more: None where it does."""
    try:
        return _values(call, private)
    except Exception:  # noqa: BLE001 - a loss that failed may fail again, in any way
        return None, None
