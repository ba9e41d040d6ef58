# SPDX-License-Identifier: Apache-2.0
"""Losses of libraries of segmentation by another route, in float64: plain formulas.

Each function takes (tuple of NumPy outputs, targets) with the class axis last.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Oracle = Callable[[tuple[Any, ...], Any], Any]
log = np.log
held = np.maximum


def sigmoid(z: Any) -> Any:
    """Return 1/(1 + e^−z)."""
    return 1 / (1 + np.exp(-z))


def entropy(z: Any, y: Any) -> Any:
    """Return the cross entropy of yes/no elements."""
    p = sigmoid(z)
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


def scaled_by_margin(gamma: float, alpha: tuple[float, ...] | None) -> Oracle:
    """Return the focal loss of MONAI."""

    def values(outputs: tuple[Any, ...], y: Any) -> Any:
        z = outputs[0]
        a = 1.0 if alpha is None else np.where(y == 1, np.array(alpha), 1.0)
        return a * sigmoid(-(2 * y - 1) * z) ** gamma * entropy(z, y)

    return values


def confidence(z: Any, y: Any, gamma: float, threshold: float | None) -> Any:
    """Return the factor of smp's focal loss."""
    sure = np.exp(-entropy(z, y))
    if threshold is None:
        return (1 - sure) ** gamma
    return np.where(sure < threshold, 1.0, ((1 - sure) / threshold) ** gamma)


def scaled_by_confidence(
    gamma: float, alpha: float | None, threshold: float | None = None
) -> Oracle:
    """Return the focal loss of smp."""

    def values(outputs: tuple[Any, ...], y: Any) -> Any:
        z = outputs[0]
        a = 1.0 if alpha is None else alpha * y + (1 - alpha) * (1 - y)
        return a * confidence(z, y, gamma, threshold) * entropy(z, y)

    return values


def normalized_focal(
    gamma: float,
    alpha: float | None,
    threshold: float | None,
    axes: tuple[int, ...],
    mean: bool = True,
) -> Oracle:
    """Return it over the sum of its factors."""
    inner = scaled_by_confidence(gamma, alpha, threshold)

    def cells(outputs: tuple[Any, ...], y: Any) -> Any:
        each = inner(outputs, y)
        factors = confidence(outputs[0], y, gamma, threshold).sum(axes)
        return (each.mean(axes) if mean else each.sum(axes)) / factors

    return cells


def class_focal(gamma: float, alpha: tuple[float, ...]) -> Oracle:
    """Return −t·α·(1 − p)^γ·log p by class."""

    def values(outputs: tuple[Any, ...], t: Any) -> Any:
        p = np.exp(outputs[0]) / np.exp(outputs[0]).sum(-1, keepdims=True)
        return -t * np.array(alpha) * (1 - p) ** gamma * np.log(p)

    return values


def one_hot(inner: Oracle) -> Oracle:
    """Return a loss of masks for labels."""
    return lambda outputs, t: inner(outputs, np.eye(outputs[0].shape[-1])[t])


def foreground(inner: Oracle) -> Oracle:
    """Return a loss of masks without class 0, for labels, as meant for a mean."""

    def values(outputs: tuple[Any, ...], t: Any) -> Any:
        classes = outputs[0].shape[-1]
        rest = inner((outputs[0][..., 1:],), np.eye(classes)[t][..., 1:])
        padded = np.concatenate([np.zeros((*rest.shape[:-1], 1)), rest], -1)
        return padded * classes / (classes - 1)

    return values


def label_entropy(weights: tuple[float, ...], ignored: int, smoothing: float) -> Oracle:
    """Return torch's cross entropy with reduction="none"."""

    def values(outputs: tuple[Any, ...], t: Any) -> Any:
        import torch

        found = torch.nn.functional.cross_entropy(
            torch.tensor(np.moveaxis(outputs[0], -1, 1)), torch.tensor(t),
            torch.tensor(weights, dtype=torch.float64), ignore_index=ignored, reduction="none",
            label_smoothing=smoothing,
        )  # fmt: skip
        return found.numpy()

    return values


def clipped(
    alpha: float,
    beta: float,
    smooth: float,
    axes: tuple[int, ...],
    *,
    least: float = 0.0,
    soft: bool = False,
    h: Callable[[Any], Any],
) -> Oracle:
    """Return a function of Tversky's score with I held above `least`."""

    def cells(outputs: tuple[Any, ...], y: Any) -> Any:
        p = sigmoid(outputs[0])
        both = (np.minimum(p, y) if soft else p * y).sum(axes)
        wrong = alpha * (p.sum(axes) - both) + beta * (y.sum(axes) - both)
        above = np.maximum(both, least) + smooth / 2
        return h(above / (above + wrong))

    return cells


def tversky_power(
    alpha: float,
    beta: float,
    smooth: float,
    axes: tuple[int, ...],
    gamma: float,
    weights: tuple[float, ...],
) -> Oracle:
    """Return the power of the weighted mean over the classes."""
    inner = clipped(alpha, beta, smooth, axes, h=lambda t: 1 - t)

    def cells(outputs: tuple[Any, ...], y: Any) -> Any:
        each = inner(outputs, y) * (y.sum(axes) > 0)
        return (each * np.array(weights)).sum(-1) ** gamma / sum(weights) ** gamma

    return cells


def matthews(eps: float, axes: tuple[int, ...]) -> Oracle:
    """Return 1 − the correlation of Matthews."""

    def cells(outputs: tuple[Any, ...], y: Any) -> Any:
        p = sigmoid(outputs[0])
        tp, tn = (p * y).sum(axes) + eps, ((1 - p) * (1 - y)).sum(axes) + eps
        fp, fn = (p * (1 - y)).sum(axes) + eps, ((1 - p) * y).sum(axes) + eps
        root = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return 1 - (tp * tn - fp * fn) / root

    return cells
