# SPDX-License-Identifier: Apache-2.0
"""Presets of torch.nn that compare the classes of a row, against torch itself."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from conformance import Case, check_loss, losses, torch_call
from torch_grid import REDUCTIONS, also_jax

from lossledger.presets import torch as presets

RNG = np.random.default_rng(0)
WEIGHT = [1.0, 2.0, 5.0, 0.5]
ZERO = [1.0, 0.0, 5.0, 0.5]
SIZES = {"row": (4,), "rows": (6, 4), "sequence": (3, 4, 5), "image": (2, 4, 3, 5)}


def tensor(weight: Any, dtype: Any = torch.float64) -> Any:
    """Return a weight as torch wants it."""
    return None if weight is None else torch.tensor(weight, dtype=dtype)


def labels(size: tuple[int, ...], ignored: int | None = None) -> Any:
    """Draw class indices, a few of them ignored."""
    found = RNG.integers(0, 4, size[:1] + size[2:] if len(size) > 1 else ())
    if ignored is not None and found.ndim:
        found.reshape(-1)[::4] = ignored
    return found


def log_softmax(z: Any, axis: int) -> Any:
    """Return log-probabilities."""
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def cross_entropy() -> list[Case]:
    """Index and probability targets, over rows and images, in two precisions."""
    cases = []
    grid = itertools.product(REDUCTIONS, (0.0, 0.1), (None, WEIGHT), SIZES, ("index", "dense"))
    for i, (reduction, smoothing, weight, shape, form) in enumerate(grid):
        size = SIZES[shape]
        z = RNG.normal(size=size)
        targets = labels(size, -100)
        if form == "dense":
            axis = min(1, len(size) - 1)
            targets = np.exp(log_softmax(RNG.normal(size=size), axis))
        options = {"reduction": reduction, "label_smoothing": smoothing}
        theirs = torch.nn.CrossEntropyLoss(tensor(weight), **options)
        ours = presets.CrossEntropyLoss(weight, **options)
        ways = also_jax(i)
        cases.append(Case("CrossEntropyLoss", ours, torch_call(theirs), (z,), targets, ours=ways))
    for reduction, smoothing, form in itertools.product(REDUCTIONS, (0.0, 0.3), ("index", "dense")):
        # A class of weight 0, and one that is ignored.
        options = {"reduction": reduction, "label_smoothing": smoothing}
        options |= {"ignore_index": 2} if form == "index" else {}
        ours = presets.CrossEntropyLoss(ZERO, **options)
        theirs = torch_call(torch.nn.CrossEntropyLoss(tensor(ZERO), **options))
        z = RNG.normal(size=(9, 4)) * 50
        targets = labels((9, 4)) if form == "index" else np.eye(4)[labels((9, 4))]
        cases.append(Case("CrossEntropyLoss", ours, theirs, (z,), targets))
    return cases


def nll() -> list[Case]:
    """Log-probabilities, and numbers that are none."""
    cases = []
    grid = itertools.product(REDUCTIONS, (None, WEIGHT, ZERO), SIZES, (-100, 1))
    for i, (reduction, weight, shape, ignored) in enumerate(grid):
        size = SIZES[shape]
        x = log_softmax(RNG.normal(size=size), min(1, len(size) - 1))
        targets = labels(size, ignored)
        if not targets.ndim:
            targets = np.array(3)
        options = {"reduction": reduction, "ignore_index": ignored}
        theirs = torch.nn.NLLLoss(tensor(weight), **options)
        ours = presets.NLLLoss(weight, **options)
        ways = also_jax(i)
        cases.append(Case("NLLLoss", ours, torch_call(theirs), (x,), targets, ours=ways))
    return cases


def multi_margin() -> list[Case]:
    """Powers, margins, weights; rows and one row."""
    cases = []
    grid = itertools.product(
        REDUCTIONS, (1, 2), (1.0, 0.3, -0.2), (None, WEIGHT, ZERO), ("row", "rows")
    )
    for i, (reduction, p, margin, weight, shape) in enumerate(grid):
        size = SIZES[shape]
        z = RNG.normal(size=size)
        options = {"p": p, "margin": margin, "reduction": reduction}
        theirs = torch_call(torch.nn.MultiMarginLoss(weight=tensor(weight), **options))
        ours = presets.MultiMarginLoss(weight=weight, **options)
        ways = also_jax(i)
        cases.append(Case("MultiMarginLoss", ours, theirs, (z,), labels(size), ours=ways))
    tied = Case(
        "MultiMarginLoss",
        presets.MultiMarginLoss(),
        torch_call(torch.nn.MultiMarginLoss()),
        (np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]]),),  # at the kink, and all equal
        np.array([0, 2]),
    )
    return [*cases, tied]


def multilabel_margin() -> list[Case]:
    """Lists of one, several, all and no labels, with leftovers behind the end."""
    lists = np.array([[3, 0, -1, 1], [-1, 2, 2, 2], [2, 2, -1, -1], [0, 1, 2, 3], [1, -1, 0, -1]])
    cases = []
    for reduction, shape in itertools.product(REDUCTIONS, ("row", "rows")):
        targets = lists if shape == "rows" else lists[0]
        z = RNG.normal(size=targets.shape)
        ours = presets.MultiLabelMarginLoss(reduction)
        theirs = torch_call(torch.nn.MultiLabelMarginLoss(reduction=reduction))
        ways = also_jax(len(cases))
        cases.append(Case("MultiLabelMarginLoss", ours, theirs, (z,), targets, ours=ways))
    return cases


CASES = [*cross_entropy(), *nll(), *multi_margin(), *multilabel_margin()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are torch's, in as many cases as the page says."""
    check_loss("torch", loss, CASES)
