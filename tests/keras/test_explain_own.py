# SPDX-License-Identifier: Apache-2.0
"""Models compiled with objectives of ours explained: terms, and what Keras adds, each once."""

import functools
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops, regularizers
from keras.src.backend.common import global_state
from keras_models import Noisy

import lossledger as ll

# Keras' own arrays warn of NumPy's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MOST = 1e-6
"""Largest deviation of float32 sums of some hundred elements, relative."""
SEED = "global_seed_generator"
CLASSES = ("road", "sky", "person")
AXES = "batch height width class"


def data(r: np.random.Generator) -> tuple[Any, Any]:
    """Return images, and masks and depths for them."""
    masks = np.eye(3)[r.integers(0, 3, (4, 6, 6))]
    return r.normal(size=(4, 6, 6, 2)), {"map": masks, "depth": r.normal(size=(4, 6, 6))}


def two_outputs(objective: Any = None, **options: Any) -> Any:
    """A network of two outputs with a regularizer, an activity regularizer and an added loss."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 6, 2))
    h = layers.Conv2D(4, 3, padding="same", activity_regularizer=regularizers.L2(0.1), name="body")(
        image
    )
    h = Noisy(name="noisy")(h)
    maps = layers.Conv2D(3, 1, kernel_regularizer=regularizers.L1(0.01), name="map")(h)
    depth = layers.Reshape((6, 6), name="depth")(layers.Conv2D(1, 1)(h))
    model = keras.Model(image, [maps, depth], name="driver")
    ll.keras.compile(model, objective or full(), "sgd", **options)
    return model


def terms() -> tuple[ll.Term, ...]:
    """Two losses on the maps and one on the depth."""
    return (
        ll.Term(
            "map", ll.losses.BinaryCrossEntropy(), AXES, classes=CLASSES, loss_weight=0.5,
            reduction=ll.Macro(by="class label"), name="bce",
        ),
        ll.Term(
            "map", ll.losses.Dice(over="batch height width"), AXES, classes=3, name="dice",
            reduction=ll.Mean("class"),
        ),
        ll.Term("depth", ll.losses.Huber(delta=0.5), "batch height width", loss_weight=0.3),
    )  # fmt: skip


def full() -> ll.Objective:
    """Return the objective, with a penalty of every weight."""
    return ll.Objective(*terms(), ll.L2(1e-2, half=True))


@functools.cache
def seen() -> tuple[Any, Any, Any, Any]:
    """Return the model, its data, and the explanation, made once."""
    x, y = data(np.random.default_rng(0))
    model = two_outputs()
    return model, x, y, ll.explain(model, x, y)


def test_it_is_what_a_step_minimizes() -> None:
    """Σ terms + Σ extras is the number that the next training step reports, dropout included."""
    x, y = data(np.random.default_rng(0))
    model = two_outputs(run_eagerly=True)
    found = ll.explain(model, x, y)
    logs = model.train_on_batch(x, y, return_dict=True)
    off = abs(found.total - logs["loss"]) / max(1.0, abs(logs["loss"]))
    print(f"{found.total:.7f}, in the step {logs['loss']:.7f}: {found.deviation:.1e}, {off:.1e}")
    assert found.deviation <= MOST
    assert off <= MOST
    for piece in found.pieces:
        assert logs[piece.name] == pytest.approx(piece.contribution, rel=1e-5)


def test_every_part_is_counted_once() -> None:
    """The objective's penalty and Keras' three additions are one extra each, by hand."""
    model, x, _, found = seen()
    assert [(p.output, p.name, p.loss_weight) for p in found.pieces] == [
        ("map", "bce", 0.5), ("map", "dice", 1.0), ("depth", "huber", 0.3),
    ]  # fmt: skip
    assert [(e.kind, e.name) for e in found.extras] == [
        ("regularizer", "l2"),
        ("activity regularizer", "body"),
        ("add_loss", "noisy"),
        ("regularizer", "map/kernel"),
    ]
    squares = sum(float(np.sum(np.square(w))) for w in model.get_weights() if w.dtype.kind == "f")
    kernel = np.abs(ops.convert_to_numpy(model.get_layer("map").kernel)).sum()
    body = ops.convert_to_numpy(model.get_layer("body")(x))
    amounts = [e.amount for e in found.extras]
    assert amounts[0] == pytest.approx(0.005 * squares, rel=1e-5)
    assert found.extras[0].formula == "0.005 · Σw²"
    assert amounts[1] == pytest.approx(0.1 * np.square(body).sum() / 4, rel=1e-5)
    assert amounts[2] == pytest.approx(0.01 * np.square(body).sum(), rel=1e-5)
    assert amounts[3] == pytest.approx(0.01 * kernel, rel=1e-5)


def test_rows_and_ledger_add_up() -> None:
    """Rows by class and label have the terms' names; the ledger's total is the number."""
    _, _, _, found = seen()
    own = {(r.term, r.cls, r.label) for r in found.rows if r.term == "bce"}
    assert own == {("bce", c, s) for c in CLASSES for s in ("positive", "negative")}
    for piece in found.pieces[:2]:
        rows = [r for r in found.rows if r.term == piece.name]
        assert sum(r.contribution for r in rows) == pytest.approx(piece.contribution, rel=1e-9)
        assert sum(r.share for r in rows) == pytest.approx(piece.contribution / found.total)
    assert found.ledger.total == pytest.approx(found.total, rel=1e-9)
    added = [r.term for r in found.ledger.rows if r.kind == "regularizer"]
    assert added == [f"{e.kind} {e.name}" for e in found.extras]
    assert "0.5 · " in str(found)


def test_nothing_changes() -> None:
    """Weights, seeds and the epoch's ledger are as before; the same call gives the same."""
    model, x, y, found = seen()
    before = [np.copy(w) for w in model.get_weights()]
    assert ll.keras.read_ledger(model) is None
    assert ll.explain(model, x, y).to_dict() == found.to_dict()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert ll.keras.read_ledger(model) is None


def test_loss_weights_as_they_are_now() -> None:
    """A loss weight that a callback changed is the one explained."""
    x, y = data(np.random.default_rng(0))
    model = two_outputs()
    before = ll.explain(model, x, y)
    model.loss_weights["dice"].assign(3.0)
    after = ll.explain(model, x, y)
    assert after.pieces[1].loss_weight == 3.0
    assert after.deviation <= MOST
    assert after.total - before.total == pytest.approx(2 * before.pieces[1].value, rel=1e-6)


def test_masks_and_weights() -> None:
    """A mask of a layer and weights of samples reach the terms; a divisor by hand."""
    r = np.random.default_rng(1)
    steps = keras.Input((5, 2))
    h = layers.Dense(3, name="tag")(layers.Masking(name="gaps")(steps))
    model = keras.Model(steps, h)
    term = ll.Term("tag", ll.losses.CrossEntropy(), "batch time class")
    ll.keras.compile(model, ll.Objective(term), "sgd")
    x = r.normal(size=(4, 5, 2))
    x[1, 3:] = 0
    weight = np.array([1.0, 2.0, 0.0, 0.5])
    found = ll.explain(model, x, r.integers(0, 3, (4, 5)), sample_weight=weight)
    assert found.deviation <= MOST
    assert found.pieces[0].denominator == pytest.approx(5 + 3 * 2 + 5 * 0.5)


def test_a_users_function() -> None:
    """A term that is a function of Keras' arrays is explained on the backend's arrays."""
    r = np.random.default_rng(1)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="y")])
    term = ll.Term(
        "y", lambda o, t: ops.sum(ops.square(o - t), -1), "batch pair", removes="pair", name="own"
    )
    ll.keras.compile(model, ll.Objective(term), "sgd")
    found = ll.explain(model, r.normal(size=(6, 3)), r.normal(size=(6, 2)))
    assert found.deviation <= MOST
    assert found.pieces[0].denominator == 6


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_classes_may_be_left_out(classes: Any) -> None:
    """The terms name their classes; the same names may be given, and serve the other term."""
    model, x, y, _ = seen()
    found = ll.explain(model, x, y, classes=classes)
    names = {r.cls for r in found.rows if r.term == "dice"}
    assert names == ({*CLASSES} if classes else {"0", "1", "2"})


@pytest.mark.parametrize("classes", [("sky", "road", "person"), ("road", "sky")])
def test_classes_must_match(classes: Any) -> None:
    """Another order or another number is an error."""
    model, x, y, _ = seen()
    with pytest.raises(ll.MatchError, match="must be the classes of a term"):
        ll.explain(model, x, y, classes=classes)


def classifier(losses: Any, weights: Any = None) -> Any:
    """A model with two heads, behind a mask, compiled by Keras."""
    keras.utils.set_random_seed(3)
    steps = keras.Input((5, 2))
    h = layers.Masking(name="gaps")(steps)
    tag = layers.Dense(3, kernel_regularizer=regularizers.L2(0.1), name="tag")(h)
    model = keras.Model(steps, {"tag": tag, "price": layers.Dense(1, name="price")(h)})
    model.compile("sgd", losses, loss_weights=weights)
    return model


def steps() -> tuple[Any, Any]:
    """Return sequences with a gap, labels and prices."""
    r = np.random.default_rng(1)
    x = r.normal(size=(4, 5, 2))
    x[1, 3:] = 0
    return x, {"tag": r.integers(0, 3, (4, 5)), "price": r.normal(size=(4, 5, 1))}


TAG = ll.Term("y", ll.losses.CrossEntropy(), "batch time class", loss_weight=2.0, name="entropy")
SMOOTH = ll.Term("y", ll.losses.CrossEntropy(label_smoothing=0.5), "batch time class", name="even")
PRICE = ll.Term("y", ll.losses.SquaredError(), "batch time one")


def _tag_first(found: ll.Explanation) -> list[Any]:
    """Return the pieces in one order: TensorFlow's dicts are sorted by name."""
    return sorted(found.pieces, key=lambda piece: piece.output != "tag")


def test_terms_as_keras_losses() -> None:
    """`ll.keras.Loss` in `model.compile`: each term is a piece, rows and a ledger add up."""
    x, y = steps()
    losses = {"tag": ll.keras.Loss(TAG, SMOOTH), "price": ll.keras.Loss(PRICE)}
    model = classifier(losses, {"tag": 0.5, "price": 3.0})
    weight = {"tag": np.arange(4.0), "price": np.ones(4)}
    found = ll.explain(model, x, y, sample_weight=weight, classes=CLASSES)
    assert found.deviation <= MOST
    pieces = _tag_first(found)
    assert [(p.output, p.name, p.loss_weight) for p in pieces] == [
        ("tag", "entropy", 1.0), ("tag", "even", 0.5), ("price", "squared_error", 3.0),
    ]  # fmt: skip
    assert [p.denominator for p in pieces] == [1 * 3 + 5 * 2 + 5 * 3] * 2 + [18.0]
    assert {r.cls for r in found.rows if r.output == "tag"} == {*CLASSES}
    for name in ("entropy", "even"):
        rows = [r.contribution for r in found.rows if r.term == name]
        piece = next(p for p in found.pieces if p.name == name)
        assert sum(rows) == pytest.approx(piece.contribution, rel=1e-9)
    assert found.ledger.total == pytest.approx(found.total, rel=1e-9)
    assert not found.undecided
    assert not any("a sum" in r.differs for r in found.reported)


def test_terms_beside_keras_losses() -> None:
    """One head has terms, the other a loss of Keras: one ledger has both, each output's rows."""
    x, y = steps()
    model = classifier({"tag": ll.keras.Loss(TAG), "price": "mse"}, {"tag": 0.5, "price": 3.0})
    weight = {"tag": np.arange(4.0), "price": np.ones((4, 5))}
    found = ll.explain(model, x, y, sample_weight=weight, classes=CLASSES)
    assert found.deviation <= MOST
    assert [p.denominator for p in _tag_first(found)] == [1 * 3 + 5 * 2 + 5 * 3, 18.0]
    tag, price = _tag_first(found)
    assert sum(r.contribution for r in found.rows) == pytest.approx(tag.contribution)
    own = {r.term: r.contribution for r in found.ledger.by("term")}
    assert own["tag entropy"] == pytest.approx(tag.contribution, rel=1e-6)
    assert own["price"] == pytest.approx(price.contribution, rel=1e-6)
    assert found.ledger.total == pytest.approx(found.total, rel=1e-6)
    assert {r.cls for r in found.ledger.rows if r.output == "tag"} == {*CLASSES}
    assert not found.undecided
    # Twin: without the other head's loss weight it is another total.
    assert abs(found.ledger.total - own["price"] * 2 / 3 - found.total) > 1e3 * MOST


def test_terms_beside_an_unknown_loss() -> None:
    """A loss that is neither Keras' nor made of terms leaves no ledger, and is named."""
    x, y = steps()
    own = lambda t, o: ops.mean(ops.square(o - t), -1)  # noqa: E731 - a function without a name
    found = ll.explain(classifier({"tag": ll.keras.Loss(TAG), "price": own}), x, y)
    assert found.deviation <= MOST
    assert found.ledger is None
    assert [u for u in found.undecided if "One ledger of all losses" in u and "`price`" in u]


class Draws(layers.Layer):
    """A layer that draws from Keras' global seed generator in training."""

    def call(self, x: Any, training: bool = False) -> Any:
        """Add noise."""
        return x + keras.random.normal(ops.shape(x)) if training else x


@pytest.mark.parametrize("explains", [True, False], ids=["explain", "twin: the model alone"])
def test_makes_no_global_seed(monkeypatch: pytest.MonkeyPatch, explains: bool) -> None:
    """A global seed generator that was not there is not there after; a plain call makes one."""
    x, y = np.ones((5, 4), "float32"), np.arange(5) % 3
    vectors = keras.Input((4,))
    model = keras.Model(vectors, Draws()(layers.Dense(3, name="y")(vectors)))
    term = ll.Term("y", ll.losses.CrossEntropy(), "batch class")
    ll.keras.compile(model, ll.Objective(term), "sgd")
    monkeypatch.setitem(global_state.GLOBAL_STATE_TRACKER.__dict__, SEED, None)
    if explains:
        ll.explain(model, x, y)
    else:
        model(x, training=True)
    made = global_state.get_global_attribute(SEED)
    assert (made is None) == explains


def test_no_conventions() -> None:
    """An objective is the same in every version of Keras."""
    model, x, y, _ = seen()
    with pytest.raises(ll.MatchError, match="in every version"):
        ll.explain(model, x, y, convention="keras1")


def test_twin_that_counts_twice() -> None:
    """Broken twin: an added loss that is also taken for a term's does not add up."""
    _, _, _, found = seen()
    twice = found.total + found.extras[2].amount
    assert abs(twice - found.number) / max(1.0, found.number) > 1e3 * MOST
