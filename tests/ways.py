# SPDX-License-Identifier: Apache-2.0
"""One loss on one batch by three routes: closed form, torch autograd, JAX autodiff."""

from dataclasses import replace
from typing import Any

import numpy as np
from batches import Batch

import lossledger as ll
from properties import close


def one(loss: Any, axes: str = "batch class", **settings: Any) -> ll.Objective:
    """Return an objective of one term."""
    settings = {"target": "t", "name": "case"} | settings
    return ll.Objective(ll.Term("y", loss, axes=axes, **settings))


def batch_of(outputs: Any, targets: Any = None, **options: Any) -> Batch:
    """Return a batch of one output."""
    goal = None if targets is None else {"t": np.asarray(targets)}
    return Batch({"y": np.asarray(outputs)}, goal, options)


def by_torch(objective: ll.Objective, batch: Batch) -> tuple[Any, dict[str, Any]]:
    """Return (total, gradient by output) by torch autograd."""
    import torch

    moved = batch.map(torch.as_tensor)
    leaves = {n: o.clone().requires_grad_() for n, o in moved.outputs.items()}
    total, _ = replace(moved, outputs=leaves).call(objective)
    total.backward()
    return total.detach().numpy(), {n: leaf.grad.numpy() for n, leaf in leaves.items()}


def by_jax(objective: ll.Objective, batch: Batch) -> tuple[Any, dict[str, Any]]:
    """Return (total, gradient by output) by JAX autodiff under jit, in 64 bits."""
    import jax

    with jax.enable_x64(True):
        moved = batch.map(jax.numpy.asarray)

        def total(leaves: Any) -> Any:
            return replace(moved, outputs=leaves).call(objective)[0]

        found, slopes = jax.jit(jax.value_and_grad(total))(moved.outputs)
        return np.asarray(found), {n: np.asarray(s) for n, s in slopes.items()}


def assert_three_ways_agree(
    objective: ll.Objective, batch: Batch, rtol: float = 1e-12, slope_rtol: float = 1e-12
) -> tuple[Any, dict[str, Any]]:
    """Return (total, gradient) after checking that all three routes give them, all finite.

    Gradients may differ by rounding of the largest one, and of a hundredth of the total.
    """
    total, _, slopes = batch.slopes(objective)
    largest = max(*(np.abs(s).max() for s in slopes.values()), 0.01 * abs(float(total)))
    for other in (by_torch, by_jax):
        found, found_slopes = other(objective, batch)
        close(found, total, rtol, f"total {other.__name__}")
        for name, slope in slopes.items():
            assert np.isfinite(slope).all(), f"gradient of {name}"
            error = np.abs(found_slopes[name] - slope).max()
            assert error <= slope_rtol * largest, f"{name} {other.__name__}: deviation {error:.3g}"
    return total, slopes
