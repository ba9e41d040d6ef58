# SPDX-License-Identifier: Apache-2.0
"""Floors: the bytes that must move at the speed they can, or the least that a step can do."""

from collections.abc import Callable

import torch
from workload import Floor

FLOAT = 4
# No cache holds as much; a larger buffer would only take memory from the others.
LARGEST_BUFFER = 2**29


def bandwidth(moved: int, working_set: int) -> Floor:
    """Return the time in which `moved` bytes stream through memory.

    The stream is an addition in place, which reads and writes every byte once: of the loops
    that PyTorch offers the one that comes closest to the memory's speed. It runs over as
    many bytes as the workload touches, so that it finds as many of them in the cache.

    Args:
        moved: Bytes the workload must read and write, each pass counted.
        working_set: Bytes of its arrays, gradients included.
    """
    elements = max(min(working_set, LARGEST_BUFFER) // FLOAT, 1)
    streamed = 2 * FLOAT * elements

    def build() -> Callable[[], object]:
        buffer = torch.zeros(elements)
        return lambda: buffer.add_(1.0)

    says = f"{moved / 1e6:.3g} MB at the speed of an addition in place"
    return Floor(says, build, moved / streamed, streamed)


def autograd(*shape: int) -> Floor:
    """Return what PyTorch takes for the smallest step there is: a sum and its gradient."""

    def build() -> Callable[[], object]:
        leaf = torch.zeros(shape, requires_grad=True)

        def step() -> object:
            leaf.sum().backward()  # type: ignore[no-untyped-call]
            gradient, leaf.grad = leaf.grad, None
            return gradient

        return step

    return Floor("x.sum() forward and backward in eager PyTorch", build)


def products(rows: int, inner: int, columns: int) -> Floor:
    """Return the time of the three matrix products of a linear layer and its gradients."""

    def build() -> Callable[[], object]:
        hidden, weight = torch.zeros(rows, inner), torch.zeros(columns, inner)
        logits = torch.zeros(rows, columns)

        def step() -> object:
            torch.mm(hidden, weight.T, out=logits)
            return logits @ weight, logits.T @ hidden

        return step

    return Floor(f"three matrix products of {rows} × {inner} × {columns}", build)
