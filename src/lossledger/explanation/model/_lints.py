# SPDX-License-Identifier: Apache-2.0
"""What there is to know of a compiled model."""

from lossledger.explanation._parts import Note
from lossledger.explanation.model._reading import Reading


def lints(reading: Reading) -> tuple[Note, ...]:  # noqa: ARG001
    """Return what was found."""
    return ()
