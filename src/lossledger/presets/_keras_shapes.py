# SPDX-License-Identifier: Apache-2.0
"""How Keras makes shapes fit, and where the weights of its values stand."""

import math

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array, Axes
from lossledger.frames import NamedArray

Shape = tuple[int, ...]

EXACT = -1
"""Instead of a number of missing axes: none, not even one of length 1."""


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
    xp: ArrayLibrary,
    name: str,
    x: Array,
    axes: Axes,
    shape: Shape,
    missing: int,
    squeezes: bool = True,
) -> NamedArray:
    """Name the axes of a weight or mask among those of Keras' values.

    Args:
        xp: The library of the array.
        name: Of the argument.
        x: As passed.
        axes: Axes of the values.
        shape: Their lengths.
        missing: How many of the last axes may be missing (in Keras 2), or `EXACT`.
        squeezes: Whether a last axis of length 1 more is dropped (not in Keras 1).

    Raises:
        ShapeError: If Keras raises there, or would broadcast along another axis.
    """
    found = shape_of(x)
    array = x.array if isinstance(x, NamedArray) else x
    if math.prod(found) == 1:
        every = xp.broadcast_to(xp.reshape(array, (1,)), shape[:1])
        return NamedArray(every, axes[:1])
    fitted = found
    single = shape[-1] == 1 and missing != EXACT
    if squeezes and len(found) == len(shape) + 1 and found[-1] == 1:
        fitted = found[:-1]
    elif 0 < len(shape) - len(found) <= (max(missing, 1) if single else missing):
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


def check_product(weight: Shape, mask: Shape) -> None:
    """Refuse a weight and a mask that Keras 2.3 cannot multiply, or multiplies along other axes.

    Raises:
        ShapeError: If one has two axes more than the other, or the weight one that is no 1.
    """
    more = len(mask) - len(weight)
    narrow = more == -1 and weight[-1] == 1
    if more in (0, 1) or narrow or not (weight and mask):
        return
    raise ShapeError(
        "Beside a mask, Keras 2.3 wants weights of the mask's axes, or of one axis less",
        f"Found weights of shape {weight} and a mask of shape {mask}",
        "Keras multiplies the two: it lines up the last axes, and raises if they differ",
        "Pass weights of the mask's shape, with length 1 where they do not vary",
    )
