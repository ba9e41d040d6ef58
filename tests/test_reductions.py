# SPDX-License-Identifier: Apache-2.0
"""Reductions against formulas by hand, sorting, linear programs and their limits."""

from typing import Any

import numpy as np
import pytest
from batches import WEIGHTS, Batch
from options import DENOMINATORS, REDUCTIONS, ROWS
from scipy.optimize import linprog

import lossledger as ll
from properties import assert_coefficients_are_derivatives, assert_ledger_sums_to_total, close

RNG = np.random.default_rng(4)
VALUES = RNG.uniform(0.5, 4.0, (5, 3))
HEAVY = RNG.uniform(0.5, 2.0, (5, 3))
HEAVY[1, 2] = HEAVY[3] = 0.0
IDENTITY = ll.losses.Elementwise(lambda o, t: o, derivative=lambda o, t: o * 0 + 1)


def reduce(reduction: Any, values: Any, *, axes: str = "batch feature", **options: Any) -> float:
    """Reduce given values to a number."""
    return float(objective(reduction, axes)(np.asarray(values, float), np.zeros(1), **options)[0])


def objective(reduction: Any, axes: str = "batch feature", **settings: Any) -> ll.Objective:
    """Return an objective whose values are its outputs."""
    return ll.Objective(
        ll.Term("y", IDENTITY, axes=axes, target="t", reduction=reduction, **settings)
    )


# ------------------------------------------------------------------------- means and sums


def test_denominators() -> None:
    """Each denominator is what its name says, with a mask, sample and element weights."""
    mask = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]], float)
    sample = np.array([1.0, 2.0, 0.5, 0.0, 3.0])
    weight = mask * sample[:, None] * HEAVY
    top = (weight * VALUES).sum()
    expected = {
        "weights": weight.sum(),
        "passed": weight.sum(),  # it has every axis: nothing is repeated
        "elements": 15,
        "nonzero": np.count_nonzero(weight),
        "mask": mask.sum(),
        "samples": 5,
        7.0: 7.0,
    }
    assert set(expected) == set(DENOMINATORS)
    for name, bottom in expected.items():
        found = reduce(
            ll.Mean(denominator=name), VALUES, mask=mask, sample_weight=sample, element_weight=HEAVY
        )
        close(found, top / bottom, what=str(name))
    close(reduce("sum", VALUES, mask=mask, sample_weight=sample, element_weight=HEAVY), top)
    close(reduce("mean", VALUES), VALUES.mean())


def test_root_mean() -> None:
    """√(Σw·v / Σw); value and derivative are 0 where all values are 0."""
    expected = np.sqrt((HEAVY * VALUES).sum() / HEAVY.sum())
    close(reduce(ll.RootMean(), VALUES, element_weight=HEAVY), expected)
    total, ledger, slope = objective(ll.RootMean()).value_and_grad(np.zeros((2, 3)), np.zeros(1))
    assert total == 0
    assert not slope.any()
    assert ledger.deviation == 0


def test_order_of_stages() -> None:
    """The mean of maxima is not the maximum of means, and each is what it says."""
    values = [[1.0, 9.0, 2.0], [4.0, 5.0, 6.0]]
    close(reduce(ll.Max("feature").then(ll.Mean()), values), (9 + 6) / 2)
    close(reduce(ll.Mean("feature").then(ll.Max()), values), 5)
    close(reduce(ll.Mean("batch").then(ll.Max()), values), 7)
    close(reduce(ll.Max("batch").then(ll.Mean()), values), (4 + 9 + 6) / 3)
    close(reduce(ll.Sum("feature").then(ll.Mean()), values), (12 + 15) / 2)
    close(reduce(ll.Sum("feature").then(ll.Max()).then(ll.RootMean()), values), np.sqrt(15))
    close(reduce(ll.Mean(by="feature").then(ll.Sum()), values), 2.5 + 7 + 4)


def test_mean_of_means_weighs_samples_alike() -> None:
    """Pixels of a small sample count more under the mean of means than under one mean."""
    mask = np.array([[1, 0, 0], [1, 1, 1]], float)
    values = [[6.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    close(reduce(ll.Mean(), values, mask=mask), 12 / 4)
    close(reduce(ll.Mean("feature").then(ll.Mean()), values, mask=mask), (6 + 2) / 2)


def test_weights_stay_with_their_axis() -> None:
    """A sample weight enters where `batch` is reduced, not where pixels are."""
    weight = np.array([1.0, 3.0])
    values = [[1.0, 9.0, 2.0], [4.0, 5.0, 6.0]]
    close(reduce(ll.Max("feature").then(ll.Mean()), values, sample_weight=weight), (9 + 18) / 4)
    close(reduce(ll.Mean("batch").then(ll.Max()), values, sample_weight=weight), 6)


def test_macro() -> None:
    """The mean over the classes present of the mean in each; absent classes do not count."""
    labels = np.array([0, 0, 0, 2])
    values = np.array([1.0, 2.0, 3.0, 10.0])
    reduction = ll.Macro("group")
    term = ll.Term("y", IDENTITY, axes="batch", target="t", reduction=reduction, keys={"group": 4})
    total, _ = ll.Objective(term)(values, np.zeros(1), keys={"group": labels})
    close(total, (2 + 10) / 2)


# --------------------------------------------------------------------------- worst shares


def by_program(values: Any, weights: Any, k: float) -> float:
    """Return max Σ c·v subject to 0 ≤ c ≤ w/k, Σ c = 1."""
    bounds = [(0, w / k) for w in weights]
    solved = linprog(-values, A_eq=np.ones((1, len(values))), b_eq=[1.0], bounds=bounds)
    assert solved.success
    return float(-solved.fun)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 1 / 3, 0.5, 0.99, 1.0])
def test_top_mean_solves_the_program(fraction: float) -> None:
    """The mean of the worst share is CVaR's linear program, weights and ties included."""
    values, weights = VALUES.ravel().copy(), HEAVY.ravel()
    values[[2, 7, 9]] = 3.0
    found = reduce(ll.TopMean(fraction), values, axes="batch", element_weight=weights)
    close(found, by_program(values, weights, fraction * weights.sum()), 1e-10)


def test_top_mean_by_sorting() -> None:
    """Without weights: the mean of the k largest, the last one in part if k is no integer."""
    values = VALUES.ravel()
    largest = np.sort(values)[::-1]
    for count in (1, 4, 15):
        close(reduce(ll.TopMean(count=count), values, axes="batch"), largest[:count].mean())
    close(reduce(ll.TopMean(count=40), values, axes="batch"), values.mean())
    part = (largest[:3].sum() + 0.75 * largest[3]) / 3.75
    close(reduce(ll.TopMean(0.25), values, axes="batch"), part)
    close(reduce(ll.TopMean(1e-9), values, axes="batch"), largest[0])
    close(reduce(ll.TopMean(1.0), values, axes="batch"), values.mean())


def test_weights_do_not_change_the_order() -> None:
    """Weights are mass: a heavy small value is not worse than a light large one."""
    values, weights = np.array([1.0, 2.0, 3.0]), np.array([100.0, 1.0, 1.0])
    assert reduce(ll.Max(), values, axes="batch", sample_weight=weights) == 3
    close(reduce(ll.TopMean(count=2), values, axes="batch", sample_weight=weights), 2.5)


def test_ties_go_to_the_first() -> None:
    """Of equal values the first by position gets the gradient, all of it."""
    _, _, slope = objective(ll.Max(), "batch").value_and_grad(
        np.array([1.0, 5.0, 5.0, 5.0]), np.zeros(1)
    )
    assert slope.tolist() == [0, 1, 0, 0]
    _, _, slope = objective(ll.TopMean(count=2), "batch").value_and_grad(
        np.array([5.0, 1.0, 5.0, 5.0]), np.zeros(1)
    )
    assert slope.tolist() == [0.5, 0, 0.5, 0]


def test_negative_and_infinite_values() -> None:
    """The largest of negative numbers is negative; −inf and inf are values like others."""
    assert reduce(ll.Max(), [[-3.0, -2.0]]) == -2
    assert reduce(ll.Max(), [[-np.inf, -np.inf]]) == -np.inf
    assert reduce(ll.Max(), [[1.0, np.inf]]) == np.inf
    total, ledger = objective(ll.Max())(np.array([[-np.inf, 2.0]]), np.zeros(1))
    assert total == 2
    close(sum(row.contribution for row in ledger.rows), 2.0)
    close(reduce(ll.TopMean(0.5), [[-3.0, -2.0, -9.0, -1.0]]), -1.5)


@pytest.mark.parametrize("option", REDUCTIONS, ids=lambda option: option.id)
def test_nan_is_never_lost(option: Any) -> None:
    """A NaN among the values makes the total NaN, whichever elements a reduction looks at."""
    values = VALUES.copy()
    values[2, 1] = np.nan
    term = ll.Term("y", IDENTITY, axes="batch class", target="t", keys={"group": 2},
                   reduction=option.build("class"))  # fmt: skip
    keys = {"group": np.array([0, 1, 0, 1, 1])}
    with np.errstate(invalid="ignore"):
        total, ledger = ll.Objective(term)(values, np.zeros(1), keys=keys)
    assert np.isnan(total)
    assert np.isnan(ledger.total)


# ------------------------------------------------------------------------------ tilted mean


def test_tilted_mean_between_its_limits() -> None:
    """The tilted mean goes from the minimum over the mean to the maximum, monotonically."""
    values, weights = VALUES.ravel(), np.ones(15)
    tilts = [-1e4, -10.0, -1.0, -1e-7, 1e-7, 1.0, 10.0, 1e4]
    found = [reduce(ll.LogMeanExp(t), values, axes="batch", sample_weight=weights) for t in tilts]
    assert found == sorted(found)
    close(found[0], values.min(), 1e-3)
    close(found[3:5], [values.mean()] * 2, 1e-6)
    close(found[-1], values.max(), 1e-3)
    close(found[5], np.log(np.mean(np.exp(values))))


def test_tilted_mean_is_stable_and_moves_along() -> None:
    """Adding a constant adds it to the result, up to values of 1e4 and tilts of 50."""
    base = reduce(ll.LogMeanExp(50.0), VALUES, element_weight=HEAVY)
    far = reduce(ll.LogMeanExp(50.0), VALUES + 1e4, element_weight=HEAVY)
    close(far - 1e4, base, 1e-11)


def test_curvature_is_booked() -> None:
    """What the tilted mean has beyond its elements' contributions is a row of its own."""
    for tilt, sign in ((2.0, -1), (-2.0, 1)):
        _, ledger = objective(ll.LogMeanExp(tilt))(VALUES, np.zeros(1))
        (row,) = [r for r in ledger.rows if r.kind == "curvature"]
        assert np.sign(row.contribution) == sign
        p = np.exp(tilt * VALUES) / np.exp(tilt * VALUES).sum()
        close(row.contribution, ledger.total - (p * VALUES).sum())


@pytest.mark.parametrize("tilt", [0.0, np.inf, np.nan])
def test_tilt_must_be_finite(tilt: float) -> None:
    """No tilt is the mean and an infinite one the maximum: they have their own names."""
    with pytest.raises(ll.ReductionError, match="tilt"):
        ll.LogMeanExp(tilt)


# ------------------------------------------------------------- coefficients, for all of them


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("option", REDUCTIONS, ids=lambda option: option.id)
def test_coefficients_are_derivatives(option: Any, weights: str) -> None:
    """A value's coefficient is ∂total/∂value, and contributions follow from it."""
    rng = np.random.default_rng(REDUCTIONS.index(option))
    values = rng.uniform(0.5, 4.0, (6, 3))
    kinds = {
        "mask": {"mask": rng.random((6, 3)) < 0.8},
        "sample": {"sample_weight": rng.uniform(0.5, 2.0, 6)},
        "element": {"element_weight": rng.uniform(0.5, 2.0, (6, 3)) * (rng.random((6, 3)) < 0.8)},
    }
    kinds["mixed"] = kinds["mask"] | kinds["sample"] | kinds["element"]
    keys = {"keys": {"group": np.array([0, 1, 1, 0, 1, 1])}}
    batch = Batch({"y": values}, {"t": np.zeros((6, 3))}, kinds.get(weights, {}) | keys)
    goal = objective(option.build("class"), "batch class", keys={"group": 2}, rows="batch")
    assert_coefficients_are_derivatives(goal, batch)
    for rows in ROWS[1:4]:
        cells = "" if rows == "none" else rows
        split = objective(option.build("class"), "batch class", keys={"group": 2}, rows=cells)
        assert_ledger_sums_to_total(split, batch)


@pytest.mark.parametrize("reduction", [
    ll.Mean(), ll.RootMean(), ll.Max(), ll.TopMean(0.3), ll.LogMeanExp(1.0), ll.Sum(),
], ids=str)  # fmt: skip
def test_weight_is_repetition(reduction: Any) -> None:
    """An element of weight 3 is three elements."""
    values, times = VALUES.ravel(), RNG.integers(0, 4, 15)
    weighted = reduce(reduction, values, axes="batch", sample_weight=times.astype(float))
    close(weighted, reduce(reduction, np.repeat(values, times), axes="batch"))


# ------------------------------------------------------------------------ nothing to average


EMPTY = [ll.Mean, ll.Sum, ll.RootMean, ll.Max, lambda **s: ll.TopMean(0.5, **s),
         lambda **s: ll.LogMeanExp(1.0, **s)]  # fmt: skip
NAMES = ["mean", "sum", "root-mean", "max", "top-mean", "tilted"]
by_kind = pytest.mark.parametrize("kind", EMPTY, ids=NAMES)
HALF = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
PAIR = np.array([[4.0, 4.0, 4.0], [9.0, 9.0, 9.0]])


@by_kind
def test_nothing_at_all(kind: Any) -> None:
    """Everything masked: "zero" and "skip" give 0 and a count of 0, "raise" raises."""
    nothing = np.zeros((2, 3))
    for empty in ("zero", "skip"):
        goal = objective(kind(empty=empty))
        total, ledger, slope = goal.value_and_grad(PAIR, np.zeros(1), mask=nothing)
        assert total == 0
        assert not slope.any()
        assert ledger.rows[0].count == 0
        assert ledger.rows[0].own_mean is None
    with pytest.raises(ll.ReductionError, match="empty='raise'") as error:
        reduce(kind(empty="raise"), PAIR, mask=nothing)
    assert "Mean" in str(error.value) or "empty" in error.value.found


@by_kind
def test_an_empty_cell(kind: Any) -> None:
    """An empty cell counts as 0, or is left out of the next stage, or raises."""
    own = reduce(kind(), PAIR[:1])
    for empty, cells in (("zero", 2), ("skip", 1)):
        chain = kind(over="feature", empty=empty).then(ll.Mean())
        close(reduce(chain, PAIR, mask=HALF), own / cells, what=empty)
        chain = kind(over="feature", empty=empty).then(ll.Mean(denominator="elements"))
        close(reduce(chain, PAIR, mask=HALF), own / cells, what=f"{empty}, elements")
    with pytest.raises(ll.ReductionError, match="empty='raise'"):
        reduce(kind(over="feature", empty="raise").then(ll.Mean()), PAIR, mask=HALF)


@by_kind
def test_a_skipped_cell_is_not_the_largest(kind: Any) -> None:
    """With negative values a 0 for nothing would be the worst; skipped, it is not there."""
    values = -PAIR
    if kind is ll.RootMean:
        return  # of squared errors: values are not negative
    worst = kind(over="feature", empty="skip").then(ll.Max())
    assert reduce(worst, values, mask=HALF) < 0
    counted = kind(over="feature", empty="zero").then(ll.Max())
    assert reduce(counted, values, mask=HALF) == 0


def test_denominators_that_do_not_vanish() -> None:
    """A constant, the number of samples and of elements are no 0: the mean is 0 by itself."""
    for name in ("elements", "samples", 7.0):
        assert reduce(ll.Mean(denominator=name), PAIR, mask=PAIR * 0) == 0


# ------------------------------------------------------------------------------- spelled out


def test_names_and_words() -> None:
    """Strings stand for two reductions; a chain is written in the order of the work."""
    close(reduce("mean", PAIR), 6.5)
    close(reduce("sum", PAIR), 39)
    chain = ll.Mean(by="class").then(ll.TopMean(0.5)).then(ll.LogMeanExp(2.0))
    assert str(chain) == "Mean(by='class') then TopMean(fraction=0.5) then LogMeanExp(tilt=2.0)"
    assert ll.Macro() == ll.Mean(by="class", empty="skip").then(ll.Mean())
