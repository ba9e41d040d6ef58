# SPDX-License-Identifier: Apache-2.0
"""The same data in other versions of Keras."""

from lossledger.explanation._parts import Elsewhere
from lossledger.explanation.model._reading import LossReading, Reading


def elsewhere(reading: Reading) -> tuple[Elsewhere, ...]:  # noqa: ARG001
    """Return the total in other versions."""
    return ()


def value_under(
    loss: LossReading,  # noqa: ARG001
    convention: str,  # noqa: ARG001
    reading: Reading | None = None,  # noqa: ARG001
) -> tuple[float | None, str]:
    """Return (a loss's value under a convention, what is done otherwise)."""
    return None, "not there yet"
