# SPDX-License-Identifier: Apache-2.0
"""Numbers for which a function is 0: by bracket for one of them, by Gauss-Newton for several."""

import itertools

import numpy as np

from lossledger._typing import Array, Callable, Sequence

_COARSE = 7
"""Trials in a bracket before it is asked whether what is near the root can be meant at all."""

_FINE = 60
_NEWTON = 14
_STEP = 1e-6
"""Of the range of a number: by how much it is moved to find a slope."""

Residual = Callable[[Array], Array | None]


def roots(
    f: Callable[[float], float],
    points: Sequence[float],
    hopeful: Callable[[float], bool],
) -> list[float]:
    """Return where a function of one number changes its sign, or is 0, in order.

    Args:
        f: The function; NaN where it has no value.
        points: Where to look for signs, ascending.
        hopeful: Whether a number near a root is worth finding the root.
    """
    values = [f(x) for x in points]
    if all(abs(v) <= 1e-9 for v in values if np.isfinite(v)):
        return []  # it is 0 everywhere: it tells no number from another
    found = [x for x, v in zip(points, values, strict=True) if abs(v) <= 1e-13]
    pairs = itertools.pairwise(zip(points, values, strict=True))
    for (a, fa), (b, fb) in pairs:
        if fa * fb < 0 and min(abs(fa), abs(fb)) > 1e-13:
            near = _bracketed(f, (a, fa), (b, fb), _COARSE)
            if hopeful(near[2]):
                found.append(_bracketed(f, near[0], near[1], _FINE)[2])
    return found


_Point = tuple[float, float]


def _bracketed(
    f: Callable[[float], float], a: _Point, b: _Point, trials: int
) -> tuple[_Point, _Point, float]:
    """Narrow a bracket by the Illinois rule, with a bisection where that is slow."""
    best = min(a, b, key=lambda p: abs(p[1]))
    (xa, fa), (xb, fb) = a, b
    side = 0
    for i in range(trials):
        width = xb - xa
        if width <= 4e-16 * max(abs(xa), abs(xb)):
            break
        x = xb - fb * width / (fb - fa)
        if i % 3 == 2 or not xa < x < xb:
            x = (xa + xb) / 2
        fx = f(x)
        if not np.isfinite(fx):
            break
        best = min(best, (x, fx), key=lambda p: abs(p[1]))
        if abs(fx) <= 1e-15:
            break
        if fx * fa > 0:
            (xa, fa), fb = (x, fx), fb / 2 if side == 1 else fb
            side = 1
        else:
            (xb, fb), fa = (x, fx), fa / 2 if side == -1 else fa
            side = -1
    return (xa, fa), (xb, fb), best[0]


def fitted(residual: Residual, starts: Sequence[Sequence[float]]) -> Array | None:
    """Return the numbers in [0, 1] for which a residual is nearly 0; None if there are none.

    Args:
        residual: Of several numbers in [0, 1]; None where it has no value.
        starts: Where to begin; the best of them is.
    """
    points = [np.array(x) for x in starts]
    best, place = min((_size(residual(x)), i) for i, x in enumerate(points))
    if best > 0.5:  # the directions have little in common wherever one looks
        return None
    x = points[place]
    for _ in range(_NEWTON):
        here = residual(x)
        if here is None or _size(here) <= 1e-15:
            break
        moved = _moved(residual, x, here)
        if moved is None:
            break
        x = moved
    return x if _size(residual(x)) < 1e-3 else None


def _moved(residual: Residual, x: Array, here: Array) -> Array | None:
    """Return numbers of a smaller residual, along the Gauss-Newton step; None if there are none."""
    slopes = _slopes(residual, x, here)
    if slopes is None:
        return None
    free, move = np.ones(len(x), bool), np.zeros(len(x))
    for _ in range(len(x)):
        move = np.zeros(len(x))
        move[free] = np.linalg.lstsq(slopes[:, free], -here, rcond=None)[0]
        out = free & ((x + move < 0) & (x <= 0) | (x + move > 1) & (x >= 1))
        if not out.any():
            break
        free &= ~out
    for share in (1.0, 0.5, 0.25, 0.05):
        there = np.clip(x + share * move, 0, 1)
        if _size(residual(there)) < _size(here):
            return there
    return None


def _slopes(residual: Residual, x: Array, here: Array) -> Array | None:
    columns = []
    for i in range(len(x)):
        there = x.copy()
        there[i] += _STEP if x[i] < 0.5 else -_STEP
        moved = residual(there)
        if moved is None:
            return None
        columns.append((moved - here) / (there[i] - x[i]))
    return np.stack(columns, 1)


def _size(residual: Array | None) -> float:
    found = np.inf if residual is None else float(np.sqrt((residual * residual).sum()))
    return found if np.isfinite(found) else np.inf
