# SPDX-License-Identifier: Apache-2.0
"""W4: cross entropy of arrays so small that the number of operations is what costs."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's manual calls it
from floor import FLOAT, autograd, bandwidth
from steps import compiled_step, jax_step, ledger_step, load, read_rows, torch_step
from torch import Tensor
from workload import OURS, REFERENCE, Competitor, Gate, Step, Workload

import lossledger as ll

SMOOTHING = 0.1
# What the smallest batch may cost, beside one call of PyTorch's own loss.
GOAL = 2.5


def workload(name: str, quick: bool) -> Workload:
    """Return one of the four: two shapes, plain or with class weights and smoothing."""
    rows, classes = (128, 10) if "128x10" in name else (4096, 1000)
    if quick:
        rows, classes = rows // 4, classes // 5
    smooth = name.endswith("smooth")
    torch.manual_seed(0)
    logits = torch.randn(rows, classes, requires_grad=True)
    labels = torch.randint(classes, (rows,))
    weight = torch.rand(classes) + 0.5 if smooth else None
    small = rows * classes < 10_000
    size = FLOAT * rows * classes
    kind = "with class weights and label smoothing" if smooth else "plain"
    return Workload(
        f"cross entropy of ({rows}, {classes}), {kind}",
        competitors(logits, labels, weight),
        autograd(rows, classes) if small else bandwidth(moved=2 * size, working_set=2 * size),
        rounds=25,
        gates=(Gate(REFERENCE, GOAL),) if small and not smooth else (),
    )


def competitors(logits: Tensor, labels: Tensor, weight: Tensor | None) -> tuple[Competitor, ...]:
    """Return everyone; the ledger also read at each step, and added up over the steps."""
    leaves = (logits,)
    smoothing = 0.0 if weight is None else SMOOTHING

    def by_torch(z: Tensor) -> Tensor:
        return F.cross_entropy(z, labels, weight, label_smoothing=smoothing)

    def ours(read: Any = None) -> Step:
        return ledger_step(objective(weight), leaves, lambda: logits, labels, read)

    data = (labels,) if weight is None else (labels, weight)
    return (
        Competitor(OURS, ours),
        Competitor(f"{OURS}, rows read", lambda: ours(read_rows)),
        Competitor(f"{OURS}, added up", lambda: ours(AddUp())),
        Competitor(REFERENCE, lambda: torch_step(by_torch, leaves)),
        Competitor("torch.compile", lambda: compiled_step(by_torch, leaves), compiles=True),
        Competitor("JAX jit, optax", lambda: jax_step(by_optax, leaves, *data), ("jax", "optax")),
    )


def objective(weight: Tensor | None) -> ll.Objective:
    """Return the same loss as an objective."""
    smoothing = 0.0 if weight is None else SMOOTHING
    loss = ll.losses.CrossEntropy(label_smoothing=smoothing)
    return ll.Objective(ll.Term("digit", loss, axes="batch class", class_weight=weight))


def by_optax(logits: Any, labels: Any, weight: Any = None) -> Any:
    """Return the mean in JAX, over weights if there are some."""
    jax, optax = load("jax"), load("optax")
    if weight is None:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    soft = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), SMOOTHING)
    return optax.softmax_cross_entropy(logits, soft * weight).sum() / weight[labels].sum()


class AddUp:
    """An epoch's ledger: the sum of its steps'."""

    def __init__(self) -> None:
        """Start without steps."""
        self.epoch: ll.Ledger | None = None

    def __call__(self, ledger: ll.Ledger) -> None:
        """Add one step."""
        self.epoch = ledger if self.epoch is None else self.epoch + ledger
