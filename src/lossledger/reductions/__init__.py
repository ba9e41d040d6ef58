# SPDX-License-Identifier: Apache-2.0
"""Reductions: statistics of elements, finalized to one value a cell, with coefficients.

A stage turns the values of a frame into one value for each cell of a smaller frame. Its
*coefficient* at an element is ∂cell/∂value. Σ attribution·coefficient·value is the cell,
up to the *curvature* that a stage which is not homogeneous leaves; so what the elements
contribute adds up to the total by construction.
"""

from lossledger.reductions._base import AbstractReduction, Cells, Chain
from lossledger.reductions._evaluate import (
    Evaluated,
    Following,
    Left,
    Opened,
    evaluate,
    finish,
    following,
    open_chain,
    walk,
)
from lossledger.reductions.means import Macro, Mean, RootMean, Sum, parse_reduction
from lossledger.reductions.order import Max, TopMean
from lossledger.reductions.tilted import LogMeanExp

__all__ = [
    "AbstractReduction",
    "Cells",
    "Chain",
    "Evaluated",
    "Following",
    "Left",
    "LogMeanExp",
    "Macro",
    "Max",
    "Mean",
    "Opened",
    "RootMean",
    "Sum",
    "TopMean",
    "evaluate",
    "finish",
    "following",
    "open_chain",
    "parse_reduction",
    "walk",
]
