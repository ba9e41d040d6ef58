# SPDX-License-Identifier: Apache-2.0
"""W1: five binary masks an image, weighted cross entropy plus the Dice of the whole batch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's manual calls it
from floor import FLOAT, bandwidth
from steps import compiled_step, jax_step, ledger_step, load, row_ious, torch_step
from torch import Tensor
from workload import OURS, REFERENCE, Competitor, Step, Workload

import lossledger as ll

WEIGHTS = (1.0, 1.0, 2.0, 2.0, 5.0)
SHARES = (0.5, 0.2, 0.1, 0.05, 0.01)
CLASSES = len(WEIGHTS)
SMOOTH = 1.0


def workload(name: str, quick: bool) -> Workload:
    """Return the workload with the class axis last, or first."""
    batch, side = (2, 32) if quick else (16, 256)
    first = name == "W1-channels-first"
    torch.manual_seed(0)
    logits = torch.randn(batch, side, side, CLASSES)
    masks = (torch.rand(batch, side, side, CLASSES) < torch.tensor(SHARES)).float()
    if first:
        logits, masks = (x.movedim(-1, 1).contiguous() for x in (logits, masks))
    size = FLOAT * logits.numel()
    return Workload(
        f"weighted BCE + Dice over the batch, {tuple(logits.shape)}",
        competitors(logits.requires_grad_(), masks, 1 if first else 3),
        # Outputs and masks are read for the sums, and again for the gradient: 4 + 1.
        bandwidth(moved=5 * size, working_set=3 * size),
        rounds=15,
    )


def competitors(logits: Tensor, masks: Tensor, axis: int) -> tuple[Competitor, ...]:
    """Return everyone; torchmetrics counts the IoU that the ledger has from the same pass."""
    leaves = (logits,)
    weight = torch.tensor(WEIGHTS).reshape(-1, *(1,) * (3 - axis))
    ours = torch_dice(weight, axis)
    whole_numbers = masks.int()  # as torchmetrics asks for them

    def ledger(read: Any = None) -> Step:
        return ledger_step(objective(axis), leaves, lambda: logits, masks, read)

    def monai(iou: Callable[..., Any] | None = None) -> Step:
        return torch_step(by_monai(masks, weight, axis), leaves, iou=iou)

    def by_jax() -> Step:
        return jax_step(optax_dice(axis), leaves, masks, weight)

    return (
        Competitor(OURS, ledger),
        Competitor(f"{OURS}, rows read", lambda: ledger(row_ious("dice"))),
        Competitor(REFERENCE, lambda: torch_step(ours, leaves, masks)),
        Competitor(
            f"{REFERENCE}, IoU by hand",
            lambda: torch_step(ours, leaves, masks, iou=iou_by_hand(axis)),
        ),
        Competitor("torch.compile", lambda: compiled_step(ours, leaves, masks), compiles=True),
        Competitor("JAX jit, optax", by_jax, ("jax", "optax")),
        Competitor("MONAI DiceLoss + BCE", monai, ("monai",)),
        Competitor(
            "MONAI + BCE + torchmetrics IoU",
            lambda: monai(by_torchmetrics(whole_numbers, axis)),
            ("monai", "torchmetrics"),
        ),
    )


def objective(axis: int) -> ll.Objective:
    """Return the loss as an objective; its mean divides by the number of elements."""
    axes = "batch class height width" if axis == 1 else "batch height width class"
    bce = ll.Term(
        "masks",
        ll.losses.BinaryCrossEntropy(),
        axes=axes,
        class_weight=WEIGHTS,
        reduction=ll.Mean(denominator="elements"),
        name="bce",
    )
    loss = ll.losses.Dice(over="batch height width", smooth=SMOOTH)
    dice = ll.Term("masks", loss, axes=axes, reduction=ll.Mean("class"), name="dice")
    return ll.Objective(bce, dice)


def torch_dice(weight: Tensor, axis: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss as one writes it in PyTorch."""
    over = tuple(i for i in range(4) if i != axis)

    def loss(z: Tensor, y: Tensor) -> Tensor:
        p = torch.sigmoid(z)
        both, outputs, targets = (p * y).sum(over), p.sum(over), y.sum(over)
        dice = 1 - (2 * both + SMOOTH) / (outputs + targets + SMOOTH)
        return F.binary_cross_entropy_with_logits(z, y, weight) + dice.mean()

    return loss


def iou_by_hand(axis: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the IoU of hard decisions by class."""
    over = tuple(i for i in range(4) if i != axis)

    def iou(z: Tensor, y: Tensor) -> Tensor:
        predicted, true = z > 0, y > 0.5
        return (predicted & true).sum(over) / (predicted | true).sum(over)

    return iou


def optax_dice(axis: int) -> Callable[..., Any]:
    """Return the same loss in JAX."""
    over = tuple(i for i in range(4) if i != axis)

    def loss(z: Any, y: Any, weight: Any) -> Any:
        jax, optax = load("jax"), load("optax")
        p = jax.nn.sigmoid(z)
        both, outputs, targets = (p * y).sum(over), p.sum(over), y.sum(over)
        dice = 1 - (2 * both + SMOOTH) / (outputs + targets + SMOOTH)
        return (optax.sigmoid_binary_cross_entropy(z, y) * weight).mean() + dice.mean()

    return loss


def by_monai(masks: Tensor, weight: Tensor, axis: int) -> Callable[[Tensor], Any]:
    """Return MONAI's Dice, which wants the class axis second, plus PyTorch's BCE."""
    losses = load("monai.losses")
    dice = losses.DiceLoss(sigmoid=True, batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    masks_first = masks.movedim(axis, 1)

    def loss(z: Tensor) -> Any:
        bce = F.binary_cross_entropy_with_logits(z, masks, weight)
        return bce + dice(z.movedim(axis, 1), masks_first)

    return loss


def by_torchmetrics(masks: Tensor, axis: int) -> Callable[[Tensor], Any]:
    """Return the IoU by class as torchmetrics counts it, with its default checks."""
    metric = load("torchmetrics.classification").MultilabelJaccardIndex(CLASSES, average=None)
    masks_first = masks.movedim(axis, 1)
    return lambda z: metric(z.movedim(axis, 1), masks_first)
