# SPDX-License-Identifier: Apache-2.0
"""Presets of Keras' losses against Keras on PyTorch, which computes in float32.

In float64, on TensorFlow, they are compared by `tests/tensorflow/test_presets_keras.py`.
"""

import keras_cases_classes as classes
import keras_cases_regression as regression
import pytest
from conformance import Case, check, losses
from keras_cases import in_single, unaveraged

CASES = [
    *in_single([*regression.CASES, *classes.CASES], every=5),
    *in_single(classes.ON_TORCH, every=2),
    *[c for c in classes.ON_TORCH if unaveraged(c)],
]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are Keras'."""
    for case in CASES:
        if case.loss == loss:
            check(case)


__all__ = ["Case"]
