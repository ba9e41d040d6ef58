# SPDX-License-Identifier: Apache-2.0
"""Presets of optax.losses against optax itself: losses of elements."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from conformance import SINGLE, Case, check_loss, losses
from optax_cases import case_of

RNG = np.random.default_rng(0)
SHAPES = ((7,), (2, 3, 4))
FOCUS = ((0.0, 0.25), (0.5, None), (2.0, 0.25))


def residuals() -> Iterator[Case]:
    """Losses of a difference, with targets and without."""
    names = ("squared_error", "l2_loss", "huber_loss", "log_cosh")
    for name, shape in itertools.product(names, SHAPES):
        settings = ({"delta": 1.0}, {"delta": 0.3}) if name == "huber_loss" else ({},)
        for options in settings:
            x = RNG.normal(size=shape) * 2
            yield case_of(name, x, RNG.normal(size=shape), **options)
        yield case_of(name, x, None)


def elements() -> Iterator[Case]:
    """Losses of yes/no elements, with hard and soft labels, and scores at the kinks."""
    for shape in SHAPES:
        z = RNG.normal(size=shape) * 2
        hard = (RNG.random(shape) < 0.4).astype(float)
        soft = RNG.random(shape)
        z.reshape(-1)[0] = 0
        for y in (hard, hard.astype(int), soft):
            yield case_of("sigmoid_binary_cross_entropy", z, y)
        for y, (gamma, alpha) in itertools.product((hard, soft), FOCUS):
            yield case_of("sigmoid_focal_loss", z, y, gamma=gamma, alpha=alpha)
        signs = 2 * hard - 1
        edge = z.copy()
        edge.reshape(-1)[1] = signs.reshape(-1)[1]
        yield case_of("hinge_loss", edge, signs)
        yield case_of("perceptron_loss", edge, signs)
        yield case_of("sparsemax_loss", edge, hard)
        yield case_of("sparsemax_loss", z, hard.astype(int))


def margins() -> Iterator[Case]:
    """Losses of signs over more shapes, all scores 0 in one of them, and in single precision."""
    for shape in ((9,), (5, 2), (3, 3, 2)):
        z = RNG.normal(size=shape) * (shape != (5, 2))
        signs = RNG.choice([-1.0, 1.0], shape)
        for name in ("hinge_loss", "perceptron_loss"):
            yield case_of(name, z, signs)
        short = case_of("perceptron_loss", z.astype(np.float32), signs.astype(np.float32))
        yield replace(short, within=SINGLE)


CASES = [*residuals(), *elements(), *margins()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are optax's, in as many cases as the page says."""
    check_loss("optax", loss, CASES)
