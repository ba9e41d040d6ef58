# SPDX-License-Identifier: Apache-2.0
"""JAX beyond one batch: sums over the devices of a mesh axis, micro-batches, and their gradients.

`ll.jax` loads when it is first asked for, and JAX with it.
"""

from lossledger._errors import MissingExtraError

try:
    from lossledger.jax._accumulate import accumulate
    from lossledger.jax._axis import all_reduce, part
    from lossledger.jax._optimizer import SumPartsState, sum_parts
except ModuleNotFoundError as missing:
    if missing.name not in ("jax", "optax"):
        raise
    raise MissingExtraError(
        "`ll.jax` needs JAX and optax",
        f"{missing.name} is not installed",
        "lossledger was installed without its `jax` extra",
        "Run: pip install 'lossledger[jax]'",
    ) from missing

__all__ = ["SumPartsState", "accumulate", "all_reduce", "part", "sum_parts"]
