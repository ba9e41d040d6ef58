# SPDX-License-Identifier: Apache-2.0
"""W5: two outputs of one network, a masked regression and a weighted classification."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's manual calls it
from floor import autograd
from steps import compiled_step, jax_step, ledger_step, load, read_rows, torch_step
from torch import Tensor
from workload import OURS, REFERENCE, Competitor, Step, Workload

import lossledger as ll

BATCH, FEATURES, CLASSES = 64, 8, 10
LOSS_WEIGHTS = {"depth": 1.0, "digit": 0.5}

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def workload(name: str, quick: bool) -> Workload:
    """Return the workload; it is small enough to be quick as it is."""
    del name, quick
    torch.manual_seed(0)
    leaves = (
        torch.randn(BATCH, FEATURES, requires_grad=True),
        torch.randn(BATCH, CLASSES, requires_grad=True),
    )
    depths, labels = torch.randn(BATCH, FEATURES), torch.randint(CLASSES, (BATCH,))
    measured, weight = (torch.rand(BATCH) < 0.7).float(), torch.rand(BATCH)
    return Workload(
        f"MSE of ({BATCH}, {FEATURES}) with a mask + ½ cross entropy of ({BATCH}, {CLASSES}) "
        "with sample weights",
        competitors(leaves, (depths, labels, measured, weight)),
        autograd(BATCH, CLASSES),
        rounds=25,
    )


def competitors(leaves: tuple[Tensor, Tensor], data: Data) -> tuple[Competitor, ...]:
    """Return everyone who computes the two heads."""
    depths, labels, measured, weight = data
    targets = {"depth": depths, "digit": labels}

    def ours(read: Any = None) -> Step:
        named = dict(zip(targets, leaves, strict=True))
        weights = {"mask": {"depth": measured}, "sample_weight": {"digit": weight}}
        return ledger_step(objective(), leaves, lambda: named, targets, read, **weights)

    return (
        Competitor(OURS, ours),
        Competitor(f"{OURS}, rows read", lambda: ours(read_rows)),
        Competitor(REFERENCE, lambda: torch_step(by_torch, leaves, *data)),
        Competitor("torch.compile", lambda: compiled_step(by_torch, leaves, *data), compiles=True),
        Competitor("JAX jit, optax", lambda: jax_step(by_optax, leaves, *data), ("jax", "optax")),
        Competitor(
            "Keras compute_loss, torch", lambda: torch_step(by_keras(data), leaves), ("keras",)
        ),
    )


def objective() -> ll.Objective:
    """Return the loss as an objective: the mask divides by Σm, sample weights by N."""
    mse = ll.Term(
        "depth", ll.losses.SquaredError(), axes="batch feature", loss_weight=LOSS_WEIGHTS["depth"]
    )
    ce = ll.Term(
        "digit",
        ll.losses.CrossEntropy(),
        axes="batch class",
        reduction=ll.Mean(denominator="elements"),
        loss_weight=LOSS_WEIGHTS["digit"],
    )
    return ll.Objective(mse, ce)


def by_torch(
    depth: Tensor, digit: Tensor, depths: Tensor, labels: Tensor, measured: Tensor, weight: Tensor
) -> Tensor:
    """Return the loss as one writes it by hand."""
    squares = (depth - depths).square().mean(1)
    mse = (squares * measured).sum() / measured.sum()
    ce = (F.cross_entropy(digit, labels, reduction="none") * weight).mean()
    return LOSS_WEIGHTS["depth"] * mse + LOSS_WEIGHTS["digit"] * ce


def by_optax(depth: Any, digit: Any, depths: Any, labels: Any, measured: Any, weight: Any) -> Any:
    """Return the same in JAX."""
    optax = load("optax")
    squares = optax.squared_error(depth, depths).mean(1)
    mse = (squares * measured).sum() / measured.sum()
    ce = (optax.softmax_cross_entropy_with_integer_labels(digit, labels) * weight).mean()
    return LOSS_WEIGHTS["depth"] * mse + LOSS_WEIGHTS["digit"] * ce


def by_keras(data: Data) -> Callable[[Tensor, Tensor], Any]:
    """Return the loss of a compiled Keras model, as its training step calls it.

    Keras divides weighted values by their number, so the mask is passed as weights that
    make up for what is missing.
    """
    keras = load("keras")
    depths, labels, measured, weight = data
    features = keras.Input((1,))
    heads = {
        "depth": keras.layers.Dense(FEATURES, name="depth")(features),
        "digit": keras.layers.Dense(CLASSES, name="digit")(features),
    }
    model = keras.Model(features, heads)
    losses = {
        "depth": keras.losses.MeanSquaredError(),
        "digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    model.compile(loss=losses, loss_weights=LOSS_WEIGHTS)
    targets = {"depth": depths, "digit": labels}

    def loss(depth: Tensor, digit: Tensor) -> Any:
        by_head = {"depth": measured * (BATCH / measured.sum()), "digit": weight}
        outputs = {"depth": depth, "digit": digit}
        return model.compute_loss(None, targets, outputs, by_head)

    return loss
