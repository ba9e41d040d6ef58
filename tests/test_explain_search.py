# SPDX-License-Identifier: Apache-2.0
"""A criterion with numbers of its own, or a sum of two: found, verified, or said not to be."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.nn import functional

import lossledger as ll
from lossledger.explanation.criterion._candidates import ORDER
from lossledger.explanation.criterion._knobs import LEFT_OUT, RANGES, Knob, knobs_of
from lossledger.explanation.criterion._solve import fitted, roots
from lossledger.presets._compound import AbstractCompound
from lossledger.presets._registry import presets_of

DRAW = torch.Generator().manual_seed(0)
SCORES = torch.randn(8, 3, generator=DRAW, dtype=torch.float64)
YES = (torch.rand(8, 3, generator=DRAW) < 0.4).double()
LABELS = torch.tensor([0, 1, 2, 0, 1, 1, 2, 0])
IMAGE = torch.randn(3, 2, 5, 5, generator=DRAW, dtype=torch.float64)
PLANE = torch.randint(0, 2, (3, 5, 5), generator=DRAW)
HOT = functional.one_hot(PLANE, 2).movedim(-1, 1).double()
GRAY_DRAW = torch.Generator().manual_seed(1)
GRAY = torch.randn(4, 1, 8, 8, generator=GRAY_DRAW)
MASK = torch.randint(0, 2, (4, 1, 8, 8), generator=GRAY_DRAW).float()


def focal(o, t, gamma=1.5):
    """A focal loss of softmax rows, as people write it."""
    each = functional.cross_entropy(o, t, reduction="none")
    return ((1 - torch.exp(-each)) ** gamma * each).mean()


def dice(o, t, smooth=1.0, alpha=0.5):
    """A Tversky loss of each image and class; a Dice loss by default."""
    p = o.sigmoid()
    both, wrong, missed = ((x).sum((2, 3)) for x in (p * t, p * (1 - t), (1 - p) * t))
    bottom = both + alpha * wrong + (1 - alpha) * missed + smooth / 2
    return (1 - (both + smooth / 2) / bottom).mean()


def huber(o, t):
    """A Huber loss of NumPy: without a gradient."""
    e = np.abs(o - t)
    return float(np.where(e < 0.5, 0.5 * e**2, 0.5 * (e - 0.25)).mean())


FOUND = {
    "label smoothing": (
        lambda o, t: functional.cross_entropy(o, t, label_smoothing=0.1), SCORES, LABELS,
        {"CrossEntropyLoss": {"label_smoothing": 0.1}},
    ),
    "softmax focal of labels": (
        focal, SCORES, LABELS,
        {"FocalLoss": {"gamma": 1.5}, "CategoricalFocalCrossentropy": {"gamma": 1.5}},
    ),
    "Huber": (
        lambda o, t: functional.huber_loss(o, t, delta=0.5), SCORES, YES,
        {"HuberLoss": {"delta": 0.5}},
    ),
    "without a gradient": (huber, SCORES.numpy(), YES.numpy(), {"HuberLoss": {"delta": 0.5}}),
    "margin": (
        lambda o, t: functional.multi_margin_loss(o, t, margin=0.3), SCORES, LABELS,
        {"MultiMarginLoss": {"margin": 0.3}},
    ),
    "triplets": (
        lambda a, p, n: functional.triplet_margin_loss(a, p, n, margin=0.3),
        (SCORES, SCORES.roll(1, 1), SCORES.roll(3, 0)), None,
        {"TripletMarginLoss": {"margin": 0.3}},
    ),
    "Dice": (
        dice, IMAGE, HOT,
        {"DiceLoss": {"smooth_nr": 1, "smooth_dr": 1}},
    ),
    "Tversky": (
        lambda o, t: dice(o, t, 2e-6, 0.3), IMAGE, HOT,
        {"TverskyLoss": {"alpha": 0.3, "beta": 0.7, "smooth_nr": 1e-6, "smooth_dr": 1e-6}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_numbers_are_found(name):
    """The numbers that the criterion was written with, verified on batches of several sizes."""
    criterion, outputs, targets, wanted = FOUND[name]
    found = ll.explain(criterion, outputs, targets)
    (piece,) = found.pieces
    names = [n for n in wanted if f"{n}(" in piece.loss]
    assert names, piece.loss
    for option, number in wanted[names[0]].items():
        said = float(piece.loss.partition(f"{option}=")[2].partition(",")[0].strip(")"))
        assert said == pytest.approx(number, rel=1e-12), piece.loss
    assert piece.measured
    assert found.deviation <= 1e-12
    assert name == "Tversky" or not any(u.startswith("the value of") for u in found.undecided)
    assert "found by search: the number deviates by" in found.notes[0].found
    print(name, piece.loss, piece.loss_weight, f"{found.deviation:.1e}")


def test_nearly_a_number_is_none():
    """Broken twin: a focal loss with one part in a million of something else is no focal loss."""
    found = ll.explain(lambda o, t: focal(o, t) + 1e-6 * o[:, 0].mean() ** 3, SCORES, LABELS)
    assert found.pieces[0].loss == "<lambda>"
    assert "no preset equals it" in found.notes[0].found


def test_memory_is_no_number():
    """Broken twin: gamma that depends on the batch agrees on one batch, and not on the others."""
    found = ll.explain(lambda o, t: focal(o, t, 1 + 0.1 * len(o)), SCORES, LABELS)
    assert found.pieces[0].loss == "<lambda>"


def test_open_numbers_are_said():
    """A smoothing of 1e-7 beside sums of tens cannot be told from one that is 5 % larger."""
    found = ll.explain(lambda o, t: dice(o, t, 2e-7), IMAGE, HOT)
    assert "DiceLoss" in found.pieces[0].loss or "TverskyLoss" in found.pieces[0].loss
    assert any(u.startswith("the value of smooth") for u in found.undecided)


@pytest.mark.parametrize("kind", ["MSE and L1", "BCE and Dice", "CE and Dice of labels"])
def test_sums_of_two(kind):
    """The factors and the two losses, each a piece; the pieces add up to the number."""

    def of_labels(o, t):
        p, hot = o.softmax(1), functional.one_hot(t, 2).movedim(-1, 1)
        both, every = (p * hot).sum((0, 2, 3)), (p + hot).sum((0, 2, 3))
        rest = (1 - (2 * both + 1e-5) / (every + 1e-5)).mean()
        return functional.cross_entropy(o, t) + 0.7 * rest

    criterion, outputs, targets, wanted = {
        "MSE and L1": (
            lambda o, t: functional.mse_loss(o, t) + 0.1 * functional.l1_loss(o, t),
            SCORES, YES, {"torch.MSELoss": 1, "torch.L1Loss": 0.1},
        ),
        "BCE and Dice": (
            lambda o, t: (functional.binary_cross_entropy_with_logits(o, t) + dice(o, t)) / 2,
            IMAGE, HOT, {"torch.BCEWithLogitsLoss": 0.5, "monai.DiceLoss": 0.5},
        ),
        "CE and Dice of labels": (
            of_labels, IMAGE, PLANE, {"torch.CrossEntropyLoss": 1, "monai.DiceLoss": 0.7},
        ),
    }[kind]  # fmt: skip
    found = ll.explain(criterion, outputs, targets)
    factors = {p.loss.partition("(")[0]: p.loss_weight for p in found.pieces}
    assert factors == pytest.approx(wanted, rel=1e-12)
    assert found.deviation <= 1e-12
    assert "took no part in finding the factors" in found.notes[0].found
    assert sum(r.share for r in found.rows if r.share) == pytest.approx(1) or not found.rows
    print(kind, found.notes[0].found)


def whole_dice(o, t):
    """One Dice loss of everything, smoothed by 1 as people write it."""
    p = o.sigmoid()
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def softmax_dice(o, t):
    """A Dice loss of softmax rows, of each image and class."""
    p, hot = o.softmax(1), functional.one_hot(t, 2).movedim(-1, 1)
    both, every = (p * hot).sum((2, 3)), (p + hot).sum((2, 3))
    return 1 - ((2 * both + 1) / (every + 1)).mean()


@pytest.mark.parametrize(
    ("criterion", "outputs", "targets", "smooth"),
    [
        (whole_dice, GRAY, MASK, "smooth=0.5"),
        (dice, IMAGE.float(), HOT.float(), "smooth_nr=1.0"),
        (softmax_dice, IMAGE.float(), PLANE, "smooth_nr=1.0"),
    ],
    ids=["whole", "per channel", "softmax"],
)
def test_one_smoothed_loss_is_no_sum(criterion, outputs, targets, smooth):
    """In float32 too, a Dice loss smoothed by 1 is that loss, not two with factors that fit."""
    found = ll.explain(criterion, outputs, targets)
    (piece,) = found.pieces
    assert smooth in piece.loss
    assert piece.loss_weight == 1
    assert found.deviation <= 1e-6  # of the float32 number that was passed on
    assert "It was run in float64." in found.notes[0].found


def test_sums_take_double():
    """What computes in float32 is no sum of two: factors that fit within its rounding are many."""

    def single(o, t):
        return functional.mse_loss(o, t) + 0.1 * functional.l1_loss(o, t)

    found = ll.explain(lambda o, t: single(o.float(), t.float()), SCORES.float(), YES.float())
    assert found.pieces[0].loss == "<lambda>"
    assert any(
        u.startswith("sums of two losses: two factors fit too much") for u in found.undecided
    )


def test_parts_that_are_multiples_are_said():
    """Errors below 1: Huber's loss is half the squared error, and nothing tells them apart."""
    found = ll.explain(
        lambda o, t: functional.mse_loss(o, t) + 0.1 * functional.l1_loss(o, t), SCORES / 9, YES / 2
    )
    assert found.deviation <= 1e-12
    said = [p.loss for p in found.pieces] + [u for u in found.undecided if "multiple" in u]
    assert "torch.HuberLoss()" in " ".join(said)
    assert "torch.MSELoss()" in " ".join(said)
    apart = ll.explain(
        lambda o, t: functional.mse_loss(o, t) + 0.1 * functional.l1_loss(o, t), SCORES, YES
    )
    assert not any("multiple" in u for u in apart.undecided)


def test_a_product_is_no_sum():
    """Broken twin: the product of two losses is a sum of them on no second batch."""
    found = ll.explain(
        lambda o, t: functional.mse_loss(o, t) * functional.l1_loss(o, t), SCORES, YES
    )
    assert found.pieces[0].loss == "<lambda>"
    assert "nor does the sum of two" in found.notes[0].found


def test_a_lone_batch_is_not_searched():
    """One sample leaves nothing to verify on: that is said, and nothing is guessed."""
    found = ll.explain(focal, SCORES[:1], LABELS[:1])
    assert found.pieces[0].loss == "focal"
    assert any("a lone batch leaves none to verify on" in u for u in found.undecided)


def test_every_number_is_searched_or_named():
    """Every numeric option of every preset has a range, or a reason why it is left out."""
    seen = set()
    for library in {name for names in ORDER.values() for name in names}:
        for kind in presets_of(library):
            if issubclass(kind, AbstractCompound):
                continue
            numeric = {f.name for f in fields(kind) if "float" in str(f.type) or f.type is int}
            numeric |= {f.name for f in fields(kind) if f.name == "pos_weight"}
            seen |= numeric - {"dtype"}
            assert {n for knobs in knobs_of(kind) for k in knobs for n in k.names} <= numeric
    assert seen == {*RANGES, *LEFT_OUT}
    assert not {*RANGES} & {*LEFT_OUT}


def test_roots_and_fits():
    """By hand: x² = 0.25 at 0.5; x + y = 1 and x = 3 y at 0.75 and 0.25."""
    assert roots(lambda x: x * x - 0.25, [0, 0.3, 1], lambda x: True) == [pytest.approx(0.5)]
    assert roots(lambda x: 0.0, [0, 0.3, 1], lambda x: True) == []
    assert roots(lambda x: x * x - 0.25, [0, 0.3, 1], lambda x: False) == []
    both = fitted(lambda x: np.array([x[0] + x[1] - 1, x[0] - 3 * x[1]]), [(0.8, 0.3)])
    assert both == pytest.approx([0.75, 0.25])
    assert fitted(lambda x: np.array([x[0] + 1.0]), [(0.5,)]) is None
    knob = Knob(("smooth",), 1e-8, 1e4)
    assert knob.at(knob.share(0.3)) == pytest.approx(0.3)


HALVES = [torch.bfloat16, torch.float16]


def test_single_is_run_in_double():
    """A float32 black box is run in float64: what is 1e-6 off is told apart, and said so."""
    z, y = SCORES.float(), YES.float()
    same = ll.explain(lambda o, t: ((o - t) ** 2).mean(), z, y)
    assert same.pieces[0].loss == "torch.MSELoss()"
    assert "It was run in float64." in same.notes[0].found
    off = ll.explain(lambda o, t: ((o - t) ** 2).mean() * (1 + 1e-6), z, y)
    assert off.pieces[0].loss_weight != 1  # not called equal: a factor of 1.000001
    assert off.pieces[0].loss_weight == pytest.approx(1 + 1e-6, rel=1e-9)


def test_what_takes_single_alone():
    """Weights in float32 keep torch's cross entropy there: found within its rounding, and said."""
    weight = torch.tensor([1.0, 2.0, 5.0])
    found = ll.explain(
        lambda o, t: functional.cross_entropy(o, t, weight=weight), SCORES.float(), LABELS
    )
    assert found.pieces[0].loss == "torch.CrossEntropyLoss(weight=[1.0, 2.0, 5.0])"
    assert "It was run in float32" in found.notes[0].found
    assert "nearly equals, to " in found.notes[0].found


def test_constants_rounded_to_single():
    """0.1 held in float32 is 1.5e-8 off: equal within float32 alone, and the deviation is shown."""
    weight = torch.tensor([0.1, 0.7])

    def weighted(o, t):
        factors = weight[t]
        return (factors * functional.cross_entropy(o, t, reduction="none")).sum() / factors.sum()

    found = ll.explain(weighted, SCORES[:, :2].float(), LABELS % 2)
    assert "weight=[1.0, 7.0]" in found.pieces[0].loss
    assert "may be rounded to float32" in found.notes[0].found
    assert "nearly equals, to " in found.notes[0].found


def test_a_temperature_is_no_rounding():
    """Broken twin: scores over 1.00001 are 4e-6 off, which no constant of float32 explains."""
    z = SCORES.float()
    found = ll.explain(lambda o, t: functional.cross_entropy(o / 1.00001, t), z, LABELS)
    assert found.pieces[0].loss == "<lambda>"
    same = ll.explain(lambda o, t: functional.cross_entropy(o, t), z, LABELS)
    assert "<lambda> equals torch.CrossEntropyLoss() on" in same.notes[0].found


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_no_evidence(dtype):
    """What computes in half precision alone is not matched; what takes float64 is, there."""
    z, y = SCORES.to(dtype), YES.to(dtype)
    name = str(dtype).removeprefix("torch.")
    own = ll.explain(lambda o, t: ((o - t).to(dtype) ** 2).mean(), z, y)
    assert [n.rule for n in own.notes] == ["coarse"]
    assert any(f"cannot be decided in {name}" in u for u in own.undecided)
    found = ll.explain(lambda o, t: ((o - t) ** 2).mean() * 1.01, z, y)
    assert found.pieces[0].loss_weight == pytest.approx(1.01, rel=1e-9)  # broken twin: 1 % off
