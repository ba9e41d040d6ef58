# SPDX-License-Identifier: Apache-2.0
"""Losses of sums against other libraries, at extremes, in low precision, and by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from batches import Batch, draw, objective_of
from case import Case
from cases_sums import BATCH, IMAGE, SPACE
from oracles_overlap import generalized, of_monai, of_smp, ratio
from ways import assert_three_ways_agree, batch_of, one

import lossledger as ll
from cases import LOSSES
from lossledger.losses import AbstractOverlapLoss, Boundary
from properties import close

L = ll.losses
CASES = [c for c in LOSSES if isinstance(c.loss, AbstractOverlapLoss | Boundary)]
by_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
HUGE = 1e4
PIXELS = "batch height width class"


# ------------------------------------------------------------------------------- other libraries


@pytest.mark.parametrize("case", [c for c in CASES if c.oracle], ids=lambda c: c.id)
@pytest.mark.parametrize("seed", range(3))
def test_values_equal_oracle(case: Case, seed: int) -> None:
    """Cells equal those of MONAI, smp or a paper's formula, to 1e-10 of the largest."""
    batch = draw(case, seed=seed)
    values = objective_of(case).values(batch.outputs, batch.targets, **batch.options)["case"]
    expected = case.oracle(tuple(batch.outputs.values()), (batch.targets or {"t": None})["t"])
    close(values, expected, rtol=1e-10, what=case.id)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("jaccard", [False, True])
def test_equal_monai(
    kind: Any, squared: bool, whole: bool, background: bool, jaccard: bool
) -> None:
    """Dice and Jaccard are MONAI's, whatever the group, the powers and the background."""
    build = L.Jaccard if jaccard else L.Dice
    loss = build(BATCH if whole else SPACE, smooth=0.3, smooth_denominator=0.7, squared=squared,
                 kind=kind, include_background=background)  # fmt: skip
    oracle = of_monai("DiceLoss", batch=whole, kind=kind, squared_pred=squared, jaccard=jaccard,
                      smooth_nr=0.3, smooth_dr=0.7, include_background=background)  # fmt: skip
    case = Case("x", loss, *IMAGE, "index" if kind == "softmax" else "binary")
    outputs, targets = case.sample(3)
    found = one(loss, PIXELS).loss({"y": outputs[0]}, {"t": targets})
    close(found, oracle(outputs, targets).mean(), rtol=1e-10)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", ["DiceLoss", "JaccardLoss"])
def test_equal_smp(name: str, log: bool) -> None:
    """Soft labels by L1, and absent classes set to 0 and counted, are smp's."""
    jaccard = name == "JaccardLoss"
    settings: dict[str, Any] = {"smooth": 0.4, "soft_labels": True, "empty": "zero"}
    if log:
        loss: Any = L.LogDice(BATCH, "jaccard" if jaccard else "dice", **settings)
    else:
        loss = (L.Jaccard if jaccard else L.Dice)(BATCH, **settings)
    outputs, targets = Case("x", loss, *IMAGE, "unit").sample(2)
    targets[..., 1] = 0.0
    expected = of_smp(name, smooth=0.2, log_loss=log)(outputs, targets)
    assert expected[1] == 0
    values = one(loss, PIXELS).values({"y": outputs[0]}, {"t": targets})["case"]
    close(values, expected, rtol=1e-10)
    close(one(loss, PIXELS).loss({"y": outputs[0]}, {"t": targets}), expected.mean(), rtol=1e-10)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("weights", ["square", "simple", "uniform"])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_equal_monai_generalized(
    weights: Any, whole: bool, background: bool, missing: bool
) -> None:
    """Generalized Dice is MONAI's, absent classes included.

    MONAI's weights are float32; here Y is a power of 2, so they are the same in both.
    """
    loss = L.GeneralizedDice(BATCH if whole else SPACE, weights, smooth=0.01,
                             include_background=background)  # fmt: skip
    outputs = (np.random.default_rng(4).normal(size=(2, 2, 4, 3)),)
    targets = np.zeros((2, 8, 3))
    targets[:, :4, 0], targets[:, 4:5, 1], targets[:, 5:7, 2] = 1, 1, 1
    if missing:
        targets[:, :, 1] = 0
    targets = targets.reshape(2, 2, 4, 3)
    oracle = of_monai("GeneralizedDiceLoss", batch=whole, w_type=weights, smooth_nr=0.01,
                      smooth_dr=0.01, include_background=background)  # fmt: skip
    found = one(loss, PIXELS).values({"y": outputs[0]}, {"t": targets})["case"]
    close(found.reshape(-1), oracle(outputs, targets).reshape(-1), rtol=1e-10)


# --------------------------------------------------------------------------- derivatives, extremes


@by_case
def test_three_ways(case: Case) -> None:
    """Closed form, torch and JAX agree on random batches, weights included."""
    for weights in ("none", "mixed"):
        # Central differences stand for ∂value/∂sum where a user gave none.
        rough = isinstance(case.loss, L.FromSums) and case.loss.value_derivative is None
        assert_three_ways_agree(
            objective_of(case), draw(case, weights, 7), slope_rtol=1e-9 if rough else 1e-12
        )


@by_case
def test_second_derivatives(case: Case) -> None:
    """Second derivatives through torch equal differences of first ones."""
    import torch

    batch, objective = draw(case, seed=5).map(torch.as_tensor), objective_of(case)
    leaves = [o.clone().requires_grad_() for o in batch.outputs.values()]

    def total(*arrays: Any) -> Any:
        moved = Batch(dict(zip(batch.outputs, arrays, strict=True)), batch.targets, batch.options)
        return moved.call(objective)[0]

    assert torch.autograd.gradgradcheck(total, leaves, fast_mode=True)


@by_case
def test_standard_alone(case: Case) -> None:
    """array-api-strict, which has the standard and nothing else, gives NumPy's numbers."""
    import array_api_strict as strict

    batch, objective = draw(case, seed=3), objective_of(case)
    total, _, slopes = batch.slopes(objective)
    found, _, found_slopes = batch.map(strict.asarray).slopes(objective)
    close(float(found), total, what="total")
    rough = isinstance(case.loss, L.FromSums)
    for name, slope in slopes.items():
        close(np.asarray(found_slopes[name]), slope, 1e-10 if rough else 1e-12, what="gradient")


LOGIT_LOSSES = [
    L.Dice(BATCH), L.Dice(SPACE, smooth=0.0), L.Jaccard(BATCH), L.Jaccard(SPACE, smooth=0.0),
    L.Dice(BATCH, squared=True), L.Tversky(BATCH), L.Tversky(SPACE, smooth=0.0),
    L.FocalTversky(BATCH), L.FocalTversky(SPACE, gamma=2.0), L.FocalTversky(SPACE, smooth=0.0),
    L.LogDice(BATCH), L.LogDice(SPACE, "jaccard"), L.GeneralizedDice(BATCH),
    L.GeneralizedDice(SPACE, "simple"), L.Boundary(),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOGIT_LOSSES, ids=repr)
@pytest.mark.parametrize("outcome", ["right", "wrong", "half", "absent", "mixed"])
@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_huge_logits(loss: Any, outcome: str, kind: Any) -> None:
    """At ±1e4 logits values and gradients are finite and the same in three ways."""
    loss = replace(loss, kind=kind)
    rng = np.random.default_rng(0)
    y = np.eye(3)[rng.integers(0, 3, (2, 3, 4))]
    if outcome == "absent":
        y[..., 1], y[..., 2] = 0.0, 1.0 - y[..., 0]
    sign = {"right": 2 * y - 1, "wrong": 1 - 2 * y, "half": 0 * y}.get(outcome, 2 * y - 1)
    z = HUGE * sign
    if outcome == "mixed":
        z = np.where(rng.random(z.shape) < 0.4, rng.normal(size=z.shape), z)
    total, slopes = assert_three_ways_agree(one(loss, PIXELS), batch_of(z, y))
    if outcome == "right" and not isinstance(loss, L.Boundary):
        assert total == 0
        assert not slopes["y"].any()


def test_focal_tversky_at_its_kink() -> None:
    """γ < 1: the derivative at T = 1, infinite, is 0; just beside it the formula holds."""
    objective = one(L.FocalTversky("batch", gamma=0.5, from_logits=False), "batch")
    total, slopes = assert_three_ways_agree(objective, batch_of([1.0, 0.0], [1.0, 0.0]))
    assert total == 0
    assert not slopes["y"].any()
    # FP = e, P = 1 + e: 1 − T = 0.6e/(2 + 0.6e + 1), and its root has the slope √0.2/(2√e).
    e = 1e-8
    _, _, slopes = batch_of([1.0, e], [1.0, 0.0]).slopes(objective)
    close(slopes["y"][1], np.sqrt(0.2 / e) / 2, rtol=1e-7)


# ------------------------------------------------------------------------------ numbers, by hand

# p = (3/4, 1/4), y = (1, 0): I = 3/4, P = Y = 1, FP = FN = 1/4.
KNOWN = [
    (L.Dice("batch"), 1 / 6),  # 1 − (3/2 + 1)/(2 + 1)
    (L.Dice("batch", smooth=0.0), 1 / 4),  # 1 − (3/2)/2
    (L.Dice("batch", squared=True), 2 / 42),  # Σp² = 10/16: 1 − (3/2 + 1)/(26/16 + 1) = 2/42
    (L.Dice("batch", smooth=0.0, smooth_denominator=1.0), 1 / 2),  # 1 − (3/2)/3
    (L.Jaccard("batch"), 2 / 7),  # U = 5/4: 1 − (3/2 + 1)/(5/2 + 1)
    (L.Tversky("batch", 0.2, 0.6), 4 / 29),  # (0.1 + 0.3)/(3/2 + 0.4 + 1)
    (L.Tversky("batch", 0.0, 0.6, smooth=0.0), 1 / 6),  # 0.3/(3/2 + 0.3)
    (L.FocalTversky("batch", 0.2, 0.6, gamma=2.0), 16 / 841),  # (4/29)²
    (L.LogDice("batch"), np.log(1.2)),  # −log((3/2 + 1)/3)
    (L.LogDice("batch", "jaccard"), np.log(1.4)),  # −log((3/2 + 1)/(7/2))
]


@pytest.mark.parametrize(("loss", "expected"), KNOWN, ids=str)
def test_known_number(loss: Any, expected: float) -> None:
    """Each loss of one class has the number derived beside it, and its rows add up to it."""
    loss = replace(loss, from_logits=False)
    total, ledger = batch_of([0.75, 0.25], [1.0, 0.0]).call(one(loss, "batch"))
    close(total, expected)
    close(sum(row.contribution for row in ledger.rows), expected)


def test_known_generalized() -> None:
    """Class 0: I = 1/2, P + Y = 2, v = 1; class 1: I = 3/2, P + Y = 7/2, v = 1/4."""
    loss = L.GeneralizedDice("batch", from_logits=False)
    batch = batch_of([[0.5, 0.5], [0.5, 1.0]], [[1.0, 1.0], [0.0, 1.0]])
    # 1 − 2(1/2 + 3/8)/(2 + 7/8) = 1 − (14/8)/(23/8).
    close(batch.total(one(loss, "batch class")), 9 / 23)
    # 1/Y: v = 1, 1/2: 1 − 2(1/2 + 3/4)/(2 + 7/4) = 1 − (10/4)/(15/4).
    simple = L.GeneralizedDice("batch", "simple", from_logits=False)
    close(batch.total(one(simple, "batch class")), 1 / 3)


def test_known_boundary() -> None:
    """Distances −2 inside and 3 outside at p = 3/4, 1/4: (−3/2 + 3/4)/2."""
    loss = L.Boundary(from_logits=False)
    close(batch_of([0.75, 0.25], [-2.0, 3.0]).total(one(loss, "batch")), -3 / 8)


def test_known_load_balance() -> None:
    """Both tokens go to expert 0, f = (1, 0); P₀ = (0.75 + 0.6)/2: 2·1·0.675."""
    logits = np.log([[0.75, 0.25], [0.6, 0.4]])
    objective = one(L.LoadBalance("batch", "expert"), "batch expert", target=None)
    total, slopes = assert_three_ways_agree(objective, batch_of(logits))
    close(total, 1.35)
    # ∂/∂p of expert 0 is E·f/T = 1, so ∂/∂z₀ = p(1 − p): f is a constant.
    close(slopes["y"], [[0.1875, -0.1875], [0.24, -0.24]])
    even = objective.loss({"y": np.array([[5.0, 5.0], [5.0, 5.1]])})
    close(even, 1.0)


def test_losses_contain_each_other() -> None:
    """Tversky at 1/2 is Dice and at 1 Jaccard; γ = 1 and uniform weights change nothing."""
    outputs, targets = Case("x", None, *IMAGE, "binary").sample(1)
    pairs = [
        (L.Tversky(SPACE, 0.5, 0.5, smooth=0.3), L.Dice(SPACE, smooth=0.3)),
        (L.Tversky(SPACE, 1.0, 1.0, smooth=0.3), L.Jaccard(SPACE, smooth=0.3)),
        (L.FocalTversky(SPACE, 0.2, 0.9, 1.0), L.Tversky(SPACE, 0.2, 0.9)),
        (L.GeneralizedDice(SPACE, "uniform"), L.Dice(f"{SPACE} class", smooth=0.0)),
    ]
    for mine, theirs in pairs:
        found, _, slopes = batch_of(outputs[0], targets).slopes(one(mine, PIXELS))
        expected, _, expected_slopes = batch_of(outputs[0], targets).slopes(one(theirs, PIXELS))
        close(found, expected, what=repr(mine))
        close(slopes["y"], expected_slopes["y"], what=repr(mine))


# --------------------------------------------------------------------------------- low precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "loss",
    [L.Dice(BATCH), L.Jaccard(BATCH), L.Tversky(BATCH), L.FocalTversky(BATCH), L.LogDice(BATCH),
     L.GeneralizedDice(BATCH)],
    ids=repr,
)  # fmt: skip
def test_low_precision_sums(loss: Any, dtype: str) -> None:
    """360 000 ones are summed beyond float16's 65 504 and bfloat16's 8 bits."""
    import torch

    shape = (1, 600, 600, 1)
    z = torch.full(shape, 3.0, dtype=getattr(torch, dtype), requires_grad=True)
    ones = torch.ones(shape)
    total = one(loss, PIXELS).loss({"y": z}, {"t": ones})
    total.backward()
    assert total.dtype == torch.float32
    assert z.grad.dtype == z.dtype
    expected = one(loss, PIXELS).loss({"y": np.full(shape, 3.0)}, {"t": np.ones(shape)})
    close(float(total.detach()), float(expected), rtol=2e-5)


def test_oracles_differ() -> None:
    """The oracles themselves tell smoothing, powers, prices and groups apart."""
    outputs, targets = Case("x", None, *IMAGE, "unit").sample(0)
    built = [
        ratio(0.5, 0.5, (0, 1, 2)), ratio(1, 1, (0, 1, 2)), ratio(0.5, 0.5, (0, 1, 2), smooth=2.0),
        ratio(0.5, 0.5, (0, 1, 2), squared=True), ratio(0.5, 0.5, (0, 1, 2), soft=True),
        ratio(0.5, 0.5, (0, 1, 2), below=2.0), ratio(0.3, 0.5, (0, 1, 2)),
    ]  # fmt: skip
    found = [float(oracle(outputs, targets)[0]) for oracle in built]
    assert len({round(number, 6) for number in found}) == len(found)
    weights = [lambda y: y**-2.0, lambda y: 1 / y, np.ones_like]
    assert len({float(generalized(v, (0, 1, 2))(outputs, targets)) for v in weights}) == 3
