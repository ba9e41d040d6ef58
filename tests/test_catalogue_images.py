# SPDX-License-Identifier: Apache-2.0
"""Losses that the presets of segmentation are made of: oracles, and three ways."""

import numpy as np
import pytest
from batches import draw, objective_of
from case import Case
from cases_images import ROWS

import lossledger as ll
from lossledger.reductions.offset import OffsetMean
from properties import (
    assert_gradient_matches_differences,
    assert_ledger_sums_to_total,
    assert_ledgers_add,
    assert_split_invariant,
)


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c.id)
@pytest.mark.parametrize("seed", range(2))
def test_values_equal_oracle(case: Case, seed: int) -> None:
    """Values are those of the formula, written out."""
    assert case.oracle is not None
    outputs, targets = case.sample(seed)
    found = ll.Objective(case.term()).values({"y": outputs[0]}, {"t": targets})["case"]
    np.testing.assert_allclose(found, case.oracle(outputs, targets), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("stage", ["one", "last"])
@pytest.mark.parametrize("case", [ROWS[0], ROWS[-1]], ids=lambda c: c.id)
def test_offset_mean_keeps_the_laws(case: Case, stage: str) -> None:
    """A constant beside a mean is booked, merged, and has no derivative."""
    last = OffsetMean(offset=-2.0, denominator="elements")
    chain = last if stage == "one" else ll.Mean(over="class").then(last)
    objective, batch = objective_of(case, reduction=chain), draw(case)
    assert_gradient_matches_differences(objective, batch)
    assert_ledger_sums_to_total(objective, batch)
    assert_ledgers_add(objective, batch, (1, 2))
    assert_split_invariant(objective, batch, (1, 2))
    plain = objective_of(case, reduction=ll.Mean(denominator="elements"))
    totals = [batch.total(o) for o in (plain, objective)]
    np.testing.assert_allclose(totals[1], totals[0] - 2)


def test_background_alone() -> None:
    """Without its background one channel has no class left."""
    loss = ll.losses.Foreground(ll.losses.ScaledCrossEntropy())
    objective = ll.Objective(ll.Term("y", loss, axes="batch class"))
    with pytest.raises(ll.ShapeError, match="at least two classes"):
        objective.loss(np.zeros((3, 1)), np.zeros((3, 1)))
