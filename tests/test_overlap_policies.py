# SPDX-License-Identifier: Apache-2.0
"""Losses of sums: absent classes, masks, weights, rows of the ledger, and users' own."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from batches import Batch
from case import Case
from cases_sums import BATCH, IMAGE, SPACE
from sums import correlation, f1, rmse
from ways import assert_three_ways_agree, batch_of, one

import lossledger as ll
from properties import close

L = ll.losses
# Class 0: I = 3/4, P = Y = 1. Class 1 is absent: P = 3/4.
P = np.array([[0.75, 0.5], [0.25, 0.25]])
Y = np.array([[1.0, 0.0], [0.0, 0.0]])
SMOOTH = {"from_logits": False, "smooth": 1.0}


def name_of(loss: Any) -> str:
    """Return a loss's name in test ids: the same in every process."""
    return loss.sums.__name__.strip("_") if isinstance(loss, L.FromSums) else repr(loss)


def image(targets: str = "binary", seed: int = 0) -> Batch:
    """Return a batch of images."""
    outputs, drawn = Case("x", None, *IMAGE, targets).sample(seed)
    return batch_of(outputs[0], drawn)


# --------------------------------------------------------------------------------- absent classes

# Dice of class 0 is 1 − (3/2 + 1)/(2 + 1) = 1/6; of class 1 by its formula 1 − 1/(3/4 + 1) = 3/7.
EMPTY = {
    "keep": ((1 / 6 + 3 / 7) / 2, 3 / 7, 2),
    "agree": ((1 / 6 + 3 / 7) / 2, 3 / 7, 2),
    "zero": (1 / 12, 0.0, 2),
    "skip": (1 / 6, 0.0, 1),
}


@pytest.mark.parametrize("empty", EMPTY)
def test_absent_class(empty: Any) -> None:
    """Value, place in the mean and gradient of a class without targets, by policy."""
    total, cell, counted = EMPTY[empty]
    objective = one(L.Dice("batch", empty=empty, **SMOOTH))
    found, slopes = assert_three_ways_agree(objective, batch_of(P, Y))
    close(found, total)
    close(objective.values({"y": P}, {"t": Y})["case"], [1 / 6, cell])
    # ∂/∂p of class 0: −2y/3 + 2.5/9; of class 1: (0 + 1)/(7/4)²: each over the classes counted.
    own = np.array([2.5 / 9 - 2 / 3, 2.5 / 9]) / counted
    other = (4 / 7) ** 2 / counted if cell else 0.0
    close(slopes["y"], np.stack([own, [other, other]], 1))


def test_agree_with_nothing_predicted() -> None:
    """agree: 0 and no gradient where outputs are empty as well; else the formula."""
    loss = L.Dice("batch", from_logits=False, smooth=0.0, smooth_denominator=1.0)
    nothing = P * [1.0, 0.0]
    # Without agreement an empty class is charged 1 − 0/1: class 0 is 1 − 1.5/3.
    close(one(loss).loss({"y": nothing}, {"t": Y}), (1 / 2 + 1) / 2)
    agreed = L.Dice("batch", from_logits=False, smooth=0.0, smooth_denominator=1.0, empty="agree")
    total, slopes = assert_three_ways_agree(one(agreed), batch_of(nothing, Y))
    close(total, 1 / 4)
    assert not slopes["y"][:, 1].any()


def test_raise() -> None:
    """raise: an error where numbers can be read, NaN under a trace."""
    import jax

    objective = one(L.Dice("batch", empty="raise", **SMOOTH))
    with pytest.raises(ll.ReductionError, match="whose targets sum to 0"):
        objective.loss({"y": P}, {"t": Y})
    traced = jax.jit(lambda y, t: objective.loss({"y": y}, {"t": t}))
    assert np.isnan(traced(P, Y))
    close(traced(P, 1 - Y), objective.loss({"y": P}, {"t": 1 - Y}), rtol=1e-6)


@pytest.mark.parametrize("empty", ["keep", "zero", "skip", "agree"])
def test_absent_everywhere(empty: Any) -> None:
    """Without any target totals and gradients are finite, in each group and pooled."""
    batch = image()
    batch = Batch(batch.outputs, {"t": 0 * batch.targets["t"]})
    bare = {"smooth": 0.0, "empty": empty}
    for loss in (L.Dice(SPACE, empty=empty), L.FocalTversky(BATCH, **bare),
                 L.GeneralizedDice(SPACE, empty=empty), L.Jaccard(BATCH, **bare)):  # fmt: skip
        total, slopes = assert_three_ways_agree(one(loss, IMAGE[0]), batch)
        if empty in ("zero", "skip"):
            assert total == 0
            assert not slopes["y"].any()


def test_absent_class_of_generalized_dice() -> None:
    """Its weight is the largest of the others', or 0: false positives count, or don't."""
    # v₀ = 1; with v₁ = 1: 1 − (3/2)/(2 + 3/4); with v₁ = 0: 1 − (3/2)/2.
    for absent, expected in (("largest", 5 / 11), ("drop", 1 / 4)):
        objective = one(L.GeneralizedDice("batch", absent=absent, from_logits=False))
        total, slopes = assert_three_ways_agree(objective, batch_of(P, Y))
        close(total, expected)
        assert bool(slopes["y"][:, 1].any()) == (absent == "largest")


def test_background() -> None:
    """Class 0 left out of a mean, a pooled ratio and a global sum is as if it were not there."""
    batch = image()
    fewer = batch.map(lambda a: a[..., 1:])
    for build in (lambda **k: L.Dice(BATCH, **k), lambda **k: L.Tversky(SPACE, **k),
                  lambda **k: L.GeneralizedDice(SPACE, **k),
                  lambda **k: L.Jaccard(f"{BATCH} class", **k)):  # fmt: skip
        found, slopes = assert_three_ways_agree(
            one(build(include_background=False), IMAGE[0]), batch
        )
        expected, _, fewer_slopes = fewer.slopes(one(build(), IMAGE[0]))
        close(found, expected)
        close(slopes["y"][..., 1:], fewer_slopes["y"])
        assert not slopes["y"][..., 0].any()


# ------------------------------------------------------------------------------- masks and weights


@pytest.mark.parametrize(
    "loss", [L.Dice(BATCH), L.GeneralizedDice(SPACE), rmse("batch")], ids=name_of
)
def test_all_masked(loss: Any) -> None:
    """With every element masked the total and its gradient are 0, whatever stands there."""
    batch = image()
    if isinstance(loss, L.FromSums):
        batch = batch_of(batch.outputs["y"][:, 0, 0], batch.targets["t"][:, 0, 0])
    axes = IMAGE[0] if not isinstance(loss, L.FromSums) else "batch class"
    objective = one(loss, axes)
    spoiled = batch.with_outputs(lambda a: a * np.nan)
    spoiled = spoiled.having(mask=np.zeros_like(batch.targets["t"], bool))
    total, slopes = assert_three_ways_agree(objective, spoiled)
    assert total == 0
    assert not slopes["y"].any()


@pytest.mark.parametrize(
    "loss",
    [L.Dice(SPACE), L.Dice(SPACE, smooth=0.0, smooth_denominator=1e-3), L.GeneralizedDice(SPACE),
     L.LogDice(SPACE), f1(SPACE)],
    ids=name_of,
)  # fmt: skip
def test_masked_sample_is_gone(loss: Any) -> None:
    """A sample or class masked pixel by pixel is no cell: the mean is over the others."""
    batch = image()
    if isinstance(loss, L.FromSums):
        batch = batch.with_outputs(lambda a: 1 / (1 + np.exp(-a)))
    mask = np.ones_like(batch.targets["t"])
    mask[1] = 0
    objective = one(loss, IMAGE[0])
    total, slopes = assert_three_ways_agree(objective, batch.having(mask=mask))
    expected, _, fewer = batch.at([0, 2, 3]).slopes(objective)
    close(total, expected)
    close(slopes["y"][[0, 2, 3]], fewer["y"])
    mask = np.ones_like(batch.targets["t"])
    mask[..., 2] = 0
    total = batch.having(mask=mask).total(objective)
    close(total, batch.map(lambda a: a[..., :2]).total(objective))


def test_weights_inside_and_outside() -> None:
    """Sample weights touch the sums of a batch's Dice; class weights weigh its values."""
    p, y = np.array([[0.75, 0.5], [0.25, 0.5]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    loss = L.Dice("batch", smooth=0.0, from_logits=False)
    objective = one(loss, class_weight=[1.0, 3.0])
    batch = batch_of(p, y, sample_weight=np.array([3.0, 1.0]))
    # Class 0: I = 9/4, P = 5/2, Y = 3: 2/11. Class 1: I = 1/2, P = 2, Y = 1: 2/3.
    close(objective.values(batch.outputs, batch.targets, **batch.options)["case"], [2 / 11, 2 / 3])
    total, _ = assert_three_ways_agree(objective, batch)
    close(total, (2 / 11 + 3 * 2 / 3) / 4)
    # Per sample (each has I = 3/4 + 0, … of both classes) the sample weight weighs the values.
    each = L.Dice("class", smooth=0.0, from_logits=False)
    # Sample 0: I = 3/4, P = 5/4, Y = 1: 1/3. Sample 1: I = 1/2, P = 3/4, Y = 1: 3/7.
    total, _ = assert_three_ways_agree(one(each), batch)
    close(total, (3 * 1 / 3 + 3 / 7) / 4)


def test_class_weights_of_generalized_dice() -> None:
    """They multiply v, instead of entering 1/Y² squared."""
    p, y = np.array([[0.5, 0.5], [0.5, 1.0]]), np.array([[1.0, 1.0], [0.0, 1.0]])
    loss = L.GeneralizedDice("batch", from_logits=False)
    # v = 2·1 and 4·1/4: 1 − 2(2·1/2 + 3/2)/(2·2 + 7/2) = 1 − 5/7.5.
    objective = one(loss, class_weight=[2.0, 4.0])
    total, _ = assert_three_ways_agree(objective, batch_of(p, y))
    close(total, 1 / 3)
    _, ledger = batch_of(p, y).call(objective)
    close(sum(row.contribution for row in ledger.rows), 1 / 3)


# --------------------------------------------------------------------------------- rows of a ledger

ROWS = [
    (L.Dice(BATCH), 0.0),
    (L.Dice(BATCH, smooth=0.2, smooth_denominator=0.9), 0.7),
    (L.Jaccard(BATCH, smooth=0.2, smooth_denominator=0.9), 0.7),
    (L.Tversky(BATCH), 0.0),
    (L.FocalTversky(BATCH), 0.0),
    (L.FocalTversky(BATCH, smooth=0.2, smooth_denominator=0.9), 0.7),
    (L.LogDice(BATCH), 0.0),
    (L.LogDice(BATCH, smooth=0.2, smooth_denominator=0.9), 0.7),
]


@pytest.mark.parametrize(("loss", "gap"), ROWS, ids=repr)
def test_rows_add_up(loss: Any, gap: float) -> None:
    """Class × label rows add up to each class and to the total; smoothing leaves a rest."""
    batch = image()
    objective = one(loss, IMAGE[0])
    total, ledger = batch.call(objective)
    close(sum(row.contribution for row in ledger.rows), float(total))
    cells = objective.values(batch.outputs, batch.targets)["case"] / 3
    by_class = [r.contribution for r in ledger.by("class") if r.kind == "values"]
    rest = sum(r.contribution for r in ledger.rows if r.kind == "curvature")
    assert (rest != 0) == (gap != 0)
    if gap:
        close(sum(by_class) + rest, cells.sum())
    else:
        close(by_class, cells)
    assert {r.label for r in ledger.rows if r.kind == "values"} == {"negative", "positive"}
    assert all(r.contribution >= 0 for r in ledger.rows)


def test_known_rows() -> None:
    """Dice's errors p + y − 2py: 1/4 at the positive pixel, 1/4 at the other, over D = 3."""
    objective = one(L.Dice("batch", **SMOOTH), "batch")
    _, ledger = batch_of([0.75, 0.25], [1.0, 0.0]).call(objective)
    close([r.contribution for r in ledger.rows], [1 / 12, 1 / 12])
    # Own means are without smoothing: errors over p + y.
    close([r.own_mean for r in ledger.rows], [1.0, (1 / 4) / (7 / 4)])


def test_experts_have_rows() -> None:
    """A router's rows are its experts': what each adds, and its mean probability."""
    logits = np.log([[0.75, 0.25], [0.6, 0.4]])
    _, ledger = batch_of(logits).call(one(L.LoadBalance("batch"), target=None))
    close([r.contribution for r in ledger.rows], [1.35, 0.0])
    close([r.own_mean for r in ledger.rows], [0.675, 0.325])


# ---------------------------------------------------------------------------------- users' own sums


def test_from_sums_is_root_mean() -> None:
    """RMSE as a loss of sums, and as a reduction of squares: √((9 + 16)/4)."""
    batch = batch_of([3.0, 4.0, 0.0, 0.0], np.zeros(4))
    total, slopes = assert_three_ways_agree(one(rmse("batch"), "batch"), batch)
    close(total, 2.5)
    close(slopes["y"], np.array([3.0, 4.0, 0.0, 0.0]) / 10)
    squares = one(L.SquaredError(), "batch", reduction=ll.RootMean())
    found, found_slopes = assert_three_ways_agree(squares, batch)
    close(found, 2.5)
    close(found_slopes["y"], slopes["y"])


def test_z_loss() -> None:
    """λ·LSE² beside cross entropy: of four equal logits log 4 + 0.1·(log 4)²."""
    objective = one(L.CrossEntropy(z_loss=0.1))
    total, _ = assert_three_ways_agree(objective, batch_of(np.zeros((2, 4)), np.array([0, 3])))
    close(total, np.log(4) + 0.1 * np.log(4) ** 2)


def test_focal_with_its_normalizer() -> None:
    """Σ(1 − p)²·CE/Σ(1 − p)², gradient through both, equals torch's own graph."""
    import torch

    def sums(z: Any, t: Any) -> dict[str, Any]:
        margin = z * (2 * t - 1)
        weight = torch.sigmoid(-margin) ** 2
        return {"loss": -weight * torch.nn.functional.logsigmoid(margin), "weight_sum": weight}

    loss = L.FromSums(sums, lambda s: s["loss"] / s["weight_sum"], "batch")
    z = torch.tensor([0.3, -2.0, 1.5], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    total, ledger = one(loss, "batch")({"y": z}, {"t": t})
    found = torch.autograd.grad(total, z)[0]
    channels = sums(z, t)
    plain = channels["loss"].sum() / channels["weight_sum"].sum()
    close(total.detach(), plain.detach())
    close(found, torch.autograd.grad(plain, z)[0])
    # Of degree 0 in its sums: to first order nothing is contributed, all of it is curvature.
    assert [r.kind for r in ledger.rows] == ["values", "curvature"]
    close(ledger.rows[1].contribution, float(total.detach()))


def test_factors_attribute() -> None:
    """What the user says a unit of a channel is worth stands in the rows: F1 by its errors."""
    p, t = np.array([0.75, 0.25]), np.array([1.0, 0.0])
    _, ledger = batch_of(p, t).call(one(f1("batch"), "batch", rows="batch"))
    close([r.contribution for r in ledger.rows], [1 / 8, 1 / 8])


def test_slopes_by_differences() -> None:
    """Central differences of the value agree with the derivative that was given."""
    outputs, targets = Case("x", None, "batch time", (5, 3), "real").sample(0)
    given = correlation("batch time")
    rough = replace(given, value_derivative=None)
    _, _, expected = batch_of(outputs[0], targets).slopes(one(given, "batch time"))
    _, _, found = batch_of(outputs[0], targets).slopes(one(rough, "batch time"))
    close(found["y"], expected["y"], rtol=1e-9)


BROKEN: list[tuple[Any, type[Exception], str]] = [
    (L.FromSums(lambda y, t: {"a": (y - t).sum()}, lambda s: s["a"], "batch"), ll.ShapeError,
     "Every channel must have the axes"),
    (L.FromSums(lambda y, t: {"mass": y - t}, lambda s: s["mass"], "batch"), ll.ShapeError,
     "a name other than"),
    (L.FromSums(lambda y, t: {"a": y - t}, lambda s: s["a"].sum(), "batch"), ll.ShapeError,
     "one value for each cell"),
    (L.FromSums(lambda y, t: {"a": y - t}, lambda s: s["a"], "batch",
                value_derivative=lambda s: {"b": s["a"]}), ll.ShapeError, "names of the sums"),
    (L.FromSums(lambda y, t: {"a": y - t}, lambda s: s["a"], "batch",
                value_derivative=lambda s: {"a": len(s)}), ll.ShapeError, "shaped like them"),
    (L.FromSums(lambda y, t: {"a": y - t}, lambda s: s["a"], "batch"), ll.ReductionError,
     "sums_derivative"),
    (L.FromSums(lambda y, t: {"a": y - t}, lambda s: s["a"], "batch", empty="zero"),
     ll.MatchError, "targets are asked for"),
    (L.FromSums(lambda *_: {}, lambda s: s["a"], "batch"), ll.MatchError, "Found nothing"),
    (L.FromSums(lambda y, t: {"a": y - t}, lambda s: s["a"], "height"), ll.MatchError,
     "sums over axes of the outputs"),
    (L.Dice("batch"), ll.ShapeError, "Class indices were given to a loss of independent sigmoid"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "error", "message"), BROKEN, ids=[str(b[2]) for b in BROKEN])
def test_broken_shapes_and_names(loss: Any, error: type[Exception], message: str) -> None:
    """What has not the axes of the outputs, or of the cells, is refused."""
    batch = batch_of(P, Y[0] if isinstance(loss, L.Dice) else Y)
    with pytest.raises(error, match=message):
        batch.slopes(one(loss))


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (L.Dice, {"smooth": -1.0}),
        (L.Dice, {"empty": "ignore"}),
        (L.Dice, {"smooth": 1.0, "smooth_denominator": 0.0}),
        (L.Dice, {"squared": True, "soft_labels": True}),
        (L.Jaccard, {"kind": "tanh"}),
        (L.Tversky, {"alpha": -0.1}),
        (L.FocalTversky, {"gamma": 0.0}),
        (L.FocalTversky, {"smooth": 1.0, "smooth_denominator": 0.5}),
        (L.LogDice, {"smooth": 0.0}),
        (L.LogDice, {"ratio": "cosine"}),
        (L.GeneralizedDice, {"over": "batch class"}),
        (L.GeneralizedDice, {"weights": "cube"}),
        (L.GeneralizedDice, {"absent": "one"}),
        (L.LoadBalance, {"over": "batch class"}),
        (L.LoadBalance, {"empty": "ignore"}),
    ],
    ids=str,
)
def test_broken_settings(build: Any, settings: dict[str, Any]) -> None:
    """Settings outside their range, or that exclude each other, are refused when built."""
    with pytest.raises((ll.DomainError, ll.MatchError), match=r"Found .*\. .*\."):
        build(**{"over": "batch"} | settings)


def test_missing_class_axis() -> None:
    """A background, a softmax or a pooled class axis that is not there is named."""
    for loss in (L.Dice("batch", include_background=False), L.Dice("batch", kind="softmax"),
                 L.GeneralizedDice("batch"), L.LoadBalance("batch", "expert")):  # fmt: skip
        settings = {"target": None} if isinstance(loss, L.LoadBalance) else {}
        with pytest.raises(ll.MatchError, match=r"class|expert"):
            batch_of(P[:, 0], None if settings else Y[:, 0]).total(one(loss, "batch", **settings))
