# SPDX-License-Identifier: Apache-2.0
"""TensorFlow tensors through keras.ops: the same numbers as NumPy, and the same gradients.

Run in a process of its own: Keras picks its backend once.
"""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from batches import WEIGHTS, draw, objective_of
from options import combinations

import lossledger as ll
from cases import LOSSES, Case
from properties import close, rows_close

# Error bound: the same formulas in float64; transcendental functions may differ by a few
# units in the last place, and sums by their order.
RTOL = 1e-11
# A loss of sums without `slopes=` is attributed by central differences on NumPy (1e-10) and
# by autodiff on TensorFlow; the total does not use them.
ROWS_RTOL = 1e-9


def by_tape(objective, batch):
    """Return (total, ledger, gradient by output) by GradientTape."""
    moved = batch.map(tf.convert_to_tensor)
    with tf.GradientTape() as tape:
        for output in moved.outputs.values():
            tape.watch(output)
        total, ledger = moved.call(objective)
    names = list(moved.outputs)
    slopes = tape.gradient(total, [moved.outputs[n] for n in names])
    return total, ledger, dict(zip(names, slopes, strict=True))


def assert_same(objective, batch) -> None:
    """TensorFlow's total, gradient and rows equal NumPy's closed forms."""
    expected, ledger, slopes = batch.slopes(objective)
    total, found, found_slopes = by_tape(objective, batch)
    close(total.numpy(), expected, RTOL, "total")
    largest = max(*(np.abs(s).max() for s in slopes.values()), 0.01 * abs(float(expected)))
    for name, slope in slopes.items():
        error = np.abs(found_slopes[name].numpy() - slope).max()
        assert error <= RTOL * largest, f"gradient of {name}: deviation {error:.3g}"
    rows_close(found, ledger, ROWS_RTOL, "rows")


@pytest.mark.parametrize("case", LOSSES, ids=lambda c: c.id)
def test_every_loss(case: Case) -> None:
    """Each loss under its default reduction, each with another kind of weights."""
    weights = WEIGHTS[LOSSES.index(case) % len(WEIGHTS)]
    assert_same(objective_of(case), draw(case, weights))


@pytest.mark.parametrize("name", ["ce-index", "bce", "dice-batch", "squared"])
def test_every_reduction(name: str) -> None:
    """Each reduction on four kinds of losses."""
    case = next(c for c in LOSSES if c.id == name)
    for combination in combinations(case):
        try:
            assert_same(combination.objective(), combination.batch())
        except (AssertionError, Exception) as failure:
            failure.add_note(f"in {combination}")
            raise


# float16 and bfloat16 are brought to float32 before anything is computed, so the only error
# against the same numbers in float64 is float32's: 1.2e-7 a step, over sums of 60 elements.
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_low_precision(dtype: str) -> None:
    """Low-precision outputs are computed with in float32."""
    case = next(c for c in LOSSES if c.id == "bce")
    batch, objective = draw(case), objective_of(case)
    low = batch.with_outputs(lambda o: tf.cast(tf.convert_to_tensor(o), dtype))
    same = batch.with_outputs(lambda o: tf.cast(tf.cast(o, dtype), "float64").numpy())
    total, _ = replace(low.map(tf.convert_to_tensor)).call(objective)
    assert total.dtype == tf.float32
    close(total.numpy(), same.total(objective), 2e-6)


def test_ledgers_of_steps_add() -> None:
    """An epoch's pooled value is the value of all elements together."""
    case = next(c for c in LOSSES if c.id == "dice-batch")
    objective, batch = objective_of(case), draw(case, batch=6)
    steps = [p.map(tf.convert_to_tensor).call(objective)[1] for p in batch.parts((1, 4))]
    close(sum(steps).pooled, batch.total(objective), RTOL)


def test_broken_rules_raise() -> None:
    """Eager tensors can be read, so a label out of range raises."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), "batch class"))
    with pytest.raises(ll.DomainError, match="Labels must be class indices"):
        objective(tf.zeros((2, 3)), tf.constant([0, 3]))


def test_a_wrong_library_would_be_seen(monkeypatch) -> None:
    """The comparison fails if a function of the library is wrong."""
    from lossledger._array import library_of

    objective, batch = objective_of(LOSSES[0]), draw(LOSSES[0])
    library = library_of(tf.zeros(1))
    right = library.log_softmax
    wrong = replace(library, log_softmax=lambda x, axis: right(x, axis) * (1 + 1e-9))
    kind = type(tf.zeros(1))
    monkeypatch.setitem(library_of.__globals__["_BY_TYPE"], kind, wrong)
    with pytest.raises(AssertionError):
        assert_same(objective, batch)
