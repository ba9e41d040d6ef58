# SPDX-License-Identifier: Apache-2.0
"""Presets of torch for yes/no elements, and of torchvision's focal loss."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from conformance import Case, check_loss, losses, torch_call
from torch_grid import REDUCTIONS, SIZES, also_jax

from lossledger.presets import torch as presets

RNG = np.random.default_rng(1)
# What broadcasts to the outputs, from the last axis on; 0 takes an element out.
WEIGHTS: dict[str, Any] = {
    "none": None,
    "one": np.array(0.7),
    "class": np.array([1.0, 0.0, 5.0, 0.5]),
    "batch": np.array([[0.5], [2.0], [0.0], [1.0], [3.0], [0.1]]),
    "channel": np.array([0.3, 2.0, 1.0]).reshape(3, 1, 1),
    "element": RNG.uniform(0, 2, (6, 4)),
}


def fits(weight: Any, size: tuple[int, ...]) -> bool:
    """Whether a weight broadcasts to the outputs."""
    if weight is None:
        return True
    try:
        return np.broadcast_shapes(weight.shape, size) == size
    except ValueError:
        return False


def tensor(weight: Any) -> Any:
    """Return a weight as torch wants it."""
    return None if weight is None else torch.from_numpy(weight)


def targets_of(size: tuple[int, ...], soft: bool) -> Any:
    """Draw targets in [0, 1]."""
    y = RNG.uniform(size=size)
    return np.asarray(y if soft else np.round(y))


def weighted() -> Any:
    """Every reduction with every weight on every shape that it fits."""
    for reduction, shape, weight in itertools.product(REDUCTIONS, SIZES, WEIGHTS):
        if fits(WEIGHTS[weight], SIZES[shape]):
            yield reduction, SIZES[shape], WEIGHTS[weight]


def bce() -> list[Case]:
    """Probabilities, 0 and 1 and their neighbors among them."""
    edges = np.array([0.0, 1.0, 1e-45, 1e-13, 1 - 1e-13, 1 - 1e-16, 0.5, 5e-324])
    cases = []
    for i, (reduction, size, weight) in enumerate(weighted()):
        p = np.asarray(RNG.uniform(size=size))
        theirs = torch_call(torch.nn.BCELoss(tensor(weight), reduction=reduction))
        ours = presets.BCELoss(weight, reduction)
        y = targets_of(size, soft=i % 2 == 0)
        cases.append(Case("BCELoss", ours, theirs, (p,), y, ours=also_jax(i)))
    for reduction, y in itertools.product(REDUCTIONS, (0.0, 1.0, 0.3)):
        theirs = torch_call(torch.nn.BCELoss(reduction=reduction))
        ours = presets.BCELoss(reduction=reduction)
        cases.append(Case("BCELoss", ours, theirs, (edges,), np.full(8, y)))
    return cases


def bce_with_logits() -> list[Case]:
    """Logits up to ±800, weights and weights of positives of each shape."""
    cases = []
    for i, (reduction, size, weight) in enumerate(weighted()):
        for name, positive in WEIGHTS.items():
            if not fits(positive, size) or (name == "element") != (weight is not None and i % 2):
                continue
            z = np.asarray(RNG.normal(size=size) * (1, 30, 800)[i % 3])
            options = {"reduction": reduction}
            theirs = torch.nn.BCEWithLogitsLoss(
                tensor(weight), pos_weight=tensor(positive), **options
            )
            ours = presets.BCEWithLogitsLoss(weight, pos_weight=positive, **options)
            y, ways = targets_of(size, soft=i % 2 == 0), also_jax(len(cases))
            cases.append(Case("BCEWithLogitsLoss", ours, torch_call(theirs), (z,), y, ours=ways))
    return cases


def multilabel_soft_margin() -> list[Case]:
    """Weights of each shape; the class axis last."""
    cases = []
    for i, (reduction, size, weight) in enumerate(weighted()):
        if not size:
            continue
        z = RNG.normal(size=size) * 3
        options = {"reduction": reduction}
        theirs = torch_call(torch.nn.MultiLabelSoftMarginLoss(tensor(weight), **options))
        ours = presets.MultiLabelSoftMarginLoss(weight, **options)
        y, ways = targets_of(size, soft=i % 2 == 0), also_jax(i)
        cases.append(Case("MultiLabelSoftMarginLoss", ours, theirs, (z,), y, ours=ways))
    return cases


def soft_margin() -> list[Case]:
    """Targets −1 and 1; logits within the range of torch's exp, and one beyond it."""
    cases = []
    for i, (reduction, shape) in enumerate(itertools.product(REDUCTIONS, SIZES)):
        size = SIZES[shape]
        z, y = np.asarray(RNG.normal(size=size) * 30), np.asarray(RNG.choice([-1.0, 1.0], size))
        theirs = torch_call(torch.nn.SoftMarginLoss(reduction=reduction))
        ours = presets.SoftMarginLoss(reduction)
        cases.append(Case("SoftMarginLoss", ours, theirs, (z,), y, ours=also_jax(i)))
    beyond = Case(
        "SoftMarginLoss",
        presets.SoftMarginLoss(),
        torch_call(torch.nn.SoftMarginLoss()),
        (np.array([-800.0, 1.0]),),
        np.array([1.0, 1.0]),
        differs="a wrong logit beyond 709 overflows torch's exp: infinity, with the gradient NaN",
    )
    return [*cases, beyond]


def focal_by_hand(alpha: float, gamma: float, reduction: str) -> Any:
    """Derive torchvision's focal loss and its gradient: torchvision is not installed.

    With p = σ(x), c = −y·log p − (1 − y)·log(1 − p), q = p·y + (1 − p)·(1 − y) and
    a = α·y + (1 − α)·(1 − y) (1 for α < 0), the value is a·c·(1 − q)^γ. Since
    ∂p/∂x = p·(1 − p), ∂c/∂x = p − y and ∂q/∂x = (2y − 1)·p·(1 − p), the slope is
    a·((1 − q)^γ·(p − y) − γ·(1 − q)^(γ−1)·(2y − 1)·p·(1 − p)·c).
    """

    def theirs(outputs: tuple[Any, ...], y: Any, *_: Any) -> tuple[Any, list[Any]]:
        x = outputs[0]
        p = 1 / (1 + np.exp(-x))
        c = y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))
        q = p * y + (1 - p) * (1 - y)
        a = 1.0 if alpha < 0 else alpha * y + (1 - alpha) * (1 - y)
        value = a * c * (1 - q) ** gamma
        inner = gamma * (1 - q) ** (gamma - 1) * (2 * y - 1) * p * (1 - p) * c
        slope = a * ((1 - q) ** gamma * (p - y) - inner)
        if reduction == "mean":
            return value.mean(), [slope / value.size]
        return (value.sum() if reduction == "sum" else value), [slope]

    return theirs


def focal() -> list[Case]:
    """Hard and soft targets, with and without alpha."""
    cases = []
    grid = itertools.product(
        REDUCTIONS, (0.25, 0.9, -1), (0.0, 0.5, 2.0), ("row", "image"), (False, True)
    )
    for i, (reduction, alpha, gamma, shape, soft) in enumerate(grid):
        x, y = RNG.normal(size=SIZES[shape]) * 3, targets_of(SIZES[shape], soft)
        ours = presets.sigmoid_focal_loss(alpha, gamma, reduction)
        theirs = focal_by_hand(alpha, gamma, reduction)
        cases.append(Case("sigmoid_focal_loss", ours, theirs, (x,), y, ours=also_jax(i)))
    return cases


CASES = [*bce(), *bce_with_logits(), *multilabel_soft_margin(), *soft_margin(), *focal()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are torch's, in as many cases as the page says."""
    check_loss("torch", loss, CASES)


def test_focal_defaults() -> None:
    """The defaults are torchvision's: alpha 1/4, gamma 2, no reduction."""
    preset = presets.sigmoid_focal_loss()
    assert (preset.alpha, preset.gamma, preset.reduction) == (0.25, 2, "none")
    value = preset(np.array([0.0, 0.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(value, np.log(2) * np.array([1, 3]) / 16)
