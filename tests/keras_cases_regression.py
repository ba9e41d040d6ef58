# SPDX-License-Identifier: Apache-2.0
"""Cases of Keras' losses of numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras_cases import RNG, TIGHT, Case, case, every_reduction, in_jax

OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "MeanSquaredError": ({},),
    "MeanAbsoluteError": ({},),
    "MeanAbsolutePercentageError": ({},),
    "MeanSquaredLogarithmicError": ({},),
    "Huber": ({}, {"delta": 0.3}),
    "LogCosh": ({},),
    "Poisson": ({},),
    "CosineSimilarity": ({}, {"axis": 1}),
}
WITHIN = {"LogCosh": 1e-8}  # Keras rounds log 2 to float32
RANKS = (
    ((5, 1), (5,)), ((5,), (5, 1)), ((4, 3, 1), (4, 3)), ((4, 3), (4, 3, 1)), ((5,), (5,)),
)  # fmt: skip


def draw(kind: str, outputs: tuple[int, ...], targets: tuple[int, ...]) -> tuple[Any, Any]:
    """Return outputs and targets inside a loss's domain."""
    if kind == "Poisson":
        return RNG.uniform(0, 3, outputs), RNG.integers(0, 4, targets)
    shift = 0.5 if kind == "MeanSquaredLogarithmicError" else 0
    return RNG.normal(size=outputs) + shift, RNG.normal(size=targets) + shift


def options_of(kind: str) -> Iterator[Case]:
    """Yield a loss's options on rows, sequences and images."""
    within = WITHIN.get(kind, TIGHT)
    for options in OPTIONS[kind]:
        axis = options.get("axis", -1)
        for shape in ((5, 3), (4, 3, 2), (2, 3, 2, 2), (4, 1)):
            z, t = draw(kind, shape, shape)
            left = tuple(np.delete(shape, axis))
            forms = None if kind == "MeanSquaredError" and len(shape) < 4 else 3
            yield from every_reduction(kind, options, z, t, left, forms, within=within)
    z, t = draw(kind, (5, 3), (5, 3))
    yield case(kind, {"dtype": None}, z, t)


def ranks(kind: str) -> Iterator[Case]:
    """Yield outputs and targets whose ranks differ by a last axis of length 1."""
    for first, second in RANKS[:-1] if kind == "CosineSimilarity" else RANKS:
        z, t = draw(kind, first, second)
        for reduction in ("mean", "sum", "none"):
            yield case(kind, {"reduction": reduction}, z, t, within=WITHIN.get(kind, TIGHT))


CASES = in_jax([c for kind in OPTIONS for c in (*options_of(kind), *ranks(kind))])
