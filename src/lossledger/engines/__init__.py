# SPDX-License-Identifier: Apache-2.0
"""How a term is computed: the reference in the array API, and fused engines beside it."""

from lossledger.engines._account import Account, CellNames
from lossledger.engines._candidates import Candidates, bare
from lossledger.engines._count import count_term
from lossledger.engines._factors import BatchWeights
from lossledger.engines._lean import LeanPlan, lean_plan, run_lean
from lossledger.engines._limbs import Limbs, growing
from lossledger.engines._part import OpenTerm, Place, check_same_term, close_term, open_term
from lossledger.engines._pool import Pool, pool
from lossledger.engines._prepare import Prepared, prepare
from lossledger.engines._select import Result, compute, loss_weight, result_of, result_of_part
from lossledger.engines._unreduced import spread_sum, unreduced
from lossledger.engines._watch import RULES, Watch
from lossledger.engines.reference import Ran, account, gradient, run

__all__ = [
    "RULES",
    "Account",
    "BatchWeights",
    "Candidates",
    "CellNames",
    "LeanPlan",
    "Limbs",
    "OpenTerm",
    "Place",
    "Pool",
    "Prepared",
    "Ran",
    "Result",
    "Watch",
    "account",
    "bare",
    "check_same_term",
    "close_term",
    "compute",
    "count_term",
    "gradient",
    "growing",
    "lean_plan",
    "loss_weight",
    "open_term",
    "pool",
    "prepare",
    "result_of",
    "result_of_part",
    "run",
    "run_lean",
    "spread_sum",
    "unreduced",
]
