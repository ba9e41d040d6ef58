# SPDX-License-Identifier: Apache-2.0
"""Presets of torch.nn against torch itself."""

import itertools

import numpy as np
import pytest
import torch
from conformance import Case, check_loss, losses, torch_call

from lossledger.presets import torch as presets

RNG = np.random.default_rng(0)
WEIGHT = [1.0, 2.0, 5.0, 0.5]


def cross_entropy() -> list[Case]:
    """Index and probability targets, over rows and images."""
    cases = []
    grid = itertools.product(
        ("mean", "sum", "none"), (0.0, 0.1), (None, WEIGHT), ("rows", "image"), ("index", "dense")
    )
    for reduction, smoothing, weight, shape, form in grid:
        size = (6, 4) if shape == "rows" else (2, 4, 3, 5)
        rows = size[:1] + size[2:]
        z = RNG.normal(size=size)
        if form == "index":
            targets = RNG.integers(0, 4, rows)
            targets.reshape(-1)[::4] = -100
        else:
            odds = RNG.normal(size=size)
            targets = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
        options = {"reduction": reduction, "label_smoothing": smoothing}
        tensor = None if weight is None else torch.tensor(weight, dtype=torch.float64)
        theirs = torch.nn.CrossEntropyLoss(weight=tensor, **options)
        ours = presets.CrossEntropyLoss(weight=weight, **options)
        cases.append(Case("CrossEntropyLoss", ours, torch_call(theirs), (z,), targets))
    return cases


CASES = [*cross_entropy()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are torch's, in as many cases as the page says."""
    check_loss("torch", loss, CASES)
