# SPDX-License-Identifier: Apache-2.0
"""Losses, objectives and ledgers inside Keras 3, on the JAX, PyTorch and TensorFlow backends.

`ll.keras` loads when it is first asked for, and Keras with it.
"""

from lossledger._errors import MissingExtraError

try:
    from lossledger.keras._callback import LedgerCallback
    from lossledger.keras._compile import compile, read_ledger, restore  # noqa: A004 - Keras' name
    from lossledger.keras._loss import Loss
    from lossledger.keras._plain import objective_from_dict, objective_to_dict
    from lossledger.keras._windows import Windows
except ModuleNotFoundError as missing:
    if missing.name != "keras":
        raise
    raise MissingExtraError(
        "`ll.keras` needs Keras 3",
        "keras is not installed",
        "lossledger was installed without its `keras` extra",
        "Run: pip install 'lossledger[keras]'",
    ) from missing

__all__ = [
    "LedgerCallback",
    "Loss",
    "Windows",
    "compile",
    "objective_from_dict",
    "objective_to_dict",
    "read_ledger",
    "restore",
]
