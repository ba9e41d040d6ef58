# SPDX-License-Identifier: Apache-2.0
"""Presets of Keras' losses against Keras on TensorFlow, where it computes in float64."""

import keras_cases_classes as classes
import keras_cases_regression as regression
import pytest
from conformance import check_loss, losses

CASES = [*regression.CASES, *classes.CASES]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are Keras', in as many cases as the page says."""
    check_loss("keras", loss, CASES)
