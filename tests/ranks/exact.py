# SPDX-License-Identifier: Apache-2.0
"""What ranks compute, beside what one process computes on the same samples.

A script for torchrun: rank 0 prints the table, and every rank writes what it found.
"""

import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import lossledger as ll
from lossledger.torch import Accumulator

sys.path.insert(0, str(Path(__file__).parents[1]))
from ranks import sharded  # after the path is known
from ranks.models import OBJECTIVES, cut, data, tagger

EDGES = {
    2: ([0, 2, 3, 8], [8, 9, 13, 16]),
    4: ([0, 1, 2], [2, 3, 4], [4, 9, 12], [12, 13, 16]),  # rank 1 holds padding alone
}
# What is minimised, what wraps the model, how windows of two passes run, and how many graphs
# wait: 3 are a whole window of 2 ranks, of which DDP with unused parameters runs one twice.
Case = tuple[str, str, Any, int | None]
CASES: dict[int, tuple[Case, ...]] = {
    2: (
        *((name, "ddp", "replay", None) for name in OBJECTIVES),
        *(("batch Dice", "ddp", mode, None) for mode in ("cached", "checkpoint", "retain")),
        *(("batch Dice", "ddp", mode, 3) for mode in ("replay", "cached")),
        ("contrast", "default", "replay", None),
        ("contrast", "default", "cached", 3),
        ("contrast", "static graph", "replay", None),
        ("contrast", "static graph", "cached", None),
        ("contrast", "static graph", "replay", 5),
        ("token mean", "fsdp2", "replay", None),
        ("class weights and L2", "fsdp2", "replay", None),
        *(
            ("batch Dice", "fsdp2", mode, None)
            for mode in ("replay", "cached", "checkpoint", "retain")
        ),
        ("contrast", "fsdp2", "replay", 2),
        ("batch Dice", "fsdp2", "cached", 3),
        ("contrast", "fsdp2 sum", "replay", None),
        ("class weights and L2", "no wrapper", "replay", None),
        ("worst 20 % of tokens", "no wrapper", "cached", 2),
        ("worst 20 % of tokens", "sum hook", "replay", None),
    ),
    4: (
        *((name, "ddp", "replay", None) for name in OBJECTIVES),
        ("class weights and L2", "mesh", "replay", None),
        ("batch Dice", "mesh", "cached", 5),
        ("contrast", "fsdp2", "cached", None),
        ("class weights and z-loss", "data × tensor", "replay", None),
    ),
}


def vector_of(grads: dict[str, torch.Tensor]) -> torch.Tensor:
    """Join gradients by name."""
    return torch.cat([grads[n].reshape(-1) for n in sorted(grads)])


def gradients(model: torch.nn.Module) -> torch.Tensor:
    """Return all gradients, whole where parameters are sharded; zeros where there is none."""
    found = {}
    for name, p in model.named_parameters():
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        full = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
        found[name.removeprefix("module.")] = full.detach().clone()
        p.grad = None
    return vector_of(found)


def rows_of(ledger: ll.Ledger) -> list[tuple[Any, ...]]:
    """Return what a ledger's rows say."""
    return [(r.term, r.cls, r.count, r.numerator, r.contribution) for r in ledger.rows]


def alone(name: str) -> tuple[float, torch.Tensor, list[tuple[Any, ...]]]:
    """Return total, gradient and rows of all samples in one process and one batch."""
    model = tagger()
    objective = OBJECTIVES[name](model)
    batch = data(objective)
    total, ledger = objective(model(batch.inputs), batch.targets, **batch.arguments())
    total.backward()
    return float(total.detach()), gradients(model), rows_of(ledger)


def wrap(model: torch.nn.Module, how: str) -> tuple[torch.nn.Module, Any]:
    """Wrap a model as its users do; return it and the group that shares a window."""
    if how in ("fsdp2", "fsdp2 sum"):
        parts = [fully_shard(model.body), fully_shard(model)]
        for part in parts if how == "fsdp2 sum" else ():
            part.set_gradient_divide_factor(1.0)
        return parts[-1], None
    if how == "no wrapper":
        return model, None
    if how == "default":  # every parameter is used
        return DistributedDataParallel(model), None
    if how == "static graph":
        return DistributedDataParallel(model, static_graph=True), None
    group = None
    if how == "mesh":  # data × context: every rank holds other tokens, so all of them count
        mesh = dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "context"))
        group = mesh._flatten("data_context").get_group()
    wrapped = DistributedDataParallel(model, find_unused_parameters=True, process_group=group)
    if how == "sum hook":
        wrapped.register_comm_hook(None, _sum)
    return wrapped, group


def _sum(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def plain(name: str, rank: int, size: int) -> torch.Tensor:
    """Return the gradient of plain DDP: each rank's own loss on its own samples, averaged."""
    model = tagger()
    objective = OBJECTIVES[name](model)
    wrapped = DistributedDataParallel(model, find_unused_parameters=True)
    edges = EDGES[size][rank]
    (batch,) = cut(data(objective), [edges[0], edges[-1]])
    objective(wrapped(batch.inputs), batch.targets, **batch.arguments())[0].backward()
    return gradients(wrapped)


def compare(rank: int, size: int, case: Case) -> dict[str, Any]:
    """Return the deviation of one case, and that of plain DDP."""
    name, how, mode, live = case
    if how == "data × tensor":
        return sharded.run()
    total, gradient, rows = alone(name)
    scale = float(gradient.norm())
    model = tagger()
    objective = OBJECTIVES[name](model)
    wrapped, group = wrap(model, how)
    accumulator = Accumulator(objective, wrapped, mode=mode, live=live, group=group, timeout=30.0)
    window = cut(data(objective), EDGES[size][rank])
    accumulator.backward(window)
    gradients(wrapped)  # a second window: nothing of the first is left
    found, ledger = accumulator.backward(window)
    mine, own = gradients(wrapped), rows_of(ledger)
    same = [r[:3] for r in own] == [r[:3] for r in rows]
    pairs = zip(own, rows, strict=True)
    apart = [abs((a or 0) - (b or 0)) for x, y in pairs for a, b in zip(x[3:], y[3:], strict=True)]
    return {
        "case": case,
        "plain": float((plain(name, rank, size) - gradient).norm()) / scale,
        "ours": float((mine - gradient).norm()) / scale,
        "total": abs(float(found) - total) / abs(total),
        "ledger": max(apart) if same else float("inf"),
        "rows": own,
        "plan": str(accumulator),
    }


def table(found: list[dict[str, Any]], size: int) -> str:
    """Write the deviations, those of plain DDP beside them."""
    lines = [
        f"{size} ranks, float64: relative error of the gradient against one process (plain: DDP)",
        f"{'objective':<26}{'wrapper':<14}{'mode':<12}{'live':<6}{'plain':>10}{'lossledger':>12}",
    ]
    for e in found:
        name, how, mode, live = e["case"]
        lines.append(
            f"{name:<26}{how:<14}{mode:<12}{live or '-':<6}{e['plain']:>10.2g}{e['ours']:>12.1e}"
        )
    return "\n".join(lines)


def main(folder: str | None = None) -> None:
    """Run all cases of the number of ranks that there are."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, size = dist.get_rank(), dist.get_world_size()
    found = [compare(rank, size, case) for case in CASES[size]]
    if folder is not None:
        torch.save(found, Path(folder) / f"{rank}.pt")
    if rank == 0:
        print(table(found, size), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
