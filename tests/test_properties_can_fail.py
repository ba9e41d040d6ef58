# SPDX-License-Identifier: Apache-2.0
"""A broken twin for every law: each law must fail on an objective that breaks it."""

from dataclasses import dataclass, replace
from typing import Any

import libraries
import numpy as np
import pytest
from batches import Batch

import lossledger as ll
from properties import (
    assert_coefficients_are_derivatives,
    assert_copies_scale,
    assert_garbage_is_harmless,
    assert_gradient_matches_differences,
    assert_ledger_sums_to_total,
    assert_ledgers_add,
    assert_library_agrees,
    assert_parts_make_the_whole,
    assert_permutation_invariant,
    assert_split_invariant,
    assert_zero_weight_is_removal,
    close,
    rows_close,
)

RNG = np.random.default_rng(0)
BATCH = Batch({"y": RNG.normal(size=(6, 2))}, {"t": RNG.normal(size=(6, 2))})


def honest(outputs, targets):
    """Return squared errors."""
    return (outputs - targets) ** 2


def honest_slope(outputs, targets):
    """Return their derivative."""
    return 2 * (outputs - targets)


def coupled(outputs, targets):
    """Return squared errors that shrink with the batch's spread: samples see each other."""
    return (outputs - targets) ** 2 / np.mean(np.abs(outputs))


def placed(outputs, targets):
    """Return squared errors weighted by position in the batch."""
    return (outputs - targets) ** 2 * np.arange(1.0, len(outputs) + 1)[:, None]


def objective(f=honest, slope=honest_slope, **settings):
    """Return an objective of one callable."""
    loss = ll.losses.Elementwise(f, derivative=slope)
    return ll.Objective(ll.Term("y", loss, "batch feature", target="t", **settings))


@dataclass(frozen=True)
class Twisted:
    """An objective whose results are changed on their way out."""

    inner: ll.Objective
    total: float = 1.0
    slope: float = 1.0
    leak: float = 0.0
    alien: float = 1.0

    @property
    def terms(self) -> Any:
        """Return the terms."""
        return self.inner.terms

    def __call__(self, outputs, targets, **options):
        """Return (total, ledger), twisted."""
        total, ledger = self.inner(outputs, targets, **options)
        return self._total(total, outputs), ledger

    def value_and_grad(self, outputs, targets, **options):
        """Return (total, ledger, gradient), twisted."""
        total, ledger, slopes = self.inner.value_and_grad(outputs, targets, **options)
        return self._total(total, outputs), ledger, {n: s * self.slope for n, s in slopes.items()}

    def statistics(self, outputs, targets, **options):
        """Return the statistics."""
        return self.inner.statistics(outputs, targets, **options)

    def _total(self, total, outputs):
        # `leak` adds what stands in the outputs, weight or no weight.
        # `alien` is a factor in every library but NumPy.
        other = 1.0 if isinstance(total, np.ndarray | np.generic) else self.alien
        return total * self.total * other + self.leak * sum(
            o.sum().item() for o in outputs.values()
        )


@dataclass(frozen=True)
class Alone(Twisted):
    """Parts that divide by what they hold themselves: a mean of means."""

    def value_and_grad(self, outputs, targets, whole=None, part=None, **options):
        """Return a part's own mean, over the number of parts."""
        if whole is None:
            return self.inner.value_and_grad(outputs, targets, **options)
        total, ledger, slopes = self.inner.value_and_grad(outputs, targets, **options)
        return total / whole.parts, ledger, {n: s / whole.parts for n, s in slopes.items()}


KEY = {"keys": {"group": RNG.integers(0, 2, 6)}}
DEAD = np.array([True, False, False, False, True, False])

LAWS = {
    "gradient": (
        assert_gradient_matches_differences,
        objective(),
        objective(slope=lambda o, t: 1.001 * honest_slope(o, t)),
    ),
    "gradient-along-directions": (
        lambda o, b: assert_gradient_matches_differences(o, b, 3),
        objective(),
        Twisted(objective(), slope=1.001),
    ),
    "rows-are-the-total": (
        assert_ledger_sums_to_total,
        objective(),
        Twisted(objective(), total=1 + 1e-9),
    ),
    "parts": (
        lambda o, b: assert_parts_make_the_whole(o, b, (1, 4)),
        objective(reduction=ll.LogMeanExp(0.5)),
        objective(coupled, reduction=ll.LogMeanExp(0.5)),
    ),
    "parts-by-their-own": (
        lambda o, b: assert_parts_make_the_whole(o, b, (1, 4)),
        objective(),
        Alone(objective()),
    ),
    "split": (lambda o, b: assert_split_invariant(o, b, (1, 4)), objective(), objective(coupled)),
    "epoch": (lambda o, b: assert_ledgers_add(o, b, (1, 4)), objective(), objective(coupled)),
    "order": (assert_permutation_invariant, objective(), objective(placed)),
    "weight-0": (
        lambda o, b: assert_zero_weight_is_removal(o, b, [2]),
        objective(),
        objective(coupled),
    ),
    "weight-0-stays-in-the-denominator": (
        lambda o, b: assert_zero_weight_is_removal(o, b, [2]),
        objective(),
        objective(reduction=ll.Mean(denominator="elements")),
    ),
    "garbage": (
        lambda o, b: assert_garbage_is_harmless(o, b, DEAD),
        objective(),
        Twisted(objective(), leak=1e-3),
    ),
    "copies-of-a-mean": (
        lambda o, b: assert_copies_scale(o, b, 3, 1),
        objective(),
        objective(reduction=ll.Mean(denominator=7.0)),
    ),
    "copies-of-a-sum": (
        lambda o, b: assert_copies_scale(o, b, 3, 3),
        objective(reduction="sum"),
        objective(),
    ),
    "libraries": (
        lambda o, b: assert_library_agrees(o, b, libraries.torch()),
        objective(),
        Twisted(objective(), alien=1 + 1e-9),
    ),
    "coefficients": (
        assert_coefficients_are_derivatives,
        objective(lambda o, _: o, lambda o, _: o * 0 + 1, rows="batch"),
        Twisted(objective(lambda o, _: o, lambda o, _: o * 0 + 1, rows="batch"), slope=1.001),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_law_holds_and_can_fail(name) -> None:
    """The law passes on the honest objective and raises on its broken twin."""
    law, good, broken = LAWS[name]
    law(good, BATCH)
    with pytest.raises(AssertionError):
        law(broken, BATCH)


def test_close_can_fail() -> None:
    """Equality sees a deviation above the bound, a shape, and a number that is not finite."""
    close([1.0, 2.0], [1.0, 2.0 + 1e-13])
    for wrong in ([1.0, 2.0 + 1e-11], [1.0], [1.0, np.nan]):
        with pytest.raises(AssertionError):
            close(wrong, [1.0, 2.0])


def test_rows_close_can_fail() -> None:
    """Two ledgers differ by a contribution, by a count and by a missing row."""
    _, ledger = BATCH.call(objective())
    rows_close(ledger, ledger)
    book = ledger.books[0]
    for field in ("contribution", "count", "numerator"):
        changed = replace(book.account, **{field: getattr(book.account, field) + 1})
        wrong = replace(ledger, books=(replace(book, account=changed),))
        with pytest.raises(AssertionError):
            rows_close(wrong, ledger)
    _, by_sample = BATCH.call(objective(rows="batch"))
    with pytest.raises(AssertionError):
        rows_close(by_sample, ledger)


def test_every_law_has_a_twin() -> None:
    """A law that is added to properties.py without a twin fails here."""
    import properties

    laws = {n for n in vars(properties) if n.startswith("assert_")}
    named = {name for entry in LAWS.values() for name in _names(entry[0])}
    assert laws == named


def _names(law) -> set[str]:
    return {n for n in (law.__name__, *law.__code__.co_names) if n.startswith("assert_")}
