# SPDX-License-Identifier: Apache-2.0
"""Traps in models of terms: each rule is found, with its numbers, or cannot happen, in numbers."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_owned import SGD, notes, owned, plain, squares, steps
from keras_traps import (
    BACKEND,
    CLASS_WEIGHT,
    ERRORS,
    GOALS,
    LABELS,
    MASK,
    ROWS,
    SQUARES,
    W,
    X,
    Y,
    dense,
    near,
    says,
)

import lossledger as ll

# Keras 3.15 converts PyTorch's tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HOT = np.eye(3, dtype="float32")[LABELS]
ALIKE = np.array([1, 2, 3, 4, 5, 3], "float32")
SOME = np.array([1, 2, 3, 0, 0, 6], "float32")
ELEMENTS = ll.Mean(denominator="elements")
TIME = "batch time one"
COLUMN = GOALS[:, None]


def zero_weights() -> None:
    """A mean over elements counts those of weight 0; a weighted mean does not."""
    note = notes(plain(squares(reduction=ELEMENTS)), ROWS, COLUMN, sample_weight=SOME)
    says(note["zero-weights-counted"], (SOME * ERRORS).mean(), (SOME * ERRORS).sum() / 12)
    assert "reduction=ll.Mean()" in note["zero-weights-counted"].remedy
    assert notes(plain(squares()), ROWS, COLUMN, sample_weight=SOME) == {}


def scaling_weights() -> None:
    """A mean over elements is scaled by weights; a weighted mean is not."""
    note = notes(plain(squares(reduction=ELEMENTS)), ROWS, COLUMN, sample_weight=ALIKE)
    says(note["weights-scale-the-loss"], (ALIKE * ERRORS).mean(), (ALIKE * ERRORS).sum() / 18)
    assert "Keras" not in note["weights-scale-the-loss"].found
    assert notes(plain(squares()), ROWS, COLUMN, sample_weight=ALIKE) == {}


def class_weights() -> None:
    """The same of class weights, those of `fit` and those of the term."""
    w, values = np.array([CLASS_WEIGHT[c] for c in LABELS]), np.log(3) * np.ones(6)
    wrong, right = (w * values).mean(), np.log(3)
    bare = ll.Term("out", ll.losses.CrossEntropy(), "batch class", reduction=ELEMENTS)
    weighed = ll.Term(
        "out", ll.losses.CrossEntropy(), "batch class", reduction=ELEMENTS,
        class_weight=[1.0, 5.0, 10.0],
    )  # fmt: skip
    of_fit = notes(plain(bare, units=3), ROWS, LABELS, class_weight=CLASS_WEIGHT)
    of_term = notes(plain(weighed, units=3), ROWS, LABELS)
    for found in (of_fit, of_term):
        says(found["class-weight-not-divided"], wrong, right)
    assert "validation" in of_fit["class-weight-not-divided"].found
    assert "validation" not in of_term["class-weight-not-divided"].found
    divided = plain(ll.Term("out", ll.losses.CrossEntropy(), "batch class"), units=3)
    for labels in (LABELS, LABELS[:, None]):  # a column of labels is the same labels
        assert notes(divided, ROWS, labels, class_weight=CLASS_WEIGHT) == {}


def as_passed() -> None:
    """A term that divides by weights as they are passed counts (batch,) weights once."""
    passed = steps(squares(TIME, reduction=ll.Mean(denominator="passed")))
    note = notes(passed, X, Y, sample_weight=W)["weights-counted-as-passed"]
    above = (SQUARES * W[:, None]).sum()
    says(note, above / W.sum(), above / W.sum() / 4)
    assert notes(steps(squares(TIME)), X, Y, sample_weight=W) == {}


def for_maps() -> None:
    """`class_weight` with a label for each place is refused, with weights from a table."""
    model = steps(ll.Term("out", ll.losses.BinaryCrossEntropy(), TIME))
    with pytest.raises(ll.LossLedgerError, match="the trap `class-weight-for-maps`"):
        ll.explain(model, X, np.ones((4, 4, 2)), class_weight={0: 1.0, 1: 2.0})


def by_argmax() -> None:
    """`class_weight` with several labels a sample is refused."""
    model = plain(ll.Term("out", ll.losses.BinaryCrossEntropy(), "batch class"), units=3)
    with pytest.raises(ll.LossLedgerError, match="the trap `class-weight-by-argmax`"):
        ll.explain(model, ROWS, np.ones((6, 3)), class_weight=CLASS_WEIGHT)


def broadcast() -> None:
    """A user's function gets the arrays as they are, and may broadcast them inside."""

    def mine(outputs: Any, goals: Any) -> Any:
        return keras.ops.mean(keras.ops.square(outputs - goals), -1)

    model = plain(ll.Term("out", mine, "batch one", removes="one"))
    wrong = ((ROWS.sum(-1)[:, None] - GOALS[None]) ** 2).mean()
    says(notes(model, ROWS, GOALS)["targets-broadcast"], wrong, ERRORS.mean())
    assert notes(model, ROWS, COLUMN) == {}


def summed() -> None:
    """A sum grows with the batch."""
    note = notes(plain(squares(reduction="sum")), ROWS, COLUMN)["sum-grows-with-batch"]
    says(note, ERRORS.sum(), ERRORS.mean())
    weighted = {"sample_weight": np.arange(1.0, len(ROWS) + 1)}
    told = notes(plain(squares(reduction="sum")), ROWS, COLUMN, **weighted)["sum-grows-with-batch"]
    model_sum, model_mean = (
        ll.explain(plain(squares(reduction=r)), ROWS, COLUMN, **weighted).number
        for r in ("sum", "mean")
    )
    assert f"learning rate by {model_sum / model_mean:.6g}" in told.remedy


def channels() -> None:
    """A mean over yes/no channels: a mean over the batch of their sums has no note."""
    loss = ll.losses.BinaryCrossEntropy()
    note = notes(plain(ll.Term("out", loss, "batch class"), units=3), ROWS, HOT)
    z = np.repeat(ROWS.sum(-1, keepdims=True), 3, 1).astype("float64")
    values = np.logaddexp(0, z) - HOT * z
    says(note["mean-over-channels"], values.mean(), values.sum(-1).mean())
    each = ll.Term("out", loss, "batch class", reduction=ll.Sum("class").then(ll.Mean("batch")))
    assert notes(plain(each, units=3), ROWS, HOT) == {}
    heavy = ll.Term("out", loss, "batch class", class_weight=[1.0, 2.0, 30.0])
    assert "mean-over-channels" not in notes(plain(heavy, units=3), ROWS, HOT)
    some = np.array([[0.0, 1.0, 1.0]] * len(ROWS))
    assert "mean-over-channels" not in notes(plain(ll.Term("out", loss, "batch class"), units=3),
                                             ROWS, HOT, sample_weight=some)  # fmt: skip


def probabilities() -> None:
    """Sigmoids where logits are wanted get a note; rows of a softmax are refused."""
    term = ll.Term("out", ll.losses.BinaryCrossEntropy(), "batch one")
    y = (COLUMN > 0).astype("float32")
    note = notes(plain(term, activation="sigmoid"), ROWS, y)["probabilities-as-logits"]
    assert "all 6 outputs lie in [0, 1]" in note.found
    assert notes(plain(term), ROWS, y) == {}
    rows = ll.Term("out", ll.losses.CrossEntropy(), "batch class")
    with pytest.raises(ll.DomainError, match="probabilities where from_logits=True"):
        ll.explain(plain(rows, units=3, activation="softmax"), ROWS, LABELS)


def schedule() -> None:
    """A schedule counts micro-batches, those of windows too."""
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
    model = plain(squares(), optimizer=SGD(rates, gradient_accumulation_steps=2))
    found = {n.rule: n for n in ll.explain(model, ROWS, COLUMN).notes}
    assert "step 1, 0; that of step 0 is 1" in found["schedule-runs-ahead"].found
    assert "schedule-runs-ahead" not in notes(plain(squares(), optimizer=SGD(rates)), ROWS, COLUMN)


def masks() -> None:
    """A mask that a layer takes off, or that stays by accident on JAX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reshape = keras.layers.Reshape((4, 2), name="reshape")
        found = notes(steps(squares(TIME), masked=True, between=reshape), X, Y)
    rule = "mask-kept-by-accident" if BACKEND == "jax" else "mask-lost"
    says(found.pop(rule), SQUARES.mean(), (SQUARES * MASK).sum() / MASK.sum())
    assert found == {}
    assert notes(steps(squares(TIME), masked=True), X, Y) == {}


def metric() -> None:
    """On JAX a compiled metric does not see the mask that the terms see."""
    found = notes(steps(squares(TIME), masked=True, metrics=["mse"]), X, Y)
    assert set(found) == ({"metric-loses-mask"} if BACKEND == "jax" else set())


def decay() -> None:
    """Weight decay beside a penalty of ours."""
    twice = SGD(0.0, weight_decay=0.1)
    found = notes(plain(squares(), ll.L2(0.05, half=False), optimizer=twice), ROWS, COLUMN)
    assert "weight_decay=0.1" in found["weight-decay-twice"].found
    assert notes(plain(squares(), optimizer=SGD(0.0, weight_decay=0.1)), ROWS, COLUMN) == {}


APPLIES: dict[str, Callable[[], None]] = {
    "zero-weights-counted": zero_weights,
    "weights-scale-the-loss": scaling_weights,
    "class-weight-not-divided": class_weights,
    "weights-counted-as-passed": as_passed,
    "class-weight-for-maps": for_maps,
    "class-weight-by-argmax": by_argmax,
    "targets-broadcast": broadcast,
    "sum-grows-with-batch": summed,
    "mean-over-channels": channels,
    "probabilities-as-logits": probabilities,
    "schedule-runs-ahead": schedule,
    "mask-lost": masks,
    "mask-kept-by-accident": masks,
    "metric-loses-mask": metric,
    "weight-decay-twice": decay,
}


def number(model: Any, *data: Any, **weights: Any) -> float:
    """Return what is minimized, which has no note."""
    told = ll.explain(model, *data, **weights)
    assert told.notes == ()
    return float(told.number)


def by_sample() -> None:
    """(batch,) weights weigh samples, whatever the lengths, with and without a mask."""
    w = np.broadcast_to(W[:, None], (4, 4))
    near(number(steps(squares(TIME)), X, Y, sample_weight=W), (w * SQUARES).sum() / w.sum())
    masked = steps(squares(TIME), masked=True)
    inside = (w * MASK * SQUARES).sum() / (w * MASK).sum()
    near(number(masked, X, Y, sample_weight=W), inside)
    wrong = (W * MASK * SQUARES).sum() / (W * MASK).sum()  # twin: weights along time
    assert abs(wrong - inside) > 0.01


def scalar() -> None:
    """A function that gives one number for the batch is refused."""
    model = plain(ll.Term("out", lambda o, t: keras.ops.mean(o - t), "batch one"))
    with pytest.raises(ll.ShapeError, match="must return one value per element"):
        ll.explain(model, ROWS, COLUMN)


def both_losses() -> None:
    """Every term on an output is in the total."""
    error = ll.Term("out", ll.losses.AbsoluteError(), "batch one")
    total = ERRORS.mean() + np.sqrt(ERRORS).mean()
    near(number(plain(squares(), error), ROWS, COLUMN), total)


def unreduced() -> None:
    """A reduction that leaves an axis is refused."""
    model = plain(squares(reduction=ll.Mean("one")))
    with pytest.raises(ll.ReductionError, match="batch"):
        ll.explain(model, ROWS, COLUMN)


def logits() -> None:
    """Numbers outside [0, 1] where probabilities are wanted are refused, not clipped."""
    model = plain(ll.Term("out", ll.losses.BinaryCrossEntropy(from_logits=False), "batch one"))
    with pytest.raises(ll.DomainError, match="outside it"):
        ll.explain(model, ROWS, (COLUMN > 0) * 1.0)


def activation() -> None:
    """The outputs are taken as they are: a softmax under a binary loss, on TensorFlow too."""
    loss = ll.losses.BinaryCrossEntropy(from_logits=False)
    each = ll.Term("out", loss, "batch class", reduction=ll.Sum("class").then(ll.Mean("batch")))
    near(
        number(plain(each, units=3, activation="softmax"), ROWS, HOT),
        -np.log(1 / 3) - 2 * np.log(2 / 3),
    )


def nan() -> None:
    """A target that is not a number under a weight of 0 is left out."""
    y, w = COLUMN.copy(), np.ones(6, "float32")
    y[2], w[2] = np.nan, 0
    near(number(plain(squares()), ROWS, y, sample_weight=w), np.delete(ERRORS, 2).mean())


def half() -> None:
    """Outputs in float16 are computed with in float32: a square beyond 65,504 is finite."""
    y = np.full((6, 1), 300, "float32")
    values = (ROWS.astype("float16").sum(-1, keepdims=True).astype("float64") - y) ** 2
    found = number(plain(squares(), dtype="float16"), ROWS, y)
    assert found == pytest.approx(values.mean(), rel=1e-3)
    assert found > 65_504


def live_weights() -> None:
    """A loss weight that is a number is a variable of the model."""
    model = plain(squares(loss_weight=2.0))
    assert any(v is model.loss_weights["squared_error"] for v in model.metrics_variables)


def forms() -> None:
    """There is one form of a loss and its weights: an objective."""
    with pytest.raises(TypeError, match="loss_weights"):
        ll.keras.compile(plain(squares()), ll.Objective(squares()), loss_weights=[1.0])


CANNOT: dict[str, Callable[[], None]] = {
    "sample-weight-per-timestep": by_sample,
    "sample-weight-across-mask": by_sample,
    "sample-weight-narrower-than-mask": by_sample,
    "scalar-loss-weighted": scalar,
    "scalar-loss-masked": scalar,
    "second-loss-dropped": both_losses,
    "unreduced-loss": unreduced,
    "logits-as-probabilities": logits,
    "activation-replaced": activation,
    "nan-under-zero-weight": nan,
    "half-precision-loss": half,
    "loss-weight-frozen": live_weights,
    "keras2-form": forms,
}


def _here(checks: dict[str, Callable[[], None]]) -> list[Callable[[], None]]:
    """Return each check once: off PyTorch those in which the backend has a part."""
    of_backends = (masks, metric, broadcast, by_sample, activation, half)
    each = list(dict.fromkeys(checks.values()))
    return each if BACKEND == "torch" else [f for f in each if f in of_backends]


@pytest.mark.parametrize("check", _here(APPLIES), ids=lambda f: f.__name__)
def test_applies(check: Callable[[], None]) -> None:
    """A rule that applies to terms is found, with numbers by hand; its twin has no note."""
    check()


@pytest.mark.parametrize("check", _here(CANNOT), ids=lambda f: f.__name__)
def test_cannot_happen(check: Callable[[], None]) -> None:
    """What cannot happen to terms is another number, by hand, or an error."""
    check()


def _decided(page: str) -> dict[str, bool]:
    """Return the rules of the page's table of objectives, and whether each applies."""
    own = page.partition("## With terms of your own")[2]
    rows = re.findall(r"^\| `([\w-]+)` \| (yes|no)\b", own, re.MULTILINE)
    return {rule: answer == "yes" for rule, answer in rows}


def test_every_rule_is_decided() -> None:
    """Each rule of the page has a row that says whether it applies to terms, and its check."""
    page = (Path(__file__).parents[2] / "docs/keras-traps.md").read_text("utf-8")
    every = page.partition("## All rules")[2].partition("\n## ")[0]
    rules = set(re.findall(r"^\| `([\w-]+)` \|", every, re.MULTILINE))
    mine = dict.fromkeys(APPLIES, True) | dict.fromkeys(CANNOT, False)
    assert not set(APPLIES) & set(CANNOT)
    assert set(mine) == rules
    assert _decided(page) == mine
    assert _decided(page.replace("| `mask-lost` | yes", "| `mask-lost` | no")) != mine  # a twin


def test_terms_as_keras_losses_have_notes() -> None:
    """`ll.keras.Loss` in Keras' own compile: notes of each of its terms."""
    model = keras.Sequential([keras.Input((2,)), dense()])
    loss = ll.keras.Loss(squares(reduction="sum", name="all"), squares(reduction=ELEMENTS))
    model.compile(SGD(0.0), loss, run_eagerly=True)
    found = notes(model, ROWS, COLUMN, sample_weight=ALIKE)
    assert set(found) == {"sum-grows-with-batch", "weights-scale-the-loss"}
    says(found["sum-grows-with-batch"], (ALIKE * ERRORS).sum())
    says(found["weights-scale-the-loss"], (ALIKE * ERRORS).mean())


def test_what_is_reported() -> None:
    """`loss` holds the terms and what Keras adds; validation has no class weights of `fit`."""
    term = ll.Term("out", ll.losses.CrossEntropy(), "batch class")
    layer = dense(3, kernel_regularizer="l2")
    model = owned(keras.Sequential([keras.Input((2,)), layer]), term)
    told = ll.explain(model, ROWS, LABELS, class_weight=CLASS_WEIGHT)
    said = {r.name: r for r in told.reported}
    assert "One number holds the losses, 1.09861, and regularizers" in said["loss"].differs
    assert "no class weights there" in said["val_loss"].differs
    assert "out_loss" not in said
    windows = owned(keras.Sequential([keras.Input((2,)), dense(3)]), term,
                    optimizer=SGD(0.0, gradient_accumulation_steps=2))  # fmt: skip
    said = {r.name: r for r in ll.explain(windows, ROWS, LABELS).reported}
    assert "gradient of the window in one batch" in said["update"].rule
