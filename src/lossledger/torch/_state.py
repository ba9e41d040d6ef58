# SPDX-License-Identifier: Apache-2.0
"""What a forward pass leaves behind: random numbers drawn, and buffers written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Kept = list[tuple[torch.Tensor, torch.Tensor]]
Drawn = tuple[torch.Tensor, dict[int, torch.Tensor]]


def drawn(model: torch.nn.Module) -> Drawn:
    """Return the states of the random number generators that a model may draw from."""
    return torch.get_rng_state(), {i: torch.cuda.get_rng_state(i) for i in _devices(model)}


def draw_again(state: Drawn) -> None:
    """Set the generators back, so that dropout removes what it removed before."""
    cpu, devices = state
    torch.set_rng_state(cpu)
    for index, each in devices.items():
        torch.cuda.set_rng_state(each, index)


@contextmanager
def buffers_kept(model: torch.nn.Module) -> Iterator[Kept]:
    """Undo what happens to buffers inside: a pass that is run again must not count twice."""
    before = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield before
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def written(before: Kept) -> bool:
    """Whether some buffer has changed."""
    return any(not torch.equal(buffer, value) for buffer, value in before)


def batch_norms(model: torch.nn.Module) -> tuple[str, ...]:
    """Return the names of layers that normalize each micro-batch by its own mean."""
    kinds = torch.nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the base of all of them
    found = []
    for name, module in model.named_modules():
        over_ranks = isinstance(module, torch.nn.SyncBatchNorm)
        if isinstance(module, kinds) and module.training:
            found.append(f"{name} ({type(module).__name__})" if over_ranks else name)
    return tuple(found)


def map_tensors(tree: Any, change: Any) -> Any:
    """Change every tensor of nested tuples, lists and dicts."""
    if isinstance(tree, torch.Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {name: map_tensors(part, change) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [map_tensors(part, change) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def tensors(tree: Any) -> list[torch.Tensor]:
    """Return the tensors of nested tuples, lists and dicts, in order."""
    found: list[torch.Tensor] = []
    map_tensors(tree, found.append)
    return found


def _devices(model: torch.nn.Module) -> list[int]:
    return sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
