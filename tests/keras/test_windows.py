# SPDX-License-Identifier: Apache-2.0
"""Windows of micro-batches: Keras' accumulation with the gradient of one batch."""

import keras
import numpy as np
import pytest
from keras_runs import (
    JIT,
    assert_near,
    brier,
    by_hand,
    cross_entropy,
    labeled,
    linear,
    weights_of,
)

import lossledger as ll


def objective():
    """Return terms whose denominators differ from part to part, and a regularizer."""
    macro = cross_entropy(reduction=ll.Macro("class"), name="macro")
    return ll.Objective(cross_entropy(class_weight=[1, 1, 9.0]), macro, ll.L2(1e-2, half=False))


def windows_by_hand(model, x, y, weight, size):
    """Return the weights after one step of gradient descent a window, each in one batch."""
    kernel, bias = weights_of(model)
    twin = linear(kernel_regularizer=keras.regularizers.L2(1e-2))
    for i in range(0, len(x), size):
        twin.layers[-1].kernel.assign(kernel)
        twin.layers[-1].bias.assign(bias)
        own = slice(i, i + size)
        found = by_hand(objective(), twin, x[own], y[own], sample_weight=weight[own])
        kernel, bias = kernel - found[2] - 4e-2 * kernel, bias - found[3] - 2e-2 * bias
    return kernel, bias


# Each length of a part is compiled once: where that takes long, one case has all that differs.
@pytest.mark.parametrize("samples", [18] if JIT else [18, 22])
def test_each_update_is_that_of_the_window(samples):
    """A window of 16, and one of 2 (fewer than its parts) or 6: same weights as in one batch."""
    x, y, weight = labeled(samples)
    model = linear(kernel_regularizer=keras.regularizers.L2(1e-2))
    wanted = windows_by_hand(model, x, y, weight, 16)
    optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=4)
    ll.keras.compile(model, objective(), optimizer, jit_compile=JIT)
    data = ll.keras.Windows(model, x, y, weight, batch_size=4, shuffle=False)
    assert len(data) == 8
    model.fit(data, verbose=0, shuffle=False)
    for mine, theirs in zip(weights_of(model), wanted, strict=True):
        assert_near(mine, theirs, "weights after two windows", 5e-5)
    assert_near(model.ledger.to_dict()["wholes"], 2.0, "windows in the ledger", 1e-6)
    assert sum(row.count for row in model.ledger.rows if row.term == "macro") == samples


def test_plain_accumulation_twin():
    """The check of windows finds the mean of micro-batches' means, which Keras takes."""
    x, y, weight = labeled(16)
    model = linear()
    whole = by_hand(objective(), model, x, y, sample_weight=weight)[2]
    parts = [
        by_hand(objective(), model, x[i : i + 4], y[i : i + 4], sample_weight=weight[i : i + 4])[2]
        for i in (0, 4, 8, 12)
    ]
    with pytest.raises(AssertionError, match="off by"):
        assert_near(np.mean(parts, axis=0), whole, "mean of micro-batches")


def compiled(*parts, steps=4):
    """Return a model whose optimizer accumulates."""
    model = linear()
    optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=steps)
    ll.keras.compile(model, ll.Objective(*parts), optimizer)
    return model


def test_terms_of_two_passes_are_refused():
    """A Dice of the batch needs the outputs of all parts first."""
    x, y, _ = labeled()
    dice = ll.Term("y", ll.losses.Dice(over="batch", kind="softmax"), "batch class", name="dice")
    with pytest.raises(ll.ReductionError, match=r"Found `dice`, which is `two_pass`.*Accumulator"):
        ll.keras.Windows(compiled(dice), x, y)


def test_parts_in_another_order_are_refused():
    """Keras shuffles batches unless told not to; then windows would be mixed."""
    x, y, _ = labeled()
    data = ll.keras.Windows(compiled(brier()), x, y, batch_size=4)
    for index in (0, 1, 0, 1, 2):
        _ = data[index]
    with pytest.raises(ll.MatchError, match=r"Found part 7 after part 2.*shuffle=False"):
        _ = data[7]


def test_windows_need_a_model_that_accumulates():
    """Other models, and other data for one that accumulates, are refused."""
    x, y, _ = labeled()
    with pytest.raises(ll.MatchError, match="without an objective"):
        ll.keras.Windows(linear(), x, y)
    with pytest.raises(ll.MatchError, match="without gradient_accumulation_steps"):
        ll.keras.Windows(compiled(brier(), steps=None), x, y)
    with pytest.raises(ll.MatchError, match="gradient_accumulation_steps=4 and windows of 1"):
        compiled(brier()).fit(x, y, verbose=0)
