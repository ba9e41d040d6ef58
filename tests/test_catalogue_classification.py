# SPDX-License-Identifier: Apache-2.0
"""Classification losses: other libraries, numbers by hand, extremes, kinks, ignored rows."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

import lossledger as ll
from cases import LOSSES, Case
from lossledger.losses import distribution, focal, margin
from properties import close

losses = ll.losses
MODULES = {m.__name__ for m in (distribution, focal, margin)}
OURS = [c for c in LOSSES if type(c.loss).__module__ in MODULES]
# Sums of up to 5 terms of size 1 in float64; elsewhere the relative deviation alone counts.
ROUNDING = 4e-15

LOG_2, LOG_3 = np.log(2), np.log(3)
ZS = (-1e4, -120.0, -20.0, 0.0, 20.0, 120.0, 1e4)
COUNTS = (100.0, 16.0, 1.0)

ELEMENTS = {
    "focal": losses.Focal(),
    "focal-half": losses.Focal(0.5, 0.25),
    "focal-zero": losses.Focal(0.0),
    "quality": losses.QualityFocal(),
    "quality-linear": losses.QualityFocal(1.0),
    "quality-near-linear": losses.QualityFocal(1.1),
    "asymmetric": losses.Asymmetric(),
    "asymmetric-half": losses.Asymmetric(0.5, 0.5, 0.2),
    "asymmetric-linear": losses.Asymmetric(0.0, 1.0, 0.05),
    "asymmetric-plain": losses.Asymmetric(0.0, 0.0, 0.05),
    "asymmetric-no-margin": losses.Asymmetric(0.5, 0.5, 0.0),
    "asymmetric-tiny-margin": losses.Asymmetric(0.5, 0.5, 1e-12),
    "poly1": losses.Poly1(2.0, "sigmoid"),
    "hinge": losses.Hinge(),
    "squared-hinge": losses.SquaredHinge(),
}
ROWS = {
    "focal": losses.Focal(kind="softmax"),
    "focal-half": losses.Focal(0.5, COUNTS, "softmax"),
    "focal-smooth": losses.Focal(0.5, None, "softmax", 0.1),
    "poly1": losses.Poly1(2.0),
    "poly1-smooth": losses.Poly1(-1.0, label_smoothing=0.1),
    "multiclass-hinge": losses.MulticlassHinge(),
    "logit-adjusted": losses.LogitAdjusted(COUNTS),
    "ldam": losses.LDAM(COUNTS),
    "gce": losses.GeneralizedCrossEntropy(),
    "gce-linear": losses.GeneralizedCrossEntropy(1.0),
    "brier": losses.Brier(),
}
DIVERGENCES = {
    "kl": losses.KLDivergence(),
    "kl-cold": losses.KLDivergence(0.5),
    "kl-logits": losses.KLDivergence(2.0, "logits"),
    "reverse-kl-logits": losses.ReverseKL(2.0, "logits"),
    "jensen-shannon": losses.JensenShannon(2.0),
    "jensen-shannon-logits": losses.JensenShannon(1.0, "logits"),
    "entropy": losses.Entropy(),
}
ROW_Z = np.array(list(itertools.product(ZS, repeat=3)))
EXTREMES = (
    [(f"{n}-elements", loss, "elements") for n, loss in ELEMENTS.items()]
    + [(f"{n}-index", loss, "index") for n, loss in ROWS.items()]
    + [(f"{n}-one-hot", loss, "one-hot") for n, loss in ROWS.items()]
    + [(n, loss, "one-hot") for n, loss in DIVERGENCES.items() if "-logits" not in n]
    + [(n, loss, "logits") for n, loss in DIVERGENCES.items() if "-logits" in n]
)


def extreme(kind: str) -> tuple[Any, Any]:
    """Return every combination of extreme logits and hard labels."""
    if kind == "elements":
        return np.repeat(ZS, 2), np.tile([0.0, 1.0], len(ZS))
    z, label = np.repeat(ROW_Z, 3, axis=0), np.tile(np.arange(3), len(ROW_Z))
    if kind == "logits":
        return z, np.roll(z, 500, axis=0)
    return z, label if kind == "index" else np.eye(3)[label]


def objective_of(loss: Any, z: Any, **settings: Any) -> ll.Objective:
    """Return the sum of a loss over a batch, so that each coefficient is 1."""
    axes = " ".join(("batch", "class")[: z.ndim])
    return ll.Objective(ll.Term("y", loss, axes=axes, reduction="sum", name="case", **settings))


def values(loss: Any, z: Any, targets: Any) -> Any:
    """Return the unreduced values."""
    z = np.asarray(z, float)
    targets = None if isinstance(loss, losses.Entropy) else np.asarray(targets)
    return objective_of(loss, z).values(z, targets)["case"]


def closed(loss: Any, z: Any, targets: Any) -> Any:
    """Return the gradient in closed form."""
    z = np.asarray(z, float)
    targets = None if isinstance(loss, losses.Entropy) else np.asarray(targets)
    return objective_of(loss, z).value_and_grad(z, targets)[2]


def slopes(loss: Any, z: Any, targets: Any) -> dict[str, Any]:
    """Return the gradient in closed form, by torch and by JAX."""
    import jax
    import torch

    z = np.asarray(z, float)
    targets = None if isinstance(loss, losses.Entropy) else np.asarray(targets)
    objective = objective_of(loss, z)
    leaf = torch.tensor(z, requires_grad=True)
    objective.loss(leaf, None if targets is None else torch.tensor(targets)).backward()
    with jax.enable_x64(True):
        goal = None if targets is None else jax.numpy.asarray(targets)
        traced = jax.jit(jax.grad(lambda x: objective.loss(x, goal)))(jax.numpy.asarray(z))
    return {
        "closed": closed(loss, z, targets),
        "torch": leaf.grad.numpy(),
        "jax": np.asarray(traced),
    }


@pytest.mark.parametrize("case", OURS, ids=lambda c: c.id)
def test_oracle(case: Case) -> None:
    """Values equal those of another library, or of the formula in probabilities."""
    assert case.oracle is not None
    outputs, targets = case.sample()
    found = ll.Objective(case.term()).values(
        outputs[0], None if targets is None else {"t": targets}
    )
    close(found["case"], case.oracle(outputs, targets), 1e-10, case.id)


def test_every_loss_has_a_case() -> None:
    """No loss of these modules is missing from the table, and all name their source."""
    classes = {c for c in vars(losses).values() if getattr(c, "__module__", "") in MODULES}
    assert len(classes) == 15
    assert {type(c.loss) for c in OURS} == classes
    assert all(c.loss.facts().source for c in OURS)


@pytest.mark.parametrize(("name", "loss", "kind"), EXTREMES, ids=[e[0] for e in EXTREMES])
def test_extremes(name: str, loss: Any, kind: str) -> None:
    """From −1e4 to 1e4: values are finite, and three routes give one gradient.

    Sigmoid losses and those by log-odds agree to 1e-12 relative however small a slope is: no
    cancellation. (Below 1e-300 floats lose digits themselves, and JAX flushes them to 0.)
    """
    z, targets = extreme(kind)
    assert np.all(np.isfinite(values(loss, z, targets)))
    found = slopes(loss, z, targets)
    size = np.abs(found["closed"])
    assert np.all(np.isfinite(size))
    by_odds = name.startswith(("focal", "ldam", "multiclass"))
    allowed = 1e-9 * size + ROUNDING * max(1.0, float(size.max()))
    if kind == "elements" or by_odds:
        allowed = 1e-12 * size + 1e-300
    for route in ("torch", "jax"):
        error = np.abs(found[route] - found["closed"])
        assert np.all(error <= allowed), f"{route}: {error.max():.3g}"


def test_focal_tail() -> None:
    """At z = 20 the focal loss is right to 1e-14, though 1 − p has lost half its digits.

    With ε = e^−20: 1 − p = ε/(1 + ε), −log p = log(1 + ε), and the slope of
    (1 − p)^γ·(−log p) is −(1 − p)^γ·(γ·p·(−log p) + (1 − p)). For a softmax row
    (20, 0, 0), ε = 2·e^−20, and each other logit takes half of the slope.
    """
    for gamma in (0.5, 2.0):
        for loss, z, y, others in (
            (losses.Focal(gamma), [20.0], [1.0], 1),
            (losses.Focal(gamma), [-20.0], [0.0], 1),
            (losses.Focal(gamma, kind="softmax"), [[20.0, 0.0, 0.0]], [0], 2),
            (losses.Focal(gamma, kind="softmax"), [[20.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], 2),
        ):
            e = others * np.exp(-20.0)
            rest, log = e / (1 + e), np.log1p(e)
            close(values(loss, z, y), [rest**gamma * log], 1e-14, "value")
            slope = -(rest**gamma) * (gamma * (1 - rest) * log + rest)
            found = slopes(loss, z, y)
            row = slope * np.sign(z) if others == 1 else [[slope, -slope / 2, -slope / 2]]
            for name, each in found.items():
                close(each, row, 1e-14, name)


# p = 3/4 at z = log 3, and p = (1/2, 1/4, 1/4) at z = (log 2, 0, 0).
P34, P244 = [LOG_3], [[LOG_2, 0.0, 0.0]]
BY_HAND: dict[str, tuple[Any, Any, Any, float]] = {
    # y = 1: α·(1 − 3/4)²·log(4/3) = log(4/3)/64;  y = 0: (1 − α)·(3/4)²·log 4.
    "focal-1": (losses.Focal(2.0, 0.25), P34, [1.0], np.log(4 / 3) / 64),
    "focal-0": (losses.Focal(2.0, 0.25), P34, [0.0], 0.75 * 9 / 16 * np.log(4)),
    # Label 1 has p = 1/4: (3/4)²·log 4; α = (1, 2, 3) doubles it.
    "focal-row": (losses.Focal(2.0, None, "softmax"), P244, [1], 9 / 16 * np.log(4)),
    "focal-row-alpha": (losses.Focal(2.0, (1, 2, 3), "softmax"), P244, [1], 9 / 8 * np.log(4)),
    # |1/2 − 3/4|² = 1/16, times the mean of log(4/3) and log 4.
    "quality": (losses.QualityFocal(), P34, [0.5], (np.log(4 / 3) + np.log(4)) / 32),
    # y = 0: r = 3/4 − 1/4 = 1/2, (1/2)²·log 2;  y = 1: (1 − 3/4)¹·log(4/3).
    "asymmetric-0": (losses.Asymmetric(1.0, 2.0, 0.25), P34, [0.0], LOG_2 / 4),
    "asymmetric-1": (losses.Asymmetric(1.0, 2.0, 0.25), P34, [1.0], np.log(4 / 3) / 4),
    # −log(1/2) + 2·(1 − 1/2);  y = 0: q = 1/4, log 4 + 2·3/4.
    "poly1": (losses.Poly1(2.0), P244, [0], LOG_2 + 1),
    "poly1-sigmoid": (losses.Poly1(2.0, "sigmoid"), P34, [0.0], np.log(4) + 1.5),
    # max(0, 1 − 0.5) and, for the other label, 1 + 0.5; then their squares.
    "hinge-1": (losses.Hinge(), [0.5], [1.0], 0.5),
    "hinge-0": (losses.Hinge(), [0.5], [0.0], 1.5),
    "squared-hinge": (losses.SquaredHinge(), [0.5], [0.0], 2.25),
    # 1 + 3 − 1 against the score 3;  1 + 2.5 − 3 for the leader.
    "multiclass-hinge": (losses.MulticlassHinge(), [[1.0, 3.0, 2.5]], [0], 3.0),
    "multiclass-hinge-led": (losses.MulticlassHinge(), [[1.0, 3.0, 2.5]], [1], 0.5),
    # Equal logits and a prior 2 : 1 : 1 give p = (1/2, 1/4, 1/4): −log(1/4).
    "logit-adjusted": (losses.LogitAdjusted((2, 1, 1)), [[0.0, 0.0, 0.0]], [1], np.log(4)),
    # Δ_0 = (1/16)^(1/4)/2 = 1/4: logits 2·(−1/4) and 0, log(1 + e^(1/2)).
    "ldam": (losses.LDAM((16, 1), 0.5, 2.0), [[0.0, 0.0]], [0], np.log1p(np.exp(0.5))),
    # t = (1/4, 1/2, 1/4): 1/4·log(1/2) + 1/2·log 2. T = 2 halves 2·z, and 2² = 4.
    "kl": (losses.KLDivergence(), P244, [[0.25, 0.5, 0.25]], LOG_2 / 4),
    "kl-warm": (losses.KLDivergence(2.0), [[2 * LOG_2, 0, 0]], [[0.25, 0.5, 0.25]], LOG_2),
    # 1/2·log 2 + 1/4·log(1/2): p and t hold the same numbers in another order.
    "reverse-kl": (losses.ReverseKL(), P244, [[0.25, 0.5, 0.25]], LOG_2 / 4),
    # p = (1/2, 1/2), t = (1, 0), m = (3/4, 1/4): KL(p‖m) = 1/2·log(2/3) + 1/2·log 2
    # = 1/2·log(4/3), KL(t‖m) = log(4/3); half their sum.
    "js": (losses.JensenShannon(), [[0.0, 0.0]], [[1.0, 0.0]], 0.75 * np.log(4 / 3)),
    # (1 − (1/4)^(1/2))/(1/2) = 1.
    "gce": (losses.GeneralizedCrossEntropy(0.5), P244, [1], 1.0),
    # (1/2 − 1)² + (1/4)² + (1/4)².
    "brier": (losses.Brier(), P244, [0], 0.375),
    # 1/2·log 2 + 2·(1/4·log 4).
    "entropy": (losses.Entropy(), P244, None, 1.5 * LOG_2),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    """One number of each loss, derived beside it."""
    loss, z, targets, expected = BY_HAND[name]
    close(values(loss, z, targets), [expected], 1e-14, name)


# At z = 0, p = 1/2; rows have K = 3, p = 1/3 and label 0: the slope there; the others take half.
AT_ZERO: dict[str, tuple[Any, float | None, float]] = {
    "focal": (losses.Focal(), 1.0, -(LOG_2 + 0.5) / 4),
    "quality": (losses.QualityFocal(), 1.0, -1 / 8 - LOG_2 / 4),
    "asymmetric-1": (losses.Asymmetric(), 1.0, -(LOG_2 + 1) / 4),
    # r = 1/2 − 0.05.
    "asymmetric-0": (
        losses.Asymmetric(), 0.0, (0.45**4 / 0.55 - 4 * 0.45**3 * np.log(0.55)) / 4
    ),
    "poly1-sigmoid": (losses.Poly1(2.0, "sigmoid"), 1.0, -1.0),
    "hinge": (losses.Hinge(), 0.0, 1.0),
    "squared-hinge": (losses.SquaredHinge(), 1.0, -2.0),
    "focal-row": (losses.Focal(kind="softmax"), None, -4 / 9 * (2 / 3 * LOG_3 + 2 / 3)),
    "poly1": (losses.Poly1(2.0), None, -5 / 3 * 2 / 3),
    "multiclass-hinge": (losses.MulticlassHinge(), None, -1.0),
    "logit-adjusted": (losses.LogitAdjusted((5, 5, 5)), None, -2 / 3),
    # Logits 3·(−1/2), 0, 0.
    "ldam": (losses.LDAM((7, 7, 7), 0.5, 3.0), None, 3 / (1 + 2 * np.exp(1.5)) - 3),
    "gce": (losses.GeneralizedCrossEntropy(0.5), None, -(3**-0.5) * 2 / 3),
    "brier": (losses.Brier(), None, -4 / 9),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_ZERO)
def test_slope_at_zero(name: str) -> None:
    """The gradient at the first step of training, by hand, from all three routes."""
    loss, label, expected = AT_ZERO[name]
    if label is not None:
        z, targets, row = [0.0], [label], [expected]
    else:
        z, targets, row = [[0.0] * 3], [0], [[expected, -expected / 2, -expected / 2]]
    for route, found in slopes(loss, z, targets).items():
        close(found, row, 1e-14, route)


def test_slope_of_divergences_at_zero() -> None:
    """With equal logits: KL gives p − t, and Jensen–Shannon (−2, 1, 1)·log(2)/9.

    d = ½·log(p/m) is −½·log 2 at the label (m = 2/3) and ½·log 2 elsewhere (m = 1/6), so
    Σ p·d = log(2)/6, and p·(d − Σ p·d) = ⅓·(−½ − ⅙)·log 2 at the label. The entropy is largest
    there, and a student equal to its teacher is done: both have slope 0.
    """
    z, hot = np.zeros((1, 3)), [[1.0, 0.0, 0.0]]
    expected = (
        (losses.KLDivergence(), hot, np.array([[-2, 1, 1]]) / 3),
        (losses.JensenShannon(), hot, np.array([[-2, 1, 1]]) * LOG_2 / 9),
        (losses.Entropy(), None, z),
        (losses.KLDivergence(2.0, "logits"), z + 5, z),
        (losses.ReverseKL(2.0, "logits"), z + 5, z),
        (losses.JensenShannon(2.0, "logits"), z + 5, z),
    )
    for loss, targets, row in expected:
        for route, found in slopes(loss, z, targets).items():
            assert np.allclose(found, row, rtol=1e-14, atol=1e-16), f"{loss}, {route}"


KINKS: dict[str, tuple[Any, Any, Any, Any]] = {
    # s·z = 1: the slope is 0.
    "hinge": (losses.Hinge(), [1.0, -1.0], [1.0, 0.0], [0.0, 0.0]),
    "squared-hinge": (losses.SquaredHinge(), [1.0, -1.0], [1.0, 0.0], [0.0, 0.0]),
    # Just at the label 1/2, where the weight is 0.
    "quality-linear": (losses.QualityFocal(1.0), [0.0], [0.5], [0.0]),
    # Just at the margin of 1/2.
    "asymmetric": (losses.Asymmetric(0.0, 0.0, 0.5), [0.0], [0.0], [0.0]),
    # The value is just 0; then two rivals that tie; then a label among them; soft rows alike.
    "lead-of-one": (losses.MulticlassHinge(), [[1.0, 0.0]], [0], [[0.0, 0.0]]),
    "two-rivals": (losses.MulticlassHinge(), [[0.0, 2.0, 2.0]], [0], [[-1.0, 0.5, 0.5]]),
    "label-ties": (losses.MulticlassHinge(), [[2.0, 2.0, 0.0]], [0], [[-1.0, 1.0, 0.0]]),
    # Classes 0 and 1 push themselves by −t and each other class by t/2: −1/2 + 1/4, 1/4 + 1/4.
    "all-tie": (losses.MulticlassHinge(), [[0.0] * 3], [[0.5, 0.5, 0.0]], [[-0.25, -0.25, 0.5]]),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks(name: str) -> None:
    """At a kink every library gives the documented slope."""
    loss, z, targets, expected = KINKS[name]
    for route, found in slopes(loss, z, targets).items():
        assert np.array_equal(found, np.asarray(expected)), f"{route}: {found}"


IGNORING = [
    (n, loss, kind)
    for kind, group in (("elements", ELEMENTS), ("rows", ROWS))
    for n, loss in group.items()
]


@pytest.mark.parametrize(
    ("loss", "kind"), [e[1:] for e in IGNORING], ids=["-".join(e[::2]) for e in IGNORING]
)
def test_ignored_rows_with_nan(loss: Any, kind: str) -> None:
    """What is ignored adds exactly 0 to value and gradient, whatever it holds."""
    loss = dataclasses.replace(loss, ignore_index=-100)
    rng = np.random.default_rng(3)
    shape, label = ((5,), float) if kind == "elements" else ((5, 3), int)
    z, targets = rng.normal(size=shape), rng.integers(0, 2, 5).astype(label)
    kept = np.array([True, False, True, False, True])
    targets[~kept], z[1], z[3] = -100, np.nan, np.inf
    clean = closed(loss, z[kept], targets[kept])
    for route, found in slopes(loss, z, targets).items():
        assert np.all(found[~kept] == 0), route
        close(found[kept], clean, 1e-12, route)
    total = objective_of(loss, z).loss(z, targets)
    close(total, np.sum(values(loss, z[kept], targets[kept])), 1e-12, "value")


@pytest.mark.parametrize("name", ROWS)
def test_class_weights_of_index_and_one_hot(name: str) -> None:
    """An index and its one-hot row have one weighted mean and one gradient."""
    rng = np.random.default_rng(4)
    z, label = rng.normal(size=(6, 3)), np.array([0, 1, 2, 2, 1, 0])
    term = ll.Term("y", ROWS[name], axes="batch class", class_weight=[1.0, 5.0, 0.5])
    objective = ll.Objective(term)
    total, _, slope = objective.value_and_grad(z, label)
    hot_total, _, hot_slope = objective.value_and_grad(z, np.eye(3)[label])
    close(hot_total, total, 1e-12, "value")
    close(hot_slope, slope, 1e-12, "gradient")


@pytest.mark.parametrize("form", ["index", "one-hot"])
@pytest.mark.parametrize("name", [n for n in ROWS if "smooth" not in n and n != "logit-adjusted"])
def test_class_at_minus_infinity(name: str, form: str) -> None:
    """A class whose logit is −∞ might as well not be there, in values and all gradients."""
    rng = np.random.default_rng(5)
    z, label = rng.normal(size=(4, 3)), np.array([0, 1, 2, 1])
    full = np.concatenate([z, np.full((4, 1), -np.inf)], axis=1)
    loss = few = ROWS[name]
    if name == "focal-half":
        loss = dataclasses.replace(few, alpha=(*COUNTS, 1.0))
    if name == "ldam":
        loss = dataclasses.replace(few, counts=(*COUNTS, 1.0))
    targets = (label, label) if form == "index" else (np.eye(4)[label], np.eye(3)[label])
    close(values(loss, full, targets[0]), values(few, z, targets[1]), 1e-13, "value")
    expected = closed(few, z, targets[1])
    for route, found in slopes(loss, full, targets[0]).items():
        assert np.all(found[:, 3] == 0), route
        close(found[:, :3], expected, 1e-12, route)


@pytest.mark.parametrize("name", ROWS)
def test_one_class(name: str) -> None:
    """A row of one class is certain: no slope, from any route."""
    short = {"alpha": (2.0,), "prior": (2.0,), "counts": (2.0,)}
    loss = ROWS[name]
    fields = {f.name for f in dataclasses.fields(loss)}
    change = {k: v for k, v in short.items() if k in fields and getattr(loss, k) is not None}
    loss = dataclasses.replace(loss, **change)
    for route, found in slopes(loss, [[0.3], [-7.0]], [0, 0]).items():
        assert np.allclose(found, 0, atol=1e-15), route
    assert np.allclose(values(loss, [[0.3], [-7.0]], [0, 0]), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("loss", "kind"), [e[1:] for e in EXTREMES], ids=[e[0] for e in EXTREMES])
def test_low_precision(loss: Any, kind: str, dtype: str) -> None:
    """In 32 and 16 bits extremes are finite, and slopes right to the dtype's digits."""
    import torch

    z, targets = extreme(kind)
    exact = np.abs(z) != 1e4  # 1e4 is no bfloat16 number; its neighbours tie differently
    leaf = torch.tensor(z, dtype=getattr(torch, dtype), requires_grad=True)
    goal = None if isinstance(loss, losses.Entropy) else torch.tensor(targets)
    objective_of(loss, z).loss(leaf, goal).backward()
    found = leaf.grad.double().numpy()
    assert np.all(np.isfinite(found))
    rows = exact if kind == "elements" else exact.all(1)
    if dtype == "float32" and not isinstance(loss, losses.LogitAdjusted):
        rows = rows | True  # log π is added to logits, and 1e4 has no digits left for it
    expected = closed(loss, z, targets)[rows]
    scale = max(1.0, float(np.abs(expected).max()))
    tolerance = {"float32": 1e-6, "bfloat16": 2**-7}[dtype] * scale
    assert np.abs(found[rows] - expected).max() <= tolerance


REFUSED = {
    "gamma": lambda: losses.Focal(-1.0),
    "alpha": lambda: losses.Focal(alpha=1.5),
    "alphas": lambda: losses.Focal(alpha=[0.5, -0.1], kind="softmax"),
    "kind": lambda: losses.Focal(kind="tanh"),  # type: ignore[arg-type]
    "quality": lambda: losses.QualityFocal(0.5),
    "margin": lambda: losses.Asymmetric(margin=1.0),
    "epsilon": lambda: losses.Poly1(float("nan")),
    "prior": lambda: losses.LogitAdjusted((0.5, 0.0)),
    "counts": lambda: losses.LDAM(()),
    "q": lambda: losses.GeneralizedCrossEntropy(0.0),
    "temperature": lambda: losses.KLDivergence(0.0),
    "targets_are": lambda: losses.ReverseKL(1.0, "log"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_outside_their_domain(name: str) -> None:
    """A setting outside its domain is refused when the loss is made."""
    with pytest.raises(ll.DomainError, match="must"):
        REFUSED[name]()


def test_targets_outside_their_domain() -> None:
    """Labels −1 and 1 are refused where 0 and 1 are meant, and a zero where it costs ∞."""
    for loss in (losses.Hinge(), losses.SquaredHinge(), losses.Focal()):
        with pytest.raises(ll.DomainError, match="domain"):
            values(loss, [0.5, 2.0], [-1.0, 1.0])
    with pytest.raises(ll.DomainError, match="above 0"):
        values(losses.ReverseKL(), [[0.5, 2.0]], [[1.0, 0.0]])


@pytest.mark.parametrize(
    "loss",
    [losses.Focal(alpha=[0.5]), losses.Focal(alpha=[1.0], kind="softmax"), losses.LDAM((1, 2)),
     losses.LogitAdjusted((1, 2)), losses.BinaryCrossEntropy(pos_weight=[2.0])],
    ids=["focal", "focal-softmax", "ldam", "logit-adjusted", "bce"],
)  # fmt: skip
def test_settings_by_class_match_the_classes(loss: Any) -> None:
    """One number a class means one for each: nothing is broadcast."""
    with pytest.raises(ll.ShapeError, match="one number for each class"):
        values(loss, np.zeros((2, 3)), np.zeros((2, 3)))
