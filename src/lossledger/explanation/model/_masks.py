# SPDX-License-Identifier: Apache-2.0
"""Which mask reaches a loss, and which layer made it."""

from typing import Any

import keras

from lossledger._typing import Array
from lossledger.explanation.model._data import host
from lossledger.explanation.model._private import Private


class _Ones(keras.losses.Loss):  # type: ignore[misc] # Keras has no types
    """A loss of ones: unreduced, what it gives is the mask."""

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return a one for each element of the outputs, their last axis removed."""
        return keras.ops.ones_like(y_pred[..., 0])


def mask_of(outputs: Array, private: Private) -> Array:
    """Return the mask that outputs carry into a loss; None for none.

    Without private names a loss of ones is called: Keras multiplies it by the mask.
    """
    found, mask = private.mask(outputs)
    if found:
        return mask
    if len(outputs.shape) < 2:
        return None
    ones = _Ones(name="ones", reduction="none")(outputs, outputs)
    kept = keras.ops.cast(ones, "bool")
    return None if bool(host(kept).all()) else kept


def own_mask_of(loss: Any, values: Array, targets: Array, private: Private) -> Array:
    """Return the mask that a loss sets on its own values; None for none.

    Without private names it follows from the options of Keras' losses that set one.
    """
    found, mask = private.mask(values)
    if found:
        return mask
    ignored = loss.get_config().get("ignore_class") if _of_keras(loss) else None
    if ignored is not None:
        labels = keras.ops.reshape(targets, keras.ops.shape(values))
        return keras.ops.not_equal(labels, keras.ops.cast(ignored, labels.dtype))
    if _of_keras(loss) and type(loss).__name__ == "Circle":
        return keras.ops.greater(values, 0)
    return None


def _of_keras(loss: Any) -> bool:
    return type(loss).__module__.startswith("keras.")


def mask_maker(model: Any, private: Private) -> str:
    """Return the name of the layer that makes masks; several are joined by "or".

    Layers of a user's own that compute masks are named only where none of Keras' makes any:
    most of them hand on what they got.
    """
    layers = private.layers(model) or list(getattr(model, "layers", []))
    makers = [layer for layer in layers if _makes_masks(layer)]
    makers = makers or [layer for layer in layers if _computes_masks(layer)]
    return " or ".join(dict.fromkeys(layer.name for layer in makers))


def _makes_masks(layer: Any) -> bool:
    zero = isinstance(layer, keras.layers.Embedding) and layer.mask_zero
    return zero or isinstance(layer, keras.layers.Masking)


def _computes_masks(layer: Any) -> bool:
    own = type(layer).compute_mask
    inherited = own is keras.layers.Layer.compute_mask
    return not inherited and not own.__module__.startswith("keras.")
