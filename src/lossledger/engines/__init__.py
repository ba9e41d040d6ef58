# SPDX-License-Identifier: Apache-2.0
"""How a term is computed: the reference in the array API, and fused engines beside it."""

from lossledger.engines._account import Account, CellNames
from lossledger.engines._lean import LeanPlan, lean_plan, run_lean
from lossledger.engines._limbs import Limbs, growing
from lossledger.engines._pool import Pool, pool
from lossledger.engines._prepare import BatchWeights, Prepared, prepare
from lossledger.engines._select import Result, compute, loss_weight, result_of
from lossledger.engines._unreduced import spread_sum, unreduced
from lossledger.engines._watch import RULES, Watch
from lossledger.engines.reference import Ran, account, gradient, run

__all__ = [
    "RULES",
    "Account",
    "BatchWeights",
    "CellNames",
    "LeanPlan",
    "Limbs",
    "Pool",
    "Prepared",
    "Ran",
    "Result",
    "Watch",
    "account",
    "compute",
    "gradient",
    "growing",
    "lean_plan",
    "loss_weight",
    "pool",
    "prepare",
    "result_of",
    "run",
    "run_lean",
    "spread_sum",
    "unreduced",
]
