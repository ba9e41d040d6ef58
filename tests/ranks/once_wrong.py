# SPDX-License-Identifier: Apache-2.0
"""What was once wrong on ranks: a script for torchrun, in which every rank says what it found."""

import json
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import lossledger as ll
from lossledger.torch import Accumulator

X = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(8, 4) ** 3
GOAL = torch.linspace(0, 1, 8, dtype=torch.float64)


class Net(nn.Module):
    """A linear layer whose weights are used by name, and a parameter that nothing uses."""

    def __init__(self, *, by_name: bool = False) -> None:
        """Start from numbers that are no special ones."""
        super().__init__()
        self.layer, self.by_name = nn.Linear(4, 1).double(), by_name
        self.unused = nn.Parameter(torch.ones(1, dtype=torch.float64))
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.3, -0.2, 0.7, 0.1]]))
            self.layer.bias.fill_(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one number a row."""
        if self.by_name:
            return nn.functional.linear(x, self.layer.weight, self.layer.bias)[:, 0]
        return self.layer(x)[:, 0]


def squared(reduction: Any = "mean", loss: Any = None, *parts: Any) -> ll.Objective:
    """Return squared errors, or another loss."""
    loss = loss or ll.losses.SquaredError()
    return ll.Objective(ll.Term("y", loss, axes="batch", reduction=reduction), *parts)


def mine(rank: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return this rank's micro-batches: 3 + 1 rows, or 2 + 2."""
    edges = ((0, 3, 4), (4, 6, 8))[rank]
    return [(X[a:b], GOAL[a:b]) for a, b in pairwise(edges)]


def error(model: nn.Module, objective: ll.Objective, times: int = 1) -> float:
    """Return how far the weights' gradient is from that of one process."""
    alone = Net()
    total, _ = objective(alone(X), GOAL)
    total.backward()
    weight = next(p for n, p in model.named_parameters() if n.endswith("layer.weight"))
    grad = weight.grad
    grad = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
    expected = times * alone.layer.weight.grad
    return float((grad - expected).norm() / expected.norm())


def twice_alone(rank: int) -> Any:
    """Gradients of an earlier window were multiplied by the number of ranks."""
    model = Net()
    accumulator = Accumulator(squared(), model)
    for _ in range(2):
        accumulator.backward(mine(rank))
    return error(model, squared(), times=2)


def unused(rank: int) -> Any:
    """A parameter without gradient got one of 0, by which AdamW decays it."""
    model = Net()
    Accumulator(squared(), model).backward(mine(rank))
    return model.unused.grad is None


def by_name(rank: int) -> Any:
    """No layer's hook saw the weights: the plan said that nothing reduces, and summed again."""
    model = Net(by_name=True)
    wrapped = DistributedDataParallel(model, find_unused_parameters=True)
    wrapped.register_comm_hook(None, _sum)
    accumulator = Accumulator(squared(), wrapped)
    accumulator.backward(mine(rank))
    assert "measured: sum" in str(accumulator)
    return error(model, squared())


def _sum(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def one_row_sharded(rank: int) -> Any:
    """The gradient of L2 lay otherwise over the ranks than that of a layer with one row."""
    torch.manual_seed(0)
    model = Net()
    del model.unused
    fully_shard(model)
    l2 = ll.L2(0.1, parameters=model.parameters, half=True)
    Accumulator(squared("mean", None, l2), model).backward(mine(rank))
    alone = Net()
    del alone.unused
    plain = squared("mean", None, ll.L2(0.1, parameters=alone.parameters, half=True))
    plain(alone(X), GOAL)[0].backward()
    grad = model.layer.weight.grad.full_tensor()
    return float((grad - alone.layer.weight.grad).norm() / alone.layer.weight.grad.norm())


def few(rank: int) -> Any:
    """A list of the 3 largest was cut on one rank, and not on the other."""
    model = Net()
    Accumulator(squared(ll.TopMean(count=3)), model).backward(mine(rank))
    return error(model, squared(ll.TopMean(count=3)))


class Chosen(Net):
    """Runs an expert on each rank's first micro-batch, and on no other."""

    def __init__(self) -> None:
        """Add the expert."""
        super().__init__()
        self.expert = nn.Linear(4, 1).double()
        with torch.no_grad():
            self.expert.weight.fill_(0.5)
            self.expert.bias.fill_(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one number a row."""
        found = super().forward(x)
        first = any(torch.equal(x[0], X[row]) for row in (0, 4))
        return found + self.expert(x)[:, 0] if first else found


def unused_in_the_last(rank: int, **settings: Any) -> Any:
    """One backward of two graphs: DDP had looked for what is unused in the second alone."""
    model, alone, objective = Chosen(), Chosen(), squared(ll.LogMeanExp(1.0))
    outputs = torch.cat([alone(x) for r in range(2) for x, _ in mine(r)])
    objective(outputs, GOAL)[0].backward()
    wrapped = DistributedDataParallel(model, find_unused_parameters=True)
    accumulator = Accumulator(objective, wrapped, **(settings or {"mode": "cached", "live": 2}))
    accumulator.backward(mine(rank))
    pairs = zip((model.layer, model.expert), (alone.layer, alone.expert), strict=True)
    errors = [(a.weight.grad - b.weight.grad).norm() / b.weight.grad.norm() for a, b in pairs]
    return float(max(errors))


def unused_in_the_last_twin(rank: int) -> Any:
    """One backward of them all is an error of DDP's, so the case above can fail."""
    try:
        return unused_in_the_last(rank, mode="retain")
    except RuntimeError as refusal:
        return str(refusal)


def other_settings(rank: int) -> Any:
    """Losses of another delta on each rank were added up."""
    return refused(Net(), squared("mean", ll.losses.Huber(1.0 + rank)), rank)


def other_weights(rank: int) -> Any:
    """So were terms of another weight."""
    term = ll.Term("y", ll.losses.SquaredError(), axes="batch", loss_weight=1.0 + rank)
    return refused(Net(), ll.Objective(term), rank)


def outside(rank: int) -> Any:
    """A head outside the model that is wrapped drifted apart."""
    head = nn.Parameter(torch.ones(1, dtype=torch.float64))
    model = Net()
    optimizer = torch.optim.SGD([*model.parameters(), head], lr=0.1)
    return refused(model, squared(), rank, optimizer)


def refused(model: nn.Module, objective: ll.Objective, rank: int, optimizer: Any = None) -> Any:
    """Return what the refusal says."""
    try:
        Accumulator(objective, model, optimizer).backward(mine(rank))
    except ll.LossLedgerError as refusal:
        return f"{type(refusal).__name__}: {refusal}"
    return "accepted"


WRONGS: dict[str, Callable[[int], Any]] = {
    f.__name__: f
    for f in (
        twice_alone, unused, by_name, one_row_sharded, few, other_settings, other_weights, outside,
        unused_in_the_last, unused_in_the_last_twin,
    )
}  # fmt: skip


def main(folder: str) -> None:
    """Run them all."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    found = {name: wrong(rank) for name, wrong in WRONGS.items()}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
