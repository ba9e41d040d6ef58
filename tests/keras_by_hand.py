# SPDX-License-Identifier: Apache-2.0
"""The losses of Keras 1 to 2.3 written out in NumPy, and batches for them.

Formulas and reductions are those of `keras/losses.py` 2.2.4 and 2.3.1, of the TensorFlow
backend beneath them, of `weighted_masked_objective` and of `compute_weighted_loss`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from conformance import Case

from lossledger.presets import keras as presets

EPSILON = 1e-7
Score = Callable[..., Any]


def softmax(z: Any) -> Any:
    """Return rows of probabilities."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def clip(x: Any, high: float | None = 1 - EPSILON) -> Any:
    """Return numbers of at least 1e-7."""
    return np.clip(x, EPSILON, high)


def binary_crossentropy(y: Any, z: Any, convention: str, logits: bool, smooth: float) -> Any:
    """Return the mean over the last axis; TensorFlow 2 adds 1e-7 inside the logs."""
    y = y * (1 - smooth) + 0.5 * smooth
    if logits:
        p, more = 1 / (1 + np.exp(-z)), 0.0
    else:
        p, more = clip(z), EPSILON if convention == "keras2.3" else 0.0
    return -(y * np.log(p + more) + (1 - y) * np.log(1 - p + more)).mean(-1)


def categorical_crossentropy(y: Any, z: Any, convention: str, logits: bool, smooth: float) -> Any:
    """Return the sum over classes; labels are smoothed by the length of the second axis."""
    del convention
    y = y * (1 - smooth) + smooth / z.shape[1]
    log_p = np.log(softmax(z)) if logits else np.log(clip(z / z.sum(-1, keepdims=True)))
    return -(y * log_p).sum(-1)


def sparse_crossentropy(y: Any, z: Any, convention: str, logits: bool, smooth: float) -> Any:
    """Return minus the log of the label's softmax, of logs of clipped probabilities."""
    del convention, smooth
    p = softmax(z if logits else np.log(clip(z)))
    return -np.log(np.take_along_axis(p, y[..., None], -1)[..., 0])


def hinge(y: Any, z: Any, convention: str, power: int = 1) -> Any:
    """Return the mean over the last axis; Keras 2.3 converts labels 0 and 1."""
    if convention == "keras2.3" and np.isin(y, (0, 1)).all():
        y = 2 * y - 1
    return (np.maximum(1 - y * z, 0) ** power).mean(-1)


def categorical_hinge(y: Any, z: Any, convention: str) -> Any:
    """Return max(0, neg − pos + 1)."""
    del convention
    return np.maximum(0, ((1 - y) * z).max(-1) - (y * z).sum(-1) + 1)


def huber(y: Any, z: Any, convention: str, delta: float) -> Any:
    """Return values of every element: Keras 2.3 does not average them."""
    del convention
    off = np.abs(z - y)
    inner = np.minimum(off, delta)
    return 0.5 * inner**2 + delta * (off - inner)


PLAIN: dict[str, Score] = {
    "MeanSquaredError": lambda y, z: ((z - y) ** 2).mean(-1),
    "MeanAbsoluteError": lambda y, z: np.abs(z - y).mean(-1),
    "MeanAbsolutePercentageError": lambda y, z: (
        100 * np.abs((y - z) / clip(np.abs(y), None)).mean(-1)
    ),
    "MeanSquaredLogarithmicError": lambda y, z: (
        (np.log(clip(z, None) + 1) - np.log(clip(y, None) + 1)) ** 2
    ).mean(-1),
    "LogCosh": lambda y, z: (z - y + np.log1p(np.exp(-2 * (z - y))) - np.log(2)).mean(-1),
    "Poisson": lambda y, z: (z - y * np.log(z + EPSILON)).mean(-1),
    "KLDivergence": lambda y, z: (clip(y, 1) * np.log(clip(y, 1) / clip(z, 1))).sum(-1),
}


def weighted_masked(score: Any, weight: Any, mask: Any) -> Any:
    """Return Keras 1's number of a score array."""
    if mask is not None:
        score = score * mask
        score = score / np.mean(mask)
    if weight is not None:
        score = score.mean(axis=tuple(range(np.ndim(weight), score.ndim)))
        score = score * weight
        score = score / np.mean(np.not_equal(weight, 0))
    return score.mean()


def compute_weighted(score: Any, weight: Any, mask: Any, reduction: str) -> Any:
    """Return Keras 2.3's number of a score array, or its array."""
    if mask is not None and weight is None:
        weight = mask * 1.0
    elif mask is not None:
        weight = _ranked(np.asarray(weight), np.ndim(mask)) * mask
    if weight is not None:
        weight = _ranked(np.asarray(weight), score.ndim)
        while 0 < weight.ndim < score.ndim:
            weight = weight[..., None]
        score = np.broadcast_to(weight, score.shape) * score
    if reduction == "none":
        return score
    return score.sum() / (score.size if reduction == "sum_over_batch_size" else 1)


def _ranked(weight: Any, rank: int) -> Any:
    """Drop or add a last axis, if the rank is off by one."""
    if weight.ndim == rank + 1:
        return weight.squeeze(-1)
    return weight[..., None] if 0 < weight.ndim == rank - 1 else weight


def batches(kind: str, shape: tuple[int, ...], logits: bool) -> Iterator[tuple[Any, Any]]:
    """Yield (outputs, targets) that a loss takes, some of them at its clips."""
    rng = np.random.default_rng(7)
    normal = rng.normal(size=shape)
    hot = np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
    edges = rng.uniform(0.3, 0.9, shape)  # a step at 1e-9 stays below the clip
    far = 0.999 if kind == "KLDivergence" else 1.0  # at the end of its clip, 1, is a kink
    edges.reshape(-1)[:3] = (0.0, far, 1e-9)
    if kind in ("BinaryCrossentropy", "Hinge", "SquaredHinge"):
        z = edges if kind == "BinaryCrossentropy" and not logits else 2 * normal
        yield z, rng.integers(0, 2, shape)
        yield z, rng.random(shape) if kind == "BinaryCrossentropy" else rng.choice([-1, 1], shape)
    elif kind == "SparseCategoricalCrossentropy":
        yield (normal if logits else edges), rng.integers(0, shape[-1], shape[:-1])
    elif kind in ("CategoricalCrossentropy", "KLDivergence"):
        yield (normal if logits else edges), hot
        yield (normal if logits else edges), softmax(rng.normal(size=shape))
    elif kind == "CategoricalHinge":
        yield normal, hot
    elif kind == "Poisson":
        yield np.abs(normal), rng.integers(0, 4, shape)
    else:
        yield normal, rng.normal(size=shape)
    if kind == "MeanAbsolutePercentageError":
        yield normal, np.where(rng.random(shape) < 0.2, 1e-9, rng.normal(size=shape))


def weights(shape: tuple[int, ...], convention: str) -> Iterator[tuple[Any, Any]]:
    """Yield (sample weight, mask) of every form that Keras takes for scores of a shape."""
    rng = np.random.default_rng(8)
    masks = [None, _mask(rng, shape)]
    forms: list[Any] = [None, np.array(1.7), rng.uniform(0.2, 2, (1,))]
    forms += [_weight(rng, shape[: i + 1]) for i in range(len(shape))]
    if len(shape) > 1:
        masks.append(_mask(rng, (shape[0], *(1,) * (len(shape) - 1))))
        forms += [_weight(rng, (*shape[:-1], 1)), _weight(rng, (1, *shape[1:]))]
    if convention == "keras2.3":
        masks += [_mask(rng, (*shape, 1))] + ([_mask(rng, shape[:1])] if len(shape) > 1 else [])
        forms.append(_weight(rng, (*shape, 1)))
    for mask in masks:
        for weight in forms:
            if convention == "keras1" or multiply(weight, mask):
                yield weight, mask


def multiply(weight: Any, mask: Any) -> bool:
    """Whether Keras 2.3 multiplies a weight and a mask."""
    if weight is None or mask is None or weight.ndim == 0:
        return True
    more = mask.ndim - weight.ndim
    return more in (0, 1) or (more == -1 and weight.shape[-1] == 1)


def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    w = rng.uniform(0.2, 2, shape)
    w.reshape(-1)[w.size // 2] = 0 if w.size > 1 else 1
    return w


def _mask(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    m = rng.random(shape) < 0.6
    m.reshape(-1)[:2] = (True, False)
    return m


def case(
    kind: str, score: Score, z: Any, t: Any, weight: Any, mask: Any, **options: Any
) -> Case:  # fmt: skip
    """Make a case of a preset against a hand-written score of (targets, outputs)."""
    reduction = options.get("reduction", "sum_over_batch_size")

    def number(outputs: Any) -> Any:
        found = score(t, outputs)
        if options["convention"] == "keras1":
            return weighted_masked(found, weight, mask)
        return compute_weighted(found, weight, mask, reduction)

    def theirs(outputs: Any, *_: Any) -> Any:
        return number(outputs[0]), [slope(lambda x: number(x).sum(), outputs[0])]

    return Case(kind, getattr(presets, kind)(**options), theirs, (z,), t, weight, mask)


def slope(number: Callable[[Any], Any], x: Any, step: float = 1e-8) -> Any:
    """Return central differences, by steps below every clip, in the widest float there is."""
    wide = np.asarray(x, np.longdouble)
    units = step * np.eye(x.size, dtype=np.longdouble).reshape(-1, *x.shape)
    found = [(number(wide + u) - number(wide - u)) / (2 * step) for u in units]
    return np.array(found, np.float64).reshape(x.shape)
