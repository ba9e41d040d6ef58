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

    Every rank r gives every parameter that the forward pass uses the gradient r + 1, through
    the model's own backward pass. Gradients that were there are put back.

    Raises:
        MatchError: If parameters are reduced by different factors.
    """
    before = {name: p.grad for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = None
    try:
        found = _gradients(model, forward, dist.get_rank(group) + 1)
    finally:
        for name, p in model.named_parameters():
            p.grad = before[name]
    everywhere: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everywhere, found, group=group)
    return _factor(everywhere)


def _gradients(
    model: torch.nn.Module, forward: Callable[[], Any], weight: int
) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest number in each parameter's gradient."""
    sums: list[torch.Tensor] = []
    seen: set[int] = set()

    def add(module: torch.nn.Module, *_: Any) -> None:
        for p in module.parameters(recurse=False):
            if p.requires_grad and id(p) not in seen:
                seen.add(id(p))
                sums.append(p.sum(dtype=torch.promote_types(p.dtype, torch.float32)))

    # First of all hooks: FSDP's own take the gathered parameters away again.
    handles = [m.register_forward_hook(add, prepend=True) for m in model.modules()]
    try:
        outputs = [o for o in tensors(forward()) if o.requires_grad]
    finally:
        for handle in handles:
            handle.remove()
    zero = [(torch.where(torch.isfinite(o), o, torch.zeros_like(o)) * 0).sum() for o in outputs]
    # One number for each device and dtype would not add up; float64 holds them all.
    total = torch.stack([x.double() for x in (*zero, *sums)]).sum() * weight
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


def _factor(everywhere: list[dict[str, tuple[float, float]]]) -> float | None:
    size = len(everywhere)
    whole = size * (size + 1) / 2
    factors: dict[str, float] = {}
    for rank, found in enumerate(everywhere):
        for name, (low, high) in found.items():
            if low == 0 == high:
                continue  # a parameter that no layer of its own module reads
            mine = f"{name} on rank {rank}"
            factors[mine] = high / whole if abs(high - low) <= _NEAR * abs(high) else math.nan
    alone = [
        all(abs(n * whole / (rank + 1) - 1) <= _NEAR for n in _of(factors, rank))
        for rank in range(size)
    ]
    if size > 1 and all(alone):
        return None
    numbers = sorted(factors.values())
    if not numbers or not numbers[-1] - numbers[0] <= _NEAR * abs(numbers[-1]):
        worst = min(factors, key=lambda name: factors[name], default="none")
        raise MatchError(
            "All gradients must be reduced over the group by one factor",
            f"Found factors from {numbers[0] if numbers else 0:.4g} to "
            f"{numbers[-1] if numbers else 0:.4g}, the smallest for `{worst}`",
            "Some parameters are reduced over another group (experts), or not at all",
            "Pass group= as the model's wrapper has it; leave out what is reduced elsewhere",
        )
    return _round(numbers[-1], size)


def _of(factors: dict[str, float], rank: int) -> list[float]:
    return [f for name, f in factors.items() if name.endswith(f" on rank {rank}")]


def _round(factor: float, size: int) -> float:
    """Return the factor that was meant: reducers in low precision return it roughly."""
    for exact in (1.0, 1 / size):
        if abs(factor / exact - 1) <= _NEAR:
            return exact
    return factor
