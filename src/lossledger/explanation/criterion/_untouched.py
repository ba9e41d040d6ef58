# SPDX-License-Identifier: Apache-2.0
"""A user's loss called without a trace: buffers, flags and random numbers as before."""

import functools
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from lossledger._typing import Mapping

_DEEP = 4
"""How many objects deep modules are looked for."""


@contextmanager
def untouched(thing: Any) -> Iterator[None]:
    """Leave a user's loss as it was: buffers, gradients, training flags, and random numbers.

    The modules are the loss itself, and those that it holds: in a closure, bound by a partial,
    or as attributes. What else a function counts or stores cannot be known.
    """
    torch = sys.modules.get("torch")
    states = (np.random.get_state(), random.getstate())  # noqa: NPY002 - the user's own state
    drawn = None if torch is None else torch.random.get_rng_state()
    device = torch is not None and torch.cuda.is_initialized()
    there = torch.cuda.get_rng_state_all() if device and torch is not None else []
    parts = [] if torch is None else _parts(torch, thing)
    kept = [(p, dict(vars(p)), dict(vars(p)["_buffers"])) for p in parts]
    numbers = [[(b, b.detach().clone()) for b in p.buffers(recurse=False)] for p in parts]
    grads = [(w, w.grad, _copied(w.grad)) for p in parts for w in p.parameters(recurse=False)]
    try:
        yield
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
        if torch is not None and drawn is not None:
            torch.random.set_rng_state(drawn)
            torch.cuda.set_rng_state_all(there)
        for (part, attributes, buffers), values in zip(kept, numbers, strict=True):
            _restore(torch, part, attributes, buffers, values)
        for weight, grad, values in grads:  # of a loss that calls backward itself
            if grad is not None:
                grad.detach().copy_(values)
            weight.grad = grad


def _copied(grad: Any) -> Any:
    return None if grad is None else grad.detach().clone()


def _restore(
    torch: Any,
    module: Any,
    attributes: Mapping[str, Any],
    buffers: Mapping[str, Any],
    values: list[tuple[Any, Any]],
) -> None:
    if not isinstance(module, torch.jit.ScriptModule):  # whose attributes are not Python's
        own = vars(module)
        for name in [n for n in own if n not in attributes]:
            del own[name]
        own.update(attributes)
        own["_buffers"].clear()
        own["_buffers"].update(buffers)
    with torch.no_grad():
        for buffer, numbers in values:
            if not torch.equal(buffer, numbers):  # a graph of the user's may hold it as it is
                buffer.copy_(numbers)


def _parts(torch: Any, thing: Any) -> list[Any]:
    """Return every module that a thing is or holds, with its submodules, each once."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    todo = [(thing, 0)]
    while todo:
        each, depth = todo.pop()
        if id(each) in seen or depth > _DEEP:
            continue
        seen.add(id(each))
        if isinstance(each, torch.nn.Module):
            found |= {id(m): m for m in each.modules()}
        todo += [(inner, depth + 1) for inner in _inside(each)]
    return list(found.values())


def _inside(thing: Any) -> list[Any]:
    """Return what a thing holds, without going through modules of Python and classes."""
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, FunctionType):
        return [*_closed_over(thing), *(thing.__defaults__ or ())]
    if isinstance(thing, type | ModuleType | str | int | float) or hasattr(thing, "shape"):
        return []
    held = thing if isinstance(thing, dict | list | tuple) else getattr(thing, "__dict__", {})
    return list(held.values() if isinstance(held, dict) else held)[:100]


def _closed_over(function: FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    named = function.__globals__
    return found + [named[n] for n in function.__code__.co_names if n in named]
