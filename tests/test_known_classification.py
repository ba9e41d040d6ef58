# SPDX-License-Identifier: Apache-2.0
"""Classification losses: numbers, slopes at zero, tails and kinks, each derived by hand."""

from typing import Any

import numpy as np
import pytest
from summed import slopes, values

import lossledger as ll
from properties import close

losses = ll.losses
LOG_2, LOG_3 = np.log(2), np.log(3)


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
