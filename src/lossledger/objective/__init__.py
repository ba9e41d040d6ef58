# SPDX-License-Identifier: Apache-2.0
"""Objectives: several terms and regularizers, their total and its ledger."""

from lossledger.objective._matching import match, near
from lossledger.objective._objective import Objective

__all__ = ["Objective", "match", "near"]
