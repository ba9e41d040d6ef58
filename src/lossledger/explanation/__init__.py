# SPDX-License-Identifier: Apache-2.0
"""How a loss that people already have makes its number."""

from lossledger.explanation._dispatch import explain
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import (
    STAGES,
    Elsewhere,
    Extra,
    Note,
    Piece,
    Reported,
    Step,
)
from lossledger.explanation.comparison import Change, Comparison, Difference, Part, compare

__all__ = [
    "STAGES",
    "Change",
    "Comparison",
    "Difference",
    "Elsewhere",
    "Explanation",
    "Extra",
    "Note",
    "Part",
    "Piece",
    "Reported",
    "Step",
    "compare",
    "explain",
]
