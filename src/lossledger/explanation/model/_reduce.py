# SPDX-License-Identifier: Apache-2.0
"""How Keras 3 makes one number of a loss's values: Σ w·m·l over a denominator, in float64.

Weights and masks are lined up as Keras lines them up, also where that is not what was meant.
"""

from dataclasses import dataclass

import numpy as np

from lossledger._typing import Array

MEANS = ("sum_over_batch_size", "mean")


@dataclass(frozen=True, eq=False)
class Reduced:
    """A number as a fraction of sums.

    Attributes:
        numerator: Σ w·m·l.
        denominator: What divides it; 1 for a sum.
        rule: What the denominator is, in symbols: "Σm", "N", "Σw·m", "1".
        weighted: w·m·l, element by element.
        weight: w·m, as it multiplies the values; None for none.
        values: Lined up with the weights.
    """

    numerator: float
    denominator: float
    rule: str
    weighted: Array
    weight: Array
    values: Array

    @property
    def value(self) -> float:
        """The quotient; 0 where Keras divides by 0."""
        return self.numerator / self.denominator if self.denominator else 0.0


def reduced(
    values: Array, sample_weight: Array, masks: tuple[Array, ...], reduction: str | None
) -> Reduced:
    """Return a loss's number as Keras makes it.

    Args:
        values: What the loss gave before weights.
        sample_weight: As Keras passed them; None for none.
        masks: Those that are there, of the output and of the loss itself.
        reduction: Of the loss: a mean, "sum" or "mean_with_sample_weight".
    """
    values = np.asarray(values, np.float64)
    mask = None
    for each in masks:
        mask = each if mask is None else mask & each
    scalar = values.ndim == 0
    weight, product = _weight(sample_weight, mask)
    if weight is not None:
        values, weight = same_rank(values, weight)
        weighted = values * weight
    else:
        weighted = values
    number = float(weighted.size)
    if scalar and weighted.ndim == 0:
        return Reduced(float(weighted), 1.0, "1", weighted, weight, values)
    if reduction == "sum":
        return Reduced(float(weighted.sum()), 1.0, "1", weighted, weight, values)
    if reduction == "mean_with_sample_weight" and weight is not None:
        passed = float(weight.sum())
        return Reduced(float(weighted.sum()), passed, product, weighted, weight, values)
    denominator, rule = number, "N"
    if reduction in MEANS and mask is not None:
        kept = float(np.sum(mask))
        denominator, rule = number * kept / mask.size, "Σm" if number == mask.size else "N·Σm/#m"
    return Reduced(float(weighted.sum()), denominator, rule, weighted, weight, values)


def _weight(sample_weight: Array, mask: Array) -> tuple[Array, str]:
    """Return (w·m as Keras multiplies them, its sum in symbols)."""
    if mask is None:
        weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
        return weight, "Σw"
    kept = np.asarray(mask, np.float64)
    if sample_weight is None:
        return kept, "Σm"
    kept, weight = same_rank(kept, np.asarray(sample_weight, np.float64))
    return weight * kept, "Σw·m"


def same_rank(first: Array, second: Array) -> tuple[Array, Array]:
    """Add or drop a last axis of length 1 as Keras does it."""
    if first.ndim == second.ndim + 1 and first.shape[-1] == 1:
        return (first, second[..., None]) if second.ndim == 1 else (first[..., 0], second)
    if second.ndim == first.ndim + 1 and second.shape[-1] == 1:
        return (first[..., None], second) if first.ndim == 1 else (first, second[..., 0])
    return first, second
