# SPDX-License-Identifier: Apache-2.0
"""How Keras makes shapes fit, and where the weights of its values stand."""

import math

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array, Axes
from lossledger.frames import NamedArray

Shape = tuple[int, ...]


def shape_of(x: Array) -> Shape:
    """Return an array's shape, or a named array's."""
    return tuple((x.array if isinstance(x, NamedArray) else x).shape)


def same_rank(first: Shape, second: Shape) -> tuple[Shape, Shape]:
    """Return both shapes with a last axis of length 1 added or dropped, as Keras 3 does it."""
    if len(first) == len(second) + 1 and first[-1] == 1:
        return (first, (*second, 1)) if len(second) == 1 else (first[:-1], second)
    if len(second) == len(first) + 1 and second[-1] == 1:
        return ((*first, 1), second) if len(first) == 1 else (first, second[:-1])
    return first, second


def reshaped(xp: ArrayLibrary, x: Array, shape: Shape) -> Array:
    """Return an array in a shape; itself if it has it."""
    return x if tuple(x.shape) == shape else xp.reshape(x, shape)


def placed(
    xp: ArrayLibrary, name: str, x: Array, axes: Axes, shape: Shape, missing: int
) -> NamedArray:
    """Name the axes of a weight or mask among those of Keras' values.

    Args:
        xp: The library of the array.
        name: Of the argument.
        x: As passed.
        axes: Axes of the values.
        shape: Their lengths.
        missing: How many of the last axes may be missing (in Keras 2).

    Raises:
        ShapeError: If Keras raises there, or would broadcast along another axis.
    """
    found = shape_of(x)
    array = x.array if isinstance(x, NamedArray) else x
    if math.prod(found) == 1:
        every = xp.broadcast_to(xp.reshape(array, (1,)), shape[:1])
        return NamedArray(every, axes[:1])
    fitted = found
    if len(found) == len(shape) + 1 and found[-1] == 1:
        fitted = found[:-1]
    elif 0 < len(shape) - len(found) <= (max(missing, 1) if shape[-1] == 1 else missing):
        fitted = found + (1,) * (len(shape) - len(found))
    fits = [n in (1, m) for n, m in zip(fitted, shape, strict=False)]
    if len(fitted) != len(shape) or not all(fits):
        narrow = (*shape[:1], *(1,) * (len(shape) - 1))
        raise ShapeError(
            f"`{name}` must have the axes of Keras' values, {' '.join(axes)} of shape {shape}",
            f"Found shape {found}",
            "Keras lines up the last axes: it raises, or weighs along another axis if the "
            "lengths happen to agree",
            f"Pass it with length 1 where it does not vary, as in {narrow}",
        )
    varying = [(a, n) for a, n, m in zip(axes, fitted, shape, strict=True) if n == m]
    return NamedArray(xp.reshape(array, tuple(n for _, n in varying)), tuple(a for a, _ in varying))
