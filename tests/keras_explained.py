# SPDX-License-Identifier: Apache-2.0
"""Compiled Keras models, generated: losses × reductions × weights × masks × forms of `loss`."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from explained_table import Outcome, compared
from keras import layers, ops
from keras.src.backend import get_keras_mask, set_keras_mask

import lossledger as ll
from lossledger.explanation.model._presets import preset_of

L = keras.losses
RNG = np.random.default_rng(5)
BATCH, TIME, CLASSES = 4, 6, 3
X = RNG.normal(size=(BATCH, TIME, CLASSES)).astype("float32")
X[1, 4:] = X[3, 2:] = 0
LABELS = RNG.integers(0, CLASSES, (BATCH, TIME))
HOT = np.eye(CLASSES, dtype="float32")[LABELS]
SIGNS = 2 * HOT - 1
NUMBERS = RNG.normal(size=X.shape).astype("float32")
WEIGHTS: dict[str, Any] = {
    "none": None,
    "(B,)": RNG.uniform(0.2, 2, BATCH).astype("float32"),
    "(B, 1)": RNG.uniform(0.2, 2, (BATCH, 1)).astype("float32"),
    "(B, T)": RNG.uniform(0.2, 2, (BATCH, TIME)).astype("float32"),
}
REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight", None)

# Loss -> (options, targets, what the model ends in).
LOSSES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "BinaryCrossentropy": ({"from_logits": True, "label_smoothing": 0.1}, HOT, "linear"),
    "BinaryFocalCrossentropy": ({"gamma": 1.5}, HOT, "sigmoid"),
    "CategoricalCrossentropy": ({}, HOT, "softmax"),
    "CategoricalFocalCrossentropy": ({"alpha": 0.3}, HOT, "softmax"),
    "CategoricalGeneralizedCrossEntropy": ({"q": 0.5}, LABELS, "softmax"),
    "CategoricalHinge": ({}, HOT, "linear"),
    "CosineSimilarity": ({}, NUMBERS, "linear"),
    "Dice": ({}, HOT, "sigmoid"),
    "Hinge": ({}, SIGNS, "linear"),
    "Huber": ({"delta": 0.7}, NUMBERS, "linear"),
    "KLDivergence": ({}, HOT, "softmax"),
    "LogCosh": ({}, NUMBERS, "linear"),
    "MeanAbsoluteError": ({}, NUMBERS, "linear"),
    "MeanAbsolutePercentageError": ({}, NUMBERS, "linear"),
    "MeanSquaredError": ({}, NUMBERS, "linear"),
    "MeanSquaredLogarithmicError": ({}, np.abs(NUMBERS), "sigmoid"),
    "Poisson": ({}, np.abs(NUMBERS), "sigmoid"),
    "SparseCategoricalCrossentropy": ({"ignore_class": 1}, LABELS, "softmax"),
    "SquaredHinge": ({}, SIGNS, "linear"),
    "Tversky": ({"alpha": 0.3, "beta": 0.6, "axis": (1, 2)}, HOT, "sigmoid"),
}
FULL = ("SparseCategoricalCrossentropy", "MeanSquaredError", "Tversky")
"""Losses with every combination of reductions, weights and masks; the others have some."""


@dataclass(frozen=True, eq=False)
class Case:
    """What one model is compiled with, and called on.

    Attributes:
        row: Name of the row that counts it.
        name: For messages.
        ends: What each output ends in.
        loss: As `compile` takes it.
        y: Targets.
        sample_weight: As `explain` takes it.
        masked: Whether a layer masks steps.
        loss_weights: As `compile` takes them.
    """

    row: str
    name: str
    ends: tuple[str, ...]
    loss: Any
    y: Any
    sample_weight: Any = None
    masked: bool = False
    loss_weights: Any = None


@functools.cache
def model_of(ends: tuple[str, ...], masked: bool) -> Any:
    """Return a model of the outputs' activations, behind a mask of steps that are 0."""
    x = keras.Input((TIME, CLASSES))
    h = layers.Masking(name="gaps")(x) if masked else x
    h = layers.Rescaling(1.0, offset=0.25)(h)  # Keras' cosine of a 0 vector has the gradient NaN
    names = ["left", "right"]
    found = [layers.Activation(end, name=n)(h) for n, end in zip(names, ends, strict=False)]
    return keras.Model(x, found if len(found) > 1 else found[0])


def cases() -> Iterator[Case]:
    """Yield every case."""
    for kind, (options, y, end) in LOSSES.items():
        for reduction, (shape, weight), masked in itertools.product(
            REDUCTIONS, WEIGHTS.items(), (False, True)
        ):
            some = (shape, masked) in (("none", True), ("(B, T)", False), ("(B, T)", True))
            if kind not in FULL and not (some and reduction in REDUCTIONS[:2]):
                continue
            loss = getattr(L, kind)(**options, reduction=reduction)
            name = f"{kind} {reduction} {shape} {masked}"
            yield Case(kind, name, (end,), loss, y, weight, masked)
    yield from _forms()
    yield from _several()


def _forms() -> Iterator[Case]:
    """Yield strings, functions of Keras, and functions of a user's own."""

    def distance(y: Any, z: Any) -> Any:
        return ops.sqrt(ops.sum(ops.square(y - z), -1) + 1e-3)

    def one_number(y: Any, z: Any) -> Any:
        return ops.mean(ops.abs(y - z)) + 0.5 * ops.max(ops.abs(z))

    def nothing(_targets: Any, _outputs: Any) -> Any:
        return None

    given = {
        "a string": ("mse", "huber", "cosine_similarity"),
        "a function of Keras": (L.mean_squared_error, functools.partial(L.huber, delta=0.2)),
        "a function of one's own": (distance, one_number, nothing),
    }
    for row, losses in given.items():
        for i, loss in enumerate(losses):
            for shape, masked in itertools.product(("none", "(B, T)"), (False, True)):
                name = f"{row} {i} {shape} {masked}"
                yield Case(row, name, ("linear",), loss, NUMBERS, WEIGHTS[shape], masked)


def _several() -> Iterator[Case]:
    """Yield two outputs, with losses and weights in lists and dicts."""
    ends, y = ("linear", "softmax"), [NUMBERS, HOT]
    pair: list[Any] = ["mse", L.CategoricalCrossentropy(reduction="sum")]
    named = dict(zip(("left", "right"), pair, strict=True))
    for masked, shape in itertools.product((False, True), ("none", "(B, T)")):
        weight = None if shape == "none" else [WEIGHTS[shape], 2 * WEIGHTS[shape]]
        for factors in (None, [0.5, 3.0]):
            name = f"{shape} {masked} {factors}"
            yield Case("a list of losses", name, ends, pair, y, weight, masked, factors)
            by_name = None if factors is None else {"left": 0.5, "right": 3.0}
            yield Case("a dict of losses", name, ends, named, y, weight, masked, by_name)
    yield Case("a list of losses", "too many", ends, [*pair, "mae"], y)
    yield Case("a dict of losses", "no such output", ends, {**named, "up": "mse"}, y)
    yield Case("a list of losses", "too many weights", ends, pair, y, None, False, [1.0, 2.0, 3.0])


def compiled(case: Case) -> Any:
    """Return the case's model, compiled."""
    model = model_of(case.ends, case.masked)
    model.compile("sgd", case.loss, loss_weights=case.loss_weights)
    return model


def tensors(tree: Any) -> Any:
    """Return tensors that are copies: on PyTorch Keras writes into weights."""
    return keras.tree.map_structure(lambda a: ops.convert_to_tensor(np.array(a)), tree)


def by_keras(case: Case) -> tuple[float, list[Any]]:
    """Return Keras' own number, and its gradient for the outputs by the backend's autodiff."""
    model = compiled(case)
    outputs = model(tensors(X))
    several = isinstance(outputs, list)
    leaves = outputs if several else [outputs]
    masks = [get_keras_mask(z) for z in leaves]

    def total(own: Any) -> Any:
        for leaf, mask in zip(own, masks, strict=True):
            if mask is not None:
                set_keras_mask(leaf, mask)
        weight = None if case.sample_weight is None else tensors(case.sample_weight)
        found = model.compute_loss(
            x=None, y=tensors(case.y), y_pred=own if several else own[0], sample_weight=weight
        )
        if tuple(found.shape):
            raise ValueError("it is an array")
        return found

    value, slopes = differentiated(total, leaves)
    return float(ops.convert_to_numpy(value)), [ops.convert_to_numpy(s) for s in slopes]


def differentiated(total: Any, leaves: list[Any]) -> tuple[Any, Any]:
    """Return (value, slopes) of a function of a list of tensors, on this backend."""
    if keras.backend.backend() == "torch":
        import torch

        own = [z.detach().clone().requires_grad_() for z in leaves]
        value = total(own)
        return value.detach(), torch.autograd.grad(value, own)
    if keras.backend.backend() == "jax":
        import jax

        return jax.value_and_grad(total)(leaves)
    import tensorflow as tf

    own = [tf.identity(z) for z in leaves]
    with tf.GradientTape() as tape:
        tape.watch(own)
        value = total(own)
    return value, tape.gradient(value, own)


def by_explain(case: Case) -> tuple[float, list[Any] | None]:
    """Return the explained total, and the slopes of the presets that its ledger is made by."""
    model = compiled(case)
    found = ll.explain(model, X, case.y, sample_weight=case.sample_weight)
    if found.ledger is None:
        return found.total, None
    given = case.loss if isinstance(case.loss, dict | list) else [case.loss]
    losses = list(given.values()) if isinstance(given, dict) else given
    outputs = model(tensors(X))
    slopes = []
    for i, (loss, piece) in enumerate(zip(losses, found.pieces, strict=True)):
        several = len(losses) > 1
        output = outputs[i] if several else outputs
        weight, y = case.sample_weight, case.y[i] if several else case.y
        weight = weight[i] if several and weight is not None else weight
        preset, mask = preset_of(loss), get_keras_mask(output)
        assert preset is not None, f"{case.name}: a ledger without a preset"
        _, slope = preset.value_and_grad(
            ops.convert_to_numpy(output).astype(float),
            y.astype(float) if y.dtype.kind == "f" else y,
            None if weight is None else weight.astype(float),
            None if mask is None else ops.convert_to_numpy(mask),
        )
        slopes.append(slope * piece.loss_weight)
    return found.total, slopes


def outcomes() -> Iterator[Outcome]:
    """Yield the outcome of every case."""
    for case in cases():
        yield compared(
            case.row,
            case.name,
            lambda: by_keras(case),  # noqa: B023 - called at once
            lambda: by_explain(case),  # noqa: B023
        )
