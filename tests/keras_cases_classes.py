# SPDX-License-Identifier: Apache-2.0
"""Cases of Keras' losses of classes, of overlap, and of pairs."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras_cases import REDUCTIONS, RNG, Case, case, every_reduction, in_jax

SHAPES = ((5, 3), (4, 3, 2), (2, 3, 2, 4))


def rows(shape: tuple[int, ...], axis: int, sharp: float = 1.0) -> Any:
    """Return rows of probabilities along an axis."""
    z = RNG.normal(size=shape) * sharp
    p = np.exp(z - z.max(axis, keepdims=True))
    return p / p.sum(axis, keepdims=True)


def hot(shape: tuple[int, ...], axis: int) -> Any:
    """Return one-hot rows along an axis."""
    index = RNG.integers(0, shape[axis], np.delete(shape, axis))
    return np.moveaxis(np.eye(shape[axis])[index], -1, axis)


def scores(shape: tuple[int, ...], axis: int, logits: bool) -> Any:
    """Return logits, or probabilities of which some are clipped and none sums to 1."""
    if logits:
        return RNG.normal(size=shape) * 2
    p = rows(shape, axis, 9.0) * 0.8
    return np.where(p < 1e-6, 0.0, p)


def categorical() -> Iterator[Case]:
    """Yield losses of one-hot and soft rows."""
    for logits, smoothing, axis in itertools.product((False, True), (0.0, 0.1), (-1, 1)):
        options = {"from_logits": logits, "label_smoothing": smoothing, "axis": axis}
        for shape in SHAPES:
            z, place = scores(shape, axis, logits), axis % len(shape)
            left = tuple(np.delete(shape, place))
            forms = None if (logits, smoothing, axis, shape) == (False, 0.1, -1, (5, 3)) else 2
            for t in (hot(shape, place), rows(shape, place)):
                if t.ndim == 4 and logits:
                    continue
                yield from every_reduction("CategoricalCrossentropy", options, z, t, left, forms)
                forms = 1
            focal = [{}, {"alpha": 2.0, "gamma": 0.0}, {"gamma": 1.5}]
            if axis == -1:
                focal.append({"alpha": list(RNG.uniform(0.1, 2, shape[-1])), "gamma": 1.0})
            for more in focal:
                given = {**options, **more}
                kind = "CategoricalFocalCrossentropy"
                yield from every_reduction(kind, given, z, t, left, 1)


def sparse() -> Iterator[Case]:
    """Yield losses of class indices."""
    for logits, ignored, axis in itertools.product((False, True), (None, 1, -1), (-1, 1)):
        options = {"from_logits": logits, "ignore_class": ignored, "axis": axis}
        for shape in SHAPES:
            z, place = scores(shape, axis, logits), axis % len(shape)
            left = tuple(np.delete(shape, place))
            y = RNG.integers(0, shape[place], left)
            if ignored == -1:
                y.reshape(-1)[::3] = -1
            forms = None if (logits, ignored, axis, len(shape)) == (True, -1, -1, 3) else 2
            kind = "SparseCategoricalCrossentropy"
            yield from every_reduction(kind, options, z, y, left, forms)
            yield case(kind, options, z, np.expand_dims(y, place))
            if ignored == 1:
                yield case(kind, options, z, np.ones_like(y))
    for q, shape in itertools.product((0.5, 0.2, 0.9), SHAPES):
        y = RNG.integers(0, shape[-1], shape[:-1])
        kind = "CategoricalGeneralizedCrossEntropy"
        yield from every_reduction(kind, {"q": q}, rows(shape, -1), y, shape[:-1], 3)


def others() -> Iterator[Case]:
    """Yield divergences and the hinge of rows."""
    for shape in SHAPES:
        p, t = scores(shape, -1, logits=False), rows(shape, -1)
        yield from every_reduction("KLDivergence", {}, p, t, shape[:-1], 4)
        yield from every_reduction("KLDivergence", {}, p, hot(shape, -1), shape[:-1], 1)
        z = RNG.normal(size=shape)
        yield from every_reduction("CategoricalHinge", {}, z, hot(shape, -1), shape[:-1], 4)
        yield from every_reduction("CategoricalHinge", {}, z - 2, t, shape[:-1], 1)


def binary() -> Iterator[Case]:
    """Yield losses of yes/no elements."""
    for logits, smoothing, axis in itertools.product((False, True), (0.0, 0.2), (-1, 1)):
        options = {"from_logits": logits, "label_smoothing": smoothing, "axis": axis}
        for shape in ((5, 3), (4, 3, 2), (2, 3, 2, 2)):
            z = RNG.normal(size=shape) * 2 if logits else clippable(shape)
            left = tuple(np.delete(shape, axis % len(shape)))
            hard = RNG.integers(0, 2, shape)
            for t in (hard, RNG.random(shape)):
                forms = 2 if t is hard and axis == 1 else 1
                yield from every_reduction("BinaryCrossentropy", options, z, t, left, forms)
                for more in ({}, {"apply_class_balancing": True, "gamma": 1.0, "alpha": 0.7}):
                    kind = "BinaryFocalCrossentropy"
                    yield from every_reduction(kind, {**options, **more}, z, t, left, 1)
    for kind, shape in itertools.product(("Hinge", "SquaredHinge"), ((5, 3), (4, 3, 2), (3, 1))):
        y, z = RNG.integers(0, 2, shape), RNG.normal(size=shape)
        for labels in (y, 2 * y - 1):
            yield from every_reduction(kind, {}, z, labels, shape[:-1], 1)
    z = RNG.normal(size=(5,))
    for kind in ("Hinge", "BinaryCrossentropy"):
        given = {"from_logits": True} if kind == "BinaryCrossentropy" else {}
        for t in (RNG.integers(0, 2, (5,)), RNG.integers(0, 2, (5, 1))):
            yield case(kind, given, z, t)


def clippable(shape: tuple[int, ...]) -> Any:
    """Return probabilities of which some are 0 and 1."""
    p = RNG.random(shape)
    p.reshape(-1)[:3] = (0.0, 1.0, 1e-9)
    return p


def overlap() -> Iterator[Case]:
    """Yield ratios of sums over all axes, and over some."""
    shape = (3, 4, 2, 2)
    p, y = RNG.random(shape), RNG.integers(0, 2, shape)
    for axis in (None, 1, (1, 2), (1, 2, 3), (0, 1, 2), -1):
        for kind, options in (
            ("Dice", {}), ("Tversky", {}), ("Tversky", {"alpha": 0.3, "beta": 0.7})
        ):  # fmt: skip
            given = {**options, "axis": axis}
            summed = range(4) if axis is None else np.atleast_1d(axis)
            left = tuple(np.delete(shape, [a % 4 for a in summed]))
            if left:
                forms = 3 if kind == "Dice" else 1
                yield from every_reduction(kind, given, p, y, left, forms)
            for reduction in REDUCTIONS[1:3]:
                yield case(kind, {**given, "reduction": reduction}, p, y)
                yield case(kind, {**given, "reduction": reduction}, p, RNG.random(shape))
            yield case(kind, given, p, 0 * y)


def circle() -> Iterator[Case]:
    """Yield pairs, some of which lack a partner."""
    for options in ({}, {"gamma": 16.0, "margin": 0.25}, {"remove_diagonal": False}):
        x = RNG.normal(size=(6, 4))
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        for y in (np.array([0, 1, 0, 2, 1, 0]), np.array([[1], [0], [1], [0], [1], [0]])):
            yield from every_reduction("Circle", options, x, y, (6,), 4 if options == {} else 1)
        yield case("Circle", options, x, np.zeros(6, int))


def runs_on_tensorflow(c: Case) -> bool:
    """Whether Keras on TensorFlow does the same as on PyTorch.

    It does not for sparse cross entropy from probabilities, or with another class axis, nor
    for the slope for logits of targets that do not sum to 1.
    """
    options = vars(c.preset)
    last = options.get("axis", -1) in (-1, len(c.outputs[0].shape) - 1)
    if c.loss == "SparseCategoricalCrossentropy":
        return last and options["from_logits"]
    smoothed = c.loss == "CategoricalCrossentropy" and options["label_smoothing"] > 0
    return last or not (smoothed and options["from_logits"])


MAKERS = (categorical, sparse, others, binary, overlap, circle)
EVERY = [c for maker in MAKERS for c in maker()]
CASES = in_jax([c for c in EVERY if runs_on_tensorflow(c)])
ON_TORCH = [c for c in EVERY if not runs_on_tensorflow(c)]
"""On PyTorch they are float64 too where nothing is averaged."""
