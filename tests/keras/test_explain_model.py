# SPDX-License-Identifier: Apache-2.0
"""A compiled Keras model explained: its parts add up to what Keras minimizes."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from keras_models import CASES, STEPS, bce_dice, segmentation, sequence

import lossledger as ll
from lossledger.explanation.model import explain_model
from lossledger.explanation.model._inner import Inner
from lossledger.explanation.model._pieces import piece_of
from lossledger.explanation.model._private import Private, of_version
from lossledger.explanation.model._read import read

# Keras' own arrays warn of NumPy's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MOST = 1e-6
"""Largest deviation of float32 sums of some hundred elements, relative."""


def explained(case, **more):
    """Return the explanation of a case."""
    return ll.explain(case.model, case.x, case.y, **case.options, **more)


@functools.cache
def seen(name):
    """Return a case and its explanation, made once."""
    case = CASES[name]()
    return case, explained(case)


@pytest.mark.parametrize("name", CASES)
def test_parts_add_up_to_keras_number(name):
    """Σ loss weight · numerator / denominator + Σ extras is Keras' own number of the same pass."""
    _, found = seen(name)
    print(f"{name}: total {found.total:.7g}, Keras {found.number:.7g}, {found.deviation:.1e}")
    assert found.deviation <= MOST
    assert not [u for u in found.undecided if "reduced" in u]


@pytest.mark.parametrize("name", CASES)
def test_public_names_alone_find_the_same(name):
    """Without private attributes of Keras every number and step is the same."""
    case, full = seen(name)
    public = explain_model(
        case.model, case.x, case.y, **case.options, private=Private(allowed=False)
    )
    assert public.number == pytest.approx(full.number, rel=1e-6)
    assert [p.steps for p in public.pieces] == [p.steps for p in full.pieces]
    assert [p.value for p in public.pieces] == [p.value for p in full.pieces]
    assert sum(e.amount for e in public.extras) == pytest.approx(
        sum(e.amount for e in full.extras), rel=1e-6
    )


@pytest.mark.parametrize("name", CASES)
def test_everything_is_plain(name):
    """The explanation is written as JSON, text and HTML."""
    _, found = seen(name)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["total"] == found.total
    assert "total" in str(found)
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize(
    "name", ["sequential, class_weight", "two outputs", "segmentation, eagerly"]
)
def test_next_step_reports_the_same(name):
    """What train_on_batch then reports is the number explained, dropout and masks included."""
    case = CASES[name]()
    found = explained(case)
    logs = case.model.train_on_batch(case.x, case.y, **case.options, return_dict=True)
    off = abs(found.total - logs["loss"]) / max(1.0, abs(logs["loss"]))
    print(f"{name}: total {found.total:.7g}, fit {logs['loss']:.7g}, off by {off:.1e}")
    assert off <= MOST


def test_parts_of_two_outputs():
    """Every source of weight, each denominator and every extra is named with its number."""
    case, found = seen("two outputs")
    tag, depth = found.pieces
    kept = case.x != 0
    assert tag.denominator == kept.sum()
    assert tag.step("inner").settings == {"how": "label", "axis": -1}
    assert [s.settings["source"] for s in tag.steps if s.stage == "weights"] == [
        "sample_weight",
        "words",
    ]
    assert (depth.denominator, depth.loss_weight) == (1.0, 0.3)
    assert depth.step("inner").shape == (4, 6)
    assert [(e.kind, e.name) for e in found.extras] == [
        ("activity regularizer", "memory"),
        ("add_loss", "noisy"),
        ("regularizer", "words/embeddings"),
        ("regularizer", "memory/kernel"),
    ]
    weights = keras.ops.convert_to_numpy(case.model.get_layer("words").embeddings)
    assert found.extras[2].amount == pytest.approx(0.01 * np.sum(weights**2), rel=1e-6)


HALF = np.array([0.0, 2.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("reduction", "weights", "denominator", "rule"),
    [
        ("sum_over_batch_size", HALF[:, None], 24.0, "N"),
        ("mean", None, 24.0, "N"),
        ("sum", HALF[:, None], 1.0, "1"),
        ("mean_with_sample_weight", HALF[:, None], 4.0, "Σw"),
        ("mean_with_sample_weight", np.repeat(HALF[:, None], 6, 1), 24.0, "Σw"),
    ],
)
def test_denominators(reduction, weights, denominator, rule):
    """The denominator is N, 1, or Σw as passed, whatever the weights' shape means."""
    loss = keras.losses.MeanAbsoluteError(reduction=reduction)
    case = sequence(loss, {} if weights is None else {"sample_weight": weights})
    piece = explained(case).pieces[0]
    assert piece.denominator == denominator
    assert piece.step("denominator").settings["rule"] == rule
    error = np.abs(case.y - np.asarray(keras.ops.convert_to_numpy(case.model(case.x))))[..., 0]
    w = 1.0 if weights is None else weights
    assert piece.numerator == pytest.approx(np.sum(w * error), rel=1e-5)


def test_dropped_loss_is_shown_and_not_counted():
    """The second loss of a list on one output has its value, and weight 0."""
    _, found = seen("two losses on one output")
    mse, mae = found.pieces
    assert (mse.loss_weight, mae.loss_weight) == (1.0, 0.0)
    assert mae.value > 0
    assert found.total == mse.value
    assert "leaves it out" in mae.step("loss_weight").text


def test_untried_version_is_read_by_public_names():
    """A version of Keras after those that were tried is read without private names."""
    assert of_version("3.15.1").allowed
    assert not of_version("3.17.0").allowed
    assert not of_version("4.0.0").allowed


def test_class_behind_a_small_total():
    """The class that one number hides stands on the first screen, right below the total."""
    case = segmentation(bce_dice)
    labels = case.y.argmax(-1)
    rare = labels == 4
    # A network that finds all classes but the last: of that it finds one pixel in four.
    perfect = np.where(rare[..., None], 0.02, case.y * 0.96 + 0.02)
    where = np.argwhere(rare)[::4]
    perfect[tuple(where.T)] = np.eye(5)[4] * 0.96 + 0.02
    image = keras.Input((8, 8, 5))
    model = keras.Model(image, keras.layers.Identity(name="map")(image), name="segmenter")
    model.compile("sgd", loss=bce_dice)
    found = ll.explain(model, perfect, case.y, classes=["road", "sky", "car", "sign", "person"])
    worst = found.overlooked[0]
    assert (worst.cls, worst.support) == ("person", rare.sum())
    assert worst.iou == pytest.approx(len(where) / rare.sum())
    assert [r.iou for r in found.rows if r.cls != "person"] == [1.0] * 4
    screen = "\n".join(str(found).splitlines()[:24])
    print(screen)
    assert "Hidden by the total: class person" in screen
    assert all(row.contribution == 0 and row.kind == "decisions" for row in found.rows)
    assert [row["contribution"] for row in found.to_dict()["rows"]] == [None] * 5
    assert "one number" in found.undecided[0]


@pytest.mark.parametrize("name", ["two outputs", "segmentation, dice", "subclassed"])
def test_rows_and_ledger_add_up(name):
    """Rows by class are shares of the total; the ledger of known losses has the same total."""
    _, found = seen(name)
    for piece in found.pieces:
        own = [r for r in found.rows if r.output == piece.output]
        if own:
            assert sum(r.contribution for r in own) == pytest.approx(piece.contribution, rel=1e-5)
    assert found.ledger.total == pytest.approx(found.number, rel=1e-5)
    assert found.ledger.deviation <= 1e-9
    names = [r.term for r in found.ledger.rows if r.kind == "regularizer"]
    assert names == [f"{e.kind} {e.name}" for e in found.extras]


def test_own_means_of_a_loss_without_preset():
    """A custom loss that leaves one value a pixel shows each class's mean by hand."""
    case = segmentation(lambda y, p: keras.ops.sum((y - p) ** 2, axis=-1))
    found = explained(case)
    assert found.pieces[0].step("inner").text == "sum over the last axis, of length 5"
    assert found.pieces[0].measured
    assert sum(r.contribution for r in found.rows) == pytest.approx(found.total, rel=1e-6)
    assert all(r.own_mean > 0 for r in found.rows)
    assert sum(r.support for r in found.rows) == 4 * 8 * 8


class StopError(Exception):
    """What no loss raises because a length is not its own."""


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, AssertionError, IndexError, StopError])
def test_only_refusals_are_taken_for_refusals(kind):
    """A loss that refuses another length leaves the axis open; any other exception is its own."""

    def fixed(y, p):
        if p.shape[-1] != 5:
            raise kind("five classes only")
        return keras.ops.sum((y - p) ** 2, axis=-1)

    if kind is StopError:
        with pytest.raises(StopError, match="five classes only"):
            explained(segmentation(fixed))
        return
    found = explained(segmentation(fixed))
    assert "goes in the loss's own way" in found.pieces[0].step("inner").text


def test_weights_along_another_axis():
    """(B,) weights on (B, T) values with T = B weigh the steps, and the page says so."""
    x, y = np.ones((6, 6, 2)), np.arange(36.0).reshape(6, 6, 1)
    model = sequence("mae", {}).model
    found = ll.explain(model, x, y, sample_weight=np.arange(6.0))
    piece = found.pieces[0]
    errors = np.abs(y - keras.ops.convert_to_numpy(model(x)))[..., 0]
    assert piece.numerator == pytest.approx(np.sum(errors * np.arange(6.0)), rel=1e-5)
    assert "lines up with the last axes" in piece.step("weights").text
    assert any("must have the axes of Keras' values" in each for each in found.undecided)


@pytest.mark.parametrize(
    "change", [{"mask": None}, {"sample_weight": np.ones((4, 6))}, {"value": 1.0}]
)
def test_steps_that_do_not_lead_to_the_number_twin(change):
    """The broken twin: with a mask, weights or a value that Keras did not use, no step is shown."""
    case, _ = seen("masked, weights (B, T)")
    loss = read(case.model, case.x, case.y, STEPS, None, Private()).losses[0]
    inner = Inner("", "mean")
    assert piece_of(loss, inner).undecided == ""
    wrong = piece_of(dataclasses.replace(loss, **change), inner)
    assert "Keras' call gave" in wrong.undecided
    assert wrong.reduced is None
    assert wrong.piece.numerator is None


def test_ledger_carries_names():
    """Names of classes are those of the rows and of the ledger."""
    case = segmentation()
    names = ["a", "b", "c", "d", "e"]
    found = explained(case, classes=names)
    assert {row.cls for row in found.rows} == set(names)
    assert {row.cls for row in found.ledger.rows} == set(names)


def test_formulas_name_their_variables():
    """The formulas of several regularizers can be told apart: each has its variable's path."""
    options = {"kernel_regularizer": keras.regularizers.L2(0.5), "activity_regularizer": "l1"}
    bias = keras.regularizers.L1L2(0.25, 0.125)
    x = keras.Input((2,))
    h = keras.layers.Dense(3, name="first", **options)(x)
    last = keras.layers.Dense(2, name="last", kernel_regularizer="l2", bias_regularizer=bias)
    model = keras.Model(x, last(h))
    model.compile("sgd", loss="mse")
    found = ll.explain(model, np.ones((4, 2)), np.zeros((4, 2)))
    assert {e.name: e.formula for e in found.extras} == {
        "first": "0.01 · Σ|out| / B",
        "first/kernel": "0.5 · Σ first/kernel²",
        "last/kernel": "0.01 · Σ last/kernel²",
        "last/bias": "0.25 · Σ|last/bias| + 0.125 · Σ last/bias²",
    }
