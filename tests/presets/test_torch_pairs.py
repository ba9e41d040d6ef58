# SPDX-License-Identifier: Apache-2.0
"""Presets of torch.nn that compare outputs with each other, against torch itself."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from conformance import Case, check_loss, losses, torch_call
from torch_grid import REDUCTIONS, SIZES, also_jax

from lossledger.presets import torch as presets

RNG = np.random.default_rng(3)


def signs(size: tuple[int, ...]) -> Any:
    """Draw targets −1 and 1."""
    return np.asarray(RNG.choice([-1.0, 1.0], size))


def cosine() -> list[Case]:
    """Random pairs, right angles (the kink of a margin of 0), zero and tiny vectors."""
    cases = []
    grid = itertools.product(REDUCTIONS, (0.0, 0.3, -0.5), ("row", "rows"))
    for i, (reduction, margin, shape) in enumerate(grid):
        size = SIZES[shape]
        options = {"margin": margin, "reduction": reduction}
        theirs = torch_call(torch.nn.CosineEmbeddingLoss(**options))
        ours = presets.CosineEmbeddingLoss(**options)
        pair = RNG.normal(size=size), RNG.normal(size=size)
        y = signs(size[:-1])
        cases.append(Case("CosineEmbeddingLoss", ours, theirs, pair, y, ours=also_jax(i)))
    a = np.array([[1.0, 0.0], [0.0, 0.0], [1e-7, 1e-7], [3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]])
    b = np.array([[0.0, 2.0], [1.0, 1.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [1e-3, 1e-3]])
    for reduction, sign in itertools.product(REDUCTIONS, (-1.0, 1.0)):
        theirs = torch_call(torch.nn.CosineEmbeddingLoss(reduction=reduction))
        ours = presets.CosineEmbeddingLoss(reduction=reduction)
        cases.append(Case("CosineEmbeddingLoss", ours, theirs, (a, b), np.full(6, sign)))
    return cases


def hinge_embedding() -> list[Case]:
    """Distances on both sides of the margin and at it."""
    cases = []
    grid = itertools.product(REDUCTIONS, (1.0, 0.5), SIZES)
    for i, (reduction, margin, shape) in enumerate(grid):
        size = SIZES[shape]
        options = {"margin": margin, "reduction": reduction}
        theirs = torch_call(torch.nn.HingeEmbeddingLoss(**options))
        ours = presets.HingeEmbeddingLoss(**options)
        x = np.asarray(RNG.choice([0.0, 0.3, 0.5, 1.0, 2.0, -0.5], size))
        y = signs(size)
        cases.append(Case("HingeEmbeddingLoss", ours, theirs, (x,), y, ours=also_jax(i)))
    return cases


def margin_ranking() -> list[Case]:
    """Pairs in both orders, and pairs that tie (the kink of a margin of 0)."""
    cases = []
    grid = itertools.product(REDUCTIONS, (0.0, 0.5, -0.5), SIZES)
    for i, (reduction, margin, shape) in enumerate(grid):
        size = SIZES[shape]
        options = {"margin": margin, "reduction": reduction}
        theirs = torch_call(torch.nn.MarginRankingLoss(**options))
        ours = presets.MarginRankingLoss(**options)
        pair = [np.asarray(RNG.choice([0.0, 0.5, 1.0, -2.0], size)) for _ in range(2)]
        y, ways = signs(size), also_jax(i)
        cases.append(Case("MarginRankingLoss", ours, theirs, tuple(pair), y, ours=ways))
    return cases


def triplets(size: tuple[int, ...]) -> tuple[Any, ...]:
    """Draw triplets, one with the positive at the anchor and one with the negative there."""
    a, p, n = (RNG.normal(size=size) for _ in range(3))
    if len(size) == 2:
        p[0], n[1], n[2] = a[0], a[1], p[2]
    return a, p, n


def triplet_margin() -> list[Case]:
    """Norms, swaps and points that coincide."""
    cases = []
    grid = itertools.product(
        REDUCTIONS, (1.0, 0.2), (1.0, 2.0, 3.0, np.inf), (False, True), (1e-6, 0.1), ("row", "rows")
    )
    for i, (reduction, margin, p, swap, eps, shape) in enumerate(grid):
        options = {"margin": margin, "p": p, "eps": eps, "swap": swap, "reduction": reduction}
        theirs = torch_call(torch.nn.TripletMarginLoss(**options))
        ours = presets.TripletMarginLoss(**options)
        points, ways = triplets(SIZES[shape]), also_jax(i)
        cases.append(Case("TripletMarginLoss", ours, theirs, points, ours=ways))
    images = Case(
        "TripletMarginLoss",
        presets.TripletMarginLoss(reduction="none"),
        torch_call(torch.nn.TripletMarginLoss(reduction="none")),
        triplets(SIZES["image"]),
    )
    return [*cases, images]


CASES = [*cosine(), *hinge_embedding(), *margin_ranking(), *triplet_margin()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are torch's, in as many cases as the page says."""
    check_loss("torch", loss, CASES)
