# SPDX-License-Identifier: Apache-2.0
"""Steps in each library: forward, backward, and nothing kept from one call to the next."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from workload import Answer, Step

import lossledger as ll

Loss = Callable[..., Any]


def load(name: str) -> Any:
    """Import a library that may not be installed."""
    return importlib.import_module(name)


def taken(leaves: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """Return the leaves' gradients and take them away, as zero_grad does before a step."""
    gradients = tuple(leaf.grad for leaf in leaves)
    for leaf in leaves:
        leaf.grad = None
    return gradients


def torch_step(loss: Loss, leaves: tuple[Tensor, ...], *data: Any, iou: Loss | None = None) -> Step:
    """Return forward and backward of `loss(*leaves, *data)`.

    `iou(*leaves, *data)` is computed in the same step, if it is given.
    """

    def step() -> Answer:
        total = loss(*leaves, *data)
        total.backward()
        seen = None
        if iou is not None:
            with torch.no_grad():
                seen = iou(*leaves, *data)
        return Answer(total.detach(), taken(leaves), seen)

    return step


def compiled_step(loss: Loss, leaves: tuple[Tensor, ...], *data: Any) -> Step:
    """Return the same through torch.compile; graph breaks are errors."""
    return torch_step(torch.compile(loss, fullgraph=True, dynamic=False), leaves, *data)


def jax_step(loss: Loss, leaves: tuple[Tensor, ...], *data: Tensor) -> Step:
    """Return the same through jax.jit, on copies of the arrays."""
    jax = load("jax")
    arrays = [jax.numpy.asarray(x.detach().numpy().copy()) for x in (*leaves, *data)]
    places = tuple(range(len(leaves)))
    both = jax.jit(jax.value_and_grad(loss, argnums=places))

    def step() -> Answer:
        value, gradients = jax.block_until_ready(both(*arrays))
        return Answer(value, gradients)

    return step


def ledger_step(
    objective: ll.Objective,
    leaves: tuple[Tensor, ...],
    outputs: Callable[[], Any],
    targets: Any,
    read: Callable[[ll.Ledger], Any] | None = None,
    **weights: Any,
) -> Step:
    """Return an objective's total with its ledger, and backward.

    `read` gets the ledger in the same step and may give the IoU by class.
    """

    def step() -> Answer:
        total, ledger = objective(outputs(), targets, **weights)
        total.backward()
        seen = None if read is None else read(ledger)
        return Answer(total.detach(), taken(leaves), seen)

    return step


def read_rows(ledger: ll.Ledger) -> None:
    """Read every row, so that nothing stays undone because nobody looked."""
    _ = ledger.rows


def row_ious(term: str) -> Callable[[ll.Ledger], list[float]]:
    """Return a reader of every row that gives the IoU by class of one term."""

    def read(ledger: ll.Ledger) -> list[float]:
        return [row.iou for row in ledger.rows if row.term == term and row.iou is not None]

    return read
