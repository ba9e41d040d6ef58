# SPDX-License-Identifier: Apache-2.0
"""What one term did on one batch, by cell of the ledger: small arrays, no graph."""

import math
from dataclasses import dataclass, fields
from typing import Self

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes


@dataclass(frozen=True, eq=False)
class Account:
    """Sums by cell; every array adds up over batches.

    Attributes:
        contribution: loss_weight · Σ attribution · value by cell.
        numerator: Σ w·v by cell (error sums for overlap losses).
        denominator: Σ w by cell (Σ w(p + y) for Dice).
        count: Number of elements with weight by cell.
        curvature: What the term's total has beyond its contributions.
        total: loss_weight · value.
        loss_weight: The factor; NaN if it was not the same in all that was merged.
        hits: By class: right, predicted and true elements (rows 0, 1, 2); None if the loss
            does not decide for classes.
    """

    contribution: Array
    numerator: Array
    denominator: Array
    count: Array
    curvature: Array
    total: Array
    loss_weight: Array
    hits: Array | None

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Add every array; the loss weight stays if it is the same."""
        merged = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            merged[field.name] = None if mine is None else mine + theirs
        mine, theirs = self.loss_weight, other.loss_weight
        changed = xp.full_like(theirs, math.nan)
        merged["loss_weight"] = xp.where(mine == theirs, theirs, changed)
        return type(self)(**merged)


@dataclass(frozen=True)
class CellNames:
    """Axes of an account's arrays and their lengths: "class", "label", other names."""

    axes: Axes
    shape: tuple[int, ...]
