# SPDX-License-Identifier: Apache-2.0
"""Keras' own data parallelism on JAX: batches split over devices give one ledger."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from properties import close

PROGRAM = Path(__file__).parents[1] / "keras_parallel.py"


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="DataParallel is of the JAX backend")
def test_four_devices_are_one():
    """Ledger and weights after two epochs on four devices are those of one device."""
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    done = subprocess.run(
        [sys.executable, PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, four = json.loads(done.stdout)
    assert (one["devices"], four["devices"]) == (1, 4)
    close(four["total"], one["total"], 1e-6)
    for mine, theirs in zip(four["rows"], one["rows"], strict=True):
        assert (mine[0], mine[2]) == (theirs[0], theirs[2])
        close(mine[1], theirs[1], 1e-6)
    for mine, theirs in zip(four["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    print("four devices against one:", abs(four["total"] / one["total"] - 1))
