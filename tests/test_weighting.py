# SPDX-License-Identifier: Apache-2.0
"""Weights: where each source enters, by axis name, and what a weight of 0 hides."""

from typing import Any

import numpy as np
import pytest
from batches import Batch

import lossledger as ll
from lossledger._array import library_of
from lossledger.frames import Frame, Key
from lossledger.weighting import Factor, enters, kept, masses, place
from properties import assert_zero_weight_is_removal, close, rows_close

RNG = np.random.default_rng(2)
XP = library_of(np.zeros(1))
IMAGE = RNG.normal(size=(2, 3, 4))
TARGET = RNG.normal(size=(2, 3, 4))
ERRORS = (IMAGE - TARGET) ** 2
AXES = "batch height width"
CE, BCE = ll.losses.CrossEntropy, ll.losses.BinaryCrossEntropy


def mean(outputs: Any = IMAGE, targets: Any = TARGET, axes: str = AXES, **options: Any) -> float:
    """Return the weighted mean of squared errors."""
    term = ll.Term("y", ll.losses.SquaredError(), axes=axes)
    return float(ll.Objective(term)(outputs, targets, **options)[0])


# ------------------------------------------------------------------------- by name, not by luck


def test_weights_of_samples() -> None:
    """An array along `batch` alone weighs samples, not the last axis."""
    weight = np.array([1.0, 3.0])
    expected = (ERRORS * weight[:, None, None]).sum() / (weight.sum() * 12)
    close(mean(sample_weight=weight), expected)


def test_named_axes_in_any_order() -> None:
    """Axis names decide where a weight stands, whatever the order of its axes."""
    weight = RNG.uniform(0.5, 2.0, (4, 2))
    expected = np.average(ERRORS, weights=np.broadcast_to(weight.T[:, None, :], ERRORS.shape))
    close(mean(element_weight=ll.NamedArray(weight, ("width", "batch"))), expected)
    column = RNG.uniform(0.5, 2.0, 3)
    expected = np.average(ERRORS, weights=np.broadcast_to(column[:, None], ERRORS.shape))
    close(mean(element_weight=ll.NamedArray(column, ("height",))), expected)


def test_sources_multiply() -> None:
    """Mask, sample weight and element weight are one product."""
    mask = RNG.random((2, 3, 4)) < 0.7
    sample, element = np.array([1.0, 3.0]), RNG.uniform(0.5, 2.0, (2, 3, 4))
    product = mask * sample[:, None, None] * element
    found = mean(mask=mask, sample_weight=sample, element_weight=element)
    close(found, np.average(ERRORS, weights=product))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_dtypes_of_masks(dtype: type) -> None:
    """A mask may be booleans, integers or floats."""
    mask = (RNG.random((2, 3, 4)) < 0.5).astype(dtype)
    close(mean(mask=mask), ERRORS[mask != 0].mean())


def test_mask_of_integers_is_no_index() -> None:
    """Weights of 0 and 3 are 0 and 3, not indices or truth."""
    weight = np.array([0, 3])
    close(mean(sample_weight=weight), ERRORS[1].mean())


# ----------------------------------------------------------------------------- class weights


def test_class_weights_of_labels() -> None:
    """With labels a class weight is that of the row's class, above and below the line."""
    logits, labels = RNG.normal(size=(6, 3)), np.array([0, 1, 2, 1, 0, 2])
    weight = np.array([1.0, 2.0, 5.0])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    own = weight[labels]
    expected = -(own * log_p[np.arange(6), labels]).sum() / own.sum()
    by_list = ll.Term("y", CE(), axes="batch class", class_weight=weight)
    by_name = ll.Term("y", CE(), axes="batch class", classes=["a", "b", "c"],
                      class_weight={"c": 5.0, "a": 1.0, "b": 2.0})  # fmt: skip
    for term in (by_list, by_name):
        close(ll.Objective(term)(logits, labels)[0], expected)
    hot = np.eye(3)[labels]
    close(ll.Objective(by_list)(logits, hot)[0], expected, what="one-hot rows")


def test_class_weights_of_channels() -> None:
    """With one yes/no a class a class weight weighs the channel, present or absent."""
    logits, targets = RNG.normal(size=(5, 2)), RNG.integers(0, 2, (5, 2)).astype(float)
    values = np.logaddexp(0, logits) - targets * logits
    term = ll.Term("y", BCE(), axes="batch class", class_weight=[1.0, 4.0])
    close(ll.Objective(term)(logits, targets)[0], np.average(values, axis=0) @ [1, 4] / 5)


@pytest.mark.parametrize(
    "loss", [CE(), CE(label_smoothing=0.1), BCE()], ids=["index", "smooth", "bce"]
)
def test_class_weight_of_zero_hides(loss: Any) -> None:
    """A class of weight 0 contributes nothing, whatever its rows or its channel hold."""
    outputs, labels = RNG.normal(size=(5, 3)), np.array([0, 1, 2, 1, 0])
    targets = labels if isinstance(loss, CE) else np.eye(3)[labels]
    objective = ll.Objective(ll.Term("y", loss, axes="batch class", class_weight=[1.0, 0.0, 2.0]))
    total, ledger, slope = objective.value_and_grad(outputs, targets)
    if isinstance(loss, CE) and loss.label_smoothing:
        return  # a smoothed row of that class still has a share of the others
    spoiled, hidden = outputs.copy(), np.zeros((5, 3), bool)
    hidden[(labels == 1) if isinstance(loss, CE) else (slice(None), 1)] = True
    spoiled[hidden] = np.nan
    found, found_ledger, found_slope = objective.value_and_grad(spoiled, targets)
    close(found, total)
    close(found_slope, slope)
    assert not slope[hidden].any()
    rows = [[r.contribution for r in one.rows] for one in (found_ledger, ledger)]
    close(*rows)


def test_class_weight_of_zero_keeps_its_score() -> None:
    """A class of weight 0 is still decided for, and its IoU is still shown."""
    outputs, targets = np.array([[3.0, 3.0], [-3.0, 3.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])
    term = ll.Term("y", BCE(), axes="batch class", class_weight=[1.0, 0.0], rows="class")
    rows = ll.Objective(term)(outputs, targets)[1].rows
    assert [row.iou for row in rows] == [1.0, 0.5]
    assert rows[1].contribution == 0


# -------------------------------------------------------------------------- ignored and masked


@pytest.mark.parametrize("label", [-100, 255, 1])
def test_ignore_index(label: int) -> None:
    """Rows of the ignored label are as if they were not there."""
    logits, labels = RNG.normal(size=(6, 3)), np.array([0, 1, 2, 1, 0, 2])
    labels[[1, 3]] = label
    objective = ll.Objective(ll.Term("y", CE(ignore_index=label), axes="batch class"))
    logits[[1, 3]] = np.nan
    total, ledger, slope = objective.value_and_grad(logits, labels)
    left = [0, 2, 4, 5]
    expected, fewer, fewer_slope = objective.value_and_grad(logits[left], labels[left])
    close(total, expected)
    close(slope[left], fewer_slope)
    assert not slope[[1, 3]].any()
    rows_close(ledger, fewer)


def test_ignored_and_weighted() -> None:
    """Ignored rows have no class weight either: the denominator does not see them."""
    logits, labels = RNG.normal(size=(4, 3)), np.array([0, 9, 2, 1])
    term = ll.Term("y", CE(ignore_index=9), axes="batch class", class_weight=[1.0, 2.0, 5.0])
    left = [0, 2, 3]
    found = ll.Objective(term)(logits, labels)[0]
    close(found, ll.Objective(term)(logits[left], labels[left])[0])


def test_callable_at_masked_places() -> None:
    """A callable that is infinite at 0 gives nothing where the mask is 0."""
    outputs, targets = RNG.uniform(0.5, 2.0, 5), RNG.uniform(0.5, 2.0, 5)
    loss = ll.losses.Elementwise(lambda o, t: t * np.log(t / o), derivative=lambda o, t: -t / o)
    objective = ll.Objective(ll.Term("y", loss, axes="batch", target="t"))
    batch = Batch({"y": outputs}, {"t": targets})
    assert_zero_weight_is_removal(objective, batch, [0, 3], "mask")
    spoiled = outputs.copy()
    spoiled[[0, 3]] = 0.0
    mask = np.array([0, 1, 1, 0, 1])
    expected, _, slope = objective.value_and_grad(outputs, targets, mask=mask)
    found, _, found_slope = objective.value_and_grad(spoiled, targets, mask=mask)
    close(found, expected)
    close(found_slope, slope)


# --------------------------------------------------------------------- where a weight enters


FRAME = Frame(("batch", "height", "class"), (2, 3, 4))
KEYS = {"group": Key(np.array([0, 1]), 2, ("batch",))}


def test_a_weight_enters_at_the_first_stage_that_removes_one_of_its_axes() -> None:
    """…or that removes an axis which its key varies along."""
    sample = Factor("sample_weight", np.ones(2), ("batch",))
    pixel = Factor("mask", np.ones((2, 3)), ("batch", "height"))
    group = Factor("group_weight", np.ones(2), ("group",))
    assert not enters(sample, FRAME, KEYS, ("batch", "class"))
    assert enters(pixel, FRAME, KEYS, ("batch", "class"))
    assert enters(sample, FRAME, KEYS, ("class",))
    assert not enters(group, FRAME, KEYS, ("batch",))
    assert not enters(group, FRAME, KEYS, ("group",))
    assert enters(group, FRAME, KEYS, ("class",))


def test_masses_keep_numerator_and_denominator_apart() -> None:
    """A factor that the loss has multiplied already stands in the denominator alone."""
    factors = (
        Factor("mask", np.array([True, False]), ("batch",)),
        Factor("class_weight", np.array([1.0, 2.0, 3.0, 4.0]), ("class",), in_numerator=False),
    )
    found = masses(XP, factors, FRAME, {}, "float64")
    assert found.numerator.shape == (2, 1, 1)
    assert np.broadcast_to(found.denominator, FRAME.shape)[0, 0].tolist() == [1, 2, 3, 4]
    assert np.broadcast_to(found.mask, FRAME.shape)[1].sum() == 0
    assert found.samples == 2


def test_weights_by_key_are_looked_up() -> None:
    """A weight along a key is that of each element's label."""
    by_group = Factor("group_weight", np.array([5.0, 7.0]), ("group",))
    assert place(XP, by_group, FRAME, KEYS).ravel().tolist() == [5, 7]
    with pytest.raises(ll.ShapeError, match="must vary along axes of the values") as error:
        place(XP, Factor("mask", np.ones(3), ("width",)), FRAME, KEYS)
    assert "width" in error.value.found


def test_kept() -> None:
    """Elements count where no factor is 0; without factors that could remove, None."""
    pixel = Factor("mask", np.array([[1, 0, 2], [0, 1, 1]]), ("batch", "height"))
    here = kept(XP, (pixel,), FRAME, {}, FRAME.axes)
    assert here.shape == (2, 3, 1)
    assert here[..., 0].tolist() == [[True, False, True], [False, True, True]]
    assert kept(XP, (), FRAME, {}, FRAME.axes) is None
    rows = FRAME.without(("class",))
    channel = Factor("class_weight", np.ones(4), ("class",))
    assert kept(XP, (channel,), rows, {}, rows.axes) is None
