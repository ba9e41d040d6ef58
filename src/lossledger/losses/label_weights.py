# SPDX-License-Identifier: Apache-2.0
"""How much each label of a batch counts."""

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, ShapeError
from lossledger._typing import Array, Mapping


def label_weights(xp: ArrayLibrary, targets: Array, weights: Mapping[int, float]) -> Array:
    """Return a weight a sample by its label, 1 for labels without one.

    Args:
        xp: The library of the targets.
        targets: Labels of shape (batch,) or (batch, 1), or rows (batch, class), whose label is
            that of the largest number.
        weights: By label.

    Raises:
        ShapeError: If targets have more axes.
        DomainError: If rows are no distributions: labels in two axes were passed.
    """
    shape = tuple(targets.shape)
    if len(shape) not in (1, 2):
        raise ShapeError(
            "Class weights need one label, or one row, a sample",
            f"Found targets of shape {shape}",
            "Keras raises, or takes the largest number along the last axis for the label",
            "Weigh the elements of label maps by sample weights of their shape",
        )
    labels = targets
    if len(shape) == 2 and shape[1] == 1:
        labels = xp.reshape(targets, shape[:1])
    elif len(shape) == 2:
        _check_rows(xp, targets)
        labels = xp.argmax(targets, 1)
    found = xp.full_like(xp.astype(labels, xp.wide(labels)), 1.0)
    for label, weight in weights.items():
        here = (labels > label - 0.5) & (labels < label + 0.5)
        found = xp.where(here, xp.full_like(found, float(weight)), found)
    return found


def _check_rows(xp: ArrayLibrary, targets: Array) -> None:
    sums = xp.sum(xp.astype(targets, xp.wide(targets)), axis=1)
    bad = xp.any((sums < 0.999) | (sums > 1.001))
    if xp.readable(bad) and bool(bad):
        raise DomainError(
            "Rows of targets must sum to 1",
            f"Found sums from {float(xp.min(sums)):g} to {float(xp.max(sums)):g}",
            "They are labels of several elements; Keras takes the place of the largest for the "
            "label of the sample",
            "Weigh the elements by sample weights of their shape",
        )
