# SPDX-License-Identifier: Apache-2.0
"""Keras models explained against Keras, on the backend of this process: rows of the docs' table."""

from typing import Any

import keras
import pytest
from explained_table import check_table
from keras_explained import LOSSES, Case, outcomes
from keras_older import arrays_of, by_hand, without_mask
from keras_older import outcomes as of_version

from lossledger.presets import keras as presets

# Keras' own arrays warn of NumPy's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SINGLE = 1e-5
"""Largest deviation: Keras computes in float32."""


def test_models() -> None:
    """The explained total is Keras' number; the gradient of known losses is Keras' gradient."""
    check_table(f"keras3 {keras.backend.backend()}", outcomes(), SINGLE)


@pytest.mark.parametrize("convention", ["keras1", "keras2.3"])
def test_versions_by_hand(convention: str) -> None:
    """Keras 1 and 2.3: the explained total is that of their formulas."""
    check_table(convention, of_version(convention, by_hand(convention)), SINGLE)


def test_version_without_mask() -> None:
    """Keras 3.16 takes the mask off what recurrent layers give."""
    check_table("keras3.16", without_mask(), SINGLE)


def test_twin_of_another_version() -> None:
    """Broken twin: the formulas of Keras 1 are not those of 2.3, where there are masks."""
    with pytest.raises(AssertionError, match=r"Outcome|raises"):
        check_table("keras2.3", of_version("keras2.3", by_hand("keras1")), SINGLE)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf_keras runs on TensorFlow")
def test_version_of_tf_keras() -> None:
    """Keras 2.11 is tf_keras: its own number of the same outputs, weights and mask."""
    import tf_keras
    from keras_cases import by_tensorflow

    def version(kind: str, case: Case) -> Any:
        if getattr(presets, kind).since == "keras3":
            raise ValueError("2.11 has no such loss; later releases of tf_keras may")
        options = LOSSES[kind][0]
        reduction = case.loss.reduction or "none"
        loss = getattr(tf_keras.losses, kind)(**options, reduction=reduction)
        outputs, targets, weight, mask = arrays_of(case)
        value = by_tensorflow(loss, outputs, targets, weight, mask, private=True)[0]
        if value.ndim:
            raise ValueError("it is an array")
        return value

    check_table("keras2.11", of_version("keras2.11", version), SINGLE)
