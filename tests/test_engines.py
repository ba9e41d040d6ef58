# SPDX-License-Identifier: Apache-2.0
"""Every case gives the same numbers in every array library as in NumPy."""

import libraries
import pytest
from options import VARIANTS, combinations

from cases import LOSSES, Case
from properties import assert_library_agrees

by_case = pytest.mark.parametrize("case", LOSSES, ids=lambda c: c.id)
FIRSTS = [case for case in LOSSES if case.id not in VARIANTS]


def agree(case: Case, library: libraries.Library, every: int) -> None:
    """Compare each `every`-th combination of a case, at least one."""
    for place, c in enumerate(combinations(case)):
        if place % every == 0:
            try:
                assert_library_agrees(c.objective(loss_weight=0.7), c.batch(), library)
            except Exception as failure:
                failure.add_note(f"in {c}")
                raise


@by_case
def test_array_api_strict(case: Case) -> None:
    """The reference engine uses nothing that is not in the standard."""
    agree(case, libraries.strict(), 2)


@by_case
def test_torch(case: Case) -> None:
    """PyTorch's autograd gives the closed-form gradient."""
    agree(case, libraries.torch(), 1)


@pytest.mark.parametrize("case", FIRSTS, ids=lambda c: c.id)
def test_jax(case: Case) -> None:
    """jit(value_and_grad(..., has_aux=True)) with the ledger as aux gives the same."""
    agree(case, libraries.jax(jit=True), 40)


@pytest.mark.parametrize("case", FIRSTS[::9], ids=lambda c: c.id)
def test_jax_eager(case: Case) -> None:
    """So does grad op by op; a few cases, because JAX compiles every operation."""
    agree(case, libraries.jax(), 12)
