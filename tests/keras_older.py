# SPDX-License-Identifier: Apache-2.0
"""Compiled models explained under other versions' conventions, beside numbers of those versions."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from explained_table import Outcome, compared
from keras import layers, ops
from keras.src.backend import get_keras_mask
from keras_by_hand import PLAIN, compute_weighted, weighted_masked
from keras_explained import (
    CLASSES,
    HOT,
    LOSSES,
    TIME,
    WEIGHTS,
    Case,
    X,
    compiled,
    tensors,
)

import lossledger as ll

SHAPES = ("none", "(B, T)")
"""Forms of weights that every version takes for one number a step."""
Version = Callable[[str, Case], Any]


def outcomes(convention: str, version: Version) -> Iterator[Outcome]:
    """Yield losses × reductions × weights × masks of one convention.

    Args:
        convention: Its name.
        version: Returns that version's number of (name of the loss, case), or raises.
    """
    kinds = PLAIN if convention in ("keras1", "keras2.3") else LOSSES
    for kind, reduction, shape, masked in itertools.product(
        kinds, ("sum_over_batch_size", "sum", None), SHAPES, (False, True)
    ):
        options, y, end = LOSSES[kind]
        loss = getattr(keras.losses, kind)(**options, reduction=reduction)
        case = Case(
            kind, f"{kind} {reduction} {shape} {masked}", (end,), loss, y, WEIGHTS[shape], masked
        )
        yield compared(
            kind,
            case.name,
            lambda: (version(kind, case), None),  # noqa: B023 - called at once
            lambda: (_explained(case, convention), None),  # noqa: B023
        )


def _explained(case: Case, convention: str) -> float:
    found = ll.explain(
        compiled(case), X, case.y, sample_weight=case.sample_weight, convention=convention
    )
    return found.total


def arrays_of(case: Case) -> tuple[Any, Any, Any, Any]:
    """Return (outputs, targets, weights, mask) of NumPy, floats in float64."""
    outputs = compiled(case)(tensors(X))
    mask = get_keras_mask(outputs)
    floats = case.y.dtype.kind == "f"
    return (
        ops.convert_to_numpy(outputs).astype(float),
        case.y.astype(float) if floats else case.y,
        None if case.sample_weight is None else case.sample_weight.astype(float),
        None if mask is None else ops.convert_to_numpy(mask),
    )


def by_hand(convention: str) -> Version:
    """Return a version as its formulas are written out in NumPy."""

    def version(kind: str, case: Case) -> Any:
        outputs, targets, weight, mask = arrays_of(case)
        if case.loss.reduction not in ("sum_over_batch_size", "sum"):
            raise ValueError("it is an array")
        score = PLAIN[kind](targets, outputs)
        if convention == "keras2.3":
            return compute_weighted(score, weight, mask, case.loss.reduction)
        if case.loss.reduction == "sum":
            raise ValueError("there are no reductions")
        return weighted_masked(score, weight, mask)

    return version


def without_mask() -> Iterator[Outcome]:
    """Yield a recurrent model under "keras3.16", beside Keras' number of outputs without mask."""
    steps = keras.Input((TIME, CLASSES))
    h = layers.SimpleRNN(4, return_sequences=True)(layers.Masking()(steps))
    for end, reduction, shape in itertools.product(
        ("linear", "softmax"), ("sum_over_batch_size", "sum", "mean_with_sample_weight"), SHAPES
    ):
        model = keras.Model(steps, layers.Dense(CLASSES, activation=end)(h))
        kind = (
            keras.losses.MeanSquaredError
            if end == "linear"
            else keras.losses.CategoricalCrossentropy
        )
        model.compile("sgd", kind(reduction=reduction))
        weight = WEIGHTS[shape]

        def theirs() -> Any:
            outputs = model(tensors(X))  # noqa: B023 - called at once
            assert get_keras_mask(outputs) is not None
            bare = tensors(np.array(ops.convert_to_numpy(outputs)))
            given = None if weight is None else tensors(weight)  # noqa: B023
            found = model.compute_loss(y=tensors(HOT), y_pred=bare, sample_weight=given)  # noqa: B023
            return float(ops.convert_to_numpy(found)), None

        def mine() -> Any:
            given = {"sample_weight": weight, "convention": "keras3.16"}  # noqa: B023
            return ll.explain(model, X, HOT, **given).total, None  # noqa: B023

        yield compared(kind.__name__, f"{reduction} {shape}", theirs, mine)
