# SPDX-License-Identifier: Apache-2.0
"""The same batch in every array library: how it gets there, and how its gradient comes back."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from batches import Batch

import lossledger as ll

Ran = tuple[float, ll.Ledger, dict[str, Any]]
# Two libraries compute exp and log with an error of a few units in the last place, and sum
# in another order; a value is a sum of a hundred of them.
VALUE_RTOL = 1e-12
# A user's own loss of sums has no closed-form derivative: without autodiff it is a
# difference quotient with an error of about 1e-11.
SLOPE_RTOL = 1e-9


@dataclass(frozen=True)
class Library:
    """An array library.

    Attributes:
        name: As in `lossledger`.
        to: NumPy array -> its array.
        run: (objective, batch of its arrays) -> total, ledger, gradient by its own autodiff
            (in closed form, if it has none); total and gradient on the host.
        wide: Context in which 64-bit types are on.
    """

    name: str
    to: Callable[[Any], Any]
    run: Callable[[ll.Objective, Batch], Ran]
    wide: Callable[[], AbstractContextManager[Any]] = nullcontext

    def differentiate(self, objective: ll.Objective, batch: Batch) -> Ran:
        """Run a batch of NumPy arrays in this library."""
        with self.wide():
            total, ledger, slopes = self.run(objective, batch.map(self.to))
            host = {name: np.asarray(slope) for name, slope in slopes.items()}
            return float(total), ledger, host


def torch() -> Library:
    """Return eager PyTorch with autograd."""
    import torch as library

    def run(objective: ll.Objective, batch: Batch) -> Ran:
        batch = batch.with_outputs(lambda t: t.detach().requires_grad_())
        total, ledger = batch.call(objective)
        leaves = list(batch.outputs.values())
        slopes = library.autograd.grad(total, leaves, materialize_grads=True)
        return total.detach(), ledger, dict(zip(batch.outputs, slopes, strict=True))

    return Library("torch", lambda a: library.from_numpy(np.ascontiguousarray(a)), run)


def strict() -> Library:
    """Return array-api-strict, which has nothing beyond the standard and no autodiff."""
    import array_api_strict

    return Library("array-api", array_api_strict.asarray, lambda o, b: b.slopes(o))


def jax(*, jit: bool = False) -> Library:
    """Return JAX with 64-bit types, op by op or compiled."""
    import jax as library

    def run(objective: ll.Objective, batch: Batch) -> Ran:
        function, arrays = functional(objective, batch)
        differentiated = library.value_and_grad(function, has_aux=True)
        compiled = library.jit(differentiated) if jit else differentiated
        (total, ledger), slopes = compiled(batch.outputs, batch.targets, arrays)
        return total, ledger, slopes

    return Library("jax", library.numpy.asarray, run, lambda: library.enable_x64(True))


def tensorflow() -> Library:
    """Return eager TensorFlow with a gradient tape."""
    tf = sys.modules["tensorflow"]

    def run(objective: ll.Objective, batch: Batch) -> Ran:
        with tf.GradientTape() as tape:
            tape.watch(batch.outputs)
            total, ledger = batch.call(objective)
        return total, ledger, tape.gradient(total, batch.outputs, unconnected_gradients="zero")

    return Library("tensorflow", tf.constant, run)


def functional(objective: ll.Objective, batch: Batch) -> tuple[Callable[..., Any], Any]:
    """Return f(outputs, targets, options) -> (total, ledger), and the options as bare arrays."""
    axes = {n: o.axes for n, o in batch.options.items() if isinstance(o, ll.NamedArray)}
    arrays = {n: o.array if n in axes else o for n, o in batch.options.items()}

    def function(outputs: Any, targets: Any, options: Any) -> Any:
        named = {n: ll.NamedArray(o, axes[n]) if n in axes else o for n, o in options.items()}
        return objective(outputs, targets, **named)

    return function, arrays
