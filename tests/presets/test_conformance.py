# SPDX-License-Identifier: Apache-2.0
"""The measure of conformance can fail: each case here has something wrong that it must find."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conformance import Case, check, torch_call

from lossledger.presets import torch as presets

RNG = np.random.default_rng(0)
RIGHT = Case(
    "MSELoss", presets.MSELoss(), torch_call(torch.nn.MSELoss()),
    (RNG.normal(size=(4, 3)),), RNG.normal(size=(4, 3)),
)  # fmt: skip


def test_agreement_is_found() -> None:
    """The same loss agrees in every array library, and nothing deviates by more than rounding."""
    assert all(max(far) < 1e-14 for far in check(RIGHT).values())


@pytest.mark.parametrize("preset", [presets.MSELoss("sum"), presets.L1Loss()], ids=str)
def test_another_number_is_found(preset: object) -> None:
    """Another reduction, or another loss, is no agreement."""
    with pytest.raises(AssertionError, match="MSELoss"):
        check(replace(RIGHT, preset=preset))


def test_another_gradient_is_found() -> None:
    """The right number with a wrong gradient is no agreement."""

    def theirs(*arrays: object) -> tuple[object, list[object]]:
        value, slopes = RIGHT.theirs(*arrays)
        return value, [2 * slope for slope in slopes]

    with pytest.raises(AssertionError, match="MSELoss"):
        check(replace(RIGHT, theirs=theirs))


def test_a_difference_that_is_none_is_found() -> None:
    """A case that is said to differ has to."""
    with pytest.raises(AssertionError, match="they agree"):
        check(replace(RIGHT, differs="no reason"))
