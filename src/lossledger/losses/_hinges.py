# SPDX-License-Identifier: Apache-2.0
"""max(0, x) with the slope at its kink named, and hinges of all pairs of classes."""

from lossledger._array import ArrayLibrary
from lossledger._typing import Array


def hinge(xp: ArrayLibrary, x: Array, kink: float = 0.0) -> Array:
    """Return max(0, x), with the slope `kink` at x = 0 in every library."""
    none = xp.full_like(x, 0)
    return xp.where(x > 0, x, xp.where(x == 0, kink * x, none) if kink else none)


def hinge_slope(xp: ArrayLibrary, x: Array, kink: float = 0.0) -> Array:
    """Return 1 above 0, `kink` at 0 and 0 below."""
    none = xp.full_like(x, 0)
    return xp.where(x > 0, none + 1, xp.where(x == 0, none + kink, none))


def pair_margins(xp: ArrayLibrary, z: Array, axis: int, margin: float) -> Array:
    """Return margin − z_c + z_j, with c at the class axis and j on a new axis behind it."""
    return margin - xp.expand(z, axis + 1) + xp.expand(z, axis)


def pair_weights(xp: ArrayLibrary, wanted: Array, others: Array, axis: int) -> Array:
    """Return wanted_c · others_j over the axes of `pair_margins`."""
    return xp.expand(wanted, axis + 1) * xp.expand(others, axis)
