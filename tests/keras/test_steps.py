# SPDX-License-Identifier: Apache-2.0
"""Ledgers of eager steps that are added up late: the same as added up one by one."""

import functools
import operator

import keras
import numpy as np
import pytest
from keras_runs import weights_of

import lossledger as ll
from lossledger._array import library_of
from lossledger.keras import _steps as _steps_module
from lossledger.keras._layout import unpack
from lossledger.keras._steps import Steps
from properties import close

CLASSES = 3


def _objective(**settings):
    term = ll.Term("y", ll.losses.CrossEntropy(), "batch class", classes=CLASSES, **settings)
    kernel = np.array([0.5, -1.0])
    return ll.Objective(term, ll.L2(0.1, half=False, parameters=kernel))


def _ledgers(objective, weights=False):
    rng = np.random.default_rng(4)
    found = []
    for rows in (4, 4, 3):
        batch = rng.normal(size=(rows, CLASSES)), rng.integers(0, CLASSES, rows)
        sample_weight = rng.uniform(size=rows) if weights else None
        found.append(objective(*batch, sample_weight=sample_weight)[1])
    return found


def _steps(objective):
    terms = {term.name: term for term in objective.terms}
    return Steps(terms, frozenset()), terms


def test_late_sums_are_those_of_merged_ledgers():
    """Rows, total, pooled value and the logs are those of ledgers merged one by one."""
    objective = _objective(class_weight=[1.0, 2.0, 0.5])
    steps, terms = _steps(objective)
    ledgers = _ledgers(objective)
    for each in ledgers:
        steps.add(each, training=True)
    whole = functools.reduce(operator.add, ledgers)
    logs = steps.logs()
    (found,) = steps.summed(library_of(np.zeros(1)))
    assert (found.steps, found.training, len(steps)) == (3, 3, 3)
    steps.taken()
    assert len(steps) == 0
    ledger = unpack(found.layout, found.vector, found.same, terms)
    close(ledger.total, whole.total)
    close(ledger.pooled, whole.pooled)
    for mine, theirs in zip(ledger.rows, whole.rows, strict=True):
        close(mine.contribution, theirs.contribution)
        assert (mine.count, mine.iou) == (theirs.count, theirs.iou)
    by_term = {row.term: 0.0 for row in whole.rows}
    for row in whole.rows:
        by_term[row.term] += row.contribution
    assert logs.keys() == by_term.keys()
    for name, number in logs.items():
        close(number, by_term[name])


def test_kinds_of_steps_stay_apart():
    """Steps with sample weights are not added to steps without, wherever the layouts differ."""
    plain, summed = _objective(), _objective(reduction="sum")
    steps, _ = _steps(plain)
    for ledger in (*_ledgers(plain), *_ledgers(summed), *_ledgers(plain)):
        steps.add(ledger, training=False)
    found = steps.summed(library_of(np.zeros(1)))
    assert [each.steps for each in found] == [3, 3, 3]
    assert found[0].layout == found[2].layout != found[1].layout


@pytest.mark.parametrize("most", [1, 3, 256])
def test_epoch_does_not_depend_on_when_steps_are_added_up(monkeypatch, most):
    """`fit` gives one ledger and one history, however many steps wait; uneven batch included."""
    monkeypatch.setattr(_steps_module, "MOST", most)
    ledger, logs = _fitted()
    close(ledger.total, sum(logs.values()), 1e-6)
    assert sum(row.count for row in ledger.by("class")) == 26
    expected, _ = _fitted(run=False)
    close(ledger.total, expected.total, 1e-6)


def test_a_lost_step_is_seen(monkeypatch):
    """Twin: sums without the last of the steps that wait are not the epoch's."""
    summed = Steps.summed

    def forgetful(self, xp):
        self._waiting = self._waiting[:-1]
        return summed(self, xp)

    monkeypatch.setattr(Steps, "summed", forgetful)
    with pytest.raises(AssertionError):
        test_late_sums_are_those_of_merged_ledgers()
    lost = keras.backend.backend() == "torch"  # the others add every step to variables at once
    assert (sum(row.count for row in _fitted()[0].by("class")) < 26) is lost


def _fitted(run=True):
    """Return ledger and logs by term of an epoch that changes no weight; or of its batches."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(26, 2)).astype("float32"), rng.integers(0, CLASSES, 26)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(CLASSES, name="y")])
    objective = ll.Objective(
        ll.Term("y", ll.losses.CrossEntropy(), "batch class", classes=CLASSES, name="ce")
    )
    if not run:
        kernel, bias = weights_of(model)
        outputs = x @ kernel + bias
        parts = [objective(outputs[i : i + 4], y[i : i + 4])[1] for i in range(0, 26, 4)]
        return functools.reduce(operator.add, parts), {}
    ll.keras.compile(model, objective, keras.optimizers.SGD(0.0))
    history = model.fit(x, y, batch_size=4, verbose=0, shuffle=False).history
    return model.ledger, {"ce": history["ce"][0]}


def _compiled(**settings):
    keras.utils.set_random_seed(1)
    head = keras.layers.Dense(CLASSES, name="y", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((2,)), head])
    term = ll.Term("y", ll.losses.CrossEntropy(), "batch class", classes=CLASSES, **settings)
    ll.keras.compile(model, ll.Objective(term), keras.optimizers.SGD(0.0))
    return model


X, Y = np.ones((12, 2), "float32"), np.arange(12) % CLASSES


def test_evaluation_within_an_epoch_is_refused():
    """Steps that trained and steps that did not have no ledger together."""

    class Evaluate(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                self.model.evaluate(X[:4], Y[:4], verbose=0)

    model = _compiled()
    with pytest.raises(ll.MatchError, match="Found 2 of 3 steps since the last reset that trained"):
        model.fit(X, Y, batch_size=4, verbose=0, callbacks=[Evaluate()])
    model.fit(X, Y, batch_size=4, verbose=0)
    assert model.ledger.wholes == 3


def test_another_compile_takes_the_ledgers():
    """A ledger of a loss that a model no longer has is not left on it."""
    model = _compiled()
    model.fit(X, Y, batch_size=4, verbose=0)
    assert model.ledger.wholes == 3
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, batch_size=4, verbose=0)
    assert not hasattr(model, "ledger")
    assert not hasattr(model, "loss_weights")


def test_a_term_with_the_name_of_the_models_losses():
    """Two numbers never share a name in the logs."""
    model = _compiled(name="model_losses")
    with pytest.raises(ll.MatchError, match="Found model_losses twice"):
        model.fit(X, Y, batch_size=4, verbose=0)


def test_rows_of_many_cells_do_not_wait(monkeypatch):
    """What is kept is bounded by its cells, and not by its steps alone."""
    steps, _ = _steps(_objective())
    for ledger in _ledgers(_objective()):
        steps.add(ledger, training=True)
    assert not steps.full
    monkeypatch.setattr(_steps_module, "LARGE", 3 * CLASSES)
    assert steps.full


def test_steps_that_cannot_be_added_up_are_not_lost(monkeypatch):
    """Where adding up fails every further read fails as well: no mean of the steps that fitted."""
    model = _compiled()
    bank = model._lossledger
    model.fit(X, Y, batch_size=4, verbose=0)

    def refuse(*_):
        raise ll.MatchError("no", "room", "in", "a test")

    rng = np.random.default_rng(0)
    objective = _objective()
    ledger = objective(rng.normal(size=(4, CLASSES)), rng.integers(0, CLASSES, 4))[1]
    bank.reset_state()
    bank._steps.add(ledger, training=True)
    with monkeypatch.context() as patch:
        patch.setattr(bank, "_make_room", refuse)
        for _ in range(2):
            with pytest.raises(ll.MatchError, match="no"):
                bank.read()
    assert len(bank._steps) == 1
