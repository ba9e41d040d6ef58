# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of cases: losses that Keras' and TF1's presets are made of."""

from typing import Any

import numpy as np
from case import Case

import lossledger as ll


def log_loss(epsilon: float) -> Any:
    """Return −y·log(p + ε) − (1 − y)·log(1 − p + ε)."""

    def values(outputs: tuple[Any, ...], y: Any) -> Any:
        p = outputs[0]
        return -np.log((p + epsilon) ** y * (1 - p + epsilon) ** (1 - y))

    return values


def focal(outputs: tuple[Any, ...], y: Any) -> Any:
    """Return the focal log loss with γ = 1.5 and α = 0.7."""
    p = outputs[0]
    return (0.7 * y + 0.3 * (1 - y)) * np.abs(y - p) ** 1.5 * log_loss(0.0)(outputs, y)


def focal_rows(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return the focal loss of rows with γ = 1.5 and α = 0.5."""
    p = outputs[0]
    return 0.5 * np.sum(t * (1 - p) ** 1.5 * np.log(1 / p), axis=-1)


def relative_entropy(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return scipy's elements of a divergence."""
    from scipy.special import rel_entr

    return rel_entr(t, outputs[0])


def signed(power: int) -> Any:
    """Return the hinge of signs."""
    return lambda outputs, y: np.maximum(0, 1 - y * outputs[0]) ** power


def hinge_of_rows(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return the hinge of one-hot rows against the best of the others and 0."""
    z, label = outputs[0], t.argmax(-1)
    own = np.take_along_axis(z, label[..., None], -1)[..., 0]
    others = np.where(t > 0, 0, z).max(-1)
    return np.maximum(0, 1 + others - own)


def circle(outputs: tuple[Any, ...], y: Any) -> Any:
    """Return the loss of all pairs, pair by pair, with γ = 2 and m = 0.3."""
    x, values = outputs[0], []
    d = np.maximum(1 - x @ x.T, 0)
    for i, label in enumerate(y):
        same = [j for j in range(len(y)) if y[j] == label and j != i]
        other = [j for j in range(len(y)) if y[j] != label]
        a = sum(np.exp(2 * max(0.3 + d[i, j], 0) * (d[i, j] - 0.3)) for j in same)
        b = sum(np.exp(2 * max(1.3 - d[i, j], 0) * (0.7 - d[i, j])) for j in other)
        values.append(np.log1p(a * b))
    return np.array(values)


def pairwise(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return the mean over ordered pairs, pair by pair."""
    e = (outputs[0] - t).reshape(len(t), -1)
    n = e.shape[1]
    return ((e[:, :, None] - e[:, None]) ** 2).sum((1, 2)) / (n * (n - 1))


ROWS: tuple[Case, ...] = (
    Case(
        "pairwise-squared",
        ll.losses.PairwiseSquaredError("height width"),
        "batch height width",
        (4, 2, 3),
        "real",
        oracle=pairwise,
    ),
    Case(
        "inner-product",
        ll.losses.InnerProduct("feature"),
        "batch time feature",
        (4, 2, 3),
        "real",
        oracle=lambda outputs, t: 1 - np.einsum("bth,bth->bt", outputs[0], t),
    ),
    Case("values", ll.losses.Values(), "batch time", (5, 3), "none", oracle=lambda o, _: o[0]),
    Case(
        "log-loss",
        ll.losses.LogLoss(epsilon=0.01),
        "batch class",
        (5, 3),
        "unit",
        "unit",
        oracle=log_loss(0.01),
    ),
    Case(
        "focal-log-loss",
        ll.losses.FocalLogLoss(gamma=1.5, alpha=0.7),
        "batch class",
        (5, 3),
        "binary",
        "unit",
        oracle=focal,
    ),
    Case(
        "focal-probabilities",
        ll.losses.FocalProbabilities(gamma=1.5, alpha=0.5),
        "batch time class",
        (4, 2, 3),
        "soft",
        "simplex",
        oracle=focal_rows,
    ),
    Case(
        "gce-probabilities",
        ll.losses.GeneralizedCrossEntropy(q=0.6, from_logits=False),
        "batch class",
        (5, 3),
        "one_hot",
        "simplex",
        oracle=lambda outputs, t: (1 - np.sum(t * outputs[0], axis=-1) ** 0.6) / 0.6,
    ),
    Case(
        "relative-entropy",
        ll.losses.RelativeEntropy(),
        "batch class",
        (5, 3),
        "unit",
        "unit",
        oracle=relative_entropy,
    ),
    Case(
        "signed-hinge", ll.losses.SignedHinge(), "batch", (6,), "sign_per_sample", oracle=signed(1)
    ),
    Case(
        "signed-hinge-squared",
        ll.losses.SignedHinge(2),
        "batch",
        (6,),
        "sign_per_sample",
        oracle=signed(2),
    ),
    Case(
        "categorical-hinge",
        ll.losses.CategoricalHinge(),
        "batch class",
        (5, 3),
        "one_hot",
        oracle=hinge_of_rows,
    ),
    Case(
        "circle",
        ll.losses.Circle(gamma=2.0, margin=0.3),
        "batch feature",
        (6, 4),
        "sign_per_sample",
        oracle=circle,
        twice=False,
    ),
)
