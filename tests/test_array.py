# SPDX-License-Identifier: Apache-2.0
"""The array functions that the reference engine stands on mean the same in every library."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lossledger as ll
from lossledger._array import ArrayLibrary, is_array, library_of
from properties import close

MAKERS: dict[str, Callable[[Any], Any]] = {
    "numpy": np.asarray,
    "array-api": array_api_strict.asarray,
    "torch": torch.as_tensor,
    "jax": jnp.asarray,
}
X = np.array([[-1e4, -3.0, -0.5, 0.0], [0.0, 0.5, 3.0, 1e4]])
POSITIVE = np.array([[0.1, 1.0, 2.5, 40.0], [1e-3, 7.0, 0.5, 3.0]])
with_library = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture(autouse=True)
def _wide() -> Any:
    with jax.enable_x64(True):
        yield


def of(name: str, *data: Any) -> tuple[ArrayLibrary, list[Any]]:
    """Return a library and its arrays."""
    arrays = [MAKERS[name](np.asarray(d)) for d in data]
    return library_of(*arrays), arrays


def log_softmax(x: Any, axis: int) -> Any:
    """Return log softmax by NumPy."""
    moved = x - x.max(axis, keepdims=True)
    return moved - np.log(np.exp(moved).sum(axis, keepdims=True))


UNARY: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "exp": (-np.abs(X), np.exp),
    "log": (POSITIVE, np.log),
    "log1p": (POSITIVE, np.log1p),
    "sqrt": (POSITIVE, np.sqrt),
    "sign": (X, np.sign),
    "tanh": (X, np.tanh),
    "sigmoid": (X, lambda x: np.exp(-np.logaddexp(0, -x))),
    "softplus": (X, lambda x: np.logaddexp(0, x)),
    "log_gamma": (POSITIVE, np.vectorize(__import__("math").lgamma)),
    "abs": (X, np.abs),
    "positive": (X, lambda x: np.maximum(x, 0)),
    "detach": (X, lambda x: x),
}


@with_library
@pytest.mark.parametrize("function", UNARY)
def test_elementwise(name: str, function: str) -> None:
    """Values at ordinary places, at 0 and at ±1e4."""
    data, expected = UNARY[function]
    xp, (x,) = of(name, data)
    close(xp.to_numpy(getattr(xp, function)(x)), expected(data), what=function)


@with_library
def test_softmax(name: str) -> None:
    """Rows with logits of ±1e4 neither overflow nor lose their largest."""
    xp, (x,) = of(name, X)
    for axis in (0, 1):
        expected = log_softmax(X, axis)
        close(xp.to_numpy(xp.log_softmax(x, axis)), expected)
        top = X.max(axis)
        rest = np.log(np.exp(X - X.max(axis, keepdims=True)).sum(axis))
        close(xp.to_numpy(xp.logsumexp(x, axis)), top + rest)


@with_library
def test_sums(name: str) -> None:
    """Over one axis, several, all; booleans by `any`."""
    xp, (x, flags) = of(name, POSITIVE, POSITIVE > 2)
    for axis in (None, 0, 1, (0, 1)):
        for function, expected in (("sum", np.sum), ("max", np.max), ("min", np.min)):
            found = getattr(xp, function)(x, axis=axis)
            close(xp.to_numpy(found), expected(POSITIVE, axis=axis), what=function)
        assert (np.asarray(xp.to_numpy(xp.any(flags, axis=axis))) == (POSITIVE > 2).any(axis)).all()
    close(xp.to_numpy(xp.cumsum(x, -1)), POSITIVE.cumsum(-1))


@with_library
def test_bins(name: str) -> None:
    """Sums and maxima by bin; an empty bin has 0 and −inf; integers stay integers."""
    xp, (x, index, ones) = of(name, [1.0, 2.0, 4.0, -8.0], [2, 0, 2, 3], [1, 1, 1, 1])
    close(xp.to_numpy(xp.bin_sum(x, index, 5)), [2.0, 0.0, 5.0, -8.0, 0.0])
    counts = xp.bin_sum(xp.astype(ones, xp.counter(ones)), index, 5)
    assert xp.is_integer(counts)
    assert list(np.asarray(xp.to_numpy(counts))) == [1, 0, 2, 1, 0]
    tops = np.asarray(xp.to_numpy(xp.bin_max(x, index, 5)))
    assert list(tops) == [2.0, -np.inf, 4.0, -8.0, -np.inf]


@with_library
def test_order(name: str) -> None:
    """Sorting is stable from large to small; of equals the first is largest."""
    xp, (x,) = of(name, [[1.0, 3.0, 3.0, -np.inf, np.inf], [2.0, 2.0, 2.0, 1.0, 2.0]])
    order = np.asarray(xp.to_numpy(xp.sort_order(x)))
    assert order.tolist() == [[4, 1, 2, 0, 3], [0, 1, 2, 4, 3]]
    assert np.asarray(xp.to_numpy(xp.argmax(x, -1))).tolist() == [4, 0]
    inverse = np.asarray(xp.to_numpy(xp.sort_order(-xp.sort_order(x))))
    assert np.take_along_axis(order, inverse, -1).tolist() == [[0, 1, 2, 3, 4]] * 2


@with_library
def test_places(name: str) -> None:
    """Shapes, looking up, indicators, joining."""
    xp, (x, index) = of(name, POSITIVE, [1, 0, 1])
    close(xp.to_numpy(xp.take(x, index)), POSITIVE[[1, 0, 1]])
    rows = xp.take_along(x, xp.asarray(np.array([[3], [0]]), None, x), 1)
    close(xp.to_numpy(rows), [[40.0], [1e-3]])
    hot = xp.one_hot(index, 3, "float64")
    close(xp.to_numpy(hot), np.eye(3)[[1, 0, 1]])
    assert xp.permute(xp.expand(x, 0), (2, 0, 1)).shape == (4, 1, 2)
    assert xp.concat([x, x], -1).shape == (2, 8)
    assert xp.stack([x, x], 0).shape == (2, 2, 4)
    close(xp.to_numpy(xp.matmul(x, xp.permute(x, (1, 0)))), POSITIVE @ POSITIVE.T)


@with_library
def test_dtypes(name: str) -> None:
    """Dtypes have one name everywhere; filling ignores what an array holds."""
    xp, (x, flags) = of(name, [np.nan, np.inf], [True, False])
    for dtype in ("float32", "float64", "int32", "int64"):
        assert xp.dtype(xp.astype(flags, dtype)) == dtype
    assert xp.dtype(flags) == "bool"
    assert xp.is_bool(flags)
    assert not xp.is_integer(flags)
    assert xp.is_float(x)
    assert np.asarray(xp.to_numpy(xp.full_like(x, 2.0))).tolist() == [2.0, 2.0]
    assert xp.dtype(xp.zeros((2,), "int64", x)) == "int64"
    assert xp.readable(x)
    assert xp.wide(x) == "float64"
    assert is_array(x)


@pytest.mark.parametrize("name", ["torch", "jax", "array-api", "numpy"])
def test_slopes(name: str) -> None:
    """The derivative of a sum, by autodiff or by differences."""
    xp, (x, y) = of(name, POSITIVE, X / 1e3)
    found = xp.slopes(lambda a, b: xp.log(a) + a * xp.tanh(b), [x, y])
    close(xp.to_numpy(found[0]), 1 / POSITIVE + np.tanh(X / 1e3), 1e-9)
    close(xp.to_numpy(found[1]), POSITIVE * (1 - np.tanh(X / 1e3) ** 2), 1e-9)


KINKS = {"abs": [-1.0, 0.0, 0.0, 1.0], "positive": [0.0, 0.0, 0.0, 1.0]}


@pytest.mark.parametrize(("function", "step"), KINKS.items())
def test_derivative_at_a_kink(function: str, step: list[float]) -> None:
    """The derivative at 0 is 0 in PyTorch and in JAX, and the sign or step beside it."""
    points = [-2.0, 0.0, -0.0, 3.0]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    getattr(library_of(x), function)(x).sum().backward()
    assert x.grad.tolist() == step
    y = jnp.asarray(points)
    assert jax.grad(lambda v: getattr(library_of(y), function)(v).sum())(y).tolist() == step


@pytest.mark.parametrize("z", [-1e4, -40.0, 0.0, 40.0, 1e4])
def test_softplus_derivative(z: float) -> None:
    """The derivative of softplus is the sigmoid, at ±1e4 too."""
    expected = np.exp(-np.logaddexp(0, -z))
    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    library_of(x).softplus(x).backward()
    close(x.grad, expected)
    close(jax.grad(library_of(jnp.asarray(z)).softplus)(z), expected)


def test_large_bins_in_float32() -> None:
    """2^24 + 2^22 ones add up in float32 bins, where adding one by one stops at 2^24."""
    n = (1 << 24) + (1 << 22)
    with jax.enable_x64(False):
        x, index = jnp.ones(n, jnp.float32), jnp.zeros(n, jnp.int32)
        assert float(library_of(x).bin_sum(x, index, 2)[0]) == n


def test_what_is_no_array() -> None:
    """A list, a number or a container is no array, and two frameworks do not mix."""
    assert not is_array([1.0])
    with pytest.raises(ll.DomainError, match="must be arrays") as error:
        library_of({"y": 1})
    assert error.value.remedy
    with pytest.raises(ll.DomainError, match="torch and jax"):
        library_of(torch.zeros(2), jnp.zeros(2))
    assert library_of(np.zeros(2), torch.zeros(2)).name == "torch"


@with_library
def test_map_rows(name: str) -> None:
    """A function of one row is run on each, whether it gives a number or a row; also on none."""
    xp, (x,) = of(name, POSITIVE)
    close(xp.to_numpy(xp.map_rows(lambda r: xp.sum(r * r), x)), (POSITIVE**2).sum(1), 1e-15)
    close(xp.to_numpy(xp.map_rows(lambda r: r * xp.max(r), x)), POSITIVE * POSITIVE.max(1)[:, None])
    assert tuple(xp.map_rows(lambda r: xp.sum(r), x[:0, ...]).shape) == (0,)


@pytest.mark.parametrize("rows", [5, 3000])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_compiled_jax_takes_and_adds_as_it_does_eagerly(rows, dtype) -> None:
    """A small compiled step compares with every place, a large one scatters: one number."""
    xp = library_of(jnp.zeros(1))
    rng = np.random.default_rng(5)
    x = jnp.asarray(rng.integers(-50, 50, (rows, 4)), dtype=dtype)
    index = jnp.asarray(rng.integers(0, 4, rows))
    take = lambda x: xp.take_along(x, index[:, None], -1)  # noqa: E731 - one use
    add = lambda x: xp.bin_sum(x[:, 0], index, 4)  # noqa: E731 - one use
    for f in (take, add):
        compiled, eager = jax.jit(f)(x), f(x)
        assert compiled.dtype == eager.dtype == x.dtype
        assert compiled.shape == eager.shape
        np.testing.assert_array_equal(compiled, eager)
    chosen = np.asarray(x)[np.arange(rows), np.asarray(index)]
    np.testing.assert_array_equal(np.ravel(jax.jit(take)(x)), chosen)
    by_place = [np.asarray(x)[np.asarray(index) == i, 0].sum() for i in range(4)]
    np.testing.assert_array_equal(jax.jit(add)(x), by_place)


def test_compiled_jax_takes_beside_infinities() -> None:
    """What is not taken does not count: no 0 · ∞ in the number or its gradient."""
    xp = library_of(jnp.zeros(1))
    x = jnp.asarray([[1.0, -np.inf], [np.nan, 2.0]])
    index = jnp.asarray([[0], [1]])

    def total(x):
        return jnp.sum(xp.take_along(x, index, 1))

    assert float(jax.jit(total)(x)) == 3.0
    np.testing.assert_array_equal(jax.jit(jax.grad(total))(x), [[1.0, 0.0], [0.0, 1.0]])
