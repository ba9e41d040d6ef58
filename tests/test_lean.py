# SPDX-License-Identifier: Apache-2.0
"""The lean engine gives the reference engine's numbers, or leaves the batch to it."""

import numpy as np
import pytest
import torch

import lossledger as ll
from lossledger.engines import lean_plan, run_lean
from properties import close


def _objective(**settings):
    return ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes="batch class", **settings))


def _reference(objective, outputs, targets):
    """Run the reference engine: a mask of ones is not plain, and changes no number."""
    return objective(outputs, targets, mask=torch.ones(len(targets), dtype=torch.bool))


def _batch(dtype=torch.float64, seed=0, rows=12, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=dtype, requires_grad=True)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


# float32: log-softmax in one fused operation here, in the same operation there; the
# ledger sums in float64 on both sides, the value in float32 over 12 rows.
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_same_numbers_as_the_reference(dtype, rtol, weight) -> None:
    """Total, gradient, rows and pooled value agree between the engines."""
    objective = _objective(loss_weight=weight)
    logits, labels = _batch(dtype)
    assert run_lean(lean_plan(objective.terms[0]), logits, labels) is not None
    total, ledger = objective(logits, labels)
    (slope,) = torch.autograd.grad(total, logits)
    expected, full = _reference(objective, logits, labels)
    (reference,) = torch.autograd.grad(expected, logits)
    close(total.detach(), expected.detach(), rtol)
    close(slope, reference, rtol)
    close(ledger.pooled, full.pooled, rtol)
    for mine, theirs in zip(ledger.rows, full.rows, strict=True):
        assert (mine.cls, mine.count, mine.support) == (theirs.cls, theirs.count, theirs.support)
        assert mine.iou == theirs.iou
        close(mine.contribution, theirs.contribution, rtol)
    assert ledger.deviation <= 1e-12 * abs(ledger.total)


SHAPES = {
    "batch height width class": (2, 3, 5, 4),
    "batch class height width": (2, 4, 3, 5),
    "batch time class": (3, 6, 4),
    "class batch": (4, 7),
    "height class batch": (3, 4, 5),
    "class batch height width": (4, 2, 3, 5),
    "batch height class width": (2, 3, 4, 5),
    "class batch depth height width": (4, 2, 3, 2, 2),
}


def _images(axes, dtype, labels="int64"):
    generator = torch.Generator().manual_seed(3)
    shape, at = SHAPES[axes], axes.split().index("class")
    logits = torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True)
    found = torch.randint(0, 4, shape[:at] + shape[at + 1 :], generator=generator)
    return logits, found.to(getattr(torch, labels))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize("labels", ["int64", "int32", "uint8"])
def test_any_layout_has_the_same_numbers(axes, dtype, rtol, labels) -> None:
    """The class axis may stand anywhere, labels may be of any integer type, and views count."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes, classes=4))
    logits, given = _images(axes, dtype, labels)
    apart = torch.cat([logits, logits], -1)[..., : logits.shape[-1]]  # not contiguous
    assert run_lean(objective._plain, apart, given) is not None
    total, ledger = objective(apart, given)
    batch = axes.split().index("batch")
    mask = ll.NamedArray(torch.ones(logits.shape[batch], dtype=torch.bool), ("batch",))
    expected, full = objective(logits, given, mask=mask)
    close(total.detach(), expected.detach(), rtol)
    close(torch.autograd.grad(total, logits)[0], torch.autograd.grad(expected, logits)[0], rtol)
    close(ledger.pooled, full.pooled, rtol)
    for mine, theirs in zip(ledger.rows, full.rows, strict=True):
        assert (mine.count, mine.support, mine.iou) == (theirs.count, theirs.support, theirs.iou)
        close(mine.contribution, theirs.contribution, rtol)


@pytest.mark.parametrize("axes", SHAPES)
def test_labels_out_of_range_in_images_are_explained(axes) -> None:
    """Neither PyTorch's form for images nor the one for rows passes over a label."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes, classes=4))
    logits, labels = _images(axes, torch.float32)
    for wrong in (-1, 4, -100, -(2**63)):
        labels.view(-1)[-1] = wrong
        with pytest.raises(ll.DomainError, match="Labels must be class indices from 0"):
            objective(logits, labels)


@pytest.mark.parametrize("axes", SHAPES)
def test_probabilities_in_images_are_not_logits(axes) -> None:
    """The first row is looked at along the class axis, wherever that is."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes, classes=4))
    logits, labels = _images(axes, torch.float32)
    with pytest.raises(ll.DomainError, match="probabilities where from_logits=True"):
        objective(torch.softmax(logits, axes.split().index("class")), labels)


def test_ledgers_of_both_engines_add_up() -> None:
    """An epoch may mix steps of both engines."""
    objective = _objective()
    first, second = _batch(seed=1), _batch(seed=2, rows=7)
    mixed = objective(*first)[1] + _reference(objective, *second)[1]
    same = _reference(objective, *first)[1] + _reference(objective, *second)[1]
    close(mixed.step_mean, same.step_mean)
    close(mixed.pooled, same.pooled)
    close(
        mixed.pooled,
        float(objective.loss(*(torch.cat(p) for p in zip(first, second, strict=True))).detach()),
    )


@pytest.mark.parametrize("label", [-1, 5, -100, -(2**63)])
def test_labels_out_of_range_are_explained(label) -> None:
    """A label that torch would ignore or index with is an error that names the range."""
    logits, labels = _batch()
    labels[3] = label
    with pytest.raises(ll.DomainError, match="Labels must be class indices from 0"):
        _objective()(logits, labels)


def test_probabilities_are_not_logits() -> None:
    """Rows that sum to 1 are refused where logits are asked for."""
    logits, labels = _batch()
    with pytest.raises(ll.DomainError, match="probabilities where from_logits=True"):
        _objective()(torch.softmax(logits, 1), labels)


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weight": [1, 1, 1, 1, 2]},
        {"reduction": "sum"},
        {"rows": "batch"},
        {"loss_weight": torch.tensor(0.5)},
    ],
)
def test_other_terms_are_left_to_the_reference(settings) -> None:
    """A term that is not plain has no lean plan."""
    assert lean_plan(_objective(**settings).terms[0]) is None


def test_a_wrong_lean_engine_would_be_seen(monkeypatch) -> None:
    """The comparison fails for an engine that counts labels where it should sum values."""
    bincount = np.bincount
    monkeypatch.setattr(np, "bincount", lambda x, _weights=None, n=0: bincount(x, None, n) * 1.0)
    with pytest.raises((AssertionError, ValueError)):
        test_same_numbers_as_the_reference(torch.float64, 1e-12, 1.0)


def test_a_wrong_place_of_the_classes_would_be_seen(monkeypatch) -> None:
    """The comparison fails for an engine that takes the first class for every label."""
    monkeypatch.setattr(np, "take_along_axis", lambda x, _labels, axis: np.take(x, [0], axis=axis))
    with pytest.raises((AssertionError, ValueError)):
        test_any_layout_has_the_same_numbers(
            "batch height width class", torch.float64, 1e-12, "int64"
        )
