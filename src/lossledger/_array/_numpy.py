# SPDX-License-Identifier: Apache-2.0
"""NumPy behind the array protocol."""

from functools import cache

import numpy as np

from lossledger._array._protocol import ArrayLibrary
from lossledger._array._standard import standard_functions
from lossledger._typing import Array


@cache
def library() -> ArrayLibrary:
    """Return the NumPy library."""
    import array_api_compat.numpy as xp  # noqa: PLC0415 - loads with the first array

    return ArrayLibrary(
        name="numpy",
        **standard_functions(xp)
        | {
            "sum": _sum,
            "softplus": lambda x: np.logaddexp(np.asarray(0, x.dtype), x),
            "sort_order": lambda x: np.argsort(-x, axis=-1, kind="stable"),
            "bin_sum": _bin_sum,
            "bin_max": _bin_max,
            "dtype": lambda x: x.dtype.name,
            "to_numpy": np.asarray,
        },
    )


def _sum(x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Sum in float64: NumPy adds float32 along leading axes one by one, and stops at 2²⁴."""
    if x.dtype.kind != "f" or x.dtype.itemsize >= 8:
        return np.sum(x, axis=axis)
    return np.sum(x, axis=axis, dtype=np.float64).astype(x.dtype)


def _bin_sum(x: Array, index: Array, n: int) -> Array:
    if x.dtype.kind == "f":
        return np.bincount(index, weights=x, minlength=n)
    sums = np.zeros(n, dtype=np.int64)
    np.add.at(sums, index, x)
    return sums


def _bin_max(x: Array, index: Array, n: int) -> Array:
    maxima = np.full(n, -np.inf, dtype=x.dtype)
    np.maximum.at(maxima, index, x)
    return maxima
