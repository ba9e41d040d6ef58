# SPDX-License-Identifier: Apache-2.0
"""The ledger: where every part of a total came from."""

from lossledger.ledger._book import Book, Ledger, Note
from lossledger.ledger._rows import Row

__all__ = ["Book", "Ledger", "Note", "Row"]
