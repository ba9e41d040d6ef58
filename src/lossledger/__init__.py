# SPDX-License-Identifier: Apache-2.0
"""Every number in a training loss, accounted for.

outputs, targets → values (losses) → weights (weighting) → statistics (merge) →
coefficients (reductions) → contributions (ledger) → total (objective).
"""

from lossledger import losses
from lossledger._errors import (
    DomainError,
    LossLedgerError,
    MatchError,
    MissingExtraError,
    ReductionError,
    ShapeError,
)
from lossledger.frames import NamedArray
from lossledger.ledger import Ledger, Row
from lossledger.objective import Objective
from lossledger.reductions import LogMeanExp, Macro, Max, Mean, RootMean, Sum, TopMean
from lossledger.regularizers import L1, L2
from lossledger.splitting import Exactness, Whole
from lossledger.term import Term

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "DomainError",
    "Exactness",
    "Ledger",
    "LogMeanExp",
    "LossLedgerError",
    "Macro",
    "MatchError",
    "Max",
    "Mean",
    "MissingExtraError",
    "NamedArray",
    "Objective",
    "ReductionError",
    "RootMean",
    "Row",
    "ShapeError",
    "Sum",
    "Term",
    "TopMean",
    "Whole",
    "losses",
]
