# SPDX-License-Identifier: Apache-2.0
"""By which factor gradients come back from a reducer: measured, not guessed."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from lossledger._errors import MatchError
from lossledger.torch._state import tensors

_NEAR = 0.02  # a reducer may work in bfloat16, which has 8 bits


def measure(model: torch.nn.Module, forward: Callable[[], Any], group: Any) -> float | None:
    """Return f with reduced gradient = f · Σ over ranks; None if nothing reduces.

    Every rank gives every parameter that the forward pass uses the gradient r + 1, r its place
    among all ranks, through the model's own backward pass. Gradients that were there are put back.

    Raises:
        MatchError: If parameters are reduced by different factors.
    """
    before = {name: p.grad for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = None
    try:
        found = _gradients(model, forward, dist.get_rank() + 1)
    finally:
        for name, p in model.named_parameters():
            p.grad = before[name]
    everywhere: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everywhere, found, group=group)
    places = dist.get_process_group_ranks(group or dist.group.WORLD)
    free = hasattr(model, "set_gradient_divide_factor")
    return _factor(everywhere, [place + 1 for place in places], any_factor=free)


def _gradients(
    model: torch.nn.Module, forward: Callable[[], Any], weight: int
) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest number in each parameter's gradient."""
    sums: dict[int, torch.Tensor] = {}

    def add(module: torch.nn.Module, *_: Any) -> None:
        for p in module.parameters(recurse=False):
            if p.requires_grad and id(p) not in sums:
                sums[id(p)] = p.sum(dtype=torch.promote_types(p.dtype, torch.float32))

    # First of all hooks: FSDP's own take the gathered parameters away again.
    handles = [m.register_forward_hook(add, prepend=True) for m in model.modules()]
    try:
        outputs = [o for o in tensors(forward()) if o.requires_grad]
    finally:
        for handle in handles:
            handle.remove()
    probes = _probes(model, sums, outputs)
    zero = [(torch.where(torch.isfinite(o), o, torch.zeros_like(o)) * 0).sum() for o in outputs]
    # One number for each device and dtype would not add up; float64 holds them all.
    total = torch.stack([x.double() for x in (*zero, *probes)]).sum() * weight
    total.backward()  # type: ignore[no-untyped-call]
    found = {}
    for name, p in model.named_parameters():
        grad = p.grad
        if grad is None or not p.requires_grad:
            continue
        local = grad.to_local() if hasattr(grad, "to_local") else grad
        if local.numel():
            found[name] = (float(local.min()), float(local.max()))
    return found


def _probes(
    model: torch.nn.Module, sums: dict[int, torch.Tensor], outputs: list[torch.Tensor]
) -> list[torch.Tensor]:
    """Return sums of the parameters that are used, those among them that no hook saw too.

    A layer need not use all that it has, and parameters are used outside their layers, or the
    layers are compiled. DDP with static_graph=True takes what is used in its first pass for
    good; with find_unused_parameters=True it has done with what the outputs do not need.
    """
    if getattr(model, "static_graph", False):
        return list(sums.values())
    reached = _reached(outputs)
    if getattr(model, "find_unused_parameters", False):
        sums = {place: total for place, total in sums.items() if place in reached}
    left = [p for p in model.parameters() if id(p) in reached and id(p) not in sums]
    plain = [p for p in left if not hasattr(p, "to_local")]
    unseen = [p.sum(dtype=torch.promote_types(p.dtype, torch.float32)) for p in plain]
    return [*sums.values(), *unseen]


def _reached(outputs: list[torch.Tensor]) -> set[int]:
    """Return the leaves of the outputs' graph."""
    nodes: list[Any] = [o.grad_fn for o in outputs if o.grad_fn is not None]
    visited, leaves = set(nodes), set()
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        for after, _ in node.next_functions:
            if after is not None and after not in visited:
                visited.add(after)
                nodes.append(after)
    return leaves


def _factor(
    everywhere: list[dict[str, tuple[float, float]]], weights: list[int], *, any_factor: bool
) -> float | None:
    size, whole = len(everywhere), sum(weights)
    factors: dict[str, float] = {}
    for rank, found in enumerate(everywhere):
        for name, (low, high) in found.items():
            if low == 0 == high:
                continue  # a parameter that no layer of its own module reads
            mine = f"{name} on rank {rank}"
            factors[mine] = high / whole if abs(high - low) <= _NEAR * abs(high) else math.nan
    if not factors:
        raise MatchError(
            "What reduces the gradients must be measured once",
            "Found no parameter that the probing pass reaches",
            "The layers are compiled, or their parameters are used outside them",
            "Run the first window before torch.compile",
        )
    alone = [
        all(abs(n * whole / weight - 1) <= _NEAR for n in _of(factors, rank))
        for rank, weight in enumerate(weights)
    ]
    if all(alone):
        return None
    numbers = sorted(factors.values())
    factor = _round(numbers[-1], size)
    near = numbers[-1] - numbers[0] <= _NEAR * abs(numbers[-1])
    if not near or not (any_factor or factor in (1.0, 1 / size)):
        worst = min(factors, key=lambda name: factors[name])
        raise MatchError(
            "All gradients must be reduced over the group of the window, by one factor",
            f"Found factors from {numbers[0]:.4g} to {numbers[-1]:.4g}, the smallest for `{worst}`",
            "Some parameters are reduced over another group (the wrapper's, experts'), or not at "
            "all",
            "Pass group= as the model's wrapper has it; leave out what is reduced elsewhere",
        )
    return factor


def _of(factors: dict[str, float], rank: int) -> list[float]:
    return [f for name, f in factors.items() if name.endswith(f" on rank {rank}")]


def _round(factor: float, size: int) -> float:
    """Return the factor that was meant: reducers in low precision return it roughly."""
    for exact in (1.0, 1 / size):
        if abs(factor / exact - 1) <= _NEAR:
            return exact
    return factor
