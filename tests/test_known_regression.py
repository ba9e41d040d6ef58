# SPDX-License-Identifier: Apache-2.0
"""Regression, probabilistic and pairwise losses: numbers by hand, domains, axes, weights."""

from math import e, exp, log
from typing import Any

import jax
import numpy as np
import pytest

import lossledger as ll
from properties import close

L = ll.losses

# loss, axes, outputs, targets, values, gradient of their sum, each derived by hand:
KNOWN = [
    # |e| = 1 ≤ β = 2: 1/(2·2), slope 1/2. |e| = 3 > 2: 3 − 1, slope 1.
    (L.SmoothL1(2.0), "batch", [[1.0, 3.0]], [0.0, 0.0], [0.25, 2.0], [[0.5, 1.0]]),
    # cosh(log 2) = (2 + 1/2)/2 = 5/4; tanh(log 2) = (2 − 1/2)/(2 + 1/2) = 3/5.
    (L.LogCosh(), "batch", [[log(2)]], [0.0], [log(1.25)], [[0.6]]),
    # √(4² + 3²) = 5, slope 4/5.
    (L.Charbonnier(3.0), "batch", [[4.0]], [0.0], [5.0], [[0.8]]),
    # 3 below the target: 0.8·3, slope −0.8. 5 above: 0.2·5, slope 0.2.
    (L.Quantile(0.8), "batch", [[7.0, 15.0]], [10.0, 10.0], [2.4, 1.0], [[-0.8, 0.2]]),
    # (log 4 − log 1)², slope 2·log 4/4.
    (L.SquaredLogError(), "batch", [[3.0]], [0.0], [log(4) ** 2], [[log(2)]]),
    # 2 of 10 are 20 %; one more unit is 10 % less. Of −10 to 5: 15 of 10, rising with o.
    (L.AbsolutePercentageError(), "batch", [[8.0, 5.0]], [10.0, -10.0], [20.0, 150.0], [[-10, 10]]),
    (L.AbsolutePercentageError(percent=False), "batch", [[8.0]], [10.0], [0.2], [[-0.1]]),
    # Rate 3, count 2: 3 − 2·log 3, slope 3 − 2; 2! = 2 completes it.
    (L.PoissonNLL(), "batch", [[log(3)]], [2.0], [3 - 2 * log(3)], [[1.0]]),
    (L.PoissonNLL(full=True), "batch", [[log(3)]], [2.0], [3 - 2 * log(3) + log(2)], [[1.0]]),
    # d/dr (r − y·log r) = 1 − 2/3.
    (L.PoissonNLL(log_input=False), "batch", [[3.0]], [2.0], [3 - 2 * log(3)], [[1 / 3]]),
    # e = 1 − 4 = −3, σ = 2, r² = 9/4: ½·log 4 + 9/8. Slopes −3/4 and (1 − 9/4)/8.
    (L.GaussianNLL(), "batch", [[1.0], [4.0]], [4.0], [log(2) + 1.125], [[-0.75], [-0.15625]]),
    # The same by σ: (1 − 9/4)/2; by log σ²: ½·(1 − 9/4).
    (L.GaussianNLL("deviation"), "batch", [[1.0], [2.0]], [4.0], [log(2) + 1.125],
     [[-0.75], [-0.625]]),
    (L.GaussianNLL("log"), "batch", [[1.0], [log(4)]], [4.0], [log(2) + 1.125],
     [[-0.75], [-0.625]]),
    # At σ² = e² the spread is at rest: ½·log 9 + ½.
    (L.GaussianNLL(), "batch", [[1.0], [9.0]], [4.0], [log(3) + 0.5], [[-1 / 3], [0.0]]),
    # |e| = 3, b = 2: log 2 + 3/2; slopes −1/2 and (1 − 3/2)/2.
    (L.LaplaceNLL(), "batch", [[0.0], [2.0]], [3.0], [log(2) + 1.5], [[-0.5], [-0.25]]),
    (L.LaplaceNLL("log"), "batch", [[0.0], [log(2)]], [3.0], [log(2) + 1.5], [[-0.5], [-0.5]]),
    # μ = 1, σ = 1: ½. μ = 0, σ² = 2: ½·(2 − 1 − log 2), slope ½·(2 − 1).
    (L.GaussianKL(), "batch latent", [[[1.0, 0.0]], [[0.0, log(2)]]], None,
     [[0.5, 0.5 * (1 - log(2))]], [[[1.0, 0.0]], [[0.0, 0.5]]]),
    # Scores are the unit matrix: each row is log(e + 1) − 1.
    (L.InfoNCE(1.0), "batch feature", [np.eye(2), np.eye(2)], None, [log(1 + 1 / e)] * 2, None),
    # Scores are 2·I: p = (e², 1)/(e² + 1), and the slope is (p − I)·2·I/2 = p − I.
    (L.InfoNCE(2.0, True, False), "batch feature", [2 * np.eye(2), 2 * np.eye(2)], None,
     [log(1 + exp(-2))] * 2, [np.array([[-1, 1], [1, -1]]) / (1 + exp(2))] * 2),
    # 5 − 6 + 2 = 1; slopes ±(p̂ = (0.6, 0.8)) and ±(n̂ = (0, 1)).
    (L.TripletMargin(2.0), "batch feature", [[[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 6.0]]], None,
     [1.0], [[[-0.6, 0.2]], [[0.6, 0.8]], [[0.0, -1.0]]]),
    # ‖p − n‖ = 2 is less than ‖a − n‖ = √45: 5 − 2 + 1 = 4.
    (L.TripletMargin(1.0, swap=True), "batch feature",
     [[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 6.0]]], None, [4.0],
     [[[-0.6, -0.8]], [[0.6, 1.8]], [[0.0, -1.0]]]),
    # a − b = log 3: log(1 + 1/3); σ(−log 3) = 1/4.
    (L.PairwiseLogistic(), "batch", [[log(3)], [0.0]], None, [log(4 / 3)], [[-0.25], [0.25]]),
    # cos = 24/25; (u_b − cos·u_a)/5 = ((0.8, 0.6) − 0.96·(0.6, 0.8))/5 = (0.0448, −0.0336).
    (L.CosineEmbedding(0.5), "batch feature", [[[3.0, 4.0]] * 2, [[4.0, 3.0]] * 2], [1.0, -1.0],
     [0.04, 0.46],
     [[[-0.0448, 0.0336], [0.0448, -0.0336]], [[0.0336, -0.0448], [-0.0336, 0.0448]]]),
]  # fmt: skip


def numbered(rows: list[Any]) -> list[str]:
    """Return an id for each row: its place and its loss."""
    return [f"{i}-{type(row[0]).__name__}" for i, row in enumerate(rows)]


def named(outputs: Any) -> dict[str, Any]:
    """Return outputs by name."""
    return {f"y{i}": np.asarray(o, float) for i, o in enumerate(outputs)}


def term_of(loss: Any, axes: str = "batch", **settings: Any) -> ll.Term:
    """Return a term that sums the loss."""
    names = tuple(f"y{i}" for i in range(loss.facts().reads))
    settings = {"target": "t", "name": "case", "reduction": "sum"} | settings
    return ll.Term(names if len(names) > 1 else "y0", loss, axes, **settings)


@pytest.mark.parametrize("row", KNOWN, ids=numbered(KNOWN))
def test_known_numbers(row: Any) -> None:
    """Values and gradients equal the numbers that the comments derive."""
    loss, axes, outputs, targets, values, slopes = row
    objective = ll.Objective(term_of(loss, axes))
    given = named(outputs)
    goal = None if targets is None else np.asarray(targets)
    close(objective.values(given, goal)["case"], values, 1e-14, "values")
    total, ledger, found = objective.value_and_grad(given, goal)
    close(total, np.sum(values), 1e-14, "total")
    close(sum(r.contribution for r in ledger.rows), total, 1e-14, "rows")
    if slopes is not None:
        for name, slope in zip(given, slopes, strict=True):
            close(found[name], slope, 1e-13, f"gradient of {name}")


def test_quantile_is_least_at_the_quantile() -> None:
    """The mean pinball loss of a constant is least at the τ-quantile of the targets."""
    targets = np.arange(1.0, 11.0)
    objective = ll.Objective(term_of(L.Quantile(0.75), reduction="mean"))
    tried = np.linspace(0.5, 10.5, 101)
    totals = [float(objective.loss(np.full(10, x), targets)) for x in tried]
    assert tried[int(np.argmin(totals))] == pytest.approx(8.0)


# --------------------------------------------------------------------------------- domains

ONE = np.array([1.0, 2.0, 3.0])
OUTSIDE = [
    (L.AbsolutePercentageError(), (ONE,), np.array([1.0, 0.0, 2.0]), "other than 0"),
    (L.SquaredLogError(), (ONE,), np.array([1.0, -1.0, 2.0]), "above −1"),
    (L.SquaredLogError(), (np.array([1.0, -1.0, 2.0]),), ONE, "above −1"),
    (L.PoissonNLL(), (ONE,), np.array([1.0, -1.0, 2.0]), "at least 0"),
    (L.PoissonNLL(log_input=False), (np.array([1.0, 0.0, 2.0]),), ONE, "above 0"),
    (L.PoissonNLL(log_input=False, epsilon=1e-8), (np.array([1.0, -1, 2.0]),), ONE, "at least 0"),
    (L.GaussianNLL(), (ONE, np.array([1.0, 0.0, 2.0])), ONE, "`y1` .* above 0"),
    (L.GaussianNLL("deviation"), (ONE, np.array([1.0, -1.0, 2.0])), ONE, "`y1` .* above 0"),
    (L.LaplaceNLL(), (ONE, np.array([1.0, 0.0, 2.0])), ONE, "`y1` .* above 0"),
    (L.SquaredError(), (ONE,), np.array([1.0, np.nan, 2.0]), "finite"),
]


@pytest.mark.parametrize(("loss", "outputs", "targets", "match"), OUTSIDE, ids=numbered(OUTSIDE))
def test_outside_the_domain(loss: Any, outputs: Any, targets: Any, match: str) -> None:
    """What lies outside the domain is an error that says what is asked for, never clipped."""
    with pytest.raises(ll.DomainError, match=match):
        ll.Objective(term_of(loss)).loss(named(outputs), targets)


@pytest.mark.parametrize("row", OUTSIDE, ids=numbered(OUTSIDE))
def test_outside_the_domain_without_weight(row: Any) -> None:
    """Where the mask is 0 it may stand: total and gradient are those of the rest."""
    loss, outputs, targets, _ = row
    objective = ll.Objective(term_of(loss))
    mask = np.array([True, False, True])
    total, _, slopes = objective.value_and_grad(named(outputs), targets, mask=mask)
    fewer = named(tuple(o[mask] for o in outputs))
    expected, _, fewer_slopes = objective.value_and_grad(fewer, targets[mask])
    close(total, expected, what="total")
    for name, slope in slopes.items():
        assert slope[1] == 0
        close(slope[mask], fewer_slopes[name], what=name)


@pytest.mark.parametrize("row", OUTSIDE, ids=numbered(OUTSIDE))
def test_outside_the_domain_under_a_trace(row: Any) -> None:
    """Under jit the total is NaN, and the ledger says why when it is read."""
    loss, outputs, targets, _ = row
    total, ledger = jax.jit(ll.Objective(term_of(loss)))(named(outputs), targets)
    assert np.isnan(total)
    with pytest.raises(ll.DomainError, match="compiled or accelerated"):
        print(ledger.rows)


def test_bool_targets_are_no_signs() -> None:
    """True and False would be read as 1 and 0: −1 and 1 are asked for."""
    term = term_of(L.CosineEmbedding(), "batch feature")
    vectors = np.ones((2, 3))
    with pytest.raises(ll.DomainError, match="−1 and 1"):
        ll.Objective(term).loss((vectors, vectors), np.array([True, False]))
    integers = ll.Objective(term).loss((vectors, vectors), np.array([1, -1]))
    assert integers == 1.0


WRONG: list[tuple[Any, dict[str, Any]]] = [
    (L.SmoothL1, {"beta": 0.0}),
    (L.Charbonnier, {"epsilon": 0.0}),
    (L.Quantile, {"tau": 1.5}),
    (L.Quantile, {"tau": [0.5, -0.1]}),
    (L.PoissonNLL, {"epsilon": -1.0}),
    (L.PoissonNLL, {"full": "exact"}),
    (L.GaussianNLL, {"variance": "std"}),
    (L.LaplaceNLL, {"scale": "b"}),
    (L.InfoNCE, {"temperature": 0.0}),
    (L.TripletMargin, {"margin": 0.0}),
    (L.TripletMargin, {"p": 0.5}),
    (L.CosineEmbedding, {"margin": 2.0}),
]


@pytest.mark.parametrize(("loss", "setting"), WRONG, ids=range(len(WRONG)))
def test_settings_are_checked(loss: Any, setting: dict[str, Any]) -> None:
    """A setting outside its range is an error when the loss is made."""
    with pytest.raises(ll.DomainError, match=f"`{next(iter(setting))}`"):
        loss(**setting)


# ---------------------------------------------------------------------------- axes, weights

rng = np.random.default_rng(11)
PAIR = {"y0": rng.normal(size=(4, 3, 5)), "y1": rng.normal(size=(4, 3, 5))}
SIGNS = np.where(rng.random((4, 3)) < 0.5, -1.0, 1.0)
PER_TOKEN = ll.Objective(term_of(L.CosineEmbedding(), "batch time feature", reduction="mean"))


@pytest.mark.parametrize("kind", ["mask", "sample_weight", "element_weight"])
@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_weights_of_rows(kind: str, shape: tuple[int, ...]) -> None:
    """Where values lose `feature`, weights have the axes of the values, or batch alone."""
    weight = rng.random(shape) < 0.6 if kind == "mask" else rng.random(shape)
    values = PER_TOKEN.values(PAIR, SIGNS)["case"]
    full = np.broadcast_to(weight.reshape(shape + (1,) * (2 - len(shape))), (4, 3))
    found = PER_TOKEN.loss(PAIR, SIGNS, **{kind: weight})
    close(found, np.sum(values * full) / np.sum(full), what="weighted mean")
    axes = ("batch", "time")[: len(shape)]
    by_axes = PER_TOKEN.loss(PAIR, SIGNS, **{kind: ll.NamedArray(weight, axes)})
    assert by_axes == found


def test_weights_with_the_lost_axis_are_refused() -> None:
    """A weight that varies along `feature` has no value to weigh."""
    with pytest.raises(ll.ShapeError, match="no reading that fits"):
        PER_TOKEN.loss(PAIR, SIGNS, mask=np.ones((4, 3, 5)))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 1), (4, 3, 5), (3, 4)])
def test_targets_of_rows_are_not_broadcast(shape: tuple[int, ...]) -> None:
    """Targets for rows have exactly the axes of the values."""
    with pytest.raises(ll.ShapeError, match=r"must have the axes \(batch 4, time 3\)"):
        PER_TOKEN.loss(PAIR, np.ones(shape))


def test_quantiles_weigh_by_any_axis() -> None:
    """Masks have the targets' axes; by name they may vary along `quantile` too."""
    objective = ll.Objective(term_of(L.Quantile([0.1, 0.9]), "batch quantile", reduction="mean"))
    outputs, targets = rng.normal(size=(3, 2)), np.array([0.5, np.nan, -0.5])
    mask = np.array([True, False, True])
    values = objective.values(outputs[mask], targets[mask])["case"]
    close(objective.loss(outputs, targets, mask=mask), values.mean(), what="mask of targets")
    both = ll.NamedArray(np.array([[1, 1], [0, 0], [1, 0]]), ("batch", "quantile"))
    close(objective.loss(outputs, targets, mask=both), values[[0, 0, 1], [0, 1, 0]].mean())
    with pytest.raises(ll.ShapeError, match="one place for each level"):
        objective.loss(rng.normal(size=(3, 4)), np.zeros(3))
    with pytest.raises(ll.MatchError, match="needs the axis quantile"):
        ll.Objective(term_of(L.Quantile([0.1, 0.9]), "batch level")).loss(outputs, targets)


def test_vectors_need_their_axis() -> None:
    """Losses of vectors name the axis they consume; InfoNCE takes a batch of vectors alone."""
    with pytest.raises(ll.MatchError, match="needs the axis feature"):
        ll.Objective(term_of(L.TripletMargin(), "batch channel")).loss([np.ones((2, 3))] * 3)
    with pytest.raises(ll.MatchError, match="axes='batch feature'"):
        ll.Objective(term_of(L.InfoNCE(), "batch time feature")).loss(PAIR)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kind", ["mask", "sample_weight"])
@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e300])
def test_candidates_without_weight(symmetric: bool, kind: str, fill: float) -> None:
    """A sample of weight 0 is no negative either: the loss is that of the others alone."""
    objective = ll.Objective(term_of(L.InfoNCE(0.3, symmetric), "batch feature"))
    queries, keys = rng.normal(size=(2, 6, 4))
    left = np.array([True, True, False, True, False, True])
    expected, _, slopes = objective.value_and_grad((queries[left], keys[left]))
    queries[~left], keys[~left] = fill, fill
    total, _, found = objective.value_and_grad((queries, keys), **{kind: left.astype(float)})
    close(total, expected, what="total")
    for mine, theirs in zip(found, slopes, strict=True):
        close(mine[left], theirs, what="gradient")
        assert not mine[~left].any()
    nothing, _, none = objective.value_and_grad((queries, keys), **{kind: np.zeros(6)})
    assert nothing == 0
    assert not any(n.any() for n in none)
