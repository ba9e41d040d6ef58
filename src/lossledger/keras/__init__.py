# SPDX-License-Identifier: Apache-2.0
"""Losses, objectives and ledgers inside Keras 3, on the JAX, PyTorch and TensorFlow backends.

`ll.keras` loads when it is first asked for, and Keras with it.
"""

from lossledger._errors import MissingExtraError

try:
    from lossledger.keras import _private  # noqa: F401 - loads Keras
except ModuleNotFoundError as missing:
    if missing.name != "keras":
        raise
    raise MissingExtraError(
        "`ll.keras` needs Keras 3",
        "keras is not installed",
        "lossledger was installed without its `keras` extra",
        "Run: pip install 'lossledger[keras]'",
    ) from missing
