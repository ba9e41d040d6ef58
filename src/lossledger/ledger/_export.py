# SPDX-License-Identifier: Apache-2.0
"""Ledgers for other tools."""

from typing import Any

from lossledger._errors import MissingExtraError
from lossledger._typing import Sequence
from lossledger.ledger._rows import Row


def dataframe(rows: Sequence[Row]) -> Any:
    """Return rows as a pandas DataFrame."""
    try:
        import pandas as pd  # noqa: PLC0415 - optional
    except ImportError as missing:
        raise MissingExtraError(
            "to_dataframe() needs pandas",
            "Found it missing",
            "pandas is not a dependency of lossledger",
            "pip install pandas",
        ) from missing
    return pd.DataFrame([row.to_dict() for row in rows])
