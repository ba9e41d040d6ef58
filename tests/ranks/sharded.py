# SPDX-License-Identifier: Apache-2.0
"""Windows on a mesh of data × tensor ranks: the vocabulary is sharded, the samples are split."""

from typing import Any

import torch
import torch.distributed as dist
from ranks.models import CLASSES, FEATURES, IGNORED, cut, data, of
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lossledger as ll
from lossledger.torch import Accumulator, MicroBatch, ShardedCrossEntropy

WEIGHTS = [1.0, 3.0, 0.5, 2.0]
SETTINGS = {"ignore_index": IGNORED, "label_smoothing": 0.1, "z_loss": 1e-2}
EDGES = ([0, 2, 3, 8], [8, 9, 13, 16])


class Shared(torch.autograd.Function):
    """What all tensor ranks read: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: Any) -> torch.Tensor:
        """Pass on."""
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Add up over the group."""
        grad = grads[0].clone()
        dist.all_reduce(grad, group=ctx.group)
        return grad, None


class Sharded(nn.Module):
    """A body that every rank has, and this rank's rows of the head."""

    def __init__(self, place: int = 0, shards: int = 1, group: Any = None) -> None:
        """Draw the whole head everywhere, and keep a shard."""
        super().__init__()
        torch.manual_seed(0)
        self.group = group
        self.body = nn.Linear(FEATURES, 16).double()
        head = nn.Linear(16, CLASSES).double()
        each = CLASSES // shards
        rows = slice(place * each, (place + 1) * each)
        self.weight = nn.Parameter(head.weight.detach()[rows].clone())

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return this rank's logits."""
        hidden = torch.tanh(self.body(x))
        if self.group is not None:
            hidden = Shared.apply(hidden, self.group)
        return {"logits": hidden @ self.weight.T}


def objective(loss: Any) -> ll.Objective:
    """Return a class-weighted cross entropy."""
    return of(
        ll.Term(
            "logits", loss, axes="batch time class", classes=CLASSES, class_weight=WEIGHTS,
            name="cross_entropy",
        )
    )  # fmt: skip


def run() -> dict[str, Any]:
    """Return the deviation of body and head from one process, and that of plain DDP."""
    mesh = dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    samples, vocabulary = mesh["data"].get_group(), mesh["tensor"].get_group()
    place, own = mesh["tensor"].get_local_rank(), mesh["data"].get_local_rank()
    whole = Sharded()
    every = data(objective(ll.losses.CrossEntropy(**SETTINGS)))
    batch = MicroBatch(every.inputs, {"logits": every.targets["logits"]})
    total, ledger = objective(ll.losses.CrossEntropy(**SETTINGS))(
        whole(batch.inputs), batch.targets
    )
    total.backward()
    each = CLASSES // 2
    expected = _joined(
        whole.body.weight.grad, whole.body.bias.grad,
        whole.weight.grad[place * each : (place + 1) * each],
    )  # fmt: skip
    loss = ShardedCrossEntropy(CLASSES, group=vocabulary, **SETTINGS)
    found = {}
    for way in ("ours", "plain"):
        model = Sharded(place, 2, vocabulary)
        wrapped = DistributedDataParallel(model, process_group=samples)
        window = [MicroBatch(p.inputs, p.targets) for p in cut(batch, EDGES[own])]
        if way == "ours":
            accumulator = Accumulator(objective(loss), wrapped, group=samples, timeout=30.0)
            mine, book = accumulator.backward(window)
        else:
            (local,) = cut(batch, [EDGES[own][0], EDGES[own][-1]])
            objective(loss)(wrapped(local.inputs), local.targets)[0].backward()
        grads = _joined(*(p.grad for p in (model.body.weight, model.body.bias, model.weight)))
        found[way] = float((grads - expected).norm() / expected.norm())
    rows, theirs = _rows(book), _rows(ledger)
    pairs = zip(rows, theirs, strict=True)
    apart = [abs(a - b) for x, y in pairs for a, b in zip(x[3:], y[3:], strict=True)]
    return {
        "case": ("class weights and z-loss", "data × tensor", "replay", None),
        **found,
        "total": abs(float(mine) - float(total.detach())),
        "ledger": max(apart) if [r[:3] for r in rows] == [r[:3] for r in theirs] else float("inf"),
        "rows": rows,
        "plan": str(accumulator),
    }


def _rows(ledger: ll.Ledger) -> list[tuple[Any, ...]]:
    return [(r.term, r.cls, r.count, r.numerator, r.contribution) for r in ledger.rows]


def _joined(*parts: Any) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in parts])
