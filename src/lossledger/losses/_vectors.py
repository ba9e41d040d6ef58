# SPDX-License-Identifier: Apache-2.0
"""Norms and directions of vectors along one axis, with derivative 0 at the zero vector.

Vectors are divided by their largest element before powers are taken, so that neither large
nor small ones overflow. The divisor is detached: norms and directions do not depend on it,
so their derivatives do not either.
"""

import math

from lossledger._array import ArrayLibrary
from lossledger._typing import Array


def norm(xp: ArrayLibrary, x: Array, axis: int, p: float = 2.0) -> Array:
    """Return (Σ|x|^p)^(1/p) for p ≥ 1, the largest |x| for p = ∞, without the axis."""
    if p == 1:
        return xp.sum(xp.abs(x), axis=axis)
    if p == math.inf:
        return xp.sum(xp.abs(x) * _largest(xp, x, axis), axis=axis)
    scale = _scale(xp, x, axis)
    y = x / xp.expand(scale, axis)
    power = xp.sum(y * y if p == 2 else xp.abs(y) ** p, axis=axis)
    zero = power == 0
    inside = xp.where(zero, xp.detach(power) + 1, power)
    root = xp.sqrt(inside) if p == 2 else inside ** (1 / p)
    return xp.where(zero, xp.detach(power), root * scale)


def norm_slope(xp: ArrayLibrary, x: Array, axis: int, p: float = 2.0) -> Array:
    """Return ∂norm/∂x = sign(x)·(|x|/norm)^(p − 1), 0 at the zero vector.

    For p = ∞ the largest elements share the slope.
    """
    if p == 1:
        return xp.sign(x)
    if p == math.inf:
        return xp.sign(x) * _largest(xp, x, axis)
    if p == 2:
        return unit(xp, x, axis)
    size = xp.expand(norm(xp, x, axis, p), axis)
    ratio = xp.abs(x) / xp.where(size == 0, size + 1, size)
    return xp.sign(x) * ratio ** (p - 1)


def unit(xp: ArrayLibrary, x: Array, axis: int, epsilon: float = 0.0) -> Array:
    """Return x/√(‖x‖² + ε), and 0 for the zero vector without an ε."""
    if epsilon:
        return x / xp.expand(_root(xp, x, axis, epsilon), axis)
    y = x / xp.expand(_scale(xp, x, axis), axis)
    square = xp.expand(xp.sum(y * y, axis=axis), axis)
    zero = square == 0
    inside = xp.where(zero, xp.detach(square) + 1, square)
    return xp.where(zero, xp.detach(y), y / xp.sqrt(inside))


def unit_back(xp: ArrayLibrary, x: Array, slopes: Array, axis: int, epsilon: float = 0.0) -> Array:
    """Return the derivative for x of Σ slope · unit(x): (g − u·⟨u, g⟩)/√(‖x‖² + ε).

    Without an ε it is 0 at the zero vector.
    """
    u = unit(xp, x, axis, epsilon)
    root = _root(xp, x, axis, epsilon) if epsilon else norm(xp, x, axis)
    size = xp.expand(root, axis)
    along = xp.expand(xp.sum(u * slopes, axis=axis), axis)
    found = (slopes - u * along) / xp.where(size == 0, size + 1, size)
    return xp.where(size == 0, xp.full_like(size, 0), found)


def _largest(xp: ArrayLibrary, x: Array, axis: int) -> Array:
    """Return 1 over the number of elements that are largest, 0 at the others."""
    size = xp.abs(xp.detach(x))
    first = size == xp.expand(xp.max(size, axis=axis), axis)
    count = xp.astype(first, xp.dtype(x))
    return count / xp.expand(xp.sum(count, axis=axis), axis)


def _root(xp: ArrayLibrary, x: Array, axis: int, epsilon: float) -> Array:
    return xp.sqrt(xp.sum(x * x, axis=axis) + epsilon)


def _scale(xp: ArrayLibrary, x: Array, axis: int) -> Array:
    top = xp.max(xp.abs(xp.detach(x)), axis=axis)
    return xp.where(top == 0, top + 1, top)
