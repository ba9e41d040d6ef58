# SPDX-License-Identifier: Apache-2.0
"""Two losses that should agree: where they part, and what makes them equal."""

from lossledger.explanation.comparison._change import Change
from lossledger.explanation.comparison._compare import compare
from lossledger.explanation.comparison._comparison import Comparison, Part
from lossledger.explanation.criterion._difference import Difference

__all__ = ["Change", "Comparison", "Difference", "Part", "compare"]
