# SPDX-License-Identifier: Apache-2.0
"""Columns of labels: an axis of length 1 too many or too few changes no number of Keras'."""

import keras
import numpy as np
import pytest
from keras_runs import (
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

L = keras.losses


def sigmoid(axes="batch one"):
    """Return a term of one yes/no channel."""
    return ll.Term("y", ll.losses.BinaryCrossEntropy(), axes, name="bce")


def as_keras(loss, x, y, units, **settings):
    """Return gradient and logs of one step of Keras with its own loss."""
    model = linear(classes=units, **settings)
    model.compile(keras.optimizers.SGD(1.0), loss)
    return stepped(model, x, y)


def test_columns_of_labels_in_compile():
    """(batch, 1) labels: the step, the log and the ledger of Keras' loss, and of flat labels."""
    x, y, _ = labeled()
    model = linear()
    objective = ll.Objective(cross_entropy(), brier(loss_weight=0.0))
    ll.keras.compile(model, objective, keras.optimizers.SGD(1.0))
    _, flat, kernel, _ = by_hand(objective, model, x, y)
    loss = L.SparseCategoricalCrossentropy(from_logits=True)
    (theirs, *_), their_logs = as_keras(loss, x, y[:, None], 3)
    found, logs = stepped(model, x, y[:, None])
    assert_near(found[0], kernel, "gradient of flat labels")
    assert_near(found[0], theirs, "gradient of Keras")
    assert_near(logs["loss"], their_logs["loss"], "loss of Keras")
    assert_same_rows(model.ledger, flat)


@pytest.mark.parametrize("column", [False, True])
def test_numbers_for_one_channel(column):
    """(batch,) and (batch, 1) targets for (batch, 1) outputs: Keras' number, not all on all."""
    x, y, _ = labeled(classes=2)
    given = (y[:, None] if column else y).astype("float32")
    model = linear(classes=1)
    ll.keras.compile(model, ll.Objective(sigmoid()), keras.optimizers.SGD(1.0))
    z = outputs_of(model, x)
    (theirs, *_), their_logs = as_keras(L.BinaryCrossentropy(from_logits=True), x, given, 1)
    found, logs = stepped(model, x, given)
    assert_near(found[0], theirs, "gradient of Keras")
    assert_near(logs["loss"], their_logs["loss"], "loss of Keras")
    assert_near(logs["loss"][0], np.mean(np.logaddexp(0, z[:, 0]) - y * z[:, 0]), "by hand")
    wrong = np.mean(np.logaddexp(0, z) - y[None] * z)  # twin: every target against every output
    with pytest.raises(AssertionError, match="off by"):
        assert_near(logs["loss"][0], wrong, "all against all")


def as_loss(terms, y, z):
    """Return the number of terms as a Keras loss, on arrays of the backend."""
    given = keras.ops.convert_to_tensor(y), keras.ops.convert_to_tensor(z)
    return float(ll.keras.Loss(*terms)(*given))


R = np.random.default_rng(0)
Z, TIMES = R.normal(size=(5, 3)).astype("float32"), R.normal(size=(2, 4, 3)).astype("float32")
LABELS, STEPS = R.integers(0, 3, 5), R.integers(0, 3, (2, 4))
SPARSE = L.SparseCategoricalCrossentropy(from_logits=True)
SAME = {
    "labels": (cross_entropy(), SPARSE, LABELS[:, None], Z),
    "labels of steps": (cross_entropy("batch time class"), SPARSE, STEPS[..., None], TIMES),
    "outputs without the axis": (
        sigmoid("batch"), L.MeanSquaredError(), LABELS[:, None] % 2 * 1.0, Z[:, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_loss_takes_what_keras_takes(case):
    """`ll.keras.Loss` gives Keras' number, or by hand where Keras' loss is another."""
    term, theirs, y, z = SAME[case]
    wanted = float(theirs(y, keras.ops.convert_to_tensor(z)))
    if case == "outputs without the axis":
        wanted = np.mean(np.logaddexp(0, z) - y[:, 0] * z)
    assert_near(as_loss([term], y, z), wanted, case)


def difference(outputs, targets):
    """Return a value for each output, of arrays as they are."""
    return (outputs - keras.ops.cast(targets, outputs.dtype))[..., 0]


@pytest.mark.parametrize(
    ("terms", "y", "message"),
    [
        ([cross_entropy()], np.zeros((5, 2), int), "must have the axes"),
        ([cross_entropy()], np.zeros((5, 1, 1), int), "must have the axes"),
        ([cross_entropy()], np.zeros((1, 5), int), "must have the axes"),
        ([cross_entropy()], np.zeros((5, 1), "float32"), "must be integers"),
        ([ll.Term("y", ll.losses.SquaredError(), "batch class")], LABELS[:, None] * 1.0, "axes"),
    ],
    ids=["two columns", "two axes", "a row", "floats", "no labels"],
)
def test_what_is_not_a_column_is_refused(terms, y, message):
    """Nothing else is reshaped, and nothing is broadcast."""
    with pytest.raises(ll.LossLedgerError, match=message):
        as_loss(terms, y, Z)


def test_one_class_and_functions_are_left_alone():
    """Rows of one class are rows; a user's function gets the targets as they were passed."""
    one = ll.Term("y", ll.losses.CrossEntropy(), "batch class")
    assert as_loss([one], np.ones((5, 1), "float32"), Z[:, :1]) == 0.0
    free = ll.Term("y", difference, "batch class", removes="class", name="free")
    assert_near(as_loss([free], Z[:, :1], Z), 0.0, "a function of a column")
    with pytest.raises(ll.ShapeError, match="must have the axes"):
        as_loss([free, cross_entropy()], LABELS[:, None], Z)


def test_windows_take_columns():
    """Windows count columns of labels as the labels that they are."""
    x, y, _ = labeled(8)
    model = linear()
    objective = ll.Objective(cross_entropy(reduction=ll.Macro("class")))
    wanted = by_hand(objective, model, x, y)[2]
    optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=2)
    ll.keras.compile(model, objective, optimizer)
    before = weights_of(model)[0]
    data = ll.keras.Windows(model, x, y[:, None], batch_size=4, shuffle=False)
    model.fit(data, verbose=0, shuffle=False)
    assert_near(before - weights_of(model)[0], wanted, "gradient of a window", 5e-5)
