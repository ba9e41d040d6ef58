# SPDX-License-Identifier: Apache-2.0
"""Presets of torch.nn for residuals, counts and distributions, against torch itself."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conformance import Case, check_loss, losses, torch_call
from torch_grid import REDUCTIONS, SIZES, also_jax

from lossledger.presets import torch as presets

RNG = np.random.default_rng(2)


def residuals(loss: str, options: dict[str, tuple[float, ...]]) -> list[Case]:
    """Every option on every shape, with residuals of 0 and at kinks."""
    cases = []
    grid = itertools.product(REDUCTIONS, SIZES, *options.values())
    for i, (reduction, shape, *numbers) in enumerate(grid):
        size = SIZES[shape]
        settings = dict(zip(options, numbers, strict=True)) | {"reduction": reduction}
        y = np.round(np.asarray(RNG.normal(size=size)), 1)
        x = y + RNG.choice([0.0, 0.5, -0.5, 1.0, -1.0, 3.0, 0.2], size)
        theirs = torch_call(getattr(torch.nn, loss)(**settings))
        ours = getattr(presets, loss)(**settings)
        cases.append(Case(loss, ours, theirs, (x,), y, ours=also_jax(i)))
    return cases


def quiet(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Call a loss without its warning that the mean is not the divergence."""

    def called(*arrays: Any) -> Any:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loss(*arrays)

    return called


def divergence() -> list[Case]:
    """Targets of 0, probabilities or their logs, over rows and images."""
    cases = []
    grid = itertools.product((*REDUCTIONS, "batchmean"), SIZES, (False, True))
    for i, (reduction, shape, log_target) in enumerate(grid):
        size = SIZES[shape]
        x = np.asarray(RNG.normal(size=size) - 2)
        t = np.asarray(RNG.dirichlet(np.ones(4), size[:-1]) if size else 0.3)
        if size and not log_target:
            t.reshape(-1)[::3] = 0
        options = {"reduction": reduction, "log_target": log_target}
        theirs = torch_call(quiet(torch.nn.KLDivLoss(**options)))
        ours = presets.KLDivLoss(**options)
        goal = np.log(t) if log_target else t
        cases.append(Case("KLDivLoss", ours, theirs, (x,), np.asarray(goal), ours=also_jax(i)))
    return cases


def poisson() -> list[Case]:
    """Rates and log-rates, with Stirling's approximation and without."""
    cases = []
    grid = itertools.product(REDUCTIONS, SIZES, (True, False), (True, False), (1e-8, 0.1))
    for i, (reduction, shape, log_input, full, eps) in enumerate(grid):
        size = SIZES[shape]
        x = RNG.normal(size=size) if log_input else RNG.uniform(0, 3, size)
        x, y = np.asarray(x), np.asarray(RNG.integers(0, 5, size).astype(float))
        if not log_input and size:
            x.reshape(-1)[0] = 0.0
        options = {"log_input": log_input, "full": full, "eps": eps, "reduction": reduction}
        theirs = torch_call(torch.nn.PoissonNLLLoss(**options))
        ours = presets.PoissonNLLLoss(**options)
        cases.append(Case("PoissonNLLLoss", ours, theirs, (x,), y, ours=also_jax(i)))
    return cases


def gaussian() -> list[Case]:
    """Variances of their own and shared ones; below the floor, at it and 0."""
    cases = []
    grid = itertools.product(
        REDUCTIONS, SIZES, (False, True), (1e-6, 0.5, 0.0), ("own", "last", "one")
    )
    for i, (reduction, shape, full, eps, form) in enumerate(grid):
        size = SIZES[shape]
        own = {"own": size, "last": size[:-1], "one": (*size[:1], 1, *size[2:])}[form]
        if form != "own" and len(size) < 2:
            continue
        x, y = np.asarray(RNG.normal(size=size)), np.asarray(RNG.normal(size=size))
        var = np.asarray(RNG.uniform(0.1, 2, own))
        if own and eps:
            var.reshape(-1)[:3] = [0.0, eps, eps / 2][: var.size]
        options = {"full": full, "eps": eps, "reduction": reduction}
        module = torch.nn.GaussianNLLLoss(**options)
        theirs = torch_call(lambda mean, var, y, module=module: module(mean, y, var))
        ours = presets.GaussianNLLLoss(**options)
        ways = also_jax(i) if form == "own" else ("torch",)
        cases.append(Case("GaussianNLLLoss", ours, theirs, (x, var), y, ours=ways))
    return cases


CASES = [
    *residuals("MSELoss", {}),
    *residuals("L1Loss", {}),
    *residuals("SmoothL1Loss", {"beta": (1.0, 0.5, 0.0)}),
    *residuals("HuberLoss", {"delta": (1.0, 0.5)}),
    *divergence(),
    *poisson(),
    *gaussian(),
]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are torch's, in as many cases as the page says."""
    check_loss("torch", loss, CASES)
