# SPDX-License-Identifier: Apache-2.0
"""Sums over 2³¹ elements and more are right: integers, or float64, whatever the outputs are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lossledger as ll
from lossledger._array import library_of
from properties import close

ELEMENTS, DOUBLINGS = 100, 30  # 100 · 2³⁰ elements are 50 times 2³¹
MASKED = 1 / 3

TERMS = {
    "mean": ll.Term("y", ll.losses.SquaredError(), axes="batch"),
    "macro": ll.Term(
        "y", ll.losses.SquaredError(), axes="batch", keys={"site": 2}, rows="site",
        reduction=ll.Macro("site"),
    ),
    "tilted": ll.Term(
        "y", ll.losses.SquaredError(), axes="batch", reduction=ll.LogMeanExp(0.5)
    ),
    "top": ll.Term("y", ll.losses.SquaredError(), axes="batch", reduction=ll.Max()),
    "dice": ll.Term("y", ll.losses.Dice(over="batch"), axes="batch"),
}  # fmt: skip
by_term = pytest.mark.parametrize("name", TERMS)
by_library = pytest.mark.parametrize("to", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])


def batch(to, *, one=False):
    """Return a batch with float32 outputs and mask; `one` is the first element alone."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=ELEMENTS).astype("float32")
    targets = rng.integers(0, 2, ELEMENTS).astype("float32")
    mask, site = rng.random(ELEMENTS) < 1 - MASKED, np.arange(ELEMENTS) % 2
    here = slice(0, 1) if one else slice(None)
    mask = mask.astype("float32") + one * (1 - mask)
    arrays = (outputs, targets, mask.astype("float32"), site)
    return [to(array[here]) for array in arrays]


def called(function, objective, arrays):
    """Call with the mask, and with keys if the term has some."""
    outputs, targets, mask, site = arrays
    keys = {"site": site} if objective.terms[0].keys else {}
    return function(outputs, targets, mask=mask, keys=keys)


def doubled(thing, times):
    """Merge with itself so many times that 2**times of it are together."""
    for _ in range(times):
        thing = thing + thing
    return thing


@by_library
@by_term
def test_wholes_of_billions(name, to):
    """Merged 2³⁰ times, statistics have the value of one, and the next element still counts."""
    objective = ll.Objective(TERMS[name])
    one = called(objective.statistics, objective, batch(to))
    many = repeated(one, DOUBLINGS)
    expected = float(one.total())
    if name == "dice":  # its smoothing of 1 vanishes beside billions
        loss = ll.losses.Dice(over="batch", smooth=1.0 / 2**DOUBLINGS)
        alone = ll.Objective(ll.Term("y", loss, axes="batch", name="dice"))
        expected = float(called(alone.statistics, alone, batch(to)).total())
    close(many.total(), expected, 1e-12, "value")
    if name == "top":
        assert int(many.pools["squared_error"].statistic.count) == count() * 2**DOUBLINGS
        return
    more = called(objective.statistics, objective, batch(to, one=True))
    (mine,), (both,) = ([masses(w)] for w in (many, many + more))
    assert mine.sum() == count() * 2**DOUBLINGS
    assert both.sum() == mine.sum() + 1, "one element beside billions is lost"


def repeated(whole, times):
    """Merge a whole's statistics with themselves; its parts would be 2**times numbers."""
    xp = library_of(*whole.weights.values())
    for _ in range(times):
        pools = {n: p.merge(xp, p) for n, p in whole.pools.items()}
        whole = replace(whole, pools=pools)
    return whole


def masses(whole):
    """Return what the statistic of the only term divides by, by cell."""
    (pool,) = whole.pools.values()
    found = pool.statistic
    below = found.by_name()["mass"] if hasattr(found, "sums") else found.denominator
    return np.asarray(below).astype("float64")


def count():
    """Return how many elements have weight."""
    return int(batch(np.asarray)[2].sum())


@by_library
@by_term
def test_ledgers_of_billions(name, to):
    """The ledger of 2³⁰ steps counts every element, and one step more adds its own."""
    objective = ll.Objective(TERMS[name])
    _, step = called(objective, objective, batch(to))
    epoch = doubled(step, DOUBLINGS)
    grown = [None if r.count is None else r.count * 2**DOUBLINGS for r in step.rows]
    assert [r.count for r in epoch.rows] == grown
    _, more = called(objective, objective, batch(to, one=True))
    counts = [sum(r.count or 0 for r in led.rows) for led in (epoch, epoch + more)]
    assert counts == [count() * 2**DOUBLINGS, count() * 2**DOUBLINGS + 1]
    close(epoch.step_mean, step.step_mean, 1e-12, "step_mean")
    if name != "dice":
        close(epoch.pooled, step.pooled, 1e-12, "pooled")


def test_float32_sums_stop():
    """The twin: sums of float32 lose an element from 2²⁴ on, and keep on losing."""
    total = torch.tensor(2.0**24)
    assert (total + 1) == total
    assert (total.double() + 1) != total


@by_library
def test_a_part_beside_billions(to):
    """The coefficients of a part under a whole of 2³⁷ elements are right in float32."""
    objective = ll.Objective(TERMS["mean"])
    outputs, targets, mask, _ = batch(to)
    whole = repeated(objective.statistics(outputs, targets, mask=mask), DOUBLINGS)
    total, _, slopes = objective.value_and_grad(outputs, targets, mask=mask, whole=whole)
    alone, _, own = objective.value_and_grad(outputs, targets, mask=mask)
    close(float(total) * 2**DOUBLINGS, float(alone), 1e-6, "total")
    close(np.asarray(slopes) * 2.0**DOUBLINGS, np.asarray(own), 1e-6, "gradient")
