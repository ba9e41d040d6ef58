# SPDX-License-Identifier: Apache-2.0
"""W2: volumes of 105 classes, cross entropy plus the Dice of each sample."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's manual calls it
from floor import FLOAT, bandwidth
from steps import compiled_step, jax_step, ledger_step, load, row_ious, torch_step
from torch import Tensor
from workload import OURS, REFERENCE, Competitor, Step, Workload

import lossledger as ll

AXES = "batch class depth height width"
VOXELS = (2, 3, 4)
SMOOTH = 1.0


def workload(name: str, quick: bool) -> Workload:
    """Return the workload."""
    del name
    batch, classes, side = (2, 7, 8) if quick else (2, 105, 64)
    torch.manual_seed(0)
    logits = torch.randn(batch, classes, side, side, side)
    labels = torch.randint(classes, (batch, side, side, side))
    size, keys = FLOAT * logits.numel(), 2 * FLOAT * labels.numel()
    return Workload(
        f"cross entropy + Dice of each sample and class, {tuple(logits.shape)}",
        competitors(logits.requires_grad_(), labels, classes),
        # Read for the sums, read again for the gradient, written once.
        bandwidth(moved=3 * size + 2 * keys, working_set=2 * size + keys),
        rounds=7,
    )


def competitors(logits: Tensor, labels: Tensor, classes: int) -> tuple[Competitor, ...]:
    """Return everyone; torchmetrics counts the IoU that the ledger has from the same pass."""
    leaves, data = (logits,), (labels,)

    def ledger(read: Any = None) -> Step:
        return ledger_step(objective(), leaves, lambda: logits, labels, read)

    def monai(iou: Callable[..., Any] | None = None) -> Step:
        return torch_step(by_monai(labels), leaves, iou=iou)

    return (
        Competitor(OURS, ledger),
        Competitor(f"{OURS}, rows read", lambda: ledger(row_ious("dice"))),
        Competitor(REFERENCE, lambda: torch_step(one_hot_dice, leaves, *data)),
        Competitor(f"{REFERENCE}, by index", lambda: torch_step(index_dice, leaves, *data)),
        Competitor(
            "torch.compile, by index",
            lambda: compiled_step(index_dice, leaves, *data),
            compiles=True,
        ),
        Competitor("JAX jit, optax", lambda: jax_step(by_optax, leaves, *data), ("jax", "optax")),
        Competitor("MONAI DiceCELoss", monai, ("monai",)),
        Competitor(
            "MONAI + torchmetrics IoU",
            lambda: monai(by_torchmetrics(labels, classes)),
            ("monai", "torchmetrics"),
        ),
    )


def objective() -> ll.Objective:
    """Return the loss as an objective."""
    dice = ll.losses.Dice(over="depth height width", kind="softmax", smooth=SMOOTH)
    return ll.Objective(
        ll.Term("organs", ll.losses.CrossEntropy(), axes=AXES, name="ce"),
        ll.Term("organs", dice, axes=AXES, name="dice"),
    )


def ratio(both: Any, outputs: Any, targets: Any) -> Any:
    """Return the mean over samples and classes of one minus the Dice score."""
    return (1 - (2 * both + SMOOTH) / (outputs + targets + SMOOTH)).mean()


def one_hot_dice(z: Tensor, labels: Tensor) -> Tensor:
    """Return the loss as it is mostly written: with indicators of every class."""
    p = z.softmax(1)
    hot = torch.zeros_like(p, dtype=torch.bool).scatter_(1, labels[:, None], 1)
    both, outputs, targets = (p * hot).sum(VOXELS), p.sum(VOXELS), hot.sum(VOXELS)
    dice: Tensor = ratio(both, outputs, targets)
    return F.cross_entropy(z, labels) + dice


def index_dice(z: Tensor, labels: Tensor) -> Tensor:
    """Return the loss without indicators: each voxel's own probability is gathered."""
    log_p = z.log_softmax(1)
    own = log_p.gather(1, labels[:, None])[:, 0]
    batch, classes = z.shape[:2]
    flat = labels.reshape(batch, -1)
    empty = torch.zeros(batch, classes)
    both = empty.scatter_add(1, flat, own.exp().reshape(batch, -1))
    targets = empty.scatter_add(1, flat, torch.ones(flat.shape))
    dice: Tensor = ratio(both, log_p.exp().sum(VOXELS), targets)
    return dice - own.mean()


def by_optax(z: Any, labels: Any) -> Any:
    """Return the same loss in JAX."""
    jax, optax = load("jax"), load("optax")
    last = jax.numpy.moveaxis(z, 1, -1)
    p, hot = jax.nn.softmax(last), jax.nn.one_hot(labels, z.shape[1])
    sums = ((x).sum((1, 2, 3)) for x in (p * hot, p, hot))
    return optax.softmax_cross_entropy_with_integer_labels(last, labels).mean() + ratio(*sums)


def by_monai(labels: Tensor) -> Callable[[Tensor], Any]:
    """Return MONAI's loss of both."""
    loss = load("monai.losses").DiceCELoss(
        to_onehot_y=True, softmax=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH
    )
    with_class_axis = labels[:, None]
    return lambda z: loss(z, with_class_axis)


def by_torchmetrics(labels: Tensor, classes: int) -> Callable[[Tensor], Any]:
    """Return the IoU by class as torchmetrics counts it, with its default checks."""
    metric = load("torchmetrics.classification").MulticlassJaccardIndex(classes, average=None)
    return lambda z: metric(z, labels)
