# SPDX-License-Identifier: Apache-2.0
"""Every law on every case of the table, with reductions, weights and ledger cells in pairs."""

from collections.abc import Callable

import numpy as np
import pytest
from batches import WEIGHTS, cells_of, draw, left_of, objective_of
from options import REDUCTIONS, ROWS, Combination, combinations

from cases import LOSSES, Case
from properties import (
    assert_copies_scale,
    assert_garbage_is_harmless,
    assert_gradient_matches_differences,
    assert_ledger_sums_to_total,
    assert_ledgers_add,
    assert_permutation_invariant,
    assert_split_invariant,
    assert_zero_weight_is_removal,
)

by_case = pytest.mark.parametrize("case", LOSSES, ids=lambda c: c.id)


def each(case: Case, law: Callable[[Combination], None]) -> None:
    """Hold a law on all combinations of a case; a failure names its combination."""
    for combination in combinations(case):
        try:
            law(combination)
        except (AssertionError, Exception) as failure:
            failure.add_note(f"in {combination}")
            raise


def compares_samples(case: Case) -> bool:
    """Whether a sample's values depend on the other samples."""
    return bool(case.term().loss.facts().candidates)


def mask_may_drop_samples(c: Combination) -> bool:
    """Whether a masked sample is gone, and not an empty cell that counts as 0.

    A mask over inner axes belongs to the stage (or the sums) that removes them.
    """
    inner = c.weights in ("mask", "mixed")
    sums = cells_of(c.case) != left_of(c.case)
    return not (inner and (sums or "inner" in c.option.needs)) or (
        c.option.id == "skip-inner-mean" and not sums
    )


def test_options_meet_in_pairs() -> None:
    """Each reduction meets each kind of weights and each choice of cells, and they each other."""
    met = {(c.option.id, c.weights, c.rows) for case in LOSSES for c in combinations(case)}
    names = [r.id for r in REDUCTIONS]
    assert {(o, w) for o, w, _ in met} == {(o, w) for o in names for w in WEIGHTS}
    assert {(o, r) for o, _, r in met} == {(o, r) for o in names for r in ROWS}
    assert {(w, r) for _, w, r in met} == {(w, r) for w in WEIGHTS for r in ROWS}


@by_case
def test_closed_form_gradient(case: Case) -> None:
    """∂total/∂outputs in closed form equals finite differences, element by element."""
    assert_gradient_matches_differences(objective_of(case), draw(case))


@by_case
def test_closed_form_gradient_of_reductions(case: Case) -> None:
    """The same with every reduction and with weights, along a random direction.

    `test_engines.py` compares each element of these gradients with autograd's.
    """
    each(case, lambda c: assert_gradient_matches_differences(c.objective(), c.batch(), 1))


@by_case
def test_ledger_sums_to_total(case: Case) -> None:
    """Contributions and curvature add up to the total, whatever the cells and the reduction."""
    each(case, lambda c: assert_ledger_sums_to_total(c.objective(loss_weight=0.3), c.batch()))


@by_case
def test_statistics_merge(case: Case) -> None:
    """Statistics of parts merge to those of the whole."""
    if compares_samples(case):
        assert objective_of(case).exactness["case"].kind == "candidates"
        return
    each(case, lambda c: assert_split_invariant(c.objective(), c.batch(7), (1, 3, 5)))


@by_case
def test_ledgers_add(case: Case) -> None:
    """The ledgers of steps add up to the ledger of an epoch."""
    if compares_samples(case):
        return

    def law(c: Combination) -> None:
        if c.rows != "batch":  # its cells are the batch's own
            assert_ledgers_add(c.objective(), c.batch(6), (2, 4))

    each(case, law)


@by_case
def test_permutation(case: Case) -> None:
    """The order of samples does not matter."""
    each(case, lambda c: assert_permutation_invariant(c.objective(), c.batch()))


@by_case
def test_zero_weight_is_removal(case: Case) -> None:
    """A sample of weight 0, or masked, might as well not be there."""
    if compares_samples(case):
        return

    def law(c: Combination) -> None:
        by = ("sample_weight", "mask")[c.turn // len(WEIGHTS) % 2]
        if by == "mask" and not mask_may_drop_samples(c):
            by = "sample_weight"
        if c.option.removes:
            assert_zero_weight_is_removal(c.objective(), c.batch(6), (0, 4), by)
        elif c.option.id == "mean-mask" and mask_may_drop_samples(c):
            assert_zero_weight_is_removal(c.objective(), c.batch(6), (0, 4), "mask")

    each(case, law)


@by_case
def test_copies(case: Case) -> None:
    """Written three times, a batch has the same mean and three times the sum."""
    if compares_samples(case) or not case.twice:
        return

    def law(c: Combination) -> None:
        whole_sums = case.id.startswith(("dice", "jaccard")) and "batch" in str(case.loss.over)
        factor = {"same": 1.0, "times": 3.0}.get(c.option.copies)
        if factor and not whole_sums:
            assert_copies_scale(c.objective(), c.batch(), 3, factor)

    each(case, law)


@by_case
def test_garbage_without_weight(case: Case) -> None:
    """NaN, inf and nonsense change nothing where the weight is 0."""
    if compares_samples(case):
        return
    places = elements_of(case)

    def law(c: Combination) -> None:
        by = ("mask", "element_weight", "sample_weight")[c.turn % 3]
        fill = (np.nan, np.inf, -1e300)[c.turn // 3 % 3]
        batch = draw(c.case, "none", batch=6)
        shape = (6, *places[1:]) if by != "sample_weight" else (6,)
        dead = np.random.default_rng(1).random(shape) < 0.4
        dead.reshape(-1)[-1] = False
        assert_garbage_is_harmless(c.objective(), batch, dead, by, fill)

    each(case, law)


def elements_of(case: Case) -> tuple[int, ...]:
    """Return the lengths of the leading axes that outputs, targets and values share."""
    outputs, targets = case.sample()
    coupled = case.term().loss.facts().coupled
    rank = len(case.axes.split()) if targets is None else targets.ndim
    for place, axis in enumerate(case.axes.split()):
        if axis in coupled:
            rank = min(rank, place)
    return tuple(outputs[0].shape[:rank])
