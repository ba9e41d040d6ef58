# SPDX-License-Identifier: Apache-2.0
"""The array functions that the reference engine is written against."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lossledger._typing import Array, Callable, Sequence

Unary = Callable[[Array], Array]
Binary = Callable[[Array, Array], Array]


@runtime_checkable
class AlongAxis(Protocol):
    """A reduction over an axis, over several, or over all of them (None)."""

    def __call__(self, x: Array, axis: int | tuple[int, ...] | None = None) -> Array:
        """Reduce `x` over `axis`."""


@dataclass(frozen=True, eq=False)
class ArrayLibrary:
    """The functions of one array library under one set of names.

    Functions that the array API standard has keep its meaning. The others:

    Attributes:
        name: "numpy", "array-api", "torch", "jax" or "tensorflow".
        astype: (x, dtype name) -> x in that dtype; the same object if it has it.
        dtype: The name of an array's dtype, such as "float32".
        wide: The name of the widest float that this array's device can sum in.
        counter: The name of the widest integer for counts.
        readable: Whether values may be read on the host now (no trace, no accelerator).
        asarray: (data, dtype name or None, like) -> an array beside `like`.
        full_like: (x, number) -> the number everywhere, whatever x holds; no gradient.
        take: (x, index) -> rows of `x` along axis 0; differentiable in `x`.
        take_along: (x, index, axis) -> elements of `x` along `axis`.
        sort_order: x -> indices that sort the last axis from large to small, stable.
        bin_sum: (x, index, n) -> sums of 1-D `x` by 1-D `index`, in at least `x`'s dtype.
        bin_max: (x, index, n) -> maxima of 1-D `x` by 1-D `index`; -inf where none.
        softplus: log(1 + exp(x)), accurate and differentiable everywhere.
        detach: x without its gradient.
        slopes: (f, arrays) -> derivative of sum(f(arrays)) for each array.
        map_rows: (f, x) -> f of each row of 2-D `x`, stacked: a 1-D function over a batch.
        register: (class, flatten, unflatten) -> makes a class a pytree of the library.
    """

    name: str
    # elementwise
    exp: Unary
    log: Unary
    log1p: Unary
    sqrt: Unary
    sign: Unary
    tanh: Unary
    sigmoid: Unary
    softplus: Unary
    log_gamma: Unary
    isfinite: Unary
    maximum: Binary
    minimum: Binary
    where: Callable[[Array, Array, Array], Array]
    # reductions
    sum: AlongAxis
    max: AlongAxis
    min: AlongAxis
    any: AlongAxis
    argmax: Callable[[Array, int], Array]
    cumsum: Callable[[Array, int], Array]
    sort_order: Unary
    log_softmax: Callable[[Array, int], Array]
    logsumexp: Callable[[Array, int], Array]
    bin_sum: Callable[[Array, Array, int], Array]
    bin_max: Callable[[Array, Array, int], Array]
    # shape
    reshape: Callable[[Array, tuple[int, ...]], Array]
    permute: Callable[[Array, tuple[int, ...]], Array]
    broadcast_to: Callable[[Array, tuple[int, ...]], Array]
    expand: Callable[[Array, int], Array]
    stack: Callable[[Sequence[Array], int], Array]
    concat: Callable[[Sequence[Array], int], Array]
    take: Callable[[Array, Array], Array]
    take_along: Callable[[Array, Array, int], Array]
    matmul: Binary
    # creation and dtypes
    zeros: Callable[[tuple[int, ...], str, Array], Array]
    full_like: Callable[[Array, float], Array]
    arange: Callable[[int, Array], Array]
    asarray: Callable[[Any, str | None, Array], Array]
    astype: Callable[[Array, str], Array]
    dtype: Callable[[Array], str]
    wide: Callable[[Array], str]
    counter: Callable[[Array], str]
    # outside the trace
    readable: Callable[[Array], bool]
    detach: Unary
    slopes: Callable[[Callable[..., Array], Sequence[Array]], tuple[Array, ...]]
    map_rows: Callable[[Callable[[Array], Array], Array], Array]
    to_numpy: Callable[[Array], Any]
    register: Callable[[type, Callable[..., Any], Callable[..., Any]], None]

    @property
    def differentiates(self) -> bool:
        """Whether the library differentiates a function of a user by itself."""
        return self.name not in ("numpy", "array-api")

    def abs(self, x: Array) -> Array:
        """|x| with derivative sign(x), so 0 at 0 in every library."""
        return x * self.detach(self.sign(x))

    def positive(self, x: Array) -> Array:
        """max(x, 0) with derivative 0 at 0 in every library."""
        return self.where(x > 0, x, self.full_like(x, 0))

    def one_hot(self, index: Array, n: int, dtype: str) -> Array:
        """Indicators of `index` on a new last axis of length `n`."""
        classes = self.arange(n, index)
        return self.astype(self.expand(index, -1) == classes, dtype)

    def is_float(self, x: Array) -> bool:
        """Whether the dtype is a real floating type."""
        return "float" in self.dtype(x)

    def is_integer(self, x: Array) -> bool:
        """Whether the dtype is an integer type; bool is not."""
        return "int" in self.dtype(x)

    def is_bool(self, x: Array) -> bool:
        """Whether the dtype is boolean."""
        return self.dtype(x) == "bool"
