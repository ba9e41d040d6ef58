# SPDX-License-Identifier: Apache-2.0
"""Classification losses: other libraries, extremes, ignored rows, settings out of domain."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from summed import closed, slopes, summed, values

import lossledger as ll
from cases import LOSSES, Case
from lossledger.losses import distribution, focal, margin
from properties import close

losses = ll.losses
MODULES = {m.__name__ for m in (distribution, focal, margin)}
OURS = [c for c in LOSSES if type(c.loss).__module__ in MODULES]
# Sums of up to 5 terms of size 1 in float64; elsewhere the relative deviation alone counts.
ROUNDING = 4e-15

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
    objective, batch = summed(loss, z, targets)
    close(batch.total(objective), np.sum(values(loss, z[kept], targets[kept])), 1e-12, "value")


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
    summed(loss, z, targets)[0].loss(leaf, goal).backward()
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
