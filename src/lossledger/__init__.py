# SPDX-License-Identifier: Apache-2.0
"""Every number in a training loss, accounted for.

outputs, targets → values (losses) → weights (weighting) → statistics (merge) →
coefficients (reductions) → contributions (ledger) → total (objective).
"""

from importlib import import_module
from typing import Any

from lossledger import losses
from lossledger._errors import (
    DomainError,
    LossLedgerError,
    MatchError,
    MissingExtraError,
    RankError,
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
    "RankError",
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

_ON_FIRST_USE = ("jax", "keras", "presets", "scaling", "torch")
_NAMES_ON_FIRST_USE = {
    "Comparison": "explanation",
    "Explanation": "explanation",
    "compare": "explanation",
    "explain": "explanation",
}


def __getattr__(name: str) -> Any:
    """Load a part of the library when it is first asked for."""
    if name in _ON_FIRST_USE:
        return import_module(f"lossledger.{name}")
    if name in _NAMES_ON_FIRST_USE:
        return getattr(import_module(f"lossledger.{_NAMES_ON_FIRST_USE[name]}"), name)
    raise AttributeError(f"module 'lossledger' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what there is, loaded or not."""
    return sorted((*__all__, *_ON_FIRST_USE, *_NAMES_ON_FIRST_USE))
