# SPDX-License-Identifier: Apache-2.0
"""What Keras shows of a step."""

from lossledger.explanation._parts import Reported
from lossledger.explanation.model._reading import Reading


def reported(reading: Reading) -> tuple[Reported, ...]:  # noqa: ARG001
    """Return the numbers that `fit` logs."""
    return ()
