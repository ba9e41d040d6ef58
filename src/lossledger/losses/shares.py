# SPDX-License-Identifier: Apache-2.0
"""How much of a batch counts."""

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array


def inverse_share(xp: ArrayLibrary, mask: Array) -> Array:
    """Return 1/mean(mask).

    Raises:
        ReductionError: If no element counts.
    """
    numbers = xp.astype(mask, xp.wide(mask)) if not xp.is_float(mask) else mask
    total = xp.sum(numbers)
    if xp.readable(total) and not bool(total != 0):
        raise ReductionError(
            "A mask needs some elements",
            "Found none",
            "All elements of the batch are masked",
            "Skip the batch",
        )
    size = 1
    for length in mask.shape:
        size *= int(length)
    return size / total
