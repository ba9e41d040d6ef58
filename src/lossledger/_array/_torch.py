# SPDX-License-Identifier: Apache-2.0
"""PyTorch behind the array protocol: direct calls, because each wrapper costs a microsecond."""

import sys
from functools import cache
from typing import Any

from lossledger._array._protocol import ArrayLibrary
from lossledger._array._standard import standard_functions
from lossledger._typing import Array, Callable, Sequence


@cache
def library() -> ArrayLibrary:
    """Return the PyTorch library; the user has imported torch already."""
    import array_api_compat.torch as xp  # noqa: PLC0415 - loads with the first tensor

    torch = sys.modules["torch"]
    functions = standard_functions(xp) | _math(torch) | _layout(torch) | _host(torch)
    return ArrayLibrary(name="torch", **functions)


def _math(torch: Any) -> dict[str, Any]:
    def bin_sum(x: Array, index: Array, n: int) -> Array:
        return torch.zeros(n, dtype=x.dtype, device=x.device).index_add(0, index, x)

    def bin_max(x: Array, index: Array, n: int) -> Array:
        lowest = torch.full((n,), -torch.inf, dtype=x.dtype, device=x.device)
        return lowest.scatter_reduce(0, index, x, "amax")

    def reduced(whole: Any, part: Any) -> Any:
        return lambda x, axis=None: whole(x) if axis is None or axis == () else part(x, axis)

    return {
        # -logsigmoid(-x): torch's softplus is the identity above its threshold.
        "softplus": lambda x: -torch.nn.functional.logsigmoid(-x),
        "sigmoid": torch.sigmoid,
        "log_gamma": torch.lgamma,
        "where": torch.where,
        "sum": reduced(torch.sum, torch.sum),
        "max": reduced(torch.amax, torch.amax),
        "min": reduced(torch.amin, torch.amin),
        "any": reduced(torch.any, torch.any),
        "argmax": torch.argmax,
        "cumsum": torch.cumsum,
        "sort_order": lambda x: torch.argsort(x, dim=-1, descending=True, stable=True),
        "log_softmax": torch.log_softmax,
        "logsumexp": torch.logsumexp,
        "bin_sum": bin_sum,
        "bin_max": bin_max,
    }


def _layout(torch: Any) -> dict[str, Any]:
    names = {getattr(torch, n): n for n in ("float16", "bfloat16", "float32", "float64")}
    names |= {getattr(torch, n): n for n in ("bool", "uint8", "int8", "int16", "int32", "int64")}
    dtypes = {name: dtype for dtype, name in names.items()}

    def asarray(data: Any, dtype: str | None, like: Array) -> Array:
        wanted = None if dtype is None else dtypes[dtype]
        return torch.as_tensor(data, dtype=wanted, device=like.device)

    def take(x: Array, index: Array) -> Array:
        return x[index]

    return {
        "reshape": lambda x, shape: x.reshape(shape),
        "permute": lambda x, axes: x.permute(axes),
        "expand": torch.unsqueeze,
        "stack": lambda xs, axis: torch.stack(tuple(xs), axis),
        "concat": lambda xs, axis: torch.cat(tuple(xs), axis),
        "take": take,
        "take_along": lambda x, index, axis: torch.take_along_dim(x, index, axis),
        "zeros": lambda s, dtype, like: torch.zeros(s, dtype=dtypes[dtype], device=like.device),
        "full_like": torch.full_like,
        "arange": lambda n, like: torch.arange(n, device=like.device),
        "asarray": asarray,
        "astype": lambda x, dtype: x if x.dtype is dtypes[dtype] else x.to(dtypes[dtype]),
        "dtype": lambda x: names.get(x.dtype) or str(x.dtype).removeprefix("torch."),
        "wide": lambda x: "float32" if x.device.type == "mps" else "float64",
    }


def _host(torch: Any) -> dict[str, Any]:
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor

    def readable(x: Array) -> bool:
        return not torch.compiler.is_compiling() and x.device.type == "cpu" and not wrapped(x)

    def slopes(f: Callable[..., Array], arrays: Sequence[Array]) -> tuple[Array, ...]:
        with torch.enable_grad():
            leaves = [a.detach().requires_grad_() for a in arrays]
            total = torch.sum(f(*leaves))
            return tuple(torch.autograd.grad(total, leaves, materialize_grads=True))

    def register(cls: type, flatten: Any, unflatten: Any) -> None:
        torch.utils._pytree.register_pytree_node(cls, flatten, unflatten)

    return {
        "readable": readable,
        "detach": lambda x: x.detach(),
        "slopes": slopes,
        "map_rows": lambda f, x: torch.func.vmap(f)(x),
        "to_numpy": lambda x: x.detach().cpu().numpy(),
        "register": register,
    }
