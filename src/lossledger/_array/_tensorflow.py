# SPDX-License-Identifier: Apache-2.0
"""TensorFlow tensors behind the array protocol, through `keras.ops`."""

import os
import sys
from functools import cache
from typing import Any

import numpy as np

from lossledger._array._protocol import ArrayLibrary
from lossledger._errors import MissingExtraError
from lossledger._typing import Array, Callable, Sequence


@cache
def library() -> ArrayLibrary:
    """Return the TensorFlow library; the user has imported tensorflow already.

    Raises:
        MissingExtraError: If Keras is missing or runs on another backend.
    """
    try:
        import keras  # noqa: PLC0415 - only beside tensors of a user who has TensorFlow
    except ImportError as missing:
        raise _no_keras("it is not installed") from missing
    if keras.backend.backend() != "tensorflow":
        raise _no_keras(f"its backend is {keras.backend.backend()}")
    tf = sys.modules["tensorflow"]
    functions = _math(keras.ops, tf) | _layout(keras.ops) | _host(keras.ops, tf)
    return ArrayLibrary(name="tensorflow", **functions)


def _no_keras(found: str) -> MissingExtraError:
    return MissingExtraError(
        "TensorFlow tensors need Keras 3 with the TensorFlow backend",
        f"Keras was asked for and {found} (KERAS_BACKEND={os.environ.get('KERAS_BACKEND')})",
        "Keras was imported first with another backend, or the extra is missing",
        "pip install 'lossledger[keras]' and set KERAS_BACKEND=tensorflow before importing keras",
    )


def _math(ops: Any, tf: Any) -> dict[str, Any]:
    names = ("exp", "log", "log1p", "sqrt", "sign", "tanh", "isfinite", "maximum", "minimum")
    return {name: getattr(ops, name) for name in names} | {
        "softplus": ops.softplus,
        "sigmoid": ops.sigmoid,
        "log_gamma": tf.math.lgamma,
        "where": ops.where,
        "sum": lambda x, axis=None: ops.sum(x, axis=axis),
        "max": lambda x, axis=None: ops.max(x, axis=axis),
        "min": lambda x, axis=None: ops.min(x, axis=axis),
        "any": lambda x, axis=None: ops.any(x, axis=axis),
        "argmax": lambda x, axis: tf.argmax(x, axis=axis),
        "cumsum": lambda x, axis: ops.cumsum(x, axis=axis),
        "sort_order": lambda x: tf.argsort(x, axis=-1, direction="DESCENDING", stable=True),
        "log_softmax": lambda x, axis: ops.log_softmax(x, axis=axis),
        "logsumexp": lambda x, axis: ops.logsumexp(x, axis=axis),
        "bin_sum": lambda x, index, n: tf.math.unsorted_segment_sum(x, index, n),
        "bin_max": lambda x, index, n: tf.math.unsorted_segment_max(x, index, n),
    }


def _layout(ops: Any) -> dict[str, Any]:
    def asarray(data: Any, dtype: str | None, like: Array) -> Array:
        del like
        return ops.convert_to_tensor(np.asarray(data) if dtype is None else data, dtype=dtype)

    return {
        "reshape": ops.reshape,
        "permute": lambda x, axes: ops.transpose(x, axes),
        "broadcast_to": ops.broadcast_to,
        "expand": lambda x, axis: ops.expand_dims(x, axis=axis),
        "stack": lambda xs, axis: ops.stack(list(xs), axis=axis),
        "concat": lambda xs, axis: ops.concatenate(list(xs), axis=axis),
        "take": lambda x, index: ops.take(x, index, axis=0),
        "take_along": lambda x, index, axis: ops.take_along_axis(x, index, axis=axis),
        "matmul": ops.matmul,
        "zeros": lambda shape, dtype, like: ops.zeros(shape, dtype=dtype),
        "full_like": lambda x, value: ops.full_like(x, value),
        "arange": lambda n, like: ops.arange(n, dtype="int64"),
        "asarray": asarray,
        "astype": lambda x, dtype: ops.cast(x, dtype),
        "dtype": lambda x: x.dtype.name,
        "wide": lambda x: "float64",
        "counter": lambda x: "int64",
    }


def _host(ops: Any, tf: Any) -> dict[str, Any]:
    def slopes(f: Callable[..., Array], arrays: Sequence[Array]) -> tuple[Array, ...]:
        leaves = [tf.stop_gradient(a) for a in arrays]
        with tf.GradientTape() as tape:
            for leaf in leaves:
                tape.watch(leaf)
            total = ops.sum(f(*leaves))
        found: list[Array] = tape.gradient(total, leaves, unconnected_gradients="zero")
        return tuple(found)

    def register(cls: type, flatten: Any, unflatten: Any) -> None:
        # The protocol by which tf.function takes and returns a class of tensors.
        def down(tree: Any) -> tuple[Any, tuple[Any, ...]]:
            leaves, structure = flatten(tree)
            return structure, tuple(leaves)

        def up(cls: type, structure: Any, leaves: tuple[Any, ...]) -> Any:
            return unflatten(leaves, structure)

        cls.__tf_flatten__ = down  # type: ignore[attr-defined]
        cls.__tf_unflatten__ = classmethod(up)  # type: ignore[attr-defined]

    return {
        "readable": lambda x: hasattr(x, "numpy"),
        "detach": ops.stop_gradient,
        "slopes": slopes,
        "map_rows": lambda f, x: tf.map_fn(f, x),
        "to_numpy": ops.convert_to_numpy,
        "register": register,
    }
