# SPDX-License-Identifier: Apache-2.0
"""Two losses under two versions of Keras, and factors in words that were measured."""

import keras
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lossledger as ll
from lossledger.explanation.comparison._pair import Pair

KERAS, TORCH = ll.presets.keras, ll.presets.torch
RNG = np.random.default_rng(0)
SCORES, YES = RNG.normal(size=(6, 3)), (RNG.random((6, 3)) < 0.4) * 1.0
CUBE, GOAL = torch.from_numpy(RNG.normal(size=(2, 3, 4))), torch.from_numpy(RNG.random((2, 3, 4)))
LABELS = np.array([0, 1, 2, 0, 1, 1])
MASK = np.array([1, 1, 0, 1, 1, 0])


def test_one_live_loss_in_two_versions():
    """By hand: Keras 3 divides by the 4 values in the mask, 2.3 by all 6; 6 / 4 makes up for it."""
    loss = keras.losses.MeanSquaredError()
    found = ll.compare(loss, loss, SCORES, YES, mask=MASK, convention=("keras3", "keras2.3"))
    assert (found.a, found.b) == (
        "keras.MeanSquaredError() in keras3",
        "keras.MeanSquaredError() in keras2.3",
    )
    assert found.difference.stage == "denominator"
    assert found.difference.of_a.endswith("= 4")
    assert found.difference.of_b.endswith("= 6")
    assert found.factor == pytest.approx(4 / 6)
    assert found.gradient_factor == pytest.approx(4 / 6)
    assert found.change.text == (
        "replace the second by keras.MeanSquaredError() in keras3; or, in keras2.3, multiply it by "
        "its denominator over the first's, 6 / 4 on this batch"
    )
    assert found.change.number == pytest.approx(found.number_a)
    squares = ((SCORES - YES) ** 2).mean(1) @ MASK
    assert found.number_a == pytest.approx(squares / 4)
    assert found.number_b == pytest.approx(squares / 6)


@pytest.mark.parametrize("convention", ["keras2.3", ("keras2.3", "keras2.3"), ("keras2.3", None)])
def test_conventions_of_both(convention):
    """One name is for both; None leaves a loss as it is, which is another version's."""
    first, second = KERAS.MeanSquaredError(), KERAS.MeanSquaredError(convention="keras2.3")
    found = ll.compare(first, second, SCORES, YES, mask=MASK, convention=convention)
    assert found.equal
    assert not ll.compare(first, second, SCORES, YES, mask=MASK).equal


def test_explain_agrees():
    """Numbers are those of `explain` under the same convention."""
    loss, weight = KERAS.MeanAbsoluteError(), np.array([1.0, 2.0, 0.0, 1.0, 3.0, 0.5])
    found = ll.compare(
        loss, loss, SCORES, YES, sample_weight=weight, convention=("keras3", "keras1")
    )
    for name, number in (("keras3", found.number_a), ("keras1", found.number_b)):
        told = ll.explain(loss, SCORES, YES, sample_weight=weight, convention=name)
        assert number == pytest.approx(told.total, rel=1e-12)
    assert "whose weight is not 0 = 5" in found.difference.of_b


def test_values_part_first():
    """The 1e-7 of Keras 2.3 parts first; that it also divides otherwise is not left out."""
    loss, shares = KERAS.BinaryCrossentropy(), 1 / (1 + np.exp(-SCORES))
    found = ll.compare(loss, loss, shares, YES, mask=MASK, convention=("keras3", "keras2.3"))
    assert found.difference.stage == "values"
    note = "They also divide by other numbers: the first by 4, the second by 6."
    assert note in found.notes
    bare = ll.compare(loss, loss, shares, YES, convention=("keras3", "keras2.3"))
    assert note not in bare.notes


@pytest.mark.parametrize(
    ("a", "b", "convention", "message"),
    [
        (KERAS.MeanSquaredError(), nn.MSELoss(), "keras3", "for losses of Keras"),
        (KERAS.MeanSquaredError(), KERAS.MeanSquaredError(), "keras9", "keras2.3"),
        (KERAS.Huber(), KERAS.Huber(), ("keras3", "keras1"), "did not have this loss"),
        (KERAS.Huber(), KERAS.Huber(), ("keras3",), "pair of names"),
        (KERAS.Huber(), KERAS.Huber(), 3, "pair of names"),
        (
            ll.Objective(ll.Term("y", ll.losses.SquaredError(), "batch unit")),
            KERAS.Huber(),
            "keras3",
            "every version of Keras",
        ),
    ],
)
def test_refusals(a, b, convention, message):
    """A version belongs to losses of Keras, and must exist."""
    with pytest.raises(ll.MatchError, match=message):
        ll.compare(a, b, SCORES, YES, convention=convention)


def thrice(outputs, targets):
    """Cross entropy with a factor that happens to be the number of classes."""
    return 3 * functional.cross_entropy(outputs, targets)


def by_root(outputs, targets):
    """A sum divided by a root of an axis."""
    return ((outputs - targets) ** 2).sum() / len(outputs) / outputs.shape[1] ** 0.5


WORDS = [
    (lambda o, t: 3 * functional.mse_loss(o, t), "3"),
    (lambda o, t: o.shape[1] * functional.mse_loss(o, t), "the length of axis 1"),
    (lambda o, t: functional.mse_loss(o, t) / o.shape[2], "1 / the length of axis 2"),
    (lambda o, t: ((o - t) ** 2).sum() / len(o), "the number of elements of a sample"),
    (lambda o, t: 0.5 * ((o - t) ** 2).sum(), "0.5 times the number of elements"),
    (lambda o, t: len(o) * functional.mse_loss(o, t), "the number of samples"),
    (lambda o, t: functional.mse_loss(o, t) / 7 / len(o), "0.142857 / the number of samples"),
    (by_root, "6.9282, for data of this shape alone"),
]


@pytest.mark.parametrize(("mine", "words"), WORDS, ids=[words for _, words in WORDS])
def test_factors_in_words(mine, words):
    """An axis is named if the factor follows its length, not if it happens to equal it."""
    found = ll.compare(mine, nn.MSELoss(), CUBE, GOAL)
    assert found.change.text == f"multiply the second by {words}"


def test_axis_that_cannot_be_varied():
    """Labels keep the class axis from being cut: the length that the factor has is a remark."""
    found = ll.compare(thrice, nn.CrossEntropyLoss(), torch.from_numpy(SCORES), LABELS)
    text = "multiply the second by 3, as long as axis 1 here, which was not varied"
    assert found.change.text == text
    back = ll.compare(nn.CrossEntropyLoss(), thrice, torch.from_numpy(SCORES), LABELS)
    assert "0.333333, one over the length of axis 1 here, which was not varied" in back.change.text


def test_words_are_measured(monkeypatch):
    """Broken twin: were the factor to follow the axis, the axis would be named."""
    monkeypatch.setattr(Pair, "along", lambda *_: (2, 1 / 2))
    found = ll.compare(WORDS[0][0], nn.MSELoss(), CUBE[:, :, 0], GOAL[:, :, 0])
    assert found.change.text == "multiply the second by the length of axis 1"
