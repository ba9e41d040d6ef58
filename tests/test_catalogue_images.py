# SPDX-License-Identifier: Apache-2.0
"""Losses that the presets of segmentation are made of: oracles, and three ways."""

import numpy as np
import pytest
from case import Case
from cases_images import ROWS

import lossledger as ll


@pytest.mark.parametrize("case", ROWS, ids=lambda c: c.id)
@pytest.mark.parametrize("seed", range(2))
def test_values_equal_oracle(case: Case, seed: int) -> None:
    """Values are those of the formula, written out."""
    assert case.oracle is not None
    outputs, targets = case.sample(seed)
    found = ll.Objective(case.term()).values({"y": outputs[0]}, {"t": targets})["case"]
    np.testing.assert_allclose(found, case.oracle(outputs, targets), rtol=1e-10, atol=1e-14)
