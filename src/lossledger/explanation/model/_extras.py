# SPDX-License-Identifier: Apache-2.0
"""What a Keras total holds beside losses: regularizers, activity regularizers, added losses."""

from typing import Any

import keras

from lossledger._typing import Array
from lossledger.explanation._parts import Extra
from lossledger.explanation.model._data import host
from lossledger.explanation.model._private import Private


def extras_of(model: Any, private: Private) -> tuple[tuple[Extra, ...], tuple[str, ...]]:
    """Return (extras, what could not be told apart), read after a forward pass.

    Keras adds what layers added in their calls, and Σ regularizer(variable) over the trainable
    variables: each summed, none divided by a batch but activity regularizers.
    """
    found: list[Extra] = []
    undecided: list[str] = []
    layers = private.layers(model)
    if layers is not None:
        for layer in layers:
            extras, unknown = _of_layer(layer, private.own_losses(layer) or [])
            found += extras
            undecided += unknown
    else:
        found += _unnamed(model)
    return tuple(found + _of_variables(model)), tuple(undecided)


def _of_variables(model: Any) -> list[Extra]:
    """Return one extra for each trainable variable with a regularizer."""
    return [
        Extra("regularizer", v.path, _formula(v.regularizer, v.path), _amount(v.regularizer(v)))
        for v in model.trainable_variables
        if getattr(v, "regularizer", None) is not None
    ]


def _of_layer(layer: Any, own: list[Array]) -> tuple[list[Extra], list[str]]:
    """Return what one layer added in its calls."""
    if not own:
        return [], []
    amount = sum(_amount(loss) for loss in own)
    regularizer = getattr(layer, "activity_regularizer", None)
    name = getattr(layer, "path", layer.name)
    if regularizer is None:
        times = "" if len(own) == 1 else f", {len(own)} times"
        return [Extra("add_loss", name, f"Σ add_loss({name}){times}", amount)], []
    formula = f"{_formula(regularizer, 'out')} / B"
    if len(own) == 1 or not _adds_losses(layer):
        return [Extra("activity regularizer", name, formula, amount)], []
    told = (
        f"How much of {amount:.6g} that layer `{name}` adds is its activity regularizer, and how "
        "much its add_loss: it has both, and Keras keeps them in one list."
    )
    both = f"{formula} + Σ add_loss({name})"
    return [Extra("activity regularizer and add_loss", name, both, amount)], [told]


def _adds_losses(layer: Any) -> bool:
    """Whether code of the layer's own classes names `add_loss`."""
    own = [k for k in type(layer).__mro__ if not k.__module__.startswith("keras.")]
    codes = [getattr(f, "__code__", None) for k in own for f in vars(k).values()]
    return any("add_loss" in code.co_names for code in codes if code is not None)


def _unnamed(model: Any) -> list[Extra]:
    """Return what was added in calls, by what is public: all but the variables' regularizers."""
    losses = list(model.losses)
    regularized = [v for v in model.trainable_variables if getattr(v, "regularizer", None)]
    own = losses[: len(losses) - len(regularized)]
    if not own:
        return []
    amount = sum(_amount(loss) for loss in own)
    name = model.name
    return [Extra("add_loss or activity regularizer", name, f"Σ added({name})", amount)]


def _amount(loss: Array) -> float:
    total = keras.ops.sum(keras.ops.cast(loss, keras.config.floatx()))
    return float(host(total))


def _formula(regularizer: Any, name: str) -> str:
    """Return a regularizer in symbols."""
    kind = type(regularizer)
    known = kind.__module__.startswith("keras.")
    config = regularizer.get_config() if known else {}
    parts = []
    if known and kind.__name__ in ("L1", "L2", "L1L2"):
        for option, symbol in (("l1", f"Σ|{name}|"), ("l2", f"Σ {name}²")):
            factor = float(config.get(option, 0.0))
            if factor:
                parts.append(f"{factor:g} · {symbol}")
        return " + ".join(parts) or "0"
    called = getattr(regularizer, "__name__", kind.__name__)
    return f"{called}({name})"
