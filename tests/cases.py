# SPDX-License-Identifier: Apache-2.0
"""The one table of cases: a new loss is one row, and inherits every law."""

import cases_classification
import cases_images
import cases_keras
import cases_optax
import cases_regression
import cases_sums
import cases_torch
from case import Case

LOSSES: tuple[Case, ...] = (
    *cases_classification.ROWS,
    *cases_sums.ROWS,
    *cases_regression.ROWS,
    *cases_images.ROWS,
    *cases_keras.ROWS,
    *cases_optax.ROWS,
    *cases_torch.ROWS,
)

__all__ = ["LOSSES", "Case"]
