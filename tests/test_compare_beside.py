# SPDX-License-Identifier: Apache-2.0
"""A compiled Keras model beside an objective, a criterion, or itself in another version."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from keras_compared import (
    DEPTH,
    GOALS,
    LABELS,
    LOGITS,
    ROUNDING,
    STEPS,
    WEIGHT,
    X,
    one,
    own,
    sequence,
    term,
    two,
)
from torch import nn

import lossledger as ll
from lossledger.explanation.command import compared

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_own_compile_beside_keras():
    """A term divides by Σ w, Keras by N; with Keras' weighted mean both are the same."""
    assert ll.compare(own(term()), one(), X, LABELS).equal
    found = ll.compare(own(term(class_weight=[1, 2, 5])), one(), X, LABELS)
    assert found.difference.stage == "weights"
    assert found.change.text == (
        "replace the second by keras.SparseCategoricalCrossentropy(from_logits=True, "
        "reduction='mean_with_sample_weight'), and pass class_weight to fit"
    )
    weighted = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    pair = (None, WEIGHT)
    model = own(term(class_weight=[1, 2, 5]))
    assert ll.compare(model, one(weighted), X, LABELS, class_weight=pair).equal
    heavy = ll.compare(own(term(loss_weight=3.0)), one(), X, LABELS)
    assert heavy.difference.stage == "loss_weight"
    assert heavy.gradient_factor == pytest.approx(1 / 3)


def test_own_penalty_beside_kernels():
    """One penalty of all variables beside one of a kernel (biases are 0): compared by sums."""
    model = one()
    objective = ll.Objective(term(), ll.L2(0.01, half=False))
    ll.keras.compile(model, objective, "sgd")
    assert ll.compare(model, one(penalty="l2"), X, LABELS).equal
    found = ll.compare(model, one(penalty=keras.regularizers.L2(0.02)), X, LABELS)
    assert found.difference.stage == "regularizer"
    assert found.parts[-1].number_b == pytest.approx(2 * found.parts[-1].number_a, rel=1e-5)


def test_beside_a_criterion():
    """Torch's cross entropy of log(softmax) is Keras'; the penalty is the model's alone."""
    model = one("sparse_categorical_crossentropy", "softmax", "l2")
    found = ll.compare(model, nn.CrossEntropyLoss(), X, LABELS[:, None])
    assert found.layout == "log(outputs), labels without their axis of length 1"
    assert found.parts[0].equal
    assert found.difference.stage == "regularizer"
    assert found.change.number == pytest.approx(found.number_a, rel=ROUNDING)


def test_class_weight_beside_a_criterion():
    """By hand: Keras divides by 8 samples, torch by Σ of its own weights."""
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))
    found = ll.compare(one(), criterion, X, LABELS, class_weight=WEIGHT)
    total = sum(WEIGHT[int(k)] for k in LABELS)
    assert found.difference.stage == "denominator"
    assert found.factor == pytest.approx(8 / total, rel=ROUNDING)
    text = f"multiply the second by its denominator over the first's, {total:g} / 8 on this batch"
    assert found.change.text == text
    assert any("takes no sample weights" in note for note in found.notes)
    loss = ll.presets.keras.SparseCategoricalCrossentropy(from_logits=True)
    assert ll.compare(one(), loss, X, LABELS, class_weight=WEIGHT).equal
    assert ll.compare(one(), LOGITS, X, LABELS, class_weight=WEIGHT).equal
    assert ll.compare(one(), ll.Objective(term()), X, LABELS).equal


def tilted(y_true, y_pred):
    """A loss that counts one side thrice: it is another one with its arguments exchanged."""
    gap = y_true - y_pred
    return keras.ops.mean(keras.ops.maximum(gap, -3 * gap), -1)


def test_function_of_keras_beside_a_model():
    """A function of (y_true, y_pred) gets the targets first, as it does in `compile`."""
    hot = np.eye(3)[LABELS]
    found = ll.compare(one(tilted), tilted, X, hot)
    assert found.equal
    twin = ll.compare(one(tilted), lambda outputs, targets: tilted(outputs, targets).mean(), X, hot)
    assert not twin.equal


VERSIONS = {
    "keras1": ("", 1.0),
    "keras2.3": ("denominator", 16 / 20),
    "keras2.10": ("denominator", 16 / 20),
    "keras2.11": ("", 1.0),
    "keras3.16": ("weights", None),
}


@pytest.mark.parametrize("name", list(VERSIONS))
def test_one_model_in_two_versions(name):
    """By hand: 16 of 20 steps are in the mask; numbers are those of `explain`."""
    model, (stage, factor) = sequence(recurrent=True), VERSIONS[name]
    found = ll.compare(model, model, STEPS, GOALS, convention=("keras3", name))
    told = ll.explain(model, STEPS, GOALS, convention=name)
    assert found.number_b == pytest.approx(told.total, rel=ROUNDING)
    assert found.equal == (stage == "")
    assert ("" if found.difference is None else found.difference.stage) == stage
    if factor not in (None, 1.0):
        assert found.factor == pytest.approx(factor, rel=ROUNDING)
        times = f"or, in {name}, multiply it by its denominator over the first's, 20 / 16"
        assert times in found.change.text


def test_a_mask_is_lost():
    """The same layers without Masking: weights part first, and the mask makes them equal."""
    found = ll.compare(sequence(), sequence(masked=False), STEPS, GOALS)
    assert found.difference.stage == "weights"
    assert found.difference.of_a.startswith("mask keeps 16 of 20")
    assert found.change.text == "give the second the first's mask"
    assert found.change.number == pytest.approx(found.number_a, rel=ROUNDING)
    alone = ll.compare(sequence(), nn.MSELoss(), STEPS, GOALS)
    assert alone.difference.stage == "weights"
    assert any("takes no mask" in note for note in alone.notes)


class Own(keras.Model):
    """A model that minimizes a multiple of a mean, or, once, what was compiled."""

    def __init__(self, times):
        super().__init__(name="own")
        self.times, self.dense = times, keras.layers.Dense(2)

    def call(self, x):
        """Two numbers a sample."""
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras' signature."""
        if self.times == 1:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        return keras.ops.mean((y - y_pred) ** 2) * self.times


@pytest.mark.parametrize("loss", [None, "mse"])
def test_models_with_a_number_of_their_own(loss):
    """What `compute_loss` does with the losses is not read, so nothing is called equal or not."""
    models = [Own(7), Own(3)]
    for model in models:
        model.compile("sgd", loss=loss)
        model(X)
    with pytest.raises(ll.LossLedgerError, match="first model, `own`, must minimize the sum"):
        ll.compare(*models, X, DEPTH)
    if loss:
        plain = Own(1)
        plain.compile("sgd", loss=loss)
        plain(X)
        assert ll.compare(plain, plain, X, DEPTH).equal


@pytest.mark.parametrize(
    ("losses", "width", "message"),
    [
        (("mse", "mse"), 3, "first model, `classifier`, must run .* ValueError"),
        (("mse", lambda t, p: 1 / 0), 5, "second model, `classifier`, must run .*ZeroDivision"),
        (("mse", lambda t, p: keras.ops.log(-keras.ops.abs(p))), 5, "second .* Found nan"),
    ],
)
def test_models_that_fail(losses, width, message):
    """An error in four parts says which of the two models fails, and with what."""
    with pytest.raises(ll.LossLedgerError, match=message) as caught:
        ll.compare(*map(one, losses), X[:, :width], np.eye(3)[LABELS])
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((nn.MSELoss(), "one", X, LABELS), {}, "as the first"),
        (("two", nn.MSELoss(), X, [LABELS, DEPTH]), {}, "a model of one output"),
        (("one", "one", X, LABELS), {"mask": LABELS}, "takes no mask"),
        (("one", "one", X, LABELS), {"convention": "keras9"}, "must be one of"),
        (("one", nn.MSELoss(), X, LABELS), {"convention": ("keras3", "keras3")}, "losses of Keras"),
        (("one", nn.TripletMarginLoss(), X, LABELS), {}, "Found"),
        ((nn.MSELoss(), nn.MSELoss(), X, X), {"class_weight": WEIGHT}, "no class_weight"),
        (("one", LOGITS, X, LABELS), {"class_weight": (WEIGHT, WEIGHT)}, "of its own"),
        (("one", "one", X, LABELS), {"class_weight": (WEIGHT,)}, "or a pair"),
        (("own", "own", X, LABELS), {"convention": "keras3"}, "every version of Keras"),
        (("weighted", "one", X, LABELS), {"convention": "keras2.3"}, "no reduction"),
    ],
)
def test_refusals(arguments, options, message):
    """What cannot be compared says so, with what to do."""
    weighted = keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    makers = {"one": one, "two": two, "own": lambda: own(term()), "weighted": lambda: one(weighted)}
    given = [makers[x]() if isinstance(x, str) else x for x in arguments]
    with pytest.raises(ll.LossLedgerError, match=message):
        ll.compare(*given, **options)


FILE = """
import keras
import numpy as np

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((3, 2)), keras.layers.Masking(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x, weight = np.ones((4, 3, 2)), np.ones((4, 3))
x[0, 1:] = 0.0  # 2 of 12 steps are masked
weight[3] = 0.0


def batch():
    return x, x[..., :1] + 1, weight


def narrow():
    return x[..., :1], x[..., :1]
"""


def run(folder, *words):
    """Compare in a process of its own."""
    (folder / "train_it.py").write_text(FILE, encoding="utf-8")
    command = [sys.executable, "-m", "lossledger.cli", "compare", *words]
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_command_line(tmp_path):
    """By hand: 10 of 12 steps are in the mask; the exit status says that they differ."""
    more = ["--data", "train_it.py:batch", "--json", "--convention", "keras3,keras2.3"]
    done = run(tmp_path, "train_it.py:model", "train_it.py:model", *more)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["factor"] == pytest.approx(10 / 12, rel=ROUNDING)
    assert found["difference"]["stage"] == "denominator"
    assert found["b"].endswith("in keras2.3")


def test_command_line_on_a_model_that_fails(tmp_path):
    """A model that does not run is no difference: status 2, and no traceback."""
    done = run(tmp_path, "train_it.py:model", "train_it.py:model", "--data", "train_it.py:narrow")
    assert done.returncode == 2
    assert "The first model" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("names", ["", ",", "keras3,", " ,keras3"])
def test_empty_conventions_are_refused(names):
    """An empty name is a slip, not the version that is there."""
    mse = "keras.MeanSquaredError()"
    with pytest.raises(ll.LossLedgerError, match="a name is empty"):
        compared(mse, mse, None, None, None, names)
    assert compared(mse, mse, None, None, None, "keras3").equal


def test_nothing_is_drawn_for_a_function():
    """Drawn arrays are of NumPy: a function of torch fails on them, so data are asked for."""
    with pytest.raises(ll.LossLedgerError, match="Pass --outputs and --targets, or --data"):
        compared("torch.MSELoss()", "torch:dist", None, None, None)
