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


@pytest.mark.parametrize("label", [-1, 5, -100])
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
