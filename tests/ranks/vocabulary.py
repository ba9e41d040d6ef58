# SPDX-License-Identifier: Apache-2.0
"""What each rank of a sharded vocabulary computes, for `tests/test_vocabulary_parallel.py`.

torchrun starts this file once for each number of ranks; every rank writes what it found, by
case, and the test compares it with one process that holds the whole rows.
"""

import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import loss_parallel

import lossledger as ll

CLASSES = 11
PADDED = (9, 10)
# In the order of torch's own chunks, and as uneven as can be: with 4 ranks one holds nothing.
EVEN = {2: (6, 5), 4: (3, 3, 3, 2)}
UNEVEN = {2: (9, 2), 4: (1, 6, 0, 4)}
REDUCTIONS = {
    "mean": "mean",
    "macro": ll.Macro(),
    "worst": ll.TopMean(0.3),
}
WEIGHT = [1.0, 2.0, 0.0, 0.5, 3.0, 1.0, 1.5, 0.25, 4.0, 1.0, 0.5]


@dataclass(frozen=True)
class Case:
    """One objective and batch; the same settings with and without shards."""

    weighted: bool = False
    ignored: bool = False
    smoothing: float = 0.0
    z_loss: float = 0.0
    masked: bool = False
    uneven: bool = False
    reduction: str = "mean"
    axes: str = "batch time class"
    dtype: torch.dtype = torch.float64
    shape: tuple[int, int] = (4, 5)
    offset: float = 0.0
    padding: bool = False

    def __str__(self) -> str:
        """Name what differs from the plain case."""
        changed = [f"{n}={v}" for n, v in vars(self).items() if v != getattr(Case(), n)]
        return " ".join(changed) or "plain"

    def objective(self, loss: Any, reduction: Any = None) -> ll.Objective:
        """Return the objective of a loss, reduced as the case says or in another way."""
        weight = [0.0 if i in PADDED and self.padding else w for i, w in enumerate(WEIGHT)]
        term = ll.Term(
            "logits",
            loss,
            self.axes,
            class_weight=weight if self.weighted else None,
            reduction=reduction or REDUCTIONS[self.reduction],
            classes=CLASSES,
            loss_weight=0.5,
            name="ce",
        )
        return ll.Objective(term)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the loss's own settings."""
        ignored = -100 if self.ignored else None
        return {
            "label_smoothing": self.smoothing, "z_loss": self.z_loss, "ignore_index": ignored,
        }  # fmt: skip

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Return whole logits, labels and options; garbage stands where no weight is."""
        draw = torch.Generator().manual_seed(5)
        labels = torch.randint(0, CLASSES, self.shape, generator=draw)
        z = 3 * torch.randn((*self.shape, CLASSES), generator=draw, dtype=torch.float64)
        z = z.round(decimals=1) + self.offset  # some rows have two largest logits
        if self.padding:
            z[..., list(PADDED)] = -torch.inf
            labels = labels % (CLASSES - len(PADDED))
        mask = torch.rand(self.shape, generator=draw) < 0.7
        if self.ignored:
            labels[0, 1::2] = -100
            z[0, 1] = torch.nan
        if self.masked:
            labels[~mask] = 10**6
            z[~mask] = torch.inf
        z = z.to(self.dtype)
        if self.axes != Case.axes:
            z = z.movedim(-1, self.axes.split().index("class"))
        return z, labels, {"mask": mask} if self.masked else {}

    def shard(self, z: torch.Tensor, rank: int, ranks: int) -> torch.Tensor:
        """Return one rank's logits."""
        axis = self.axes.split().index("class")
        return z.split((UNEVEN if self.uneven else EVEN)[ranks], axis)[rank]


def cases() -> list[Case]:
    """Return every case that each number of ranks computes.

    All settings with each other, and the reductions in turn, so that each meets all of them.
    """
    grid = itertools.product(
        (False, True), (False, True), (0.0, 0.1), (0.0, 0.01), (False, True), (False, True)
    )
    found = [Case(*settings, turn) for settings, turn in zip(grid, itertools.cycle(REDUCTIONS))]
    found += [Case(axes="batch class time", weighted=w, smoothing=0.1 * w) for w in (False, True)]
    found += [Case(padding=True), Case(padding=True, weighted=True, smoothing=0.1, uneven=True)]
    found += [Case(smoothing=1.0, weighted=True), Case(offset=1e4, smoothing=0.1)]
    rough = replace(Case(), shape=(16, 8), smoothing=0.1, weighted=True, z_loss=0.01)
    for dtype in (torch.float32, torch.bfloat16):
        found += [replace(rough, dtype=dtype), Case(dtype=dtype, masked=True, uneven=True)]
    found.append(Case(dtype=torch.float32, offset=1e4, smoothing=0.1, shape=(16, 8)))
    return found


@dataclass(frozen=True)
class Found:
    """What one rank computed for one case; gradients are of its shard."""

    total: float
    values: Any
    gradient: Any
    closed: Any
    ledger: Any


def compute(case: Case, loss: Any, z: torch.Tensor) -> Found:
    """Compute a case on one rank's logits, or on whole rows."""
    _, labels, options = case.batch()
    objective = case.objective(loss)
    leaf = z.clone().requires_grad_()
    total, ledger = objective(leaf, labels, **options)
    total.backward()
    gradient = leaf.grad.double().numpy()
    values = objective.values(z, labels, **options)["ce"].numpy()
    _, _, closed = objective.value_and_grad(z, labels, **options)
    return Found(total.item(), values, gradient, closed.numpy(), ledger)


def whole(case: Case) -> Found:
    """Compute a case in one process, in float64 on the same rounded logits."""
    z, _, _ = case.batch()
    return compute(case, ll.losses.CrossEntropy(**case.settings), z.double())


def sharded(case: Case) -> Found:
    """Compute a case on this rank."""
    z, _, _ = case.batch()
    z = case.shard(z, dist.get_rank(), dist.get_world_size())
    return compute(case, ll.torch.ShardedCrossEntropy(CLASSES, **case.settings), z)


# ------------------------------------------------------------------------------ broken twins


@contextmanager
def _combining(change: Callable[[torch.Tensor, Any], None]) -> Iterator[None]:
    """Change what a rank hears of the others before it adds it up."""
    module = sys.modules["lossledger.torch._vocabulary"]
    right = module.combine

    def wrong(gathered: torch.Tensor, labels: Any) -> Any:
        others = torch.arange(len(gathered)) != dist.get_rank()
        change(gathered, others)
        return right(gathered, labels)

    module.combine = wrong
    try:
        yield
    finally:
        module.combine = right


def _own_classes_alone(gathered: torch.Tensor, others: torch.Tensor) -> None:
    """Skip Σ exp(z) over the other shards."""
    n = Case.shape[0] * Case.shape[1]
    gathered[others, n : 2 * n] = -torch.inf


def _own_smoothing_alone(gathered: torch.Tensor, others: torch.Tensor) -> None:
    """Skip Σ z over the other shards, which smoothing needs."""
    n = Case.shape[0] * Case.shape[1]
    gathered[others, 3 * n :] = 0.0


TWINS = {
    "normalizer": (Case(), _own_classes_alone),
    "smoothing": (Case(smoothing=0.1), _own_smoothing_alone),
}


def twins() -> dict[str, Found]:
    """Return what wrong sums give."""
    found = {}
    for name, (case, change) in TWINS.items():
        with _combining(change):
            found[name] = sharded(case)
    return found


# --------------------------------------------------------------------------------- bad input


def bad_inputs() -> dict[str, tuple[str, str]]:
    """Return the class and the text of the error of every bad batch on this rank."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    z, labels, _ = Case().batch()
    shard = Case().shard(z, rank, ranks)
    high, moved = labels.clone(), labels.clone()
    high[1, 2] = CLASSES
    moved[0] = labels[0].roll(1)
    last = rank == ranks - 1
    alone = dist.new_group([0])
    loss = ll.torch.ShardedCrossEntropy(CLASSES)
    more = ll.torch.ShardedCrossEntropy(CLASSES + 1)
    step = ll.losses.Affine(0.5)
    calls = {
        "label out of range": lambda: run(loss, shard, high),
        "label out of range on one rank": lambda: run(loss, shard, high if last else labels),
        "other targets on one rank": lambda: run(loss, shard, moved if last else labels),
        "fewer samples on one rank": lambda: run(
            loss, shard[: 4 - last], labels[: 4 - last]
        ),
        "a shard is missing": lambda: run(more, shard, labels),
        "other number of classes on one rank": lambda: run(more if last else loss, shard, labels),
        "whole rows on every rank": lambda: run(loss, z, labels),
        "other dtype on one rank": lambda: run(loss, shard.float() if last else shard, labels),
        "one number a class": lambda: run(loss, shard, torch.softmax(shard, -1)),
        "class weights of the shard": lambda: run(loss, shard, labels, class_weight=WEIGHT[:5]),
        "NumPy": lambda: run(loss, shard.numpy(), labels.numpy()),
        "not in the group": lambda: run(replace(loss, group=alone), shard, labels),
        "from another process": lambda: run(copied(loss), shard, labels),
        "behind a step": lambda: run(ll.losses.Mapped(loss, (step,)), shard, labels),
        "sharded along time": lambda: run(loss, spread(z, 0), labels),
    }  # fmt: skip
    return {name: outcome(call) for name, call in calls.items()}


def copied(loss: Any) -> Any:
    """Return a loss as another process gets it."""
    return pickle.loads(pickle.dumps(loss))  # noqa: S301 - written one line above


def run(loss: Any, z: Any, labels: Any, **settings: Any) -> Any:
    """Return the total of a batch."""
    return ll.Objective(ll.Term("logits", loss, Case.axes, **settings)).loss(z, labels)


def outcome(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the class and text of a call's error."""
    try:
        call()
    except ll.LossLedgerError as error:
        return type(error).__name__, str(error)
    return "nothing", ""


# ---------------------------------------------------------------------------- torch's own ways


def spread(z: torch.Tensor, axis: int) -> Any:
    """Return logits as a DTensor over all ranks."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return distribute_tensor(z, mesh, [Shard(axis)])


def of_dtensor() -> Found:
    """Compute the plain case on a DTensor; the gradient is the whole one."""
    z, labels, _ = Case().batch()
    leaf = spread(z, 2).requires_grad_()
    loss = ll.torch.ShardedCrossEntropy(CLASSES)
    total, ledger = Case().objective(loss)(leaf, labels)
    total.backward()
    assert leaf.grad.placements == (Shard(2),)
    gradient = leaf.grad.full_tensor().numpy()
    return Found(total.item(), None, gradient, gradient, ledger)


def messages() -> tuple[dict[str, int], dict[str, int]]:
    """Return how often each collective ran in a forward and in a backward pass."""
    case = Case(weighted=True, smoothing=0.1, z_loss=0.01)
    z, labels, _ = case.batch()
    leaf = case.shard(z, dist.get_rank(), dist.get_world_size()).clone().requires_grad_()
    objective = case.objective(ll.torch.ShardedCrossEntropy(CLASSES, **case.settings))
    counted = []
    with CommDebugMode() as forward:
        total, _ = objective(leaf, labels)
    counted.append({str(op): n for op, n in forward.get_comm_counts().items()})
    with CommDebugMode() as backward:
        total.backward()
    counted.append({str(op): n for op, n in backward.get_comm_counts().items()})
    return counted[0], counted[1]


def torch_refuses() -> dict[str, str]:
    """Return the class of the error that torch's own sharded cross entropy raises."""
    z, labels, _ = Case().batch()
    z, labels = z.flatten(0, 1), labels.flatten()
    ignored = labels.where(labels != 3, -100)
    weight = torch.tensor(WEIGHT, dtype=z.dtype)
    found = {}
    for name, target, settings in (
        ("class weights", labels, {"weight": weight}),
        ("class weights, an ignored label", ignored, {"weight": weight}),
        ("label smoothing", labels, {"label_smoothing": 0.1}),
    ):
        leaf = spread(z, 1).requires_grad_()
        try:
            with loss_parallel():
                torch.nn.functional.cross_entropy(leaf, target, **settings).backward()
            found[name] = ""
        except (RuntimeError, NotImplementedError) as error:
            found[name] = type(error).__name__
    return found


def compiled() -> tuple[float, Any, float, tuple[str, str]] | None:
    """Return total and gradient of a compiled step, then total and error of one rank's fault.

    Once, because compiling takes long.
    """
    if dist.get_world_size() != 2:
        return None
    case = Case(weighted=True, smoothing=0.1, z_loss=0.01)
    z, labels, _ = case.batch()
    leaf = case.shard(z, dist.get_rank(), 2).clone().requires_grad_()
    objective = case.objective(ll.torch.ShardedCrossEntropy(CLASSES, **case.settings))
    step = torch.compile(lambda *batch: objective(*batch), fullgraph=True, backend="aot_eager")
    total, _ = step(leaf, labels)
    total.backward()
    wrong, ledger = step(leaf, labels.roll(1) if dist.get_rank() else labels)
    return total.item(), leaf.grad.numpy(), wrong.item(), outcome(lambda: ledger.rows)


def mesh_of_two_axes() -> dict[str, Any] | None:
    """Return a step on a mesh of data and tensor ranks: each pair has half of the samples."""
    if dist.get_world_size() != 4:
        return None
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    case = Case(weighted=True, smoothing=0.1)
    z, labels, _ = case.batch()
    part = slice(2 * mesh.get_local_rank("data"), 2 * mesh.get_local_rank("data") + 2)
    z = case.shard(z, mesh.get_local_rank("tensor"), 2)[part].clone().requires_grad_()
    group = mesh.get_group("tensor")
    loss = ll.torch.ShardedCrossEntropy(CLASSES, group, **case.settings)
    counts = torch.tensor(WEIGHT)[labels].sum().item()
    total, ledger = case.objective(loss, ll.Mean(denominator=counts))(z, labels[part])
    total.backward()
    statistics: list[Any] = [None, None]
    data = mesh.get_group("data")
    mine = case.objective(loss).statistics(z.detach(), labels[part])
    dist.all_gather_object(statistics, mine, group=data)
    return {
        "total": total.item(),
        "gradient": z.grad.numpy(),
        "rows": [row.contribution for row in ledger.rows],
        "merged": sum(statistics).total().item(),
        "place": (mesh.get_local_rank("data"), mesh.get_local_rank("tensor")),
    }


def main(folder: Path) -> None:
    """Compute everything on this rank and write it down."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=180))
    found: dict[str, Any] = {"cases": {str(case): sharded(case) for case in cases()}}
    found["twins"] = twins()
    found["errors"] = bad_inputs()
    found["after"] = sharded(Case())
    found["dtensor"] = of_dtensor()
    found["messages"] = messages()
    found["torch"] = torch_refuses()
    found["compiled"] = compiled()
    found["mesh"] = mesh_of_two_axes()
    with (folder / f"{dist.get_rank()}.pickle").open("wb") as file:
        pickle.dump(found, file)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    # What is pickled must be found again under the name by which the test imports it.
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from ranks import vocabulary

    vocabulary.main(Path(sys.argv[1]))
