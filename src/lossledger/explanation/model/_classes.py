# SPDX-License-Identifier: Apache-2.0
"""Classes seen in outputs and targets alone: support, hard IoU, and own means where values tell."""

from dataclasses import dataclass, replace

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation.model._reading import LossReading
from lossledger.explanation.model._reduce import Reduced, same_rank
from lossledger.ledger import Row
from lossledger.presets._keras_base import AbstractKeras
from lossledger.presets._keras_classes import AbstractKerasRows
from lossledger.presets._keras_regression import AbstractKerasNumbers, CosineSimilarity
from lossledger.presets.keras import Circle


@dataclass(frozen=True, eq=False)
class Decided:
    """Hard decisions, element by element.

    Attributes:
        true: Where a class is the true one, (..., class).
        predicted: Where it is decided for, (..., class).
        exclusive: Whether every element has one true class.
        how: How decisions are made, in words.
    """

    true: Array
    predicted: Array
    exclusive: bool
    how: str

    @property
    def classes(self) -> int:
        """Number of classes; 1 for yes or no."""
        return int(self.true.shape[-1])


def decided(loss: LossReading, preset: AbstractKeras | None) -> Decided | None:
    """Return hard decisions; None if targets do not look like classes.

    Labels along the last axis: rows of 0 and 1 of the outputs' shape, or whole numbers below
    the number of classes. An element without weight decides nothing.
    """
    outputs, targets = loss.outputs, loss.targets
    numbers = isinstance(preset, AbstractKerasNumbers | CosineSimilarity | Circle)
    plain = isinstance(outputs, np.ndarray) and isinstance(targets, np.ndarray)
    if numbers or not plain or not outputs.size or getattr(preset, "axis", -1) not in _LAST:
        return None
    goal, scores = same_rank(targets, outputs)
    if goal.shape == scores.shape and np.isin(goal, (0, 1)).all():
        return _of_rows(goal, scores if scores.ndim > 1 else scores[:, None], preset)
    return _of_labels(targets, outputs, getattr(preset, "ignore_class", None))


_LAST = (-1, None)
_LARGEST = "for each element the class with the largest output"


def _of_labels(targets: Array, outputs: Array, ignored: int | None) -> Decided | None:
    classes = outputs.shape[-1] if outputs.ndim > 1 else 1
    labels = targets[..., 0] if targets.shape == (*outputs.shape[:-1], 1) else targets
    if classes < 2 or labels.shape != outputs.shape[:-1]:
        return None
    alive = np.ones(labels.shape, bool) if ignored is None else labels != ignored
    seen = labels[alive]
    if not seen.size or (seen != np.floor(seen)).any() or seen.min() < 0 or seen.max() >= classes:
        return None
    index = np.where(alive, labels, 0).astype(int)
    true = np.eye(classes, dtype=bool)[index] & alive[..., None]
    predicted = np.eye(classes, dtype=bool)[outputs.argmax(-1)] & alive[..., None]
    return Decided(true, predicted, True, _LARGEST)


def _of_rows(targets: Array, scores: Array, preset: AbstractKeras | None) -> Decided:
    """Decide by the largest output where rows are one distribution, else by a threshold."""
    goal = targets.reshape(scores.shape).astype(bool)
    exclusive = scores.shape[-1] > 1 and bool((goal.sum(-1) == 1).all())
    inside = bool((scores >= 0).all() and (scores <= 1).all())
    shares = inside and bool(np.allclose(scores.sum(-1), 1, atol=1e-2))
    rows = isinstance(preset, AbstractKerasRows) or (
        preset is None and exclusive and (shares or not inside)
    )
    if rows and scores.shape[-1] > 1:
        best = np.eye(scores.shape[-1], dtype=bool)[scores.argmax(-1)]
        return Decided(goal, best, exclusive, _LARGEST)
    logits = getattr(preset, "from_logits", not inside)
    threshold = 0.0 if logits else 0.5
    how = f"each class by itself, yes where its output is above {threshold:g}"
    return Decided(goal, scores > threshold, exclusive, how)


def class_rows(
    loss: LossReading,
    found: Decided,
    made: Reduced | None,
    total: float,
    names: Sequence[str] | None,
) -> list[Row]:
    """Return a row for each class: its support and IoU, and what its values say of the loss.

    A row of kind "decisions" has no contribution: the loss's one number does not say what
    each class adds.
    """
    alive = _alive(made, found.true.shape[:-1])
    true, predicted = found.true & alive, found.predicted & alive
    axes = tuple(range(true.ndim - 1))
    right, taken, support = ((x).sum(axes) for x in (true & predicted, predicted, true))
    parts = _parts(found, made)
    rows = []
    for c in range(found.classes):
        union = int(taken[c] + support[c] - right[c])
        single = found.classes == 1
        row = Row(
            loss.output,
            str(getattr(loss.loss, "name", "loss")),
            None if single else (str(c) if names is None else str(names[c])),
            "positive" if single else None,
            kind="decisions",
            count=int(support[c]),
            support=int(support[c]),
            iou=float(right[c] / union) if union else None,
            dice=float(2 * right[c] / (taken[c] + support[c])) if union else None,
            accuracy=float(right[c] / support[c]) if support[c] else None,
        )
        rows.append(row if parts is None or made is None else _told(row, parts, c, loss, total))
    return rows


def _alive(made: Reduced | None, shape: tuple[int, ...]) -> Array:
    """Return where an element has weight, of shape (..., 1)."""
    every = np.ones((*shape, 1), bool)
    weight = None if made is None else made.weight
    if weight is None or weight.ndim > len(shape) or not weight.ndim:
        return every
    if any(n not in (1, m) for n, m in zip(weight.shape, shape, strict=False)):
        return every
    fitted = weight.reshape(weight.shape + (1,) * (len(shape) + 1 - weight.ndim))
    return every & (fitted != 0)


def _parts(found: Decided, made: Reduced | None) -> tuple[Array, Array, float] | None:
    """Return (Σ w·l, Σ w, divisor) by class, where the loss's values belong to classes."""
    if made is None or made.weighted.shape != made.values.shape or not made.weighted.ndim:
        return None
    shape = made.weighted.shape
    weight = np.ones(shape) if made.weight is None else np.broadcast_to(made.weight, shape)
    elements = found.true.shape
    if shape == elements[:-1] and found.exclusive:
        axes = tuple(range(len(shape)))
        sums = [(x[..., None] * found.true).sum(axes) for x in (made.weighted, weight)]
    elif found.classes > 1 and shape in (elements, elements[-1:], (elements[0], elements[-1])):
        if shape == elements[:-1]:
            return None  # as many elements as classes: the last axis may be either
        axes = tuple(range(len(shape) - 1))
        sums = [x.sum(axes) for x in (made.weighted, weight)]
    else:
        return None
    return sums[0], sums[1], made.denominator


def _told(
    row: Row, parts: tuple[Array, Array, float], c: int, loss: LossReading, total: float
) -> Row:
    top, bottom, divisor = parts
    amount = loss.loss_weight * float(top[c]) / divisor if divisor else 0.0
    return replace(
        row,
        kind="values",
        numerator=float(top[c]),
        denominator=float(bottom[c]),
        own_mean=float(top[c] / bottom[c]) if bottom[c] else None,
        contribution=amount,
        share=amount / total if total else None,
    )


def hidden(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows of classes whose IoU is below half of the best one's, the worst first."""
    found = []
    for output in dict.fromkeys(row.output for row in rows):
        own = [r for r in rows if r.output == output and r.iou is not None and r.support]
        best = max((r.iou or 0.0 for r in own), default=0.0)
        found += [r for r in own if r.iou is not None and r.iou < best / 2]
    return tuple(sorted(found, key=lambda r: r.iou or 0.0))
