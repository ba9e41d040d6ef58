# SPDX-License-Identifier: Apache-2.0
"""Compiled Keras models compared with each other, part by part."""

import functools
import json
from dataclasses import replace

import explained
import keras
import numpy as np
import pytest
from keras import layers
from keras_compared import DEPTH, LABELS, LOGITS, ROUNDING, SUM, WEIGHT, X, one, part, two

import lossledger as ll
from lossledger.explanation.comparison import _outputs, _totals

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@functools.cache
def squares() -> float:
    """Return Σ of the squared errors of the depth, by hand."""
    depth = keras.ops.convert_to_numpy(two()(X)[1]).astype(np.float64)
    return float(((depth - DEPTH) ** 2).sum())


def test_two_builds_are_equal():
    """The same code run twice: numbers are those of `explain`, gradients agree as well."""
    a, b = two(penalty="l2"), two(penalty="l2")
    found = ll.compare(a, b, X, [LABELS, DEPTH])
    assert found.equal
    assert found.slope <= 1e-12
    assert found.change is None
    assert [p.kind for p in found.parts] == ["loss", "loss", "regularizer"]
    assert found.number_a == pytest.approx(ll.explain(a, X, [LABELS, DEPTH]).total, rel=ROUNDING)
    assert found.number_a == pytest.approx(sum(p.number_a for p in found.parts))
    assert "Equal on this data" in str(found)
    print(f"two builds deviate by {found.deviation:.1e}, gradients by {found.slope:.1e}")


def test_loss_weights():
    """By hand: 16 squared errors, their mean counted twice by the first."""
    found = ll.compare(two(loss_weights=[1.0, 2.0]), two(), X, [LABELS, DEPTH])
    assert not found.equal
    assert found.difference.stage == "loss_weight"
    assert (found.difference.of_a, found.difference.of_b) == ("depth: times 2", "depth: times 1")
    assert found.number_a - found.number_b == pytest.approx(squares() / 16, rel=ROUNDING)
    assert part(found, "tag").equal
    assert part(found, "depth").losses.equal
    assert found.change.text == "give `depth` the loss weight 2 in the second, instead of 1"
    assert found.change.number == pytest.approx(found.number_a, rel=ROUNDING)


def test_reduction_of_one_output():
    """By hand: Σ over 8 samples of means of 2, halved by its loss weight, beside a mean."""
    other = two((LOGITS, SUM), loss_weights=[1.0, 0.5])
    found = ll.compare(two(), other, X, [LABELS, DEPTH])
    depth = part(found, "depth")
    assert depth.number_a == pytest.approx(squares() / 16, rel=ROUNDING)
    assert depth.number_b == pytest.approx(0.5 * squares() / 2, rel=ROUNDING)
    assert found.difference.stage == "denominator"
    assert found.difference.of_a.endswith("= 8")
    assert depth.losses.factor == pytest.approx(8)
    assert depth.losses.constant == "proportional to the batch size"
    assert found.gradient_factor is None
    assert found.change.text == (
        "for `depth`, replace the second by keras.MeanSquaredError(reduction='mean'); give `depth` "
        "the loss weight 1 in the second, instead of 0.5"
    ).removeprefix("for `depth`, ")
    assert found.change.number == pytest.approx(found.number_a, rel=ROUNDING)


@pytest.mark.parametrize("first", [True, False])
def test_regularizer_of_one(first):
    """By hand: 0.01 · Σ w² of the one kernel, on whichever side it is."""
    models = [two(penalty="l2"), two()]
    amount = 0.01 * float((models[0].layers[1].get_weights()[0].astype(np.float64) ** 2).sum())
    found = ll.compare(*(models if first else models[::-1]), X, [LABELS, DEPTH])
    assert not found.equal
    assert found.difference.stage == "regularizer"
    gap = found.number_a - found.number_b
    assert gap == pytest.approx(amount if first else -amount, rel=1e-5)
    verb = "add 0.01 · Σ dense" if first else "take 0.01 · Σ dense"
    assert found.change.text.startswith(verb)
    assert found.change.number == pytest.approx(found.number_a, rel=ROUNDING)
    assert "gradient" not in str(found).split("Part by part", maxsplit=1)[0]


def test_other_regularizer():
    """L1 beside L2 on kernels of two names: formulas side by side; other variables are said."""
    found = ll.compare(two(penalty="l1"), two(penalty="l2"), X, [LABELS, DEPTH])
    assert found.difference.stage == "regularizer"
    assert "Σ|" in found.difference.of_a
    assert "²" in found.difference.of_b
    other = two(penalty="l2")
    other.layers[1].set_weights([2 * w for w in other.layers[1].get_weights()])
    found = ll.compare(two(penalty="l2"), other, X, [LABELS, DEPTH])
    last = found.parts[-1]
    assert last.number_b == pytest.approx(4 * last.number_a, rel=1e-5)
    assert last.difference.of_b.endswith("of other variables or outputs")
    assert last.change is None


def penalized(first, second=None, name="m"):
    """Return two layers that change nothing, each with its penalty; names are Keras' own."""
    dense = functools.partial(layers.Dense, 5, kernel_initializer="identity")
    hidden = [dense(kernel_regularizer=first), dense(kernel_regularizer=second)]
    model = keras.Sequential([keras.Input((5,)), *hidden], name=name)
    model.compile("sgd", loss="mse")
    return model


@pytest.mark.parametrize(
    ("first", "second"), [(("l1",), ("l2",)), (("l2",), (None, "l2")), (("l2", "l1"), ("l1", "l2"))]
)
def test_penalties_of_one_amount(first, second):
    """By hand: Σ|w| = Σ w² = 5 of an identity, yet another formula or another layer."""
    found = ll.compare(penalized(*first), penalized(*second, name="n"), X, X + 1)
    assert found.number_a == pytest.approx(found.number_b, rel=ROUNDING)
    assert found.parts[1].number_a == pytest.approx(0.05)
    assert not found.equal
    assert found.difference.stage == "regularizer"
    assert "0.05" in found.difference.of_a
    twin = ll.compare(penalized(*first), penalized(*first, name="n"), X, X + 1)
    assert twin.equal
    assert twin.undecided == ()


def test_penalties_of_own_code():
    """A penalty that only its name is known of is compared by its amount, and that is said."""
    sums = (lambda w: keras.ops.sum(w**2), lambda w: keras.ops.sum(keras.ops.abs(w)))
    found = ll.compare(*map(penalized, sums), X, X + 1)
    assert any("adds the same here" in x for x in found.undecided)


def test_penalty_that_is_0_here():
    """A penalty of biases that are still 0 changes nothing yet, and is said."""

    def biased(penalty):
        keras.utils.set_random_seed(0)
        dense = layers.Dense(3, bias_regularizer=penalty)
        model = keras.Sequential([keras.Input((5,)), dense], name="classifier")
        model.compile("sgd", loss=LOGITS)
        return model

    for penalties in (("l2", None), ("l2", "l1")):
        found = ll.compare(*map(biased, penalties), X, LABELS)
        assert found.equal
        assert found.difference is None
        assert any("is 0 here" in x for x in found.undecided)
    assert ll.compare(biased("l2"), biased("l2"), X, LABELS).undecided == ()


def test_different_outputs():
    """Other weights: how far outputs lie apart by hand, and the losses on the first's."""
    a, b = one(), one(keras.losses.SparseCategoricalCrossentropy(True, reduction="sum"), seed=1)
    found = ll.compare(a, b, X, LABELS)
    mine, theirs = (keras.ops.convert_to_numpy(m(X)) for m in (a, b))
    assert found.difference.stage == "outputs"
    assert f"by up to {np.abs(mine - theirs).max():.6g}" in found.difference.of_b
    assert found.number_b == pytest.approx(ll.explain(b, X, LABELS).total, rel=ROUNDING)
    assert found.factor is None
    assert found.change is None
    losses = found.parts[0].losses
    assert losses.factor == pytest.approx(8)
    assert losses.number_a == pytest.approx(found.number_a, rel=ROUNDING)
    assert losses.difference.stage == "denominator"
    assert "They part at: denominator." in str(found)
    assert any("different outputs" in note for note in found.notes)


def ordered(names):
    """Return a model whose outputs come in an order; both its losses are of one kind."""
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    heads = {n: layers.Dense(2, name=n)(x) for n in "pq"}
    model = keras.Model(x, [heads[n] for n in names])
    model.compile("sgd", loss=["mse", "mse"])
    return model


def test_outputs_in_another_order():
    """Targets go by place: outputs of one name get other ones, and the numbers are Keras' own."""
    models, y = [ordered("pq"), ordered("qp")], [DEPTH, 3 * DEPTH[::-1]]
    found = ll.compare(*models, X, y)
    assert not found.equal
    assert found.difference.stage == "targets"
    assert f"by up to {np.abs(y[0] - y[1]).max():.6g}" in found.difference.of_b
    assert found.change is None
    totals = [m.evaluate(X, y, verbose=0)[0] for m in models]
    assert [found.number_a, found.number_b] == pytest.approx(totals, rel=ROUNDING)
    assert ll.compare(ordered("pq"), ordered("pq"), X, y).equal


def test_totals_that_differ_are_never_equal(monkeypatch):
    """Broken twin: parts that look equal do not make two numbers equal."""
    twin = functools.partial(replace, equal=True, difference=None, change=None)
    kept = _outputs.loss_part
    monkeypatch.setattr(_totals, "loss_part", lambda *x: (twin(kept(*x)[0]), ""))
    assert ll.compare(two(), two(), X, [LABELS, DEPTH]).equal
    assert not ll.compare(two(), two((LOGITS, SUM)), X, [LABELS, DEPTH]).equal


def test_class_weight_of_one():
    """By hand: Σ of the labels' weights; given to the second too, both are equal."""
    model = one()
    found = ll.compare(model, model, X, LABELS, class_weight=(WEIGHT, None))
    total = sum(WEIGHT[int(k)] for k in LABELS)
    assert found.difference.stage == "weights"
    assert f"Σ = {total:g}" in found.difference.of_a
    assert found.difference.of_b == "no weights"
    assert found.change.text == "give the second the first's class_weight"
    assert found.change.number == pytest.approx(found.number_a, rel=ROUNDING)
    back = ll.compare(model, model, X, LABELS, class_weight=(None, WEIGHT))
    assert back.change.text == "leave out the second's class_weight"
    assert ll.compare(model, model, X, LABELS, class_weight=WEIGHT).equal


def power(y_true, y_pred):
    """A loss of one's own."""
    return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** 1.5, -1)


def test_own_functions():
    """Functions of one's own are called alone; one part in a thousand is a difference."""
    hot = np.eye(3)[LABELS]
    assert ll.compare(one(power), one(power), X, hot).equal
    found = ll.compare(one(power), one(lambda t, p: 1.001 * power(t, p)), X, hot)
    assert not found.equal
    assert found.factor == pytest.approx(1.001, rel=1e-5)
    assert found.gradient_factor == pytest.approx(1.001, rel=1e-5)


def test_only_one_has_the_loss():
    """An output without a loss in the second: what it adds is missing there."""
    found = ll.compare(two(), two((LOGITS, None)), X, [LABELS, DEPTH])
    assert found.difference.stage == "parts"
    assert found.difference.of_b == "depth: no loss of this output"
    assert part(found, "depth").number_b is None
    assert found.change is None


def test_losses_that_cannot_be_called_alone(monkeypatch):
    """Broken twin: without delegation, numbers alone are compared, and that is said."""
    monkeypatch.setattr(_outputs, "shared", lambda *_: None)
    found = ll.compare(two(), two(), X, [LABELS, DEPTH])
    assert found.equal
    assert found.slope is None
    assert any("same gradient" in x for x in found.undecided)
    found = ll.compare(two(), two((LOGITS, SUM)), X, [LABELS, DEPTH])
    assert found.difference.stage == "denominator"
    assert found.change is None


def test_nothing_is_touched():
    """Weights, seeds, metrics and random numbers are as before, dropout or not."""
    keras.utils.set_random_seed(0)
    stack = [keras.Input((5,)), layers.Dropout(0.5), layers.BatchNormalization(), layers.Dense(3)]
    model = keras.Sequential(stack)
    model.compile("sgd", loss=LOGITS)
    model.train_on_batch(X, LABELS)
    kept = [keras.ops.convert_to_numpy(v.value).copy() for v in model.variables]
    before, metrics = explained.states(), model.get_metrics_result()
    assert ll.compare(model, model, X, LABELS, convention=(None, "keras3")).equal
    assert explained.states() == before
    assert model.get_metrics_result() == metrics
    for variable, value in zip(model.variables, kept, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(variable.value), value)


def test_draws_are_said():
    """Two models that drop other units give other outputs, and why is said."""

    def dropping(seed):
        keras.utils.set_random_seed(0)
        stack = [keras.Input((5,)), layers.Dropout(0.5, seed=seed), layers.Dense(3)]
        model = keras.Sequential(stack)
        model.compile("sgd", loss=LOGITS)
        return model

    found = ll.compare(dropping(1), dropping(2), X, LABELS)
    assert found.difference.stage == "outputs"
    assert "draw random numbers" in found.notes[0]
    assert found.parts[0].losses.equal


def test_pages():
    """An answer is text, JSON and HTML, parts and all."""
    found = ll.compare(two(), two((LOGITS, SUM)), X, [LABELS, DEPTH])
    loaded = json.loads(json.dumps(found.to_dict()))
    assert loaded["parts"][1]["losses"]["factor"] == pytest.approx(8)
    assert loaded["parts"][1]["difference"]["stage"] == "denominator"
    text = str(found)
    assert "Part by part" in text
    assert "depth, first at: denominator." in text
    assert "Part by part" in found._repr_html_()
