# SPDX-License-Identifier: Apache-2.0
"""Cases of Keras' losses: every reduction with every form of weights, on either backend.

Only on TensorFlow does Keras compute in float64; on PyTorch its means are float32.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from conformance import SINGLE, TIGHT, Case
from keras.src import backend

from lossledger.presets import keras as presets

RNG = np.random.default_rng(0)
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)
Draw = Callable[[tuple[int, ...]], tuple[Any, Any]]


def by_torch(loss: Any, outputs: Any, targets: Any, weight: Any, mask: Any) -> Any:
    """Return value and slope on the PyTorch backend."""
    import torch

    leaf = torch.from_numpy(np.array(outputs)).requires_grad_()
    given = leaf * 1
    if mask is not None:
        backend.set_keras_mask(given, mask=torch.from_numpy(np.array(mask)))
    value = loss(np.array(targets), given, sample_weight=weight)
    (slope,) = torch.autograd.grad(value, leaf, torch.ones_like(value))
    return value.detach().numpy(), [slope.numpy()]


def by_tensorflow(
    loss: Any, outputs: Any, targets: Any, weight: Any, mask: Any, private: bool = False
) -> Any:
    """Return value and slope on the TensorFlow backend; `private`: in tf_keras."""
    import tensorflow as tf

    leaf = tf.convert_to_tensor(outputs)
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        given = tf.identity(leaf)
        if mask is not None and private:
            given._keras_mask = tf.convert_to_tensor(mask)
        elif mask is not None:
            backend.set_keras_mask(given, mask=tf.convert_to_tensor(mask))
        value = loss(tf.convert_to_tensor(targets), given, sample_weight=weight)
    slope = tape.gradient(value, leaf)
    return value.numpy(), [tf.convert_to_tensor(slope).numpy()]


def keras_call(kind: str, **options: Any) -> Callable[..., Any]:
    """Make `theirs` of a Keras loss on the backend that runs."""
    loss = getattr(keras.losses, kind)(**options)
    run = by_tensorflow if keras.backend.backend() == "tensorflow" else by_torch
    return lambda outputs, targets, weight=None, mask=None: run(
        loss, outputs[0], targets, weight, mask
    )


def case(
    kind: str, options: dict[str, Any], outputs: Any, targets: Any, *weights: Any, **rest: Any
) -> Case:
    """Make a case in float64, or in Keras' own default if `options` has a dtype of None."""
    options = {"dtype": "float64"} | options
    if options["dtype"] is None:
        rest["within"] = SINGLE
    preset = getattr(presets, kind)(**options)
    return Case(kind, preset, keras_call(kind, **options), (outputs,), targets, *weights, **rest)


def weights(shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    """Yield (sample weight, mask) of every form for values of a shape."""
    w = RNG.uniform(0.2, 3, shape)
    w.reshape(-1)[1] = 0
    m = RNG.random(shape) < 0.6
    m.reshape(-1)[0] = True
    yield None, None
    yield w, None
    yield w, m
    yield None, m
    yield None, np.zeros(shape, bool)
    yield w[..., None], None
    yield w[..., None], m
    if len(shape) > 1:
        narrow = (slice(None), *(slice(1),) * (len(shape) - 1))
        yield w[narrow], None
        yield None, m[narrow]
        yield w[narrow], m[narrow]
        yield w, m[narrow]
        yield w[narrow], m
    yield np.array(1.7), None


def every_reduction(
    kind: str, options: dict[str, Any], outputs: Any, targets: Any, left: tuple[int, ...],
    forms: int | None = None, **rest: Any,
) -> Iterator[Case]:  # fmt: skip
    """Yield every reduction with every form of weights, or with the first few."""
    for place, (weight, mask) in enumerate(weights(left)):
        if forms is not None and place >= forms:
            return
        for reduction in _chosen(forms):
            if reduction == "mean_with_sample_weight" and weight is not None and weight.ndim == 0:
                continue
            given = {**options, "reduction": reduction}
            yield case(kind, given, outputs, targets, weight, mask, **rest)


def _chosen(forms: int | None) -> tuple[str | None, ...]:
    """Return reductions: all of them, or fewer where weights are tried less."""
    if forms is None:
        return REDUCTIONS
    return ("mean", "none") if forms == 1 else REDUCTIONS[1:5]


def in_jax(found: list[Case]) -> list[Case]:
    """Run the second of a loss's cases in JAX too."""
    seen: dict[str, int] = {}
    made = []
    for each in found:
        seen[each.loss] = seen.get(each.loss, 0) + 1
        made.append(replace(each, ours=(*each.ours, "jax")) if seen[each.loss] == 2 else each)
    return made


def in_single(found: list[Case], every: int) -> list[Case]:
    """Return a part of the cases, within float32's rounding, that PyTorch's Keras can run."""
    fit = [c for c in found if not _raises(c)][::every]
    return [replace(c, within=max(SINGLE, c.within)) for c in fit]


def unaveraged(c: Case) -> bool:
    """Whether nothing is divided, so that PyTorch's Keras stays in float64."""
    return c.preset.reduction in ("none", "sum") and not _raises(c)


def _raises(c: Case) -> bool:
    """Whether Keras raises on PyTorch: it multiplies a narrow weight by a mask in place.

    Images have no gradient there either, by sparse cross entropy of probabilities.
    """
    options = vars(c.preset)
    sparse = c.loss == "SparseCategoricalCrossentropy" and not options["from_logits"]
    if sparse and options["axis"] == -1 and c.outputs[0].ndim == 4:
        return True
    if c.sample_weight is None or (c.mask is None and not c.preset.masking):
        return False
    inner = c.targets.size if c.preset.masking else 0
    masked = max(inner, 0 if c.mask is None else c.mask.size)
    return c.sample_weight.size < masked


__all__ = ["RNG", "TIGHT", "Case", "case", "every_reduction", "in_jax", "in_single", "unaveraged"]
