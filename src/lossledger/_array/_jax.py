# SPDX-License-Identifier: Apache-2.0
"""JAX behind the array protocol, with and without 64-bit types."""

import sys
from functools import cache
from typing import Any

import numpy as np

from lossledger._array._protocol import ArrayLibrary
from lossledger._array._standard import standard_functions
from lossledger._typing import Array, Callable, Sequence

# float32 bins stop growing at 2^24; blocks of this length are summed first.
_BLOCK = 1 << 14
# Up to this many elements a compiled comparison with every place costs less than a scatter.
_SMALL = 1 << 13


@cache
def library() -> ArrayLibrary:
    """Return the JAX library; the user has imported jax already."""
    jax = sys.modules["jax"]
    jnp = jax.numpy
    return ArrayLibrary(name="jax", **standard_functions(jnp) | _math(jax) | _host(jax))


def _math(jax: Any) -> dict[str, Any]:
    jnp = jax.numpy

    def scatter(x: Array, index: Array, n: int) -> Array:
        return jnp.zeros(n, x.dtype).at[index].add(x)

    def small(x: Array, size: int) -> bool:
        return isinstance(x, jax.core.Tracer) and size <= _SMALL

    def bin_sum(x: Array, index: Array, n: int) -> Array:
        if small(x, x.shape[0] * n):
            chosen = jnp.where(index[:, None] == jnp.arange(n), x[:, None], 0)
            return jnp.sum(chosen, axis=0, dtype=x.dtype)
        blocks = -(-x.shape[0] // _BLOCK)
        if blocks <= 1 or x.dtype != jnp.float32:
            return scatter(x, index, n)
        padding = (0, blocks * _BLOCK - x.shape[0])
        rows = jnp.reshape(jnp.pad(x, padding), (blocks, _BLOCK))
        places = jnp.reshape(jnp.pad(index, padding), (blocks, _BLOCK))
        return jnp.sum(jax.vmap(lambda r, p: scatter(r, p, n))(rows, places), axis=0)

    def bin_max(x: Array, index: Array, n: int) -> Array:
        return jnp.full(n, -jnp.inf, x.dtype).at[index].max(x)

    def take_along(x: Array, index: Array, axis: int) -> Array:
        if index.shape[axis] != 1 or not small(x, x.size):
            return jnp.take_along_axis(x, index, axis=axis)
        places = jax.lax.broadcasted_iota(index.dtype, x.shape, axis % x.ndim)
        chosen = jnp.where(places == index, x, 0)
        return jnp.sum(chosen, axis=axis, dtype=x.dtype, keepdims=True)

    return {
        "softplus": jax.nn.softplus,
        "sigmoid": jax.nn.sigmoid,
        "log_gamma": jax.scipy.special.gammaln,
        "log_softmax": lambda x, axis: jax.nn.log_softmax(x, axis=axis),
        "logsumexp": lambda x, axis: jax.nn.logsumexp(x, axis=axis),
        "sort_order": lambda x: jnp.argsort(x, axis=-1, descending=True, stable=True),
        "cumsum": lambda x, axis: jnp.cumsum(x, axis=axis),
        "bin_sum": bin_sum,
        "bin_max": bin_max,
        "take_along": take_along,
        "take": lambda x, index: jnp.take(x, index, axis=0, mode="clip"),
    }


def _host(jax: Any) -> dict[str, Any]:
    def wide(x: Array) -> str:
        return "float64" if jax.config.jax_enable_x64 else "float32"

    def readable(x: Array) -> bool:
        if isinstance(x, jax.core.Tracer):
            return False
        return isinstance(x, np.ndarray) or all(d.platform == "cpu" for d in x.devices())

    def slopes(f: Callable[..., Array], arrays: Sequence[Array]) -> tuple[Array, ...]:
        total = lambda *leaves: jax.numpy.sum(f(*leaves))  # noqa: E731 - one use
        grads: tuple[Array, ...] = jax.grad(total, argnums=tuple(range(len(arrays))))(*arrays)
        return grads

    def register(cls: type, flatten: Any, unflatten: Any) -> None:
        jax.tree_util.register_pytree_node(cls, flatten, lambda aux, kids: unflatten(kids, aux))

    def asarray(data: Any, dtype: str | None, like: Array) -> Array:
        del like
        wanted = (
            dtype if wide(None) == "float64" else {"float64": "float32"}.get(dtype or "", dtype)
        )
        return jax.numpy.asarray(data, dtype=wanted)

    return {
        "wide": wide,
        "counter": lambda x: "int64" if jax.config.jax_enable_x64 else "int32",
        "readable": readable,
        "detach": jax.lax.stop_gradient,
        "slopes": slopes,
        "map_rows": lambda f, x: jax.vmap(f)(x),
        "asarray": asarray,
        "dtype": lambda x: x.dtype.name,
        "to_numpy": np.asarray,
        "register": register,
    }
