# SPDX-License-Identifier: Apache-2.0
"""A small reader of compiled Keras models, for tests of what is made of a reading."""

from typing import Any

import keras
import numpy as np
from keras.src.backend import get_keras_mask
from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

from lossledger.explanation._parts import Extra
from lossledger.explanation.model._reading import LossReading, Reading


def read(
    model: Any,
    x: Any,
    y: Any,
    sample_weight: Any = None,
    class_weight: Any = None,
    **changes: Any,
) -> Reading:
    """Read a model by calling it; numbers are NaN, and losses empty, where Keras raises."""
    weights, source = sample_weight, "sample_weight" if sample_weight is not None else ""
    if class_weight is not None and np.ndim(y) <= 2:
        weights, source = (
            class_weight_to_sample_weights(np.asarray(y), class_weight),
            "class_weight",
        )
    outputs = model(to_tensor(x))
    losses: tuple[LossReading, ...] = ()
    number = float("nan")
    try:
        found = model.compute_loss(
            to_tensor(x), to_tensor(y), outputs, None if weights is None else to_tensor(weights)
        )
        number = float(np.sum(host(found)))
    except Exception:  # noqa: BLE001 - a trap: Keras raises
        number = float("nan")
    flat = model._compile_loss._flat_losses or ()
    for path, loss, factor, name in flat:
        losses += (
            _loss(at(path, outputs), at(path, y), at(path, weights), loss, factor, name, source),
        )
    given = {
        "model": model, "version": keras.__version__, "backend": keras.backend.backend(),
        "jit": bool(model.jit_compile), "losses": losses, "extras": extras(model),
        "number": number, "x": x, "y": y, "sample_weight": sample_weight,
        "class_weight": class_weight, "compiled_loss": model.loss,
        "compiled_weights": model._compile_loss._user_loss_weights, "private": True,
    }  # fmt: skip
    return Reading(**(given | changes))


def at(path: tuple[Any, ...], tree: Any) -> Any:
    """Return what lies at a path; the whole where it is one array for all."""
    for key in path:
        tree = tree[key] if isinstance(tree, dict | list | tuple) else tree
    return tree


def host(x: Any) -> Any:
    """Return an array on the host; None for None."""
    return None if x is None else np.asarray(keras.ops.convert_to_numpy(x))


def to_tensor(tree: Any) -> Any:
    """Return tensors of arrays: copies, for Keras may write into weights on PyTorch."""
    return keras.tree.map_structure(lambda a: keras.ops.convert_to_tensor(np.array(a)), tree)


def extras(model: Any) -> tuple[Extra, ...]:
    """Return what Keras adds to the losses."""
    active = any(layer.activity_regularizer for layer in model.layers)
    kind = "activity regularizer" if active else "regularizer"
    return tuple(Extra(kind, f"extra_{i}", "R", float(host(v))) for i, v in enumerate(model.losses))


def _loss(
    z: Any, y: Any, weight: Any, loss: Any, factor: Any, name: str, source: str
) -> LossReading:
    values, value = None, float("nan")
    own = None
    try:
        called = loss.call(
            keras.ops.convert_to_tensor(np.asarray(y), dtype=loss.dtype),
            keras.ops.convert_to_tensor(z, dtype=loss.dtype),
        )
        values, own = host(called), host(get_keras_mask(called))
        value = float(
            np.sum(host(loss(to_tensor(y), z, None if weight is None else to_tensor(weight))))
        )
    except Exception:  # noqa: BLE001 - a trap: Keras raises
        value = float("nan")
    factor = 1.0 if factor is None else float(host(factor))
    mask, held = host(get_keras_mask(z)), None if weight is None else np.asarray(weight)
    return LossReading(
        name, loss, name, factor, host(z), np.asarray(y), held, source, mask, "", values, own, value
    )  # fmt: skip
