# SPDX-License-Identifier: Apache-2.0
"""The losses of named libraries, under their own names and keyword arguments.

`presets.torch.CrossEntropyLoss(weight=[1, 2, 5])(outputs, targets)` is that library's number
and gradient; `preset.term("output")` is the same loss in an `Objective`.
"""

from lossledger.presets import keras, monai, nnunet, optax, smp, tf1, torch
from lossledger.presets.migration import Candidate, Migration, migrate

__all__ = [
    "Candidate",
    "Migration",
    "keras",
    "migrate",
    "monai",
    "nnunet",
    "optax",
    "smp",
    "tf1",
    "torch",
]
