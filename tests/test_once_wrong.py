# SPDX-License-Identifier: Apache-2.0
"""Numbers that were wrong once, and settings that were accepted: each stays mended."""

import numpy as np
import pytest
import torch

import lossledger as ll

CE, SE, BCE = ll.losses.CrossEntropy, ll.losses.SquaredError, ll.losses.BinaryCrossEntropy


def one(*args, **settings):
    """Return an objective of one term."""
    return ll.Objective(ll.Term(*args, **settings))


def test_smoothing_with_a_class_of_weight_zero():
    """Smoothing gives a row of a weightless class a value, as in torch."""
    z, y = np.array([[2.0, 0.0], [5.0, -5.0]]), np.array([0, 1])
    weight = torch.tensor([1.0, 0.0], dtype=torch.float64)
    theirs = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=0.2)
    objective = one("z", CE(label_smoothing=0.2), "batch class", class_weight=[1.0, 0.0])
    leaf = torch.from_numpy(z).requires_grad_()
    expected = theirs(leaf, torch.from_numpy(y))
    total, _, slope = objective.value_and_grad(z, y)
    np.testing.assert_allclose(total, float(expected.detach()), rtol=1e-12)
    expected.backward()
    np.testing.assert_allclose(slope, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_numpy_sums_beyond_two_to_the_24():
    """NumPy adds float32 along the leading axis one by one; we do not."""
    x = np.full((20_000_000, 1), 2, np.float32)
    total, ledger = one("y", SE(), "batch class")(x, np.ones_like(x))
    assert total == 1.0
    assert ledger.rows[0].own_mean == 1.0
    assert ledger.deviation == 0


@pytest.mark.parametrize("labels", [[0, 1, 2], [2, 1, 0]])
def test_masked_labels_are_in_no_class(labels):
    """A mean over elements counts a masked element in no class, whatever its label is."""
    reduction = ll.Mean(by="class", denominator="elements").then(ll.Mean())
    objective = one("z", CE(), "batch class", reduction=reduction)
    total = objective.loss(np.zeros((3, 3)), np.array(labels), mask=np.array([1, 1, 0]))
    np.testing.assert_allclose(total, 2 / 3 * np.log(3), rtol=1e-12)


def test_ignored_labels_are_in_no_class():
    """A label that is ignored counts in no class's elements."""
    reduction = ll.Mean(by="class", denominator="elements").then(ll.Mean())
    objective = one("z", CE(ignore_index=-1), "batch class", reduction=reduction)
    total = objective.loss(np.zeros((4, 3)), np.array([0, 1, 2, -1]))
    np.testing.assert_allclose(total, np.log(3), rtol=1e-12)


def test_pooled_needs_the_same_later_weights():
    """Steps whose class masks differ have a mean, and no value of all together."""
    objective = one("z", BCE(), "batch class", reduction=ll.Mean(by="class").then(ll.Mean()))
    z, y = np.ones((4, 2)), np.zeros((4, 2))
    masks = [ll.NamedArray(np.array(m), ("class",)) for m in ([1, 0], [0, 1])]
    parts = [objective(z, y, mask=m)[1] for m in masks]
    assert np.isfinite(sum(parts).step_mean)
    with pytest.raises(ll.ReductionError, match="changed between the steps"):
        _ = sum(parts).pooled
    with pytest.raises(ll.ReductionError, match="without a `batch` axis"):
        sum(objective.statistics(z, y, mask=m) for m in masks)


@pytest.mark.parametrize("mask", [[255, 0, 255], [0.5, 1, 0], [2, 1, 1]])
def test_a_mask_says_only_what_exists(mask):
    """Numbers other than 0 and 1 are weights, not a mask."""
    with pytest.raises(ll.DomainError, match="0 and 1"):
        one("x", SE(), "batch").loss(np.ones(3), np.zeros(3), mask=np.array(mask))


@pytest.mark.parametrize(
    ("loss", "key"), [(CE(), "class"), (BCE(), "label"), (SE(), "batch")], ids=str
)
def test_reserved_keys(loss, key):
    """A key cannot stand for the loss's own class or label, or for an axis."""
    with pytest.raises(ll.MatchError, match=f"Found {key}"):
        ll.Term("z", loss, "batch class", keys={key: 2})


def test_regularizers_sum_in_enough_bits():
    """Half-precision parameters are squared and summed in float32; integers are refused."""
    x = torch.zeros(2)
    term = ll.Term("x", SE(), "batch")
    parameters = [torch.full((1000,), 20.0).half()]
    total = ll.Objective(term, ll.L2(1e-4, parameters, half=False)).loss(x, x)
    np.testing.assert_allclose(float(total), 40, rtol=1e-6)
    with pytest.raises(ll.DomainError, match="int8"):
        ll.Objective(term, ll.L1(1.0, [torch.ones(3, dtype=torch.int8)])).loss(x, x)


def test_z_loss_weighs_rows_alike_for_index_and_one_hot():
    """Class weights multiply a row's z-loss, whatever form its label has."""
    z, y = np.random.default_rng(0).normal(size=(6, 3)) * 2, np.array([0, 1, 2, 0, 1, 1])
    objective = one("z", CE(z_loss=0.1), "batch class", class_weight=[1, 3, 2])
    index, _, slope = objective.value_and_grad(z, y)
    hot, _, hot_slope = objective.value_and_grad(z, np.eye(3)[y])
    np.testing.assert_allclose(index, hot, rtol=1e-12)
    np.testing.assert_allclose(slope, hot_slope, rtol=1e-12, atol=1e-15)


def test_finer_rows_have_no_decisions_of_the_batch():
    """IoU and support belong to a class of the batch, not to a sample's share of it."""
    _, ledger = one("z", CE(), "batch class", rows="batch class")(np.eye(2), np.array([0, 1]))
    assert {(row.support, row.iou) for row in ledger.rows} == {(None, None)}


def test_decisions_of_two_outputs_do_not_mix():
    """Rows of two outputs that decide differently have no common IoU."""
    terms = [ll.Term(n, CE(), "batch class", name=n) for n in ("left", "right")]
    outputs = {"left": np.eye(2) * 5, "right": -np.eye(2) * 5}
    targets = dict.fromkeys(outputs, np.array([0, 1]))
    _, ledger = ll.Objective(*terms)(outputs, targets)
    assert {row.iou for row in ledger.by("class")} == {None}


def test_merged_steps_have_no_one_divisor():
    """Each step divided by its own number: the caption names none."""
    objective = one("x", SE(), "batch")
    first, second = (objective(np.ones(n), np.zeros(n))[1] for n in (4, 1))
    assert "divisor 4" in str(first)
    assert "divisor" not in str(first + second)
    assert (first + second).to_dict()["terms"][0]["divisor"] is None


def test_a_loss_weight_that_changes():
    """A learned weight moves on; ledgers keep what they saw, and have no pooled value."""
    weight = torch.tensor(0.0, dtype=torch.float64)
    objective = one("x", SE(), "batch", loss_weight=weight)
    x, zeros = torch.full((2,), 2.0, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    steps = []
    for value in (0.0, 0.5, 1.0):
        weight.fill_(value)
        steps.append(objective(x, zeros)[1])
    whole = objective.statistics(x, zeros)
    weight.fill_(100)
    assert [step.total for step in steps] == [0, 2, 4]
    assert steps[1].pooled == 2
    assert float(whole.total()) == 4
    assert sum(steps).step_mean == 2
    with pytest.raises(ll.ReductionError, match="changed"):
        _ = sum(steps).pooled


@pytest.mark.parametrize("denominator", ["elements", "samples", "nonzero", 3.0])
def test_everything_masked_under_raise(denominator):
    """Nothing with weight is an error, whatever a mean divides by."""
    reduction = ll.Mean(denominator=denominator, empty="raise")
    objective = one("x", SE(), "batch", reduction=reduction)
    with pytest.raises(ll.ReductionError, match="Every cell needs some weight"):
        objective.loss(np.ones(3), np.zeros(3), mask=np.zeros(3))


def test_everything_masked_under_raise_for_dice():
    """Likewise for a loss of sums."""
    objective = one("x", ll.losses.Dice(over="batch", empty="raise"), "batch class")
    with pytest.raises(ll.ReductionError, match="needs targets"):
        objective.loss(np.ones((3, 2)), np.ones((3, 2)), mask=np.zeros(3))


@pytest.mark.parametrize(
    "build",
    [
        lambda: BCE(pos_weight=-1),
        lambda: BCE(pos_weight="x"),
        lambda: CE(z_loss=float("nan")),
        lambda: CE(ignore_index="1"),
        lambda: CE(ignore_index=True),
        lambda: CE(from_logits="yes"),
        lambda: SE(half="yes"),
    ],
    ids=["negative", "text", "nan", "digits", "flag", "answer", "half"],
)
def test_settings_of_another_kind(build):
    """A setting of the wrong kind is an error when the term is built."""
    with pytest.raises(ll.DomainError):
        ll.Term("z", build(), "batch class")


def test_logits_near_zero_are_no_probabilities():
    """A young network's logits may all lie in (0, 1); a range from end to end gives them away."""
    objective, y = one("z", BCE(), "batch"), np.ones(1000)
    assert np.isfinite(objective.loss(np.full(1000, 0.1) + np.linspace(0, 0.01, 1000), y))
    with pytest.raises(ll.DomainError, match="probabilities where"):
        objective.loss(np.linspace(0.01, 0.99, 1000), y)


@pytest.mark.parametrize(
    "targets", [np.array(["a", "b"]), np.array([1j, 2]), np.array([None, 1])], ids=str
)
def test_targets_that_are_no_numbers(targets):
    """Text, complex numbers and objects are refused by name."""
    with pytest.raises(ll.DomainError, match="real numbers"):
        one("z", SE(), "batch").loss(np.ones(2), targets)


def test_a_name_with_two_meanings():
    """A mask under a name that is one term's output and another's target is ambiguous."""
    terms = (ll.Term("a", SE(), "batch", target="b"), ll.Term("b", SE(), "batch", name="other"))
    x = np.ones(3)
    with pytest.raises(ll.MatchError, match="one thing"):
        ll.Objective(*terms).loss({"a": x, "b": x}, {"b": x}, mask={"b": np.array([1, 0, 1])})
