# SPDX-License-Identifier: Apache-2.0
"""A loss as its users write it."""

from typing import Any

import keras


def spelled(identifier: Any, loss: Any) -> str:
    """Return the code with which a loss was compiled.

    Args:
        identifier: What was compiled: a string, a function, a loss object.
        loss: The loss object that Keras calls.
    """
    if isinstance(identifier, str):
        return repr(identifier)
    if not isinstance(identifier, keras.losses.Loss):
        return str(getattr(identifier, "__name__", type(identifier).__name__))
    return f"{type(loss).__name__}({', '.join(_options(loss))})"


def _options(loss: Any) -> list[str]:
    """Return the options that are not at their defaults, as code."""
    try:
        config = loss.get_config()
        plain = type(loss)().get_config()
    except (TypeError, ValueError, NotImplementedError):
        config, plain = {"reduction": loss.reduction}, {"reduction": "sum_over_batch_size"}
    shown = {k: v for k, v in config.items() if k not in ("name", "fn", "dtype")}
    return [f"{k}={v!r}" for k, v in shown.items() if k not in plain or plain[k] != v]
