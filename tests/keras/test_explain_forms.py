# SPDX-License-Identifier: Apache-2.0
"""Every way in which Keras takes losses, weights and data is explained as Keras computes it."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_models import rows

import lossledger as ll

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

R = np.random.default_rng(0)
X, LABELS = R.normal(size=(8, 5)), R.integers(0, 3, 8)
ROWS, YES = np.eye(3)[LABELS], (LABELS > 0)[:, None] * 1.0


def dense(units, activation, loss, **options):
    """Return a compiled model of one layer."""
    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(units, activation=activation, name="out")(x))
    model.compile("sgd", loss=loss, **options)
    return model


def overlap(y_true, y_pred):
    """A custom Dice with one value a class."""
    sums = ops.sum(y_true, axis=0) + ops.sum(y_pred, axis=0)
    return 1 - 2 * ops.sum(y_true * y_pred, axis=0) / sums


FORMS = {
    "ce": lambda: (dense(3, "softmax", "ce"), ROWS, {}),
    "partial": lambda: (
        dense(3, None, functools.partial(keras.losses.categorical_crossentropy, from_logits=True)),
        ROWS,
        {},
    ),
    "class name": lambda: (dense(3, None, "MeanAbsoluteError"), ROWS, {}),
    "binary, (B,)": lambda: (dense(1, "sigmoid", "binary_crossentropy"), YES[:, 0], {}),
    "binary, class_weight": lambda: (
        dense(1, "sigmoid", "binary_crossentropy"),
        YES,
        {"class_weight": {1: 3.0}},
    ),
    "labels (B, 1)": lambda: (
        dense(3, "softmax", "sparse_categorical_crossentropy"),
        LABELS[:, None],
        {"class_weight": {0: 2.0}},
    ),
    "focal with alpha": lambda: (
        dense(3, "softmax", keras.losses.CategoricalFocalCrossentropy(alpha=[0.1, 0.2, 0.7])),
        ROWS,
        {},
    ),
    "tversky by class": lambda: (
        dense(3, "softmax", keras.losses.Tversky(alpha=0.3, axis=0)),
        ROWS,
        {},
    ),
    "huber": lambda: (dense(3, None, keras.losses.Huber(delta=0.3)), ROWS, {}),
    "own, one value a class": lambda: (dense(3, "softmax", overlap), ROWS, {}),
    "half precision": lambda: (half(), ROWS, {}),
    "compiled": lambda: (dense(3, None, "mse", jit_compile=True), ROWS, {}),
}


def half():
    """Return a model whose layer computes in 16 bits."""
    x = keras.Input((5,))
    layer = layers.Dense(3, dtype=keras.DTypePolicy("mixed_float16"))
    model = keras.Model(x, layer(x))
    model.compile("sgd", loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("name", FORMS)
def test_form(name):
    """The total is Keras' number, and a known loss has a ledger of it."""
    model, y, options = FORMS[name]()
    found = ll.explain(model, X, y, **options)
    print(f"{name}: {found.total:.7g}, deviation {found.deviation:.1e}")
    assert found.deviation <= 1e-6
    assert found.undecided == ()
    assert (found.ledger is None) == name.startswith("own")
    if found.ledger is not None:
        assert found.ledger.total == pytest.approx(found.number, rel=1e-5)


def several(**options):
    """Return a compiled model with dicts of inputs and outputs, and a model inside."""
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    inner = keras.Sequential(
        [keras.Input((10,)), layers.Dense(4, activity_regularizer="l2", kernel_regularizer="l1")],
        name="inner",
    )
    h = inner(layers.Concatenate()([a, b]))
    outputs = {
        "p": layers.Dense(3, activation="softmax", name="pp")(h),
        "q": layers.Dense(1, name="qq")(h),
    }
    model = keras.Model({"a": a, "b": b}, outputs)
    model.compile("sgd", **options)
    return model


LOSSES = {"q": "mse", "p": "categorical_crossentropy"}


@pytest.mark.parametrize(
    ("options", "weights", "losses"),
    [
        ({"loss": LOSSES, "loss_weights": {"q": 0.1, "p": 2.0}}, None, {"q": 0.1, "p": 2.0}),
        ({"loss": LOSSES}, {"p": np.arange(8.0), "q": np.ones(8)}, {"q": 1.0, "p": 1.0}),
        ({"loss": "mse"}, np.arange(8.0), {"p": 1.0, "q": 1.0}),
    ],
    ids=["loss weights by name", "sample weights by name", "one loss for all"],
)
def test_dicts(options, weights, losses):
    """Losses meet the outputs of their name, whatever the order of the dicts."""
    model = several(**options)
    y = {"p": rows(R, 8, 3), "q": R.normal(size=(8, 1))}
    found = ll.explain(model, {"a": X, "b": X}, y, sample_weight=weights)
    assert found.deviation <= 1e-6
    assert {p.output: p.loss_weight for p in found.pieces} == losses
    assert [e.kind for e in found.extras] == ["activity regularizer", "regularizer"]


def test_loss_weights_that_are_variables():
    """A loss weight that is a Keras variable is read as it stands."""
    weight = keras.Variable(0.5, trainable=False)
    x = keras.Input((5,))
    model = keras.Model(x, [layers.Dense(3)(x), layers.Dense(3)(x)])
    model.compile("sgd", loss=["mse", "mae"], loss_weights=[weight, 2.0])
    first = ll.explain(model, X, [ROWS, ROWS])
    weight.assign(0.25)
    second = ll.explain(model, X, [ROWS, ROWS])
    assert [p.loss_weight for p in (*first.pieces, *second.pieces)] == [0.5, 2.0, 0.25, 2.0]
    assert second.deviation <= 1e-6
