# SPDX-License-Identifier: Apache-2.0
"""Regression, probabilistic and pairwise losses: oracles, three ways, kinks, extremes."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

import lossledger as ll
from cases import LOSSES, Case
from lossledger.losses import pairwise, probabilistic, regression, relative
from properties import close

L = ll.losses
OURS = tuple(m.__name__ for m in (pairwise, probabilistic, regression, relative))
CASES = [c for c in LOSSES if type(c.loss).__module__ in OURS]
# Where second derivatives exist everywhere but at kinks that random numbers miss.
CURVED = [c for c in CASES if c.id not in ("poisson-full", "poisson-stirling", "poisson-rate")]
HUGE = 1e4


def term_of(loss: Any, axes: str = "batch", **settings: Any) -> ll.Term:
    """Return a term that sums the loss."""
    reads = loss.facts().reads
    names = tuple(f"y{i}" for i in range(reads))
    settings = {"target": "t", "name": "case", "reduction": "sum"} | settings
    return ll.Term(names if reads > 1 else "y0", loss, axes, **settings)


def named(term: ll.Term, outputs: tuple[Any, ...], targets: Any) -> tuple[Any, Any]:
    """Return outputs and targets by the names of a term."""
    by_target = None if term.target is None else {term.target: targets}
    return dict(zip(term.outputs, outputs, strict=True)), by_target


def closed(term: ll.Term, outputs: tuple[Any, ...], targets: Any, **w: Any) -> tuple[Any, Any]:
    """Return (total, gradient by output) in closed form."""
    found = ll.Objective(term).value_and_grad(*named(term, outputs, targets), **w)
    return found[0], [found[2][n] for n in term.outputs]


def by_torch(term: ll.Term, outputs: tuple[Any, ...], targets: Any, **w: Any) -> tuple[Any, Any]:
    """Return (total, gradient by output) by torch autograd."""
    leaves = tuple(torch.tensor(o, requires_grad=True) for o in outputs)
    goal = None if targets is None else torch.tensor(targets)
    total = ll.Objective(term).loss(*named(term, leaves, goal), **w)
    total.backward()
    return total.detach().numpy(), [leaf.grad.numpy() for leaf in leaves]


def by_jax(term: ll.Term, outputs: tuple[Any, ...], targets: Any, **w: Any) -> tuple[Any, Any]:
    """Return (total, gradient by output) by JAX autodiff, compiled."""
    with jax.enable_x64(True):

        def total(*leaves: Any) -> Any:
            return ll.Objective(term).loss(*named(term, leaves, targets), **w)

        places = tuple(range(len(outputs)))
        leaves = tuple(jax.numpy.asarray(o) for o in outputs)
        found = jax.jit(jax.value_and_grad(total, argnums=places))(*leaves)
        return np.asarray(found[0]), [np.asarray(g) for g in found[1]]


def assert_three_ways_agree(
    term: ll.Term, outputs: Any, targets: Any, rtol: float = 1e-12, **w: Any
) -> list[Any]:
    """Closed form, torch and JAX give one total and one gradient, all finite."""
    total, slopes = closed(term, outputs, targets, **w)
    assert np.isfinite(total)
    assert all(np.isfinite(s).all() for s in slopes)
    for other in (by_torch, by_jax):
        found, found_slopes = other(term, outputs, targets, **w)
        close(found, total, rtol, what=f"total {other.__name__}")
        for mine, theirs in zip(slopes, found_slopes, strict=True):
            np.testing.assert_allclose(theirs, mine, rtol=1e-12, atol=1e-15)
    return slopes


# ------------------------------------------------------------------------------- the catalogue


@pytest.mark.parametrize("case", [c for c in CASES if c.oracle], ids=lambda c: c.id)
@pytest.mark.parametrize("seed", range(5))
def test_values_equal_oracle(case: Case, seed: int) -> None:
    """Values equal those of torch, or of another formula, to 1e-10 of the largest."""
    outputs, targets = case.sample(seed)
    term = case.term()
    values = ll.Objective(term).values(*named(term, outputs, targets))["case"]
    close(values, case.oracle(outputs, targets), rtol=1e-10, what=case.id)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_three_ways(case: Case) -> None:
    """Closed form, torch and JAX agree on random batches."""
    assert_three_ways_agree(case.term(), *case.sample(7))


@pytest.mark.parametrize("case", CURVED, ids=lambda c: c.id)
def test_second_derivatives(case: Case) -> None:
    """Second derivatives through torch equal differences of first ones."""
    outputs, targets = case.sample(5)
    term = case.term()
    goal = None if targets is None else torch.tensor(targets)
    leaves = [torch.tensor(o, requires_grad=True) for o in outputs]

    def total(*arrays: Any) -> Any:
        return ll.Objective(term).loss(*named(term, arrays, goal))

    assert torch.autograd.gradgradcheck(total, leaves)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_standard_alone(case: Case) -> None:
    """array-api-strict, which has the standard and nothing else, gives NumPy's numbers."""
    import array_api_strict as strict

    outputs, targets = case.sample(3)
    total, slopes = closed(case.term(), outputs, targets)
    moved = tuple(strict.asarray(o) for o in outputs)
    goal = None if targets is None else strict.asarray(targets)
    found, found_slopes = closed(case.term(), moved, goal)
    close(float(found), total, what="total")
    for mine, theirs in zip(slopes, found_slopes, strict=True):
        close(np.asarray(theirs), mine, what="gradient")


# ---------------------------------------------------------------------------- kinks, extremes

# loss -> places of its kinks, and the slope documented there.
RESIDUAL = [
    (L.SquaredError(), {0.0: 0.0}),
    (L.SquaredError(half=True), {0.0: 0.0}),
    (L.AbsoluteError(), {0.0: 0.0}),
    (L.Huber(0.5), {0.0: 0.0, 0.5: 0.5, -0.5: -0.5}),
    (L.SmoothL1(0.5), {0.0: 0.0, 0.5: 1.0, -0.5: -1.0}),
    (L.LogCosh(), {0.0: 0.0, 1.0: np.tanh(1), -1.0: -np.tanh(1)}),
    (L.Charbonnier(0.5), {0.0: 0.0}),
    (L.Quantile(0.75), {0.0: 0.0}),
]


@pytest.mark.parametrize(("loss", "kinks"), RESIDUAL, ids=lambda x: str(x) if x else "")
def test_residuals(loss: Any, kinks: dict[float, float]) -> None:
    """At 0, at every kink, close to 0 and at ±1e4 three ways agree, as documented."""
    e = np.array([*kinks, 1e-160, -1e-160, 1e-9, -1e-9, HUGE, -HUGE])
    (slopes,) = assert_three_ways_agree(term_of(loss), (e,), np.zeros_like(e))
    np.testing.assert_allclose(slopes[: len(kinks)], list(kinks.values()), rtol=1e-15)


@pytest.mark.parametrize("loss", [loss for loss, _ in RESIDUAL], ids=str)
def test_kinks_are_continuous(loss: Any) -> None:
    """Values on both sides of a kink meet: no jump larger than the step allows."""
    term = term_of(loss, reduction="sum")
    for at in (0.5, -0.5, 1.0, -1.0):
        e = np.array([at * (1 - 1e-12), at, at * (1 + 1e-12)])
        values = ll.Objective(term).values(e, np.zeros(3))["case"]
        assert np.ptp(values) < 1e-11


def test_quantiles_at_kinks() -> None:
    """With several levels each place has its own slopes, and 0 at a residual of 0."""
    outputs = np.array([[0.0, 0.0, 0.0], [HUGE, HUGE, HUGE], [-1.0, -HUGE, 1.0]])
    term = term_of(L.Quantile([0.1, 0.5, 0.9]), "batch quantile")
    (slopes,) = assert_three_ways_agree(term, (outputs,), np.zeros(3))
    expected = [[0, 0, 0], [0.9, 0.5, 0.1], [-0.1, -0.5, 0.1]]
    np.testing.assert_allclose(slopes, expected, rtol=1e-14)


def test_relative_extremes() -> None:
    """Squared logs and percentages at equality, at 1e4 and next to the domain's edge."""
    outputs = np.array([3.0, HUGE, -1 + 1e-12, 0.0, 1e-12])
    targets = np.array([3.0, 0.0, HUGE, -1 + 1e-12, -1e-12])
    (slopes,) = assert_three_ways_agree(term_of(L.SquaredLogError()), (outputs,), targets)
    assert slopes[0] == 0
    outputs = np.array([3.0, HUGE, -HUGE, 0.0, 1.0])
    targets = np.array([3.0, -1e-3, 1e-3, HUGE, -1e-300])
    (slopes,) = assert_three_ways_agree(
        term_of(L.AbsolutePercentageError()), (outputs[:4],), targets[:4]
    )
    np.testing.assert_allclose(slopes, [0.0, 1e5, -1e5, -1e-2], rtol=1e-12)


def test_poisson_extremes() -> None:
    """A log-rate of −1e4 costs 1e4 a count and pulls with −y; zero counts cost the rate."""
    z = np.array([-HUGE, -HUGE, 0.0, 700.0])
    y = np.array([0.0, 3.0, 1.0, 5.0])
    (slopes,) = assert_three_ways_agree(term_of(L.PoissonNLL(full=True)), (z,), y)
    np.testing.assert_array_equal(slopes[:3], [0.0, -3.0, 0.0])
    rates = np.array([1e-300, HUGE, 2.0])
    counts = np.array([0.0, HUGE, 2.0])
    for full in (False, True, "stirling"):
        term = term_of(L.PoissonNLL(log_input=False, full=full))
        # 1e4 − 1e4·log 1e4 + log 1e4! cancels: four digits of 1e5 go.
        (slopes,) = assert_three_ways_agree(term, (rates,), counts, rtol=1e-10)
        np.testing.assert_array_equal(slopes, [1.0, 0.0, 0.0])


@pytest.mark.parametrize("loss", [L.GaussianNLL("log"), L.LaplaceNLL("log")], ids=str)
def test_log_spread_extremes(loss: Any) -> None:
    """A log spread of ±1e4 is finite where the loss is: also at a residual of 0."""
    mean = np.array([0.0, 0.0, HUGE, -HUGE, HUGE])
    spread = np.array([-HUGE, HUGE, HUGE, 0.0, 18.0])
    slopes = assert_three_ways_agree(term_of(loss), (mean, spread), np.zeros(5))
    full = 0.5 if isinstance(loss, L.GaussianNLL) else 1.0
    np.testing.assert_array_equal(slopes[0][:3], 0.0)
    np.testing.assert_array_equal(slopes[1][:3], full)


def test_spread_extremes() -> None:
    """Tiny and huge variances are used as they are: nothing is clamped."""
    mean, spread = np.array([1.0, 0.0, HUGE, 1.0]), np.array([1e-12, 1e-12, 1e8, 1e12])
    for loss in (L.GaussianNLL(), L.GaussianNLL("deviation"), L.LaplaceNLL()):
        assert_three_ways_agree(term_of(loss), (mean, spread), np.zeros(4))
    value = ll.Objective(term_of(L.GaussianNLL())).loss((mean[:1], spread[:1]), np.zeros(1))
    close(value, 0.5 * (np.log(1e-12) + 1e12), what="½(log v + e²/v)")
    code = np.array([0.0, HUGE, -HUGE, 0.0]), np.array([0.0, -HUGE, 0.0, 700.0])
    slopes = assert_three_ways_agree(term_of(L.GaussianKL(), target=None), code, None)
    assert slopes[0][0] == slopes[1][0] == 0


VECTORS = np.array(
    [[0.0, 0.0, 0.0], [3.0, 4.0, 0.0], [HUGE, -HUGE, 0.0], [1e-200, 0.0, 0.0], [0.0, 1e200, 0.0]]
)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 1.5])
@pytest.mark.parametrize("swap", [False, True])
def test_triplet_kinks(p: float, swap: bool) -> None:
    """Distances of 0, 1e4, 1e-200 and 1e200: finite, 0 gradient of a distance of 0."""
    anchor = VECTORS
    positive, negative = np.zeros((5, 3)), np.roll(VECTORS, 1, 0)
    term = term_of(L.TripletMargin(1.0, p=p, swap=swap), "batch feature")
    assert_three_ways_agree(term, (anchor, positive, negative), None)
    for same in ((positive,) * 3, (anchor, anchor, anchor)):
        slopes = assert_three_ways_agree(term, same, None)
        assert not any(s.any() for s in slopes)


def test_triplet_hinge() -> None:
    """At the kink ‖a − p‖ + margin = ‖a − n‖ the slope is 0; beside it it is not."""
    anchor = np.zeros((4, 2))
    positive = np.array([[3.0, 4.0]] * 4)
    negative = np.array([[0.0, 6.0], [0.0, 6.0 - 1e-9], [0.0, 6.0 + 1e-9], [0.0, 1.0]])
    term = term_of(L.TripletMargin(1.0), "batch feature")
    slopes = assert_three_ways_agree(term, (anchor, positive, negative), None)
    np.testing.assert_allclose(slopes[0], [[0, 0], [-0.6, 0.2], [0, 0], [-0.6, 0.2]], atol=1e-15)


def test_cosine_kinks() -> None:
    """A zero vector has cosine 0 and no gradient; cos = margin costs nothing."""
    a = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [HUGE, 0.0], [1e-200, 0.0], [2.0, 0.0]])
    b = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 2.0], [0.0, HUGE], [1e200, 0.0], [5.0, 0.0]])
    for sign in (1.0, -1.0):
        y = np.full(6, sign)
        term = term_of(L.CosineEmbedding(0.0), "batch feature")
        slopes = assert_three_ways_agree(term, (a, b), y)
        assert not slopes[0][:2].any()
        assert not slopes[1][1].any()
        values = ll.Objective(term).values((a, b), y)["case"]
        expected = [1, 1, 1, 1, 0, 0] if sign > 0 else [0, 0, 0, 0, 1, 1]
        np.testing.assert_allclose(values, expected, atol=1e-15)


def test_info_nce_extremes() -> None:
    """Zero vectors, huge vectors and huge scores are finite; three ways agree."""
    keys = VECTORS[::-1].copy()
    for symmetric in (False, True):
        term = term_of(L.InfoNCE(0.01, symmetric), "batch feature")
        slopes = assert_three_ways_agree(term, (VECTORS, keys), None)
        assert not slopes[0][0].any()
        dot = term_of(L.InfoNCE(1.0, symmetric, normalize=False), "batch feature")
        few = VECTORS[:3]
        assert_three_ways_agree(dot, (few, few[::-1].copy()), None)


def test_pairwise_logistic_extremes() -> None:
    """A wrong order by 2e4 costs 2e4 with slope 1; a right one costs nothing."""
    a, b = np.array([HUGE, -HUGE, 0.0]), np.array([-HUGE, HUGE, 0.0])
    slopes = assert_three_ways_agree(term_of(L.PairwiseLogistic()), (a, b), None)
    np.testing.assert_array_equal(slopes[0], [0.0, -1.0, -0.5])
    values = ll.Objective(term_of(L.PairwiseLogistic())).values((a, b))["case"]
    np.testing.assert_allclose(values, [0.0, 2 * HUGE, np.log(2)], rtol=1e-15)


def test_log_cosh_keeps_small_digits() -> None:
    """At small e log cosh e = e²/2 − e⁴/12 + …, to the last digits."""
    e = np.array([1e-9, 1e-5, 1e-2])
    values = ll.Objective(term_of(L.LogCosh())).values(e, np.zeros(3))["case"]
    series = e**2 / 2 - e**4 / 12 + e**6 / 45 - 17 * e**8 / 2520
    np.testing.assert_allclose(values, series, rtol=1e-14)


def test_single_precision_vectors() -> None:
    """In float32 squares of 1e-25 and 1e25 leave the range; directions stay right."""
    a = np.array([[3e-25, 4e-25], [3e25, 4e25]], np.float32)
    values = ll.Objective(term_of(L.CosineEmbedding(), "batch feature")).values(
        (a, np.ones_like(a)), np.ones(2)
    )["case"]
    np.testing.assert_allclose(values, 1 - 1.4 / np.sqrt(2), rtol=1e-5)
