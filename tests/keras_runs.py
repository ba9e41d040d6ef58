# SPDX-License-Identifier: Apache-2.0
"""Small Keras models whose loss and gradient NumPy knows, and the checks on them."""

import keras
import numpy as np

import lossledger as ll
from lossledger.keras._evaluate import host

# Error bound: float32 products of 4 to 30 numbers and sums of at most 400, relative to the
# largest; NumPy works in float64.
RTOL = 2e-5
BACKEND = keras.backend.backend()
JIT = BACKEND != "torch"
_ALL = {
    "jit": {"jit_compile": True},
    "graph": {"jit_compile": False},
    "eager": {"jit_compile": False, "run_eagerly": True},
}
# What `fit` does unless it is told otherwise, and the rest: torch.compile, and JAX one
# operation at a time, take most of a minute, so one short test has them.
_USUAL = {"torch": ["eager"], "jax": ["jit"], "tensorflow": ["graph", "jit"]}[BACKEND]
_RARE = {"torch": ["jit"], "jax": ["eager"], "tensorflow": ["eager"]}[BACKEND]
MODES, RARE_MODES = ({name: _ALL[name] for name in names} for names in (_USUAL, _RARE))


def linear(features=4, classes=3, shape=(), seed=0, name="y", **dense):
    """Return a model with one linear layer, whose gradient is a product of two matrices."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*shape, features))
    return keras.Model(inputs, keras.layers.Dense(classes, name=name, **dense)(inputs))


def weights_of(model):
    """Return a model's weights in float64: Keras' `get_weights` warns on PyTorch and NumPy 2."""
    return [np.asarray(host(w), np.float64) for w in model.weights]


def outputs_of(model, x):
    """Return a linear model's outputs in float64."""
    kernel, bias = weights_of(model)
    return np.asarray(x, np.float64) @ kernel + bias


def by_hand(objective, model, x, y, **given):
    """Return (total, ledger, gradient of kernel, of bias) by NumPy in float64."""
    parameters = weights_of(model)
    total, ledger, slope = objective.value_and_grad(
        outputs_of(model, x), y, parameters=parameters, **given
    )
    rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    flat = np.reshape(slope, (len(rows), -1))
    return float(total), ledger, rows.T @ flat, flat.sum(0)


def stepped(model, x, y, **given):
    """Return what one step of gradient descent (rate 1) takes from the weights, and the logs."""
    before = weights_of(model)
    history = model.fit(x, y, batch_size=len(x), epochs=1, verbose=0, shuffle=False, **given)
    after = weights_of(model)
    return [b - a for b, a in zip(before, after, strict=True)], history.history


def assert_near(found, wanted, what, rtol=RTOL):
    """Require numbers that differ by rounding, relative to the largest; print by how much."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, f"{what}: {found.shape} and {wanted.shape}"
    size = np.abs(wanted).max(initial=1e-30)
    off = np.abs(found - wanted).max(initial=0.0) / size
    print(f"{what}: off by {off:.1e}")
    assert off <= rtol, f"{what}: off by {off:.2e}; found {found}, wanted {wanted}"


def assert_same_rows(found, wanted, rtol=RTOL):
    """Require ledgers with the same rows: counts to the last element, sums up to rounding."""
    keys = [
        [(r.term, r.cls, r.label, r.kind, r.count, r.support, r.iou) for r in ledger.rows]
        for ledger in (found, wanted)
    ]
    assert keys[0] == keys[1]
    for name in ("numerator", "denominator"):
        mine, theirs = ([getattr(r, name) for r in ledger.rows] for ledger in (found, wanted))
        pairs = zip(mine, theirs, strict=True)
        kept = [(a, b) for a, b in pairs if b is not None]
        assert_near([a for a, _ in kept], [b for _, b in kept], name, rtol)


def labeled(samples=22, features=4, classes=3, shape=(), seed=0):
    """Return inputs, labels and sample weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, *shape, features)).astype("float32")
    y = rng.integers(0, classes, (samples, *shape))
    return x, y, np.linspace(0.5, 2.0, samples).astype("float32")


def cross_entropy(axes="batch class", **settings):
    """Return a term of three classes."""
    settings = {"classes": ["a", "b", "c"], "name": "ce"} | settings
    return ll.Term("y", ll.losses.CrossEntropy(), axes, **settings)


def brier(**settings):
    """Return a second term on the same output."""
    settings = {"classes": ["a", "b", "c"], "loss_weight": 0.5} | settings
    return ll.Term("y", ll.losses.Brier(), "batch class", name="brier", **settings)
