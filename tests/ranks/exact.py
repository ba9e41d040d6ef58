# SPDX-License-Identifier: Apache-2.0
"""What ranks compute, beside what one process computes on the same samples."""

from typing import Any

import models
import torch
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import lossledger as ll
from lossledger.torch import Accumulator

EDGES = {2: ([0, 2, 3, 8], [8, 9, 13, 16]), 4: ([0, 1, 4], [4, 5, 8], [8, 11, 12], [12, 15, 16])}


def vector_of(grads: dict[str, torch.Tensor]) -> torch.Tensor:
    """Join gradients by name."""
    return torch.cat([grads[n].reshape(-1) for n in sorted(grads)])


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return gradients by name, whole where parameters are sharded; zeros where there is none."""
    found = {}
    for name, p in model.named_parameters():
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        full = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        found[name.removeprefix("module.")] = full.detach().clone()
        p.grad = None
    return found


def alone(name: str) -> tuple[float, torch.Tensor, ll.Ledger]:
    """Return total, gradient and ledger of all samples in one process and one batch."""
    model, batch = models.tagger(), models.data()
    total, ledger = models.OBJECTIVES[name](model)(model(batch.inputs), batch.targets)
    total.backward()
    return float(total.detach()), vector_of(gradients(model)), ledger


def wrap(model: torch.nn.Module, how: str) -> torch.nn.Module:
    """Wrap a model as its users do."""
    if how == "fsdp2":
        fully_shard(model.body)
        return fully_shard(model)
    if how == "none":
        return model
    settings = {"static": {"static_graph": True}, "unused": {"find_unused_parameters": True}}
    return DistributedDataParallel(model, **settings.get(how, {}))


def plain(name: str, rank: int, size: int) -> torch.Tensor:
    """Return the gradient of plain DDP: each rank's own loss on its own samples, averaged."""
    model = models.tagger()
    objective = models.OBJECTIVES[name](model)
    wrapped = DistributedDataParallel(model, find_unused_parameters=True)
    edges = EDGES[size][rank]
    (batch,) = models.cut(models.data(), [edges[0], edges[-1]])
    objective(wrapped(batch.inputs), batch.targets)[0].backward()
    return vector_of(gradients(wrapped))


def ours(name: str, rank: int, size: int, how: str, mode: str) -> dict[str, Any]:
    """Return what the accumulator gives on this rank."""
    model = models.tagger()
    objective = models.OBJECTIVES[name](model)  # reads parameters after they are wrapped
    wrapped = wrap(model, how)
    accumulator = Accumulator(objective, wrapped, mode=mode, timeout=30.0)
    window = models.cut(models.data(), EDGES[size][rank])
    total, ledger = accumulator.backward(window)
    return {
        "total": float(total),
        "gradient": vector_of(gradients(wrapped)),
        "rows": [(r.term, r.cls, r.count, r.contribution) for r in ledger.rows],
        "plan": str(accumulator),
    }


def compare(rank: int, size: int, cases: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return the deviation of every case, and that of plain DDP."""
    found = []
    for name, how, mode in cases:
        total, gradient, ledger = alone(name)
        scale = float(gradient.norm())
        mine = ours(name, rank, size, how, mode)
        rows = [(r.term, r.cls, r.count, r.contribution) for r in ledger.rows]
        found.append(
            {
                "case": (name, how, mode),
                "plain": float((plain(name, rank, size) - gradient).norm()) / scale,
                "ours": float((mine["gradient"] - gradient).norm()) / scale,
                "total": abs(mine["total"] - total) / abs(total),
                "ledger": _apart(mine["rows"], rows),
                "rows": mine["rows"],
                "plan": mine["plan"],
            }
        )
    return found


def _apart(mine: list[Any], theirs: list[Any]) -> float:
    """Return the largest difference of two ledgers' contributions; infinity for other rows."""
    if [r[:3] for r in mine] != [r[:3] for r in theirs]:
        return float("inf")
    return max(abs(a[3] - b[3]) for a, b in zip(mine, theirs, strict=True))
