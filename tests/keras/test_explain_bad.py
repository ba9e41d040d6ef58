# SPDX-License-Identifier: Apache-2.0
"""What cannot be explained says why, in four parts, before it says anything else."""

import json
import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras_models import Case, bce_dice, rows, sequence, sequential

import lossledger as ll
from lossledger import DomainError, MatchError, ReductionError, ShapeError

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


def named(loss, **options) -> Case:
    """A model of two outputs, "a" and "b"."""
    x = keras.Input((5,))
    model = keras.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(x)])
    model.compile("sgd", loss=loss, **options)
    return Case(model, np.ones((4, 5)), [np.zeros((4, 2)), np.zeros((4, 2))])


def weighed(shape, loss="mse", masked=False) -> Case:
    """A model of (4, 6) values, and weights."""
    return sequence(loss, {"sample_weight": np.ones(shape)}, masked=masked)


def by_class(*y) -> Case:
    """A model of two classes, targets, and class weights."""
    case = plain("binary_crossentropy")
    return Case(case.model, case.x, np.array(y), {"class_weight": {0: 1.0, 1: 5.0}})


def ignoring(weights) -> Case:
    """A model of labels of which the loss leaves some out, and weights."""
    x = keras.Input((6, 3))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(x))
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=0))
    y = np.arange(24).reshape(4, 6) % 3
    return Case(model, np.ones((4, 6, 3)), y, {"sample_weight": weights})


UNREDUCED = keras.losses.MeanSquaredError(reduction=None)
ON_TORCH, OFF_TORCH = ("torch",), ("jax", "tensorflow")
EVERYWHERE = ON_TORCH + OFF_TORCH

TRAPS = {
    "one loss, two weights": (
        "keras2-form",
        lambda: named("mse", loss_weights=[1.0, 2.0]),
        lambda: named(["mse", "mse"], loss_weights=[1.0, 2.0]),
        (MatchError, "Give each output its loss", EVERYWHERE),
    ),
    "losses by name, one absent": (
        "keras2-form",
        lambda: named({"a": "mse"}),
        lambda: named({"a": "mse", "b": None}),
        (MatchError, "None for no loss", EVERYWHERE),
    ),
    "weights by name, one absent": (
        "keras2-form",
        lambda: named({"a": "mse", "b": "mse"}, loss_weights={"a": 1.0}),
        lambda: named({"a": "mse", "b": "mse"}, loss_weights={"a": 1.0, "b": 1.0}),
        (MatchError, "1.0 for a plain one", EVERYWHERE),
    ),
    "class weights for maps": (
        "class-weight-for-maps",
        lambda: by_class(*[[[0, 1], [1, 1]]] * 4),
        lambda: by_class([0, 1], [1, 0], [1, 0], [0, 1]),
        (ShapeError, r"\[1.0, 5.0\]\)\[y\]", EVERYWHERE),
    ),
    "class weights of several labels": (
        "class-weight-by-argmax",
        lambda: by_class([1, 1], [0, 0], [1, 0], [0, 1]),
        lambda: by_class([0, 1], [1, 0], [1, 0], [0, 1]),
        (DomainError, "Weigh channels", EVERYWHERE),
    ),
    "not reduced": (
        "unreduced-loss",
        lambda: plain(UNREDUCED),
        plain,
        (DomainError, "sum_over_batch_size", EVERYWHERE),
    ),
    "weights of samples on steps": (
        "sample-weight-per-timestep",
        lambda: weighed((4,)),
        lambda: weighed((4, 1)),
        (ShapeError, r"sample_weight.reshape\(-1, 1\)", EVERYWHERE),
    ),
    "weights of samples beside a mask": (
        "sample-weight-across-mask",
        lambda: weighed((4,), masked=True),
        lambda: weighed((4, 6), masked=True),
        (ShapeError, r"\(len\(sample_weight\), 6\)", EVERYWHERE),
    ),
    "narrow weights beside a mask": (
        "sample-weight-narrower-than-mask",
        lambda: weighed((4, 1), masked=True),
        lambda: weighed((4, 6), masked=True),
        (ShapeError, r"\(len\(sample_weight\), 6\)", ON_TORCH),
    ),
    "narrow weights beside ignored labels": (
        "sample-weight-narrower-than-mask",
        lambda: ignoring(np.ones((4, 1))),
        lambda: ignoring(np.ones((4, 6))),
        (ShapeError, r"\(len\(sample_weight\), 6\)", ON_TORCH),
    ),
}
"""A rule, who is caught, who is not, and (error, remedy, where Keras raises)."""


def explained(case: Case):
    """Explain a model on its data."""
    return ll.explain(case.model, case.x, case.y, **case.options)


@pytest.mark.parametrize("name", TRAPS)
def test_trap_is_named_where_keras_raises(name):
    """The error has the trap's name, text and remedy; its twin without the trap is explained."""
    rule, caught, free, (kind, remedy, where) = TRAPS[name]
    if keras.backend.backend() in where:
        with pytest.raises(kind) as found:
            explained(caught())
        assert f"the trap `{rule}`" in found.value.cause
        assert found.value.rule
        assert found.value.found.startswith("Found")
        assert re.search(remedy, found.value.remedy)
    else:
        assert explained(caught()).deviation <= 1e-6
    twin = explained(free())
    assert twin.deviation <= 1e-6
    assert rule not in [note.rule for note in twin.notes]


def test_other_errors_name_no_trap():
    """A trap that applies and does not raise is not blamed for another error."""
    case = weighed((6,))
    case = Case(case.model, np.ones((6, 6, 2)), np.zeros((6, 5, 1)), case.options)
    with pytest.raises(ShapeError, match="Targets must fit") as found:
        explained(case)
    assert "trap" not in str(found.value)


class Raising(keras.losses.Loss):
    """A loss that raises what it is given."""

    def __init__(self, error):
        """Keep the error."""
        super().__init__()
        self.error = error

    def call(self, y_true, y_pred):
        """Raise it."""
        raise self.error


OWN = ReductionError("A mean needs a part", "Found none", "All are masked", "Keep one")
LET_THROUGH = [
    UserWarning("deprecated"), DeprecationWarning("old"), KeyboardInterrupt(), NameError("spelled"),
    MemoryError(), NotImplementedError("later"), RuntimeError("RESOURCE_EXHAUSTED: memory"), OWN,
]  # fmt: skip


@pytest.mark.parametrize("error", LET_THROUGH, ids=lambda e: type(e).__name__)
def test_errors_that_are_not_of_keras(error):
    """What does not tell of targets and losses passes as it is, and the model works on."""
    case = plain(Raising(error))
    with pytest.raises(type(error)) as found:
        explained(case)
    assert found.value is error
    case.model.compile("sgd", loss="mse")
    assert explained(case).deviation <= 1e-6


@pytest.mark.parametrize("error", [ValueError("a"), TypeError("b"), IndexError("c")])
def test_errors_of_keras_twin(error):
    """The other side: what Keras and its backends raise about arrays is explained."""
    with pytest.raises(ShapeError, match="Targets must fit the outputs") as found:
        explained(plain(Raising(error)))
    assert found.value.__cause__ is error
