# SPDX-License-Identifier: Apache-2.0
"""How a term is computed: the reference in the array API, and fused engines beside it."""

from lossledger.engines._account import Account, CellNames
from lossledger.engines._pool import Pool, pool
from lossledger.engines._prepare import BatchWeights, Prepared, prepare
from lossledger.engines._watch import RULES, Watch
from lossledger.engines.reference import Ran, account, gradient, run

__all__ = [
    "Account",
    "BatchWeights",
    "CellNames",
    "Pool",
    "Prepared",
    "RULES",
    "Ran",
    "Watch",
    "account",
    "gradient",
    "pool",
    "prepare",
    "run",
]
