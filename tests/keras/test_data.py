# SPDX-License-Identifier: Apache-2.0
"""Every way to give Keras data: the ledger is that of the data, computed by NumPy."""

import sys

import keras
import numpy as np
import pytest
from keras_runs import (
    BACKEND,
    assert_near,
    assert_same_rows,
    brier,
    by_hand,
    cross_entropy,
    labeled,
    linear,
    outputs_of,
)

import lossledger as ll

# Keras' own arrays warn of NumPy's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

X, Y, W = labeled(16)
CLASS_WEIGHT = {0: 1.0, 1: 2.0, 2: 5.0}
# Batches of one length, and weights in all of them: one model is compiled once for all sources.
FIT = {"verbose": 0, "batch_size": 8, "shuffle": False}


def objective():
    """Return two losses on one output."""
    return ll.Objective(cross_entropy(class_weight=[1.0, 1.0, 4.0]), brier())


def of_data(rows=slice(None), weight=W):
    """Return the ledger of some rows at once."""
    return by_hand(objective(), linear(), X[rows], Y[rows], sample_weight=weight[rows])[1]


def batches():
    """Yield two batches for ever."""
    while True:
        for start in (0, 8):
            rows = slice(start, start + 8)
            yield X[rows], Y[rows], W[rows]


class Batches(keras.utils.PyDataset):
    """Two batches."""

    def __len__(self):
        """Return their number."""
        return 2

    def __getitem__(self, index):
        """Return one of them."""
        rows = slice(8 * index, 8 * index + 8)
        return X[rows], Y[rows], W[rows]


def native():
    """Return the backend's own data set; on JAX, which has none, NumPy's arrays."""
    if BACKEND == "tensorflow":
        data = sys.modules["tensorflow"].data.Dataset
        return data.from_tensor_slices((X, Y, W)).batch(8)
    if BACKEND == "torch":
        torch = sys.modules["torch"]
        data = torch.utils.data.TensorDataset(*map(torch.tensor, (X, Y, W)))
        return torch.utils.data.DataLoader(data, batch_size=8)
    return Batches()


def test_compiled_with_an_objective():
    """One model, data from every source: fit, evaluate, predict and single batches."""
    model = linear()
    ll.keras.compile(model, objective(), keras.optimizers.SGD(0.0))
    whole = of_data()
    model.fit(X, Y, sample_weight=W, validation_split=0.5, **FIT)
    assert_same_rows(model.ledger, of_data(slice(8)))
    assert_same_rows(model.val_ledger, of_data(slice(8, None)))
    with pytest.raises(AssertionError):  # twin: rows of the other half
        assert_same_rows(model.ledger, of_data(slice(8, None)))
    for source, more in ((batches(), {"steps_per_epoch": 2}), (Batches(), {}), (native(), {})):
        model.fit(source, epochs=2, verbose=0, shuffle=False, **more)
        assert_same_rows(model.ledger, whole)
    model.fit(X, Y, class_weight=CLASS_WEIGHT, **FIT)
    assert_same_rows(model.ledger, of_data(weight=np.array([CLASS_WEIGHT[c] for c in Y])))
    logs = model.evaluate(native(), return_dict=True, verbose=0)
    assert_same_rows(model.val_ledger, whole)
    assert set(logs) == {"loss", "ce", "brier"}
    held = model.ledger, model.val_ledger
    assert_near(np.asarray(model.predict(X, verbose=0)), outputs_of(model, X), "predictions")
    assert (model.ledger, model.val_ledger) == held
    first = of_data(slice(8))
    for method in (model.train_on_batch, model.test_on_batch):
        found = method(X[:8], Y[:8], sample_weight=W[:8], return_dict=True)
        assert_near(found["loss"], first.total, "a batch")
        assert_same_rows(ll.keras.read_ledger(model), first)


def test_ledger_beside_a_loss():
    """The same of a callback, which a prediction leaves as it was, and the model too."""
    model = linear()
    model.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(True))
    callback = ll.keras.LedgerCallback(objective())
    model.fit(native(), epochs=2, verbose=0, shuffle=False, callbacks=[callback])
    assert_same_rows(callback.ledger, of_data())
    model.evaluate(Batches(), verbose=0, callbacks=[callback])
    assert_same_rows(callback.val_ledger, of_data())
    held = callback.ledger, callback.val_ledger
    model.predict(X, verbose=0, callbacks=[callback])
    assert (callback.ledger, callback.val_ledger) == held
    assert held[0] is not None
    assert "compute_loss" not in vars(model)
