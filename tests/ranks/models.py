# SPDX-License-Identifier: Apache-2.0
"""Data, a model and objectives that need every class of exactness; the same on every rank."""

from collections.abc import Callable
from typing import Any

import torch

import lossledger as ll
from lossledger.torch import MicroBatch

FEATURES, CLASSES, STEPS = 6, 4, 5
IGNORED = -100


class Tagger(torch.nn.Module):
    """Logits and a vector for every token, with a layer that only some batches use."""

    def __init__(self, dropout: float = 0.0) -> None:
        """Make the layers."""
        super().__init__()
        self.body = torch.nn.Linear(FEATURES, 16)
        self.drop = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(16, CLASSES)
        self.vector = torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits of (batch, time, class) and one vector a sample."""
        hidden = self.drop(torch.tanh(self.body(x)))
        return {"logits": self.head(hidden), "vector": self.vector(hidden).mean(1)}


def tagger(dropout: float = 0.0, seed: int = 0) -> Tagger:
    """Return the model in float64."""
    torch.manual_seed(seed)
    return Tagger(dropout).double()


def data(samples: int = 16) -> MicroBatch:
    """Draw samples with uneven padding; some are wholly padded."""
    make = torch.Generator().manual_seed(3)
    x = torch.randn(samples, STEPS, FEATURES, generator=make, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (samples, STEPS), generator=make)
    lengths = torch.randint(1, STEPS + 1, (samples,), generator=make)
    lengths[2:4] = 0
    y[torch.arange(STEPS) >= lengths[:, None]] = IGNORED
    group = torch.randint(0, 3, (samples,), generator=make)
    return MicroBatch(x, {"logits": y, "vector": group})


def cut(batch: MicroBatch, edges: list[int]) -> list[MicroBatch]:
    """Cut into consecutive micro-batches."""
    pairs = zip(edges, edges[1:], strict=False)
    return [
        MicroBatch(batch.inputs[a:b], {n: t[a:b] for n, t in batch.targets.items()})
        for a, b in pairs
    ]


def cross_entropy(**settings: Any) -> ll.Term:
    """Return the class-weighted cross entropy of the tokens."""
    return ll.Term(
        "logits", ll.losses.CrossEntropy(ignore_index=IGNORED), axes="batch time class",
        classes=CLASSES, **settings,
    )  # fmt: skip


def dice() -> ll.Term:
    """Return the Dice of all tokens of a batch, by class, of softmax outputs."""
    loss = ll.losses.FromSums(_agreement, _dice, over="batch time")
    return ll.Term("logits", loss, axes="batch time class", name="dice", reduction=ll.Mean("class"))


def _agreement(outputs: Any, targets: Any) -> dict[str, Any]:
    p = torch.softmax(outputs, -1)
    return {"both": p * targets, "p": p, "y": targets}


def _dice(sums: Any) -> Any:
    return 1 - (2 * sums["both"] + 1) / (sums["p"] + sums["y"] + 1)


OBJECTIVES: dict[str, Callable[[Any], ll.Objective]] = {
    "token mean": lambda model: ll.Objective(cross_entropy(), skip=["vector"]),
    "class weights, L2": lambda model: ll.Objective(
        cross_entropy(class_weight=[1.0, 3.0, 0.5, 2.0]),
        ll.L2(1e-2, parameters=model.parameters, half=True),
        skip=["vector"],
    ),
    "mean of classes": lambda model: ll.Objective(
        cross_entropy(reduction=ll.Macro("class")), skip=["vector"]
    ),
    "log-mean-exp": lambda model: ll.Objective(
        cross_entropy(reduction=ll.LogMeanExp(1.0)), skip=["vector"]
    ),
    "worst 20 %": lambda model: ll.Objective(
        cross_entropy(reduction=ll.TopMean(0.2)), skip=["vector"]
    ),
    "worst sample": lambda model: ll.Objective(
        cross_entropy(reduction=ll.Mean("time").then(ll.Max())), skip=["vector"]
    ),
    "contrast": lambda model: ll.Objective(
        ll.Term("vector", ll.losses.NTXent(0.5), axes="batch feature", name="contrast"),
        cross_entropy(name="ce", loss_weight=0.5),
    ),
}
