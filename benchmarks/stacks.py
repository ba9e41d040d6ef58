# SPDX-License-Identifier: Apache-2.0
"""What DDP and FSDP2 make of a window on two ranks, beside its gradient in one batch.

`python benchmarks/stacks.py` starts the ranks itself (gloo, on the CPU) and prints a table.
"""

import os
import tempfile
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

import lossledger as ll
from lossledger.torch import Accumulator, MicroBatch

PADDING, CLASSES, STEPS, FEATURES = -100, 4, 8, 6
MICRO_BATCHES = 4
# Edges of the micro-batches of either rank: a full window, and a last one of one micro-batch.
FULL = ((0, 4, 8, 12, 16), (16, 20, 24, 28, 32))
LAST = ((32, 36), (36, 40))
WAYS = ("plain", "Accumulator")
WRAPPERS = ("DDP", "FSDP2")


def tagger() -> nn.Module:
    """Return a network in float64, with the same first weights at every call."""
    torch.manual_seed(1)
    layers = nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES)
    return nn.Sequential(*layers).double()


def data() -> tuple[Tensor, Tensor]:
    """Return 40 samples and the tags of their steps; the later samples are longer."""
    make = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, STEPS, FEATURES, generator=make, dtype=torch.float64)
    tags = torch.randint(0, CLASSES, (40, STEPS), generator=make)
    lengths = 1 + torch.randint(0, 4, (40,), generator=make) + torch.arange(40) // 10
    return inputs, tags.masked_fill(torch.arange(STEPS) >= lengths[:, None], PADDING)


def objectives() -> dict[str, ll.Objective]:
    """Return a mean over tokens, and a Dice of all tokens."""
    tag: dict[str, Any] = {"outputs": "tag", "axes": "batch time class"}
    dice = ll.losses.Dice(over="batch time", kind="softmax")
    return {
        "token mean": ll.Objective(ll.Term(**tag, loss=ll.losses.CrossEntropy())),
        "Dice": ll.Objective(ll.Term(**tag, loss=dice)),
    }


def cut(edges: tuple[int, ...]) -> list[MicroBatch]:
    """Return micro-batches."""
    inputs, tags = data()
    return [
        MicroBatch(inputs[a:b], tags[a:b].clamp(min=0), mask=tags[a:b] != PADDING)
        for a, b in pairwise(edges)
    ]


def wrap(how: str) -> nn.Module:
    """Return the network in a wrapper."""
    if how == "DDP":
        return DistributedDataParallel(tagger())
    sharded: Any = fully_shard(tagger())  # a module, which its type does not say
    return sharded  # type: ignore[no-any-return]


def gradient(model: nn.Module) -> Tensor:
    """Return all gradients in one row, whole where they are sharded."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    whole = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in grads]
    return torch.cat([g.reshape(-1) for g in whole])


def plainly(objective: ll.Objective, model: nn.Module, window: list[MicroBatch]) -> None:
    """Divide every micro-batch's loss by their number in a full window, and reduce last."""
    for i, part in enumerate(window):
        last = i == len(window) - 1
        ddp = model if isinstance(model, DistributedDataParallel) else None
        switch = getattr(model, "set_requires_gradient_sync", None)
        if switch is not None:
            switch(last)
        with nullcontext() if ddp is None or last else ddp.no_sync():
            loss = objective.loss(model(part.inputs), part.targets, **part.arguments())
            (loss / MICRO_BATCHES).backward()


def work(rank: int, folder: str) -> None:
    """Measure every way on one of two ranks."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    found = {}
    for name, objective in objectives().items():
        for how in WRAPPERS:
            for place, edges in (("full", FULL), ("last", LAST)):
                model = wrap(how)
                plainly(objective, model, cut(edges[rank]))
                found[name, how, "plain", place] = gradient(model)
                model = wrap(how)
                Accumulator(objective, model, timeout=60.0).backward(cut(edges[rank]))
                found[name, how, "Accumulator", place] = gradient(model)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def whole(objective: ll.Objective, edges: tuple[tuple[int, ...], ...]) -> Tensor:
    """Return the gradient of all ranks' samples in one batch."""
    model = tagger()
    (part,) = cut((edges[0][0], edges[1][-1]))
    objective.loss(model(part.inputs), part.targets, **part.arguments()).backward()
    return gradient(model)


def main() -> None:
    """Print size and distance of every gradient, beside that of one batch."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (folder,), nprocs=2)  # type: ignore[no-untyped-call]
        found = torch.load(Path(folder) / "0.pt", weights_only=False)
    print(f"torch {torch.__version__.split('+')[0]}, 2 ranks, float64")
    print(f"{'':<38}{'4 micro-batches':>18}{'last window of 1':>20}")
    print(f"{'loss':<14}{'wrapper':<10}{'way':<14}" + f"{'size':>10}{'off by':>10}" * 2)
    for name, objective in objectives().items():
        right = {"full": whole(objective, FULL), "last": whole(objective, LAST)}
        for how in WRAPPERS:
            for way in WAYS:
                line = f"{name:<14}{how:<10}{way:<14}"
                for place, best in right.items():
                    mine = found[name, how, way, place]
                    size = float((mine * best).sum() / (best * best).sum())
                    off = float((mine - best).norm() / best.norm())
                    line += f"{size:>10.3f}{off:>10.3f}"
                print(line)


if __name__ == "__main__":
    main()
