# SPDX-License-Identifier: Apache-2.0
"""Class weights and ignored labels of a cross entropy, read off the gradient of a black box."""

import numpy as np

from lossledger._typing import Array
from lossledger.explanation.criterion._host import Data
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets.migration import REFUSALS
from lossledger.presets.torch import CrossEntropyLoss

_SAME = 1e-3
"""Largest spread of one label's weight over its elements."""


def weighted(data: Data, slopes: tuple[Array, ...] | None) -> list[AbstractLibraryLoss]:
    """Return cross entropies whose weights would explain the gradient; none if none would.

    Each element's gradient is that of its cross entropy times one number; where that number
    depends on the label alone, it is the label's weight over the divisor. Labels that are absent
    weigh 1.

    Args:
        data: On the host, outputs as logits, targets as class indices.
        slopes: The gradient of the black box on it.
    """
    if slopes is None or len(data.outputs) > 1 or not _indexed(data):
        return []
    outputs, labels = data.outputs[0], data.targets
    classes = outputs.shape[1]
    outside = [int(k) for k in np.unique(labels) if not 0 <= k < classes]
    ignored = outside[0] if outside else -100
    plain = CrossEntropyLoss(ignore_index=ignored, reduction="sum")
    try:
        _, own = plain.value_and_grad(outputs, labels)
    except REFUSALS:  # labels outside of more than one kind
        return []
    by_label = _by_label(np.asarray(own), slopes[0], labels, classes)
    least = 0.0 if by_label is None else np.nanmin(by_label, where=by_label > 0, initial=np.inf)
    if by_label is None or not np.isfinite(least):
        return []
    shares = [1.0 if np.isnan(w) else float(f"{w / least:.6g}") for w in by_label]
    exact = [1.0 if np.isnan(w) else float(w) for w in by_label]
    if set(shares) == {1.0}:
        return [CrossEntropyLoss(ignore_index=ignored), plain]
    return [
        CrossEntropyLoss(weight=shares, ignore_index=ignored),
        CrossEntropyLoss(weight=exact, ignore_index=ignored, reduction="sum"),
    ]


def _indexed(data: Data) -> bool:
    """Whether targets are indices of a class axis that is second."""
    outputs, labels = data.outputs[0], data.targets
    if labels is None or labels.dtype.kind not in "iu" or outputs.ndim < 2:
        return False
    return bool(labels.shape == (outputs.shape[0], *outputs.shape[2:]))


def _by_label(own: Array, theirs: Array, labels: Array, classes: int) -> Array | None:
    """Return one number a class, NaN for absent ones; None if elements of a label differ."""
    rows, goal = np.moveaxis(own, 1, -1), np.moveaxis(theirs, 1, -1)
    found = np.full(classes, np.nan)
    for k in range(classes):
        mine, other = rows[labels == k], goal[labels == k]
        square = float((mine * mine).sum())
        if not square:
            continue
        found[k] = float((mine * other).sum()) / square
        rest = np.abs(other - found[k] * mine).max()
        if found[k] < 0 or rest > _SAME * max(float(np.abs(other).max()), 1e-12):
            return None
    return found
