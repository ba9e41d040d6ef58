# SPDX-License-Identifier: Apache-2.0
"""What cannot be explained says why, in four parts, before it says anything else."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_models import Case, bce_dice, rows, sequence, sequential

import lossledger as ll
from lossledger import DomainError, MatchError, ShapeError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def plain(loss="mse", compiled=True, **options) -> Case:
    """A model of one layer."""
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2)], name="plain")
    if compiled:
        model.compile("sgd", loss=loss, **options)
    return Case(model, np.ones((4, 5)), np.zeros((4, 2)))


def pair() -> Case:
    """A model of two outputs."""
    x = keras.Input((5,))
    model = keras.Model(x, [layers.Dense(2)(x), layers.Dense(2)(x)])
    model.compile("sgd", loss="mse")
    return Case(model, np.ones((4, 5)), [np.zeros((4, 2)), np.zeros((4, 2))])


def images(loss) -> tuple:
    """Return a model that hands its images on, images that are probabilities, and targets."""
    image = keras.Input((4, 4, 5))
    model = keras.Model(image, layers.Identity()(image))
    model.compile("sgd", loss=loss)
    y = rows(np.random.default_rng(0), 4, 4, 4, 5)
    return model, 0.9 * y + 0.05, y


def unbuilt() -> Case:
    """A model without variables yet."""
    model = keras.Sequential([layers.Dense(2)], name="late")
    model.compile("sgd", loss="mse")
    return Case(model, np.ones((4, 5)), np.zeros((4, 2)))


def nothing(y_true, y_pred):
    """Forget to return."""
    ops.mean(y_true - y_pred)


BAD = {
    "not compiled": (lambda: plain(compiled=False), {}, MatchError, "compiled before"),
    "not built": (unbuilt, {}, MatchError, "variables before"),
    "returns None": (lambda: plain(nothing), {}, DomainError, "`nothing` returns None"),
    "not reduced": (
        lambda: plain(keras.losses.MeanSquaredError(reduction=None)),
        {},
        DomainError,
        "one number.*shape \\(4,\\)",
    ),
    "targets of another length": (plain, {"y": np.zeros((4, 3))}, ShapeError, "fit the outputs"),
    "targets in a list": (
        plain,
        {"y": [np.zeros((4, 2)), np.zeros((4, 2))]},
        MatchError,
        "must match the model's outputs",
    ),
    "one target of two": (
        pair,
        {"y": [np.zeros((4, 2))]},
        MatchError,
        "must match the model's outputs",
    ),
    "lists of numbers": (plain, {"y": [[0.0, 0.0]] * 4}, MatchError, "one batch of arrays"),
    "another number of samples": (plain, {"y": np.zeros((3, 2))}, ShapeError, "number of samples"),
    "class weights, two outputs": (
        pair,
        {"class_weight": {0: 2.0}},
        MatchError,
        "one output",
    ),
    "class weights, images": (
        lambda: Case(*images("mse")),
        {"class_weight": {0: 2.0}},
        ShapeError,
        "one label, or one row",
    ),
    "one weight map for two outputs": (
        pair,
        {"sample_weight": np.ones((4, 2))},
        ShapeError,
        "one number a sample",
    ),
    "names of too few classes": (
        sequential,
        {"classes": ["a", "b"]},
        MatchError,
        "a name for each class",
    ),
    "mask": (plain, {"mask": np.ones(4)}, MatchError, "takes no mask"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    """The error is ours, with its rule and what was found."""
    build, change, kind, message = BAD[name]
    case = build()
    given = {"y": case.y, **case.options, **change}
    with pytest.raises(kind, match=message) as caught:
        ll.explain(case.model, case.x, given.pop("y"), **given)
    assert all((caught.value.rule, caught.value.found, caught.value.cause, caught.value.remedy))


def test_weights_of_one_column_beside_a_mask():
    """(B, 1) weights and a mask: on PyTorch Keras raises, and we say with which shapes."""
    case = sequence("mse", {"sample_weight": np.ones((4, 1))}, masked=True)
    if keras.backend.backend() != "torch":
        assert ll.explain(case.model, case.x, case.y, **case.options).deviation <= 1e-6
        return
    with pytest.raises(ShapeError, match=r"weights \(4, 1\).*Keras says: RuntimeError"):
        ll.explain(case.model, case.x, case.y, **case.options)


class Noise(keras.losses.Loss):
    """A loss that is another number each time it is called."""

    def call(self, y_true, y_pred):
        """Add fresh noise."""
        self.calls = getattr(self, "calls", 0) + 1
        return ops.mean((y_true - y_pred) ** 2, axis=-1) + float(self.calls)


class Sealed(keras.losses.Loss):
    """A loss that makes its number in its own call."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the mean error."""
        return ops.mean(ops.abs(ops.cast(y_true, y_pred.dtype) - y_pred))


@pytest.mark.parametrize(
    ("loss", "told"), [(Noise(), "draw random numbers"), (Sealed(), "no unreduced values")]
)
def test_loss_that_cannot_be_followed(loss, told):
    """Steps that do not lead to Keras' number are not shown; the number is Keras' own."""
    case = plain(loss)
    found = ll.explain(case.model, case.x, case.y)
    assert found.deviation <= 1e-6
    assert found.pieces[0].numerator is None
    assert any(told in each for each in found.undecided)
    json.dumps(found.to_dict(), allow_nan=False)


def test_disagreement_is_told_and_not_shown():
    """A known loss whose epsilon was changed is not accounted for with the usual one."""
    usual = keras.config.epsilon()
    model, x, y = images("binary_crossentropy")
    try:
        keras.config.set_epsilon(0.3)
        found = ll.explain(model, x, y)
    finally:
        keras.config.set_epsilon(usual)
    assert found.ledger is None
    assert any("computed anew" in each for each in found.undecided)
    assert found.deviation <= 1e-6
    assert all(row.iou == 1.0 for row in found.rows)


class Doubling(keras.Model):
    """A model that minimizes something else."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return twice what was compiled."""
        return 2 * super().compute_loss(x, y, y_pred, sample_weight, training=training)


def test_own_compute_loss_is_seen():
    """A class's own compute_loss is Keras' number; the parts do not claim to add up to it."""
    x = keras.Input((5,))
    model = Doubling(x, layers.Dense(2)(x))
    model.compile("sgd", loss="mse")
    found = ll.explain(model, np.ones((4, 5)), np.zeros((4, 2)))
    assert found.number == pytest.approx(2 * found.total, rel=1e-6)
    assert "Doubling.compute_loss" in found.undecided[0]


def test_weights_on_one_number():
    """Σ w·L / #w: weights on a loss of one number multiply all of it by their mean."""
    given = images(bce_dice)
    found = ll.explain(*given, sample_weight=np.array([0.0, 1.0, 2.0, 5.0]))
    bare = ll.explain(*given)
    assert found.pieces[0].denominator == 4.0
    assert found.total == pytest.approx(2.0 * bare.total, rel=1e-5)
    weights = next(s for s in found.pieces[0].steps if s.stage == "weights")
    assert "multiplied by each of them" in weights.text
