# SPDX-License-Identifier: Apache-2.0
"""A program: `fit` with a ledger on one device and on four, which Keras splits batches over."""

import json
import sys

import jax
import keras
import numpy as np

import lossledger as ll


def fitted(devices: int) -> dict[str, object]:
    """Return what two epochs give, with an uneven last batch."""
    keras.utils.set_random_seed(0)
    if devices > 1:
        parallel = keras.distribution.DataParallel(devices=jax.devices()[:devices])
        keras.distribution.set_distribution(parallel)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(52, 5)).astype("float32"), rng.integers(0, 3, 52)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, name="y")])
    term = ll.Term("y", ll.losses.CrossEntropy(), "batch class", classes=3)
    ll.keras.compile(model, ll.Objective(term), keras.optimizers.SGD(0.1))
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, shuffle=False)
    kernel = model.trainable_variables[0].value
    return {
        "devices": len(kernel.devices()),
        "total": model.ledger.total,
        "rows": [(row.count, row.contribution, row.iou) for row in model.ledger.rows],
        "weights": [np.asarray(v.value).tolist() for v in model.trainable_variables],
    }


if __name__ == "__main__":
    json.dump([fitted(1), fitted(len(jax.devices()))], sys.stdout)
