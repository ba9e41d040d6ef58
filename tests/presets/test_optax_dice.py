# SPDX-License-Identifier: Apache-2.0
"""Presets of optax.losses against optax itself: losses of overlap."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import optax.losses
import pytest
from conformance import Case, check_loss, jax_call, losses
from optax_cases import REDUCTIONS

from lossledger.presets import optax as presets

RNG = np.random.default_rng(2)
TURN = itertools.count()
WEIGHTS = [0.5, 2.0, 1.0]


def case_of(name: str, z: Any, y: Any, ours: Any = ("numpy", "torch"), **options: Any) -> Case:
    """One case, with what is done with the array of samples in turn."""
    cls = getattr(presets, name)
    batch, last = list(REDUCTIONS.items())[next(TURN) % 3]
    own = {"batch_reduction": batch} if "batch_reduction" in cls.__dataclass_fields__ else {}
    arrays = {k: np.array(v) if k == "class_weights" else v for k, v in options.items()}
    function = functools.partial(getattr(optax.losses, name), **arrays)
    checks = options.get("apply_softmax", True)  # a check of sums that cannot be compiled

    def call(*given: Any) -> Any:
        return last(function(*given)) if own else function(*given)

    return Case(name, cls(**options, **own), jax_call(call, checks), (z,), y, ours=ours)


def one_hot(shape: tuple[int, ...]) -> Any:
    """Draw one class for each place."""
    return np.eye(shape[-1])[RNG.integers(0, shape[-1], shape[:-1])]


def softmax(z: Any) -> Any:
    """Return rows of probabilities."""
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def dice() -> Iterator[Case]:
    """Options in turn, over rows, sequences and images, with one class and several."""
    settings = itertools.cycle(
        (
            {"class_weights": WEIGHTS, "reduction": "mean", "ignore_background": True},
            {"smooth": 0.1, "alpha": 0.3, "beta": 0.7, "reduction": "sum"},
            {"reduction": "none", "ignore_background": True, "class_weights": WEIGHTS},
            {"reduction": "none", "smooth": 1e-3},
            {"class_weights": WEIGHTS, "reduction": "sum"},
            {"ignore_background": True, "alpha": 0.8, "beta": 0.2},
        )
    )
    first = True
    for shape in ((4, 3), (2, 3, 4, 3)):
        for options in itertools.islice(settings, 6):
            z, y = RNG.normal(size=shape) * 2, one_hot(shape)
            ours = ("numpy", "jax") if first else ("numpy", "torch")
            yield case_of("dice_loss", z, y, ours, **options)
            first = False
    for axis in (2, (-2, -3), (0, 1, 2)):
        z, y = RNG.normal(size=(2, 3, 4, 3)), one_hot((2, 3, 4, 3))
        reduction = "mean" if axis == 2 else "none"
        yield case_of("dice_loss", z, y, axis=axis, reduction=reduction, class_weights=WEIGHTS)
    z, y = RNG.normal(size=(2, 5, 1)), (RNG.random((2, 5, 1)) < 0.5) * 1.0
    yield case_of("dice_loss", z, y, ignore_background=True)
    yield case_of("dice_loss", z[..., 0], y, ours=("torch",))
    yield case_of("dice_loss", z, y[..., 0])
    p, y = softmax(RNG.normal(size=(2, 5, 3))), one_hot((2, 5, 3))
    yield case_of("dice_loss", p, y, apply_softmax=False)
    yield case_of("dice_loss", p, softmax(RNG.normal(size=p.shape)), apply_softmax=False)


def binary() -> Iterator[Case]:
    """Masks with a channel and without."""
    for shape, smooth in itertools.product(((4, 5), (2, 3, 4)), (1.0, 0.01)):
        z, y = RNG.normal(size=shape), (RNG.random(shape) < 0.5) * 1.0
        yield case_of("binary_dice_loss", z, y, ("torch",), smooth=smooth)
        ours = ("numpy", "jax") if shape == (4, 5) and smooth == 1 else ("numpy", "torch")
        yield case_of("binary_dice_loss", z[..., None], y[..., None], ours, smooth=smooth)


def generalized() -> Iterator[Case]:
    """With and without the background, and with a class that is nowhere."""
    name = "multiclass_generalized_dice_loss"
    for shape, ignore in itertools.product(((5, 3), (2, 6, 4), (2, 3, 4, 3)), (False, True)):
        z, y = RNG.normal(size=shape), one_hot(shape)
        ours = ("numpy", "jax") if shape == (2, 6, 4) and ignore else ("numpy", "torch")
        yield case_of(name, z, y, ours, ignore_background=ignore, smooth=0.5 if ignore else 1.0)
    y[..., 1] = 0
    yield case_of(name, z, y)
    yield case_of(name, softmax(z), y, apply_softmax=False)
    yield case_of(name, z[..., :1], y[..., :1], ignore_background=True)


CASES = [*dice(), *binary(), *generalized()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are optax's, in as many cases as the page says."""
    check_loss("optax", loss, CASES)
