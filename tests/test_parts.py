# SPDX-License-Identifier: Apache-2.0
"""However a batch is split, its parts make the whole: total, gradient and ledger."""

import pytest
from batches import draw, objective_of
from options import Combination, combinations

from cases import LOSSES, Case
from properties import assert_parts_make_the_whole

by_case = pytest.mark.parametrize("case", LOSSES, ids=lambda c: c.id)
CUTS = (1, 3, 5)


def hold(c: Combination) -> None:
    """Hold the law on one combination, by statistics and, in one pass, by counts."""
    objective, batch = c.objective(loss_weight=0.3), c.batch(7)
    if c.rows == "batch":
        return  # its cells are the batch's own
    assert_parts_make_the_whole(objective, batch, CUTS)
    if objective.exactness["case"].kind == "one_pass":
        assert_parts_make_the_whole(objective, batch, CUTS, count=True)


@by_case
def test_parts_make_the_whole(case: Case) -> None:
    """With every reduction, kind of weights and choice of cells."""
    for combination in combinations(case):
        try:
            hold(combination)
        except (AssertionError, Exception) as failure:
            failure.add_note(f"in {combination}")
            raise


@by_case
def test_every_way_to_split(case: Case) -> None:
    """From one part to one sample a part."""
    batch = draw(case, batch=4)
    for cuts in ((), (2,), (1, 2, 3)):
        assert_parts_make_the_whole(objective_of(case), batch, cuts)
