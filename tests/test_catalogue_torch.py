# SPDX-License-Identifier: Apache-2.0
"""Losses that torch's presets are made of: oracles, three ways, kinks, floors."""

from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
import torch
from case import Case
from cases_torch import ROWS

import lossledger as ll
from properties import close

L = ll.losses


def closed(case: Case, outputs: tuple[Any, ...], targets: Any) -> tuple[Any, list[Any]]:
    """Return (total, gradient by output) of the sum, in closed form."""
    term = case.term(reduction="sum")
    found = ll.Objective(term).value_and_grad(*named(term, outputs, targets))
    return found[0], [found[2][n] for n in term.outputs]


def named(term: ll.Term, outputs: tuple[Any, ...], targets: Any) -> tuple[Any, Any]:
    """Return outputs and targets by the names of a term."""
    return dict(zip(term.outputs, outputs, strict=True)), {"t": targets}


def by_torch(loss: Any, outputs: tuple[Any, ...], targets: Any, axes: str) -> list[Any]:
    """Return torch's gradient of the sum of a loss's values."""
    names = tuple(f"y{i}" for i in range(len(outputs)))
    reads = names if len(names) > 1 else "y0"
    term = ll.Term(reads, loss, axes, target="t", reduction="sum")
    leaves = tuple(torch.tensor(o, requires_grad=True) for o in outputs)
    total = ll.Objective(term).loss(*named(term, leaves, torch.tensor(targets)))
    return [g.numpy() for g in torch.autograd.grad(total, leaves)]


def by_numpy(loss: Any, outputs: tuple[Any, ...], targets: Any, axes: str) -> list[Any]:
    """Return the closed-form gradient of the sum of a loss's values."""
    names = tuple(f"y{i}" for i in range(len(outputs)))
    reads = names if len(names) > 1 else "y0"
    term = ll.Term(reads, loss, axes, target="t", reduction="sum")
    slopes = ll.Objective(term).value_and_grad(*named(term, outputs, targets))[2]
    return [slopes[n] for n in names]


@pytest.mark.parametrize("case", [c for c in ROWS if c.oracle], ids=lambda c: c.id)
@pytest.mark.parametrize("seed", range(3))
def test_values_equal_oracle(case: Case, seed: int) -> None:
    """Values equal torch's to 1e-12 of the largest."""
    outputs, targets = case.sample(seed)
    term = case.term()
    values = ll.Objective(term).values(*named(term, outputs, targets))["case"]
    close(values, case.oracle(outputs, targets), rtol=1e-12, what=case.id)


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c.id)
def test_three_ways(case: Case) -> None:
    """Closed form, torch and the bare array standard give one total and one gradient."""
    outputs, targets = case.sample(3)
    total, slopes = closed(case, outputs, targets)
    moved = tuple(strict.asarray(o) for o in outputs)
    found, others = closed(case, moved, strict.asarray(targets))
    close(float(found), total, what="total")
    by_autograd = by_torch(case.loss, outputs, targets, case.axes)
    for mine, other, auto in zip(slopes, others, by_autograd, strict=True):
        np.testing.assert_allclose(np.asarray(other), mine, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(auto, mine, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kink", [0.0, 0.5, 1.0])
def test_kinks(kink: float) -> None:
    """At its kink a hinge has the share of the slope that was asked for, in both ways."""
    y = np.array([-1.0])
    one, zero = np.array([1.0]), np.array([0.0])
    pair, feature = (np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])), "batch feature"
    for loss, outputs, axes, expected in (
        (L.HingeEmbedding(kink=kink), (one,), "batch", -kink),
        (L.MarginRanking(kink=kink), (zero, zero), "batch", kink),
        (L.CosineEmbedding(kink=kink), pair, feature, [0, kink]),
    ):
        for way in (by_numpy, by_torch):
            np.testing.assert_allclose(way(loss, outputs, y, axes)[0].squeeze(), expected)


def test_swapped_distances_share_a_tie() -> None:
    """Equal distances to the negative share the slope, as torch's minimum does."""
    points = tuple(np.array([[float(x), 0.0]]) for x in (0, 0, 3))
    loss = L.TripletMargin(margin=5.0, swap=True)
    names = ("a", "p", "n")
    term = ll.Term(names, loss, "batch feature", reduction="sum")
    slopes = ll.Objective(term).value_and_grad(dict(zip(names, points, strict=True)))[2]
    leaves = tuple(torch.tensor(p, requires_grad=True) for p in points)
    theirs = torch.nn.functional.triplet_margin_loss(*leaves, margin=5.0, swap=True, eps=0.0)
    for name, slope in zip(names, torch.autograd.grad(theirs, leaves), strict=True):
        np.testing.assert_allclose(slopes[name], slope.numpy())


def test_clamped_logs() -> None:
    """A wrong certainty costs −floor, and its slope is 1/ε: no derivative of a constant."""
    loss = L.ClampedBinaryCrossEntropy(floor=-10.0, epsilon=1e-3)
    p, y = np.array([0.0, 1.0, 0.5]), np.array([1.0, 0.0, 1.0])
    term = ll.Term("y", loss, "batch")
    np.testing.assert_allclose(ll.Objective(term).values(p, y)[term.name], [10, 10, np.log(2)])
    for way in (by_numpy, by_torch):
        np.testing.assert_allclose(way(loss, (p,), y, "batch")[0], [-1000, 1000, -2])


def test_held_variance() -> None:
    """A variance below its floor counts as it, and has the slope there; 0 is allowed."""
    x, y, low, at = (np.array([v]) for v in (1.0, 0.0, 0.0, 0.5))
    loss = L.GaussianNLL(floor=0.5)
    for way in (by_numpy, by_torch):
        for held, free in zip(
            way(loss, (x, low), y, "batch"),
            way(L.GaussianNLL(), (x, at), y, "batch"),
            strict=True,
        ):
            np.testing.assert_allclose(held, free)


def test_lists_of_labels_are_counts() -> None:
    """Lists ended by −1 mean the classes before it, as often as they stand there."""
    z = np.random.default_rng(0).normal(size=(3, 4))
    lists = np.array([[3, 0, -1, 1], [-1, 0, 0, 0], [2, 2, -1, 0]])
    counts = np.array([[1.0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 2, 0]])
    found = [
        by_numpy(L.MultilabelMargin(form), (z,), targets, "batch class")[0]
        for form, targets in (("lists", lists), ("counts", counts))
    ]
    np.testing.assert_allclose(*found)


def test_product_focal_of_hard_labels() -> None:
    """For hard labels it is the focal loss, and its gradient is finite where p rounds to y."""
    z = np.array([-800.0, -2.0, 0.3, 40.0, 800.0])
    y = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    pair = L.ProductFocal(0.5, 0.25), L.Focal(0.5, 0.25)
    np.testing.assert_allclose(*(by_numpy(f, (z,), y, "batch")[0] for f in pair), atol=1e-300)
