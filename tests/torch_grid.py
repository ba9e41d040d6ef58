# SPDX-License-Identifier: Apache-2.0
"""What the grids of torch's losses share."""

REDUCTIONS = ("mean", "sum", "none")
WAYS = ("numpy", "torch")
SIZES: dict[str, tuple[int, ...]] = {
    "number": (),
    "row": (4,),
    "rows": (6, 4),
    "image": (2, 3, 5, 4),
}


def also_jax(index: int) -> tuple[str, ...]:
    """Add JAX, which is slow, to a few of the cases."""
    return (*WAYS, "jax") if index in (5, 16) else WAYS
