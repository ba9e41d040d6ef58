# SPDX-License-Identifier: Apache-2.0
"""What a forward pass leaves behind: random numbers drawn, and buffers written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Kept = list[tuple[torch.nn.Module, str, torch.Tensor, torch.Tensor]]
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
    """Undo what happens to buffers inside: a pass that is run again must not count twice.

    A buffer may be written in place, or another tensor be put in its place.
    """
    before = buffers_of(model)
    try:
        yield before
    finally:
        put_buffers(before)


def buffers_of(model: torch.nn.Module) -> Kept:
    """Return every buffer with its place and a copy of its value."""
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


def put_buffers(before: Kept) -> None:
    """Put buffers and their values back."""
    with torch.no_grad():
        for module, name, buffer, value in before:
            buffer.copy_(value)
            module._buffers[name] = buffer  # noqa: SLF001 - as register_buffer does


def written(before: Kept) -> bool:
    """Whether some buffer has changed."""
    return any(
        getattr(module, name) is not buffer or not torch.equal(buffer, value)
        for module, name, buffer, value in before
    )


def add_gradient(total: torch.Tensor, parameters: list[torch.Tensor]) -> None:
    """Add to `.grad` past the hooks of a wrapper, which would take it for its own pass."""
    used = [p for p in parameters if p.requires_grad]
    grads: Any = torch.autograd.grad(total, used, allow_unused=True) if used else ()
    for p, grad in zip(used, grads, strict=True):
        if grad is None:
            continue
        spread = getattr(grad, "redistribute", None)  # a gradient of shards, kept as they are
        own: Any = p
        fitting = grad if spread is None else spread(placements=own.placements)
        p.grad = fitting if p.grad is None else p.grad.add_(fitting)


def leaf(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor as a leaf of its own."""
    return x.detach().requires_grad_() if x.is_floating_point() else x


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
    if isinstance(tree, Mapping):
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
