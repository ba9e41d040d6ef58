# SPDX-License-Identifier: Apache-2.0
"""Presets under Keras' older conventions: 2.11 against tf_keras, 2.3 and 1 by hand."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tf_keras
from conformance import SINGLE, TIGHT, Case, check, check_loss, losses
from keras_cases import RNG, by_tensorflow, weights
from keras_cases_classes import clippable, hot, rows, scores

import lossledger as ll
from lossledger.presets import keras as presets

# tf_keras rounds log 2 to float32, and casts to float32 for Huber's loss.
WITHIN = {"LogCosh": 1e-8, "Huber": SINGLE}
OLD = "keras2.11"


def case(kind: str, options: dict[str, Any], z: Any, t: Any, *given: Any) -> Case:
    """Make a case against tf_keras."""
    loss = getattr(tf_keras.losses, kind)(**options)
    preset = getattr(presets, kind)(**options, convention=OLD)

    def theirs(outputs: Any, targets: Any, weight: Any = None, mask: Any = None) -> Any:
        return by_tensorflow(loss, outputs[0], targets, weight, mask, private=True)

    within = WITHIN.get(kind, TIGHT)
    return Case(f"{OLD} {kind}", preset, theirs, (z,), t, *given, within=within)


def forms(shape: tuple[int, ...], several: bool) -> Iterator[tuple[Any, Any]]:
    """Yield the weights that Keras 2.11 can take: no mask is empty."""
    for weight, mask in weights(shape):
        if mask is not None and not mask.any():
            continue
        yield weight, mask
        if not several:
            return
    if len(shape) == 2:
        yield RNG.uniform(0.2, 3, shape[:1]), None
        yield RNG.uniform(0.2, 3, shape[:1]), RNG.random(shape) < 0.7


def grid(
    kind: str, options: dict[str, Any], z: Any, t: Any, left: tuple[int, ...], several: bool = False
) -> Iterator[Case]:
    """Yield reductions and weights."""
    for reduction in ("auto", "sum_over_batch_size", "sum", "none"):
        for weight, mask in forms(left, several):
            yield case(kind, {**options, "reduction": reduction}, z, t, weight, mask)


def numbers() -> Iterator[Case]:
    """Yield losses of numbers."""
    kinds = (
        "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "LogCosh",
        "MeanSquaredLogarithmicError", "Huber", "CosineSimilarity", "Poisson",
    )  # fmt: skip
    for kind, shape in itertools.product(kinds, ((5, 3), (4, 3, 2))):
        z, t = RNG.normal(size=shape), RNG.normal(size=shape)
        if kind == "Poisson":
            z, t = np.abs(z), RNG.integers(0, 4, shape)
        yield from grid(kind, {}, z, t, shape[:-1], kind == "MeanSquaredError")
    for first, second in (((5, 1), (5,)), ((5,), (5, 1)), ((4, 3, 1), (4, 3))):
        z, t = RNG.normal(size=first), RNG.normal(size=second)
        for reduction in ("auto", "sum", "none"):
            yield case("MeanSquaredError", {"reduction": reduction}, z, t)


def classes() -> Iterator[Case]:
    """Yield losses of rows of classes."""
    for logits, shape in itertools.product((False, True), ((5, 3), (4, 3, 2), (2, 3, 2, 4))):
        z, left = scores(shape, -1, logits), shape[:-1]
        for smoothing in (0.0, 0.1):
            options = {"from_logits": logits, "label_smoothing": smoothing}
            for t in (hot(shape, -1), rows(shape, -1)):
                yield from grid("CategoricalCrossentropy", options, z, t, left)
        for ignored in (None, 1):
            y = RNG.integers(0, shape[-1], left)
            y.reshape(-1)[0] = 0
            options = {"from_logits": logits, "ignore_class": ignored}
            kind = "SparseCategoricalCrossentropy"
            yield from grid(kind, options, z, y, left, len(shape) == 2 and ignored is None)
    for shape in ((5, 3), (4, 3, 2)):
        yield from grid("KLDivergence", {}, scores(shape, -1, False), hot(shape, -1), shape[:-1])
        z = RNG.normal(size=shape)
        yield from grid("CategoricalHinge", {}, z, hot(shape, -1), shape[:-1])


def binary() -> Iterator[Case]:
    """Yield losses of yes/no elements."""
    for logits, smoothing, axis in itertools.product((False, True), (0.0, 0.2), (-1, 1)):
        options = {"from_logits": logits, "label_smoothing": smoothing, "axis": axis}
        for shape in ((5, 3), (4, 3, 2)):
            z = RNG.normal(size=shape) * 2 if logits else clippable(shape)
            left = tuple(np.delete(shape, axis))
            for t in (RNG.integers(0, 2, shape), RNG.random(shape)):
                yield from grid("BinaryCrossentropy", options, z, t, left)
                more = {"apply_class_balancing": True, "gamma": 1.5}
                yield from grid("BinaryFocalCrossentropy", {**options, **more}, z, t, left)
    for kind in ("Hinge", "SquaredHinge"):
        for y in (RNG.integers(0, 2, (5, 3)), RNG.choice([-1, 1], (5, 3))):
            yield from grid(kind, {}, RNG.normal(size=(5, 3)), y, (5,))


CASES = [*numbers(), *classes(), *binary()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are tf_keras', in as many cases as the page says."""
    check_loss("keras2 and tf1", loss, CASES)


def by_hand(convention: str, loss: Any, weight: Any, mask: Any) -> float:
    """Return the number that a convention makes of values, from its definition."""
    w = np.ones(loss.shape[:1]) if weight is None else weight
    m = np.ones(loss.shape) if mask is None else mask * 1.0
    wide = w.reshape(*w.shape, *(1,) * (loss.ndim - w.ndim))
    if convention == "keras2.3":
        return float((wide * m * loss).sum() / loss.size)
    score = loss * m / m.mean()
    score = score.mean(axis=tuple(range(w.ndim, loss.ndim)))
    return float((score * w / (w != 0).mean()).mean())


@pytest.mark.parametrize("convention", ["keras2.3", "keras1"])
@pytest.mark.parametrize("weighted", ["none", "samples", "values"])
@pytest.mark.parametrize("masked", [False, True])
def test_by_hand(convention: str, weighted: str, masked: bool) -> None:
    """The denominators of Keras 2.3 and 1, and their gradient."""
    z, t = RNG.normal(size=(4, 3, 2)), RNG.normal(size=(4, 3, 2))
    shapes = {"none": None, "samples": (4,), "values": (4, 3)}
    weight = None if weighted == "none" else RNG.uniform(0.5, 2, shapes[weighted])
    if weight is not None:
        weight.reshape(-1)[1] = 0
    mask = RNG.random((4, 3)) < 0.6 if masked else None

    def theirs(outputs: Any, *_: Any) -> Any:
        number = lambda x: by_hand(convention, ((x - t) ** 2).mean(-1), weight, mask)  # noqa: E731
        units = np.eye(z.size).reshape(-1, *z.shape)
        # A square's central difference is exact.
        slope = [number(outputs[0] + u) - number(outputs[0] - u) for u in units]
        return number(outputs[0]), [np.reshape(slope, z.shape) / 2]

    preset = presets.MeanSquaredError(convention=convention)
    check(Case(convention, preset, theirs, (z,), t, weight, mask))


def test_huber_of_keras_2_3_is_not_averaged() -> None:
    """Its values keep the last axis: the sum is three times as large here."""
    z, t = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    now = presets.Huber(reduction="sum")(z, t)
    old = presets.Huber(reduction="sum", convention="keras2.3")(z, t)
    assert old == pytest.approx(3 * now)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Dice", {"convention": "keras2.11"}),
        ("MeanSquaredError", {"convention": "keras4"}),
        ("MeanSquaredError", {"convention": "keras1", "reduction": "sum"}),
        ("MeanSquaredError", {"convention": "keras2.11", "reduction": "mean"}),
        ("MeanSquaredError", {"reduction": "auto"}),
        ("BinaryCrossentropy", {"convention": "keras1", "from_logits": True}),
        ("SparseCategoricalCrossentropy", {"convention": "keras2.3", "ignore_class": 1}),
    ],
)
def test_options_of_another_version(kind: str, options: dict[str, Any]) -> None:
    """What a version does not have is an error."""
    with pytest.raises(ll.LossLedgerError):
        getattr(presets, kind)(**options)
