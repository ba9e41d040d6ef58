# SPDX-License-Identifier: Apache-2.0
"""Windows of micro-batches: Keras' accumulation with the gradient of one batch."""

import keras
import numpy as np
import pytest
from keras_runs import (
    BACKEND,
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


def two_heads():
    """Return a model of two outputs whose optimizer accumulates and changes nothing."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((4,))
    model = keras.Model(entry, [keras.layers.Dense(3, name=name)(entry) for name in "ab"])
    terms = [
        ll.Term(name, ll.losses.CrossEntropy(), "batch class", classes=3, name=f"ce_{name}")
        for name in "ab"
    ]
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)
    hits = [[keras.metrics.SparseCategoricalAccuracy(name="hits")] for _ in "ab"]
    weighted = [[keras.metrics.SparseCategoricalAccuracy(name="weighted")] for _ in "ab"]
    # TensorFlow's XLA compiles each shape of a part for some ten seconds, its graphs in three.
    given = {"metrics": hits, "weighted_metrics": weighted, "jit_compile": BACKEND == "jax"}
    ll.keras.compile(model, ll.Objective(*terms), optimizer, **given)
    return model


def test_metrics_and_epochs_of_windows():
    """Metrics count each sample once with its weight; an epoch that splits a window is an error."""
    x, y, weight = labeled(10)  # a window of 8, and one of 2 in 4 parts: two of them do not count
    model = two_heads()
    data = ll.keras.Windows(model, x, [y, y], weight, batch_size=2, shuffle=False)
    logs = model.fit(data, verbose=0, shuffle=False).history
    values = weights_of(model)
    for name, kernel, bias in (("a", *values[:2]), ("b", *values[2:4])):
        hits = (x @ kernel + bias).argmax(-1) == y
        assert_near(logs[f"{name}_hits"][0], hits.mean(), f"hits of {name}", 1e-6)
        wanted = (hits * weight).sum() / weight.sum()
        assert_near(logs[f"{name}_weighted"][0], wanted, f"weighted hits of {name}", 1e-6)
    twice = np.concatenate([hits, hits[8:9], hits[8:9]]).mean()  # twin: what fills the window
    assert abs(twice - hits.mean()) > 1e-3
    assert_near(model.ledger.to_dict()["wholes"], 2.0, "windows", 1e-6)
    model.fit(data, verbose=0, shuffle=False, steps_per_epoch=4, epochs=2)
    assert_near(model.ledger.to_dict()["wholes"], 1.0, "windows of half a pass", 1e-6)
    with pytest.raises(ll.MatchError, match=r"Found 1\.5 windows of 4.*multiple of 4"):
        model.fit(data, verbose=0, shuffle=False, steps_per_epoch=5)


def test_a_pass_keeps_its_order():
    """Samples change places between passes alone: an epoch may end within one."""
    x, y, _ = labeled(16)
    data = ll.keras.Windows(compiled(brier()), x, y, batch_size=2, seed=0)
    passes = []
    for _ in range(2):
        own = []
        for index in range(len(data)):
            own += [row.tolist() for row in data[index][0]]
            data.on_epoch_end()
        assert sorted(own) == sorted(x.tolist())
        passes.append(own)
    assert passes[0] != passes[1]
