# SPDX-License-Identifier: Apache-2.0
"""Terms as a Keras loss, ledgers beside a loss, and what is saved with a model."""

import json

import keras
import numpy as np
import pytest
from batches import objective_of
from keras_runs import (
    BACKEND,
    JIT,
    assert_near,
    assert_same_rows,
    brier,
    by_hand,
    cross_entropy,
    labeled,
    linear,
    outputs_of,
    stepped,
    weights_of,
)

import lossledger as ll
from cases import LOSSES

# Keras' writer of files on PyTorch and NumPy 2.
SAVES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_dense_targets_with_class_and_sample_weights():
    """(B,) weights on (B, H, W) labels weigh samples, also where B, H and W are equal."""
    x, y, weight = labeled(5, shape=(5, 5))
    weight = np.linspace(0.5, 2.0, 5).astype("float32")
    terms = [
        cross_entropy("batch height width class", class_weight=[1.0, 2.0, 5.0]),
        ll.Term(
            "y", ll.losses.Dice(over="batch height width", kind="softmax"),
            "batch height width class", name="dice", loss_weight=0.5,
        ),
    ]  # fmt: skip
    model = linear(shape=(5, 5))
    model.compile(keras.optimizers.SGD(1.0), ll.keras.Loss(*terms), jit_compile=JIT)
    total, _, kernel, bias = by_hand(ll.Objective(*terms), model, x, y, sample_weight=weight)
    found, logs = stepped(model, x, y, sample_weight=weight)
    assert_near(found[0], kernel, "gradient of the kernel")
    assert_near(found[1], bias, "gradient of the bias")
    assert_near(logs["loss"], [total], "total")


def test_loss_honors_masks():
    """A mask that layers left on the output removes its elements."""
    x, y, weight = labeled(shape=(6,))
    mask = np.arange(6) < np.arange(22)[:, None] % 5 + 1
    x[~mask] = 0.0
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(3, name="y")
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.Masking(0.0), dense])
    term = cross_entropy("batch time class")
    model.compile(keras.optimizers.SGD(1.0), ll.keras.Loss(term), jit_compile=JIT)
    given = {"mask": mask, "sample_weight": weight}
    total, _, kernel, _ = by_hand(ll.Objective(term), model, x, y, **given)
    found, logs = stepped(model, x, y, sample_weight=weight)
    assert_near(found[0], kernel, "gradient")
    assert_near(logs["loss"], [total], "total")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "Found none"),
        ((ll.losses.Brier(),), "Found Brier"),
        ((ll.L2(1.0, half=False),), "Found L2"),
        ((cross_entropy(), ll.Term("z", ll.losses.Brier(), "batch class")), "sees one output"),
    ],
    ids=["nothing", "no term", "regularizer", "two outputs"],
)
def test_loss_is_made_of_terms_on_one_output(parts, message):
    """Everything else is refused, with the way out."""
    with pytest.raises(ll.MatchError, match=message):
        ll.keras.Loss(*parts)


def trained(callbacks, data):
    """Return a model that Keras trained with its own loss."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(*data, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
    return model


def test_callback_changes_nothing():
    """With and without a ledger beside it, `fit` ends with the same bits in the weights."""
    x, y, _ = labeled(24)  # batches of one length: TensorFlow compiles another step otherwise
    callback = ll.keras.LedgerCallback(cross_entropy(), brier(), log_classes=True)
    alone, beside = trained([], (x, y)), trained([callback], (x, y))
    for mine, theirs in zip(weights_of(alone), weights_of(beside), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert sum(r.count for r in callback.ledger.rows if r.term == "ce") == 24
    assert beside.ledger is callback.ledger
    assert set(beside.history.history) >= {"loss", "accuracy", "ce", "brier", "ce_class_a"}
    assert "compute_loss" not in vars(beside)


def test_callback_sees_what_is_minimised():
    """Its ledger is that of the data, on a model trained before, in `fit` and in `evaluate`."""
    x, y, weight = labeled()
    model = linear()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    model.fit(x, y, batch_size=8, verbose=0)
    callback = ll.keras.LedgerCallback(cross_entropy())
    model.fit(x, y, sample_weight=weight, batch_size=8, verbose=0, callbacks=[callback])
    objective = ll.Objective(cross_entropy())
    _, wanted = objective(outputs_of(model, x), y, sample_weight=weight)
    assert_same_rows(callback.ledger, wanted)
    logs = model.evaluate(
        x, y, batch_size=22, verbose=0, callbacks=[callback], return_dict=True
    )  # fmt: skip
    assert_near(callback.val_ledger.total, logs["loss"], "Keras' own loss")


class Stop(keras.callbacks.Callback):
    """Breaks a fit off."""

    def on_train_batch_end(self, batch, logs=None):
        """Raise, as a broken data source would."""
        raise KeyError("no more data")


def test_callback_after_a_fit_that_broke_off():
    """What such a fit left on the model is taken away before the next one begins."""
    x, y, _ = labeled(16)
    model = linear()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = ll.keras.LedgerCallback(cross_entropy())
    with pytest.raises(KeyError, match="no more data"):
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback, Stop()])
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback])
    assert sum(row.count for row in callback.ledger.rows) == 16
    assert "compute_loss" not in vars(model)
    with pytest.raises(KeyError, match="no more data"):
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback, Stop()])
    model.evaluate(x, y, batch_size=8, verbose=0, callbacks=[callback])
    assert "compute_loss" not in vars(model)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_objective_as_plain_data(case):
    """Every loss of the catalogue comes back from JSON as it was, unless it holds a function."""
    objective = objective_of(case)
    functions = ("sums-", "fenchel-")
    if case.id.startswith(functions):
        with pytest.raises(ll.MatchError, match="made of names and numbers"):
            ll.keras.objective_to_dict(objective)
        return
    data = json.loads(json.dumps(ll.keras.objective_to_dict(objective)))
    again = ll.keras.objective_from_dict(data)
    assert ll.keras.objective_to_dict(again) == data
    for mine, theirs in zip(objective.terms, again.terms, strict=True):
        assert type(mine.loss) is type(theirs.loss)
        assert mine.reduction == theirs.reduction


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (ll.Term("y", lambda o, t: o - t, "batch class"), "A function was passed"),
        (ll.L2(1.0, parameters=[np.ones(2)], half=False), "with parameters of its own"),
        (brier(loss_weight=np.float64(2.0)), "that is an array"),
    ],
    ids=["function", "parameters", "array"],
)
def test_what_cannot_be_saved_says_so(part, message):
    """Code and arrays of one model are refused when they would be written."""
    parts = (part,) if isinstance(part, ll.Term) else (brier(), part)
    with pytest.raises(ll.MatchError, match=message):
        ll.keras.objective_to_dict(ll.Objective(*parts))


@pytest.mark.parametrize("data", [{}, [], {"lossledger": "objective", "version": 0}], ids=repr)
def test_other_data_is_no_objective(data):
    """Data of another kind or version is refused."""
    with pytest.raises(ll.MatchError, match="needs what objective_to_dict gave"):
        ll.keras.objective_from_dict(data)


@SAVES
def test_saved_loss(tmp_path):
    """A model with a loss of ours is loaded with it, and gives the same number."""
    x, y, _ = labeled()
    model = linear()
    model.compile(keras.optimizers.SGD(0.0), ll.keras.Loss(cross_entropy(), brier()))
    before = model.evaluate(x, y, batch_size=22, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_near(loaded.evaluate(x, y, batch_size=22, verbose=0), before, "total", 1e-7)
    config = json.loads(json.dumps(loaded.loss.get_config()))
    assert ll.keras.Loss.from_config(config).name == "ce_brier"


@SAVES
def test_saved_objective(tmp_path):
    """A compiled model is loaded and restored: same total, live weights and optimizer state."""
    x, y, _ = labeled()
    model = linear()
    objective = ll.Objective(cross_entropy(), brier(), ll.L2(1e-2, half=False))
    ll.keras.compile(model, objective, keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(x, y, batch_size=11, verbose=0)
    model.loss_weights["brier"].assign(3.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ll.LossLedgerError, match=r"Call ll\.keras\.restore\(model\) after loading"):
        loaded.evaluate(x, y, verbose=0)
    ll.keras.restore(loaded)
    assert loaded.loss_weights.numbers() == {"ce": 1.0, "brier": 3.0}
    for each in (model, loaded):
        each.fit(x, y, batch_size=11, epochs=2, shuffle=False, verbose=0)
    assert_near(loaded.ledger.total, model.ledger.total, "total after loading")
    for mine, theirs in zip(weights_of(model), weights_of(loaded), strict=True):
        assert_near(theirs, mine, "weights after loading")


def test_counts_beyond_float32():
    """Counts and sums of an epoch keep what 24 bits of a float32 do not hold."""
    x, y, _ = labeled(3)
    model = linear()
    ll.keras.compile(model, ll.Objective(cross_entropy()), keras.optimizers.SGD(0.0))
    model.train_on_batch(x, y)
    assert ll.keras.read_ledger(model) is not None  # eager steps are added up now
    bank = model._lossledger
    sums = [np.zeros(v.shape, v.dtype) for v in bank.variables[:1]]
    at = bank._current.starts()[3]  # the count of class a
    sums[0][at] = 2.0**24
    for variable, zero in zip(bank.variables, sums, strict=False):
        variable.assign(variable + zero)
    model.reset_metrics = lambda: None  # so that train_on_batch goes on adding
    model.train_on_batch(x, y)
    rows = ll.keras.read_ledger(model).rows
    assert sum(row.count for row in rows) == 2**24 + 6
    print(BACKEND, [row.count for row in rows])
