# SPDX-License-Identifier: Apache-2.0
"""Presets of tf.losses of TensorFlow 1 against tf.compat.v1.losses, which is float32."""

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import tensorflow as tf
from conformance import SINGLE, Case, check_loss, losses
from keras_cases import RNG
from keras_cases_classes import clippable, hot

import lossledger as ll
from lossledger.presets import tf1 as presets
from lossledger.presets._tf1_base import Reduction

SHAPES = ((5, 3), (4, 3, 2), (2, 3, 2, 4))
REDUCTIONS = get_args(Reduction)
ELEMENTS = ("absolute_difference", "mean_squared_error", "huber_loss", "log_loss", "hinge_loss")


def case(name: str, options: dict[str, Any], z: Any, t: Any, weight: Any = None) -> Case:
    """Make a case against TensorFlow's function of the same name."""
    function = getattr(tf.compat.v1.losses, name)
    if name == "mean_pairwise_squared_error":  # eagerly it counts the elements of all samples
        function = tf.function(function)

    def theirs(outputs: Any, targets: Any, sample_weight: Any = None, *_: Any) -> Any:
        leaf = tf.convert_to_tensor(outputs[0])
        given = {} if sample_weight is None else {"weights": tf.convert_to_tensor(sample_weight)}
        goal = () if targets is None else (tf.convert_to_tensor(targets),)
        with tf.GradientTape() as tape:
            tape.watch(leaf)
            value = function(*goal, leaf, **given, **options)
        return value.numpy(), [tape.gradient(value, leaf).numpy()]

    preset = getattr(presets, name)(**options)
    return Case(f"tf1 {name}", preset, theirs, (z,), t, weight, within=SINGLE)


def weights(shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield weights of each form for values of a shape."""
    w = RNG.uniform(0.2, 2, shape)
    w.reshape(-1)[1] = 0
    yield None
    yield w
    yield np.array(1.7)
    yield np.array(0.0)
    yield 0 * w
    if len(shape) > 1:
        yield w[(slice(None), *(slice(1),) * (len(shape) - 1))]
        yield w[:1]


def reductions(
    name: str, options: dict[str, Any], z: Any, t: Any, shape: tuple[int, ...]
) -> Iterator[Case]:
    """Yield the five reductions with every form of weights."""
    for place, weight in enumerate(weights(shape)):
        if len(shape) == 4 and place > 1:
            return
        for reduction in REDUCTIONS:
            yield case(name, {**options, "reduction": reduction}, z, t, weight)


def elements() -> Iterator[Case]:
    """Yield losses of one value an element."""
    for shape in SHAPES:
        for name in ELEMENTS:
            z = clippable(shape) if name == "log_loss" else RNG.normal(size=shape)
            t = RNG.normal(size=shape)
            if name in ("log_loss", "hinge_loss"):
                t = RNG.integers(0, 2, shape)
            if name == "log_loss":
                z = 0.1 + 0.8 * z
            yield from reductions(name, {}, z, t, shape)
        yield case("huber_loss", {"delta": 0.3}, z, RNG.normal(size=shape))
        yield case("log_loss", {"epsilon": 0.01}, clippable(shape), RNG.random(shape))
        for smoothing in (0.0, 0.2) if len(shape) < 4 else (0.2,):
            options = {"label_smoothing": smoothing}
            t = RNG.integers(0, 2, shape)
            yield from reductions("sigmoid_cross_entropy", options, z, t, shape)
            left, name = shape[:-1], "softmax_cross_entropy"
            yield from reductions(name, options, z, hot(shape, -1), left)
        yield from reductions("compute_weighted_loss", {}, np.abs(z), None, shape)


def rows() -> Iterator[Case]:
    """Yield losses of indices, directions and pairs."""
    for shape in SHAPES:
        z, left = RNG.normal(size=shape), shape[:-1]
        y = RNG.integers(0, shape[-1], left)
        name = "sparse_softmax_cross_entropy"
        yield from reductions(name, {}, z, y, left)
        yield case(name, {}, z, y[..., None], RNG.uniform(0.2, 2, (*left, 1)))
        t = RNG.normal(size=shape)
        for axis in (-1, 1):
            kept = [1 if i == axis % len(shape) else n for i, n in enumerate(shape)]
            yield from reductions("cosine_distance", {"axis": axis}, z, t, tuple(kept))
        narrow = RNG.uniform(0.2, 2, (shape[0], *(1,) * (len(shape) - 1)))
        narrow[1] = 0
        for weight in (None, narrow, np.array(0.4), np.array(0.0)):
            yield case("mean_pairwise_squared_error", {}, z, t, weight)
    z = RNG.normal(size=(4, 1))
    yield case("mean_pairwise_squared_error", {}, z, z + 1)


CASES = [*elements(), *rows()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are TensorFlow's, in as many cases as the page says."""
    check_loss("keras2 and tf1", loss, CASES)


@pytest.mark.parametrize("name", presets.__all__)
def test_term_is_the_call(name: str) -> None:
    """A term gives the preset's number, and its ledger adds up to it."""
    preset = getattr(presets, name)(**({"axis": -1} if name == "cosine_distance" else {}))
    outputs, labels = RNG.uniform(0.1, 0.9, (6, 3)), RNG.integers(0, 3, 6)
    targets = labels if name.startswith("sparse") else np.eye(3)[labels]
    if name == "compute_weighted_loss":
        targets = None
    objective = ll.Objective(preset.term("y"))
    goal = None if targets is None else {"y": targets}
    total, ledger = objective({"y": outputs}, goal)
    assert total == pytest.approx(preset(outputs, targets), rel=1e-12)
    assert sum(r.contribution for r in ledger.rows) == pytest.approx(float(total), rel=1e-9)


def test_refusals() -> None:
    """Names, masks and shapes that TensorFlow 1 does not have are errors."""
    z = np.ones((4, 3))
    with pytest.raises(ll.LossLedgerError, match="one of"):
        presets.mean_squared_error(reduction="mean")
    with pytest.raises(ll.LossLedgerError, match="needs `axis`"):
        presets.cosine_distance()
    with pytest.raises(ll.LossLedgerError, match="no mask"):
        presets.mean_squared_error()(z, z, None, z > 0)
    with pytest.raises(ll.LossLedgerError, match="adds no axes"):
        presets.mean_squared_error()(z, z, np.ones(4))
    with pytest.raises(ll.LossLedgerError, match="adds no axes"):
        presets.mean_pairwise_squared_error()(z, z, z)
    with pytest.raises(ll.LossLedgerError, match="outputs' shape"):
        presets.mean_squared_error()(z, z[:, :1])
