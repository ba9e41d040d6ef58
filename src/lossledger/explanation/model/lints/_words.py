# SPDX-License-Identifier: Apache-2.0
"""The same trap in a loss of Keras and in a term: who divides, and what to write instead."""

from dataclasses import dataclass

from lossledger.explanation.model._formulas import WEIGHTED_MEAN
from lossledger.explanation.model._reading import LossReading


@dataclass(frozen=True)
class Words:
    """What a note says of a loss.

    Attributes:
        divides: Who divides.
        as_passed: The reduction that sums weights as they are passed.
        weighted: How to divide by the weights instead.
        mean: The reduction that is a mean.
        factor: The argument for a loss's weight.
        masked: How to bring a mask to the loss.
    """

    divides: str
    as_passed: str
    weighted: str
    mean: str
    factor: str
    masked: str


OF_KERAS = Words(
    divides="Keras divides",
    as_passed=f"'{WEIGHTED_MEAN}'",
    weighted=f"build the loss with `reduction='{WEIGHTED_MEAN}'`, which divides by Σ w",
    mean="`reduction='sum_over_batch_size'`",
    factor="loss_weights",
    masked=f"`sample_weight` with `reduction='{WEIGHTED_MEAN}'`",
)
OF_TERMS = Words(
    divides="the term divides",
    as_passed="`denominator='passed'`",
    weighted="build the term with `reduction=ll.Mean()`, which divides by Σ w",
    mean="`reduction=ll.Mean()`",
    factor="loss_weight",
    masked="`sample_weight` with `reduction=ll.Mean()`",
)


def words_of(loss: LossReading) -> Words:
    """Return the words for a loss."""
    return OF_TERMS if loss.terms else OF_KERAS
