# SPDX-License-Identifier: Apache-2.0
"""The losses of Keras 3, recognized by the presets of compiled models."""

import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.explanation.criterion._known import Found, Known, Unknown, spelling

_READER = "lossledger.explanation.model._presets"


def recognize(thing: Any) -> Found | None:
    """Return what a loss of Keras is; None if it is none of Keras'."""
    library = sys.modules.get("keras")
    if library is None or not hasattr(library, "losses"):
        return None
    if isinstance(thing, str | dict | type):  # names, which Keras would look up
        return None
    preset = import_module(_READER).preset_of(thing)
    if preset is None:
        if isinstance(thing, library.losses.Loss):
            return Unknown(f"keras.losses.{type(thing).__name__} has no preset")
        return None
    is_function = not isinstance(thing, library.losses.Loss)
    bare = {"reduction": "none"} if is_function else {}
    preset = replace(preset, dtype=None, name=type(preset)().name, **bare)
    takes = () if is_function else ("sample_weight",)
    framework = f"Keras {library.__version__}"
    return Known(preset, spelling(preset), framework, "numpy", caller(thing), takes=takes)


def caller(thing: Any) -> Any:
    """Return a call of a Keras loss with outputs first."""
    library = sys.modules["keras"]

    def call(outputs: tuple[Array, ...], targets: Array, weight: Array, mask: Array) -> Array:
        if mask is not None or (weight is not None and not isinstance(thing, library.losses.Loss)):
            raise MatchError(
                "A Keras loss takes a mask from the model's output, a function no weights",
                f"Found {'mask' if mask is not None else 'sample_weight'}",
                "Masks belong to layers, and weights to loss objects",
                "Use ll.presets.keras, which takes both, or explain the compiled model",
            )
        return thing(targets, *outputs) if weight is None else thing(targets, *outputs, weight)

    return call


def is_keras(thing: Any) -> bool:
    """Whether it is called as Keras calls losses: targets first."""
    library = sys.modules.get("keras")
    return library is not None and isinstance(thing, getattr(library.losses, "Loss", ()))
