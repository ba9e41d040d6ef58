# SPDX-License-Identifier: Apache-2.0
"""Data, a model and objectives that need every class of exactness; the same on every rank."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

import lossledger as ll
from lossledger.torch import MicroBatch

FEATURES, CLASSES, STEPS, EXPERTS = 6, 4, 5, 3
IGNORED = -100


class Tagger(torch.nn.Module):
    """Logits for every token, a vector for every sample, and a router's choice of experts."""

    def __init__(self, dropout: float = 0.0) -> None:
        """Make the layers."""
        super().__init__()
        self.body = torch.nn.Linear(FEATURES, 16)
        self.drop = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(16, CLASSES)
        self.vector = torch.nn.Linear(16, 3)
        self.router = torch.nn.Linear(16, EXPERTS)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits of (batch, time, class) and one vector a sample."""
        hidden = self.drop(torch.tanh(self.body(x)))
        return {
            "logits": self.head(hidden),
            "vector": self.vector(hidden).mean(1),
            "router": self.router(hidden),
        }


def tagger(dropout: float = 0.0, seed: int = 0) -> Tagger:
    """Return the model in float64."""
    torch.manual_seed(seed)
    return Tagger(dropout).double()


def data(objective: ll.Objective, samples: int = 16) -> MicroBatch:
    """Draw samples with uneven padding, some of them wholly padded, masked where it is read."""
    make = torch.Generator().manual_seed(3)
    x = torch.randn(samples, STEPS, FEATURES, generator=make, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (samples, STEPS), generator=make)
    lengths = torch.randint(1, STEPS + 1, (samples,), generator=make)
    lengths[2:4] = 0
    y[torch.arange(STEPS) >= lengths[:, None]] = IGNORED
    group = torch.randint(0, 3, (samples,), generator=make)
    read = {name for term in objective.terms for name in term.outputs}
    named = ll.NamedArray(y != IGNORED, ("batch", "time"))  # the router has no targets
    mask = {name: named for name in ("logits", "router") if name in read}
    return MicroBatch(x, {"logits": y, "vector": group}, mask=mask)


def cut(batch: MicroBatch, edges: list[int]) -> list[MicroBatch]:
    """Cut into consecutive micro-batches."""
    return [
        MicroBatch(
            batch.inputs[a:b],
            {n: t[a:b] for n, t in batch.targets.items()},
            mask={n: ll.NamedArray(m.array[a:b], m.axes) for n, m in (batch.mask or {}).items()},
        )
        for a, b in pairwise(edges)
    ]


def cross_entropy(**settings: Any) -> ll.Term:
    """Return a cross entropy of the tokens."""
    return ll.Term(
        "logits", ll.losses.CrossEntropy(ignore_index=IGNORED), axes="batch time class",
        classes=CLASSES, **settings,
    )  # fmt: skip


def dice() -> ll.Term:
    """Return the Dice of all tokens of a window, by class."""
    loss = ll.losses.Dice(over="batch time", kind="softmax")
    return ll.Term("logits", loss, axes="batch time class", classes=CLASSES, name="dice")


def contrast() -> ll.Term:
    """Return a contrast of the samples' vectors."""
    loss = ll.losses.NTXent(0.5)
    return ll.Term("vector", loss, axes="batch feature", name="contrast", loss_weight=0.2)


def balance() -> ll.Term:
    """Return the balance of the experts' loads."""
    loss = ll.losses.LoadBalance(over="batch time", axis="expert")
    return ll.Term("router", loss, axes="batch time expert", name="balance", loss_weight=0.1)


def of(*parts: Any) -> ll.Objective:
    """Return an objective; outputs and targets that no part reads are skipped."""
    return ll.Objective(*parts, skip=["logits", "vector", "router"])


OBJECTIVES: dict[str, Callable[[Any], ll.Objective]] = {
    "token mean": lambda model: of(cross_entropy()),
    "class weights and L2": lambda model: of(
        cross_entropy(class_weight=[1.0, 3.0, 0.5, 2.0]),
        ll.L2(1e-2, parameters=model.parameters, half=True),
    ),
    "mean of class means": lambda model: of(cross_entropy(reduction=ll.Macro("class"))),
    "batch Dice": lambda model: of(dice()),
    "Dice and cross entropy": lambda model: of(dice(), cross_entropy()),
    "log-mean-exp": lambda model: of(cross_entropy(reduction=ll.LogMeanExp(2.0))),
    "experts' balance": lambda model: of(cross_entropy(), balance()),
    "worst 20 % of tokens": lambda model: of(cross_entropy(reduction=ll.TopMean(0.2))),
    "worst sample": lambda model: of(cross_entropy(reduction=ll.Mean("time").then(ll.Max()))),
    "contrast": lambda model: of(contrast(), cross_entropy(), balance()),
}
