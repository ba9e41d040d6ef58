# SPDX-License-Identifier: Apache-2.0
"""One classification loss, summed over a batch so that each coefficient is 1."""

from typing import Any

import numpy as np
from batches import Batch
from ways import batch_of, by_jax, by_torch, one

import lossledger as ll


def summed(loss: Any, z: Any, targets: Any) -> tuple[ll.Objective, Batch]:
    """Return an objective and a batch: elements, or rows if z has two axes."""
    z = np.asarray(z, float)
    axes = ("batch", "batch class")[z.ndim - 1]
    targets = None if isinstance(loss, ll.losses.Entropy) else targets
    return one(loss, axes, reduction="sum"), batch_of(z, targets)


def values(loss: Any, z: Any, targets: Any) -> Any:
    """Return the unreduced values."""
    objective, batch = summed(loss, z, targets)
    return objective.values(batch.outputs, batch.targets)["case"]


def closed(loss: Any, z: Any, targets: Any) -> Any:
    """Return the gradient in closed form."""
    objective, batch = summed(loss, z, targets)
    return batch.slopes(objective)[2]["y"]


def slopes(loss: Any, z: Any, targets: Any) -> dict[str, Any]:
    """Return the gradient in closed form, by torch and by JAX."""
    given = summed(loss, z, targets)
    return {
        "closed": closed(loss, z, targets),
        "torch": by_torch(*given)[1]["y"],
        "jax": by_jax(*given)[1]["y"],
    }
