# SPDX-License-Identifier: Apache-2.0
"""Every law on every case."""

import pytest
from cases import LOSSES, Case
from properties import (
    assert_gradient_matches_differences,
    assert_ledger_sums_to_total,
    assert_statistics_are_split_invariant,
)

import lossledger as ll

by_case = pytest.mark.parametrize("case", LOSSES, ids=lambda c: c.id)


@by_case
def test_closed_form_gradient(case: Case) -> None:
    """∂total/∂outputs in closed form equals finite differences."""
    assert_gradient_matches_differences(case.term(), *case.sample())


@by_case
def test_ledger_sums_to_total(case: Case) -> None:
    """Contributions add up to the total."""
    assert_ledger_sums_to_total(case.term(), *case.sample())


@by_case
def test_statistics_merge(case: Case) -> None:
    """Statistics of parts merge to those of the whole."""
    if case.loss.facts().candidates:
        exactness = ll.Objective(case.term()).exactness["case"]
        assert exactness.kind == "candidates"
        return
    assert_statistics_are_split_invariant(case.term(), *case.sample(batch=6), cuts=(1, 3))
