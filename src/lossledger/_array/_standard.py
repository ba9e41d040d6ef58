# SPDX-License-Identifier: Apache-2.0
"""Functions written once for every namespace that follows the array API standard."""

import math
from typing import Any

from lossledger._typing import Array, Callable, Sequence


def standard_functions(xp: Any) -> dict[str, Any]:
    """Return the protocol's functions in terms of a standard namespace `xp`.

    Libraries replace entries where they have a faster or a differentiable one.
    """
    return _elementwise(xp) | _reductions(xp) | _shapes(xp) | _creation(xp) | _host(xp)


def _elementwise(xp: Any) -> dict[str, Any]:
    def softplus(x: Array) -> Array:
        return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))

    def sigmoid(x: Array) -> Array:
        small = xp.exp(-xp.abs(x))
        return xp.where(x >= 0, xp.ones_like(x), small) / (1 + small)

    def log_gamma(x: Array) -> Array:
        flat = [math.lgamma(float(v)) for v in xp.reshape(x, (-1,))]
        return xp.reshape(xp.asarray(flat, dtype=x.dtype), x.shape)

    names = ("exp", "log", "log1p", "sqrt", "sign", "tanh", "isfinite", "maximum", "minimum")
    functions: dict[str, Any] = {name: getattr(xp, name) for name in names}
    return functions | {
        "softplus": softplus,
        "sigmoid": sigmoid,
        "log_gamma": log_gamma,
        "where": xp.where,
    }


def _reductions(xp: Any) -> dict[str, Any]:
    def shifted(x: Array, axis: int) -> tuple[Array, Array]:
        top = xp.max(x, axis=axis, keepdims=True)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        return x - top, top

    def log_softmax(x: Array, axis: int) -> Array:
        moved, _ = shifted(x, axis)
        return moved - xp.log(xp.sum(xp.exp(moved), axis=axis, keepdims=True))

    def logsumexp(x: Array, axis: int) -> Array:
        moved, top = shifted(x, axis)
        total = xp.log(xp.sum(xp.exp(moved), axis=axis, keepdims=True)) + top
        return xp.squeeze(total, axis=axis)

    def members(index: Array, n: int) -> Array:
        return xp.expand_dims(index, axis=1) == xp.arange(n)

    def bin_sum(x: Array, index: Array, n: int) -> Array:
        column = xp.expand_dims(x, axis=1)
        return xp.sum(xp.where(members(index, n), column, xp.zeros_like(column)), axis=0)

    def bin_max(x: Array, index: Array, n: int) -> Array:
        column = xp.expand_dims(x, axis=1)
        lowest = xp.full_like(column, -math.inf)
        padded = xp.where(members(index, n), column, lowest)
        return xp.max(xp.concat([lowest[:1, :] + xp.zeros((1, n)), padded], axis=0), axis=0)

    return {
        "sum": lambda x, axis=None: xp.sum(x, axis=axis),
        "max": lambda x, axis=None: xp.max(x, axis=axis),
        "min": lambda x, axis=None: xp.min(x, axis=axis),
        "any": lambda x, axis=None: xp.any(x, axis=axis),
        "argmax": lambda x, axis: xp.argmax(x, axis=axis),
        "cumsum": lambda x, axis: xp.cumulative_sum(x, axis=axis),
        "sort_order": lambda x: xp.argsort(x, axis=-1, descending=True, stable=True),
        "log_softmax": log_softmax,
        "logsumexp": logsumexp,
        "bin_sum": bin_sum,
        "bin_max": bin_max,
    }


def _shapes(xp: Any) -> dict[str, Any]:
    return {
        "reshape": xp.reshape,
        "permute": lambda x, axes: xp.permute_dims(x, axes),
        "broadcast_to": xp.broadcast_to,
        "expand": lambda x, axis: xp.expand_dims(x, axis=axis),
        "stack": lambda xs, axis: xp.stack(xs, axis=axis),
        "concat": lambda xs, axis: xp.concat(xs, axis=axis),
        "take": lambda x, index: xp.take(x, index, axis=0),
        "take_along": lambda x, index, axis: xp.take_along_axis(x, index, axis=axis),
        "matmul": xp.matmul,
    }


def _creation(xp: Any) -> dict[str, Any]:
    def astype(x: Array, dtype: str) -> Array:
        return xp.astype(x, getattr(xp, dtype), copy=False)

    def asarray(data: Any, dtype: str | None, like: Array) -> Array:
        del like  # one device
        return xp.asarray(data, dtype=None if dtype is None else getattr(xp, dtype))

    return {
        "zeros": lambda shape, dtype, like: xp.zeros(shape, dtype=getattr(xp, dtype)),
        "full_like": lambda x, value: xp.full_like(x, value),
        "arange": lambda n, like: xp.arange(n),
        "asarray": asarray,
        "astype": astype,
        "dtype": lambda x: str(x.dtype).rpartition(".")[2],
        "wide": lambda x: "float64",
        "counter": lambda x: "int64",
    }


def _host(xp: Any) -> dict[str, Any]:
    def slopes(f: Callable[..., Array], arrays: Sequence[Array]) -> tuple[Array, ...]:
        return difference_slopes(xp, f, arrays)

    def map_rows(f: Callable[[Array], Array], x: Array) -> Array:
        if not x.shape[0]:
            return xp.zeros((0,), dtype=x.dtype)
        return xp.stack([xp.asarray(f(x[i, ...])) for i in range(x.shape[0])], axis=0)

    return {
        "readable": lambda x: True,
        "detach": lambda x: x,
        "slopes": slopes,
        "map_rows": map_rows,
        "to_numpy": lambda x: x,
        "register": lambda cls, flatten, unflatten: None,
    }


def difference_slopes(
    xp: Any, f: Callable[..., Array], arrays: Sequence[Array]
) -> tuple[Array, ...]:
    """Central differences of sum(f(arrays)), for libraries that cannot differentiate.

    The five-point rule: its error is of order step⁴, about 1e-12 relative for smooth f.
    """
    found = []
    for place, array in enumerate(arrays):
        flat = [float(v) for v in xp.reshape(array, (-1,))]
        slope = []
        for i, at in enumerate(flat):
            step = 1e-3 * (abs(at) + 1e-3)

            def moved(by: float, i: int = i, at: float = at, place: int = place) -> float:
                line = list(flat)  # noqa: B023 - called before the next round of the loop
                line[i] = at + by
                point = xp.reshape(xp.asarray(line, dtype=array.dtype), array.shape)  # noqa: B023
                at_point = [point if k == place else a for k, a in enumerate(arrays)]
                return float(xp.sum(f(*at_point)))

            near, far = moved(step) - moved(-step), moved(2 * step) - moved(-2 * step)
            slope.append((8 * near - far) / (12 * step))
        found.append(xp.reshape(xp.asarray(slope, dtype=array.dtype), array.shape))
    return tuple(found)
