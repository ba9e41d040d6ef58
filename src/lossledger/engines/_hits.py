# SPDX-License-Identifier: Apache-2.0
"""Hard decisions counted in the same pass: right, predicted and true elements by class."""

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.engines._prepare import Prepared
from lossledger.frames import Frame, NamedArray, align
from lossledger.weighting import kept


def hits(prepared: Prepared) -> Array | None:
    """Return counts of shape (3, class): right, predicted, true; (3,) without classes.

    Elements without weight are left out; None if the loss does not decide for classes.
    """
    facts = prepared.term.facts
    if facts.scores is None or prepared.inputs.form not in ("dense", "index"):
        return None
    if facts.scores == "softmax":
        return _softmax_hits(prepared)
    return _sigmoid_hits(prepared, 0.0 if facts.outputs == "logits" else 0.5)


def _softmax_hits(prepared: Prepared) -> Array | None:
    xp, inputs = prepared.xp, prepared.inputs
    if "class" not in inputs.frame.axes or inputs.classes is None:
        return None
    axis = inputs.class_axis
    decided, shards = xp.detach(prepared.decided), prepared.term.facts.shards
    predicted = xp.argmax(decided, axis) if shards is None else shards.decide(decided, inputs)
    true = prepared.targets if inputs.form == "index" else xp.argmax(prepared.targets, axis)
    rows = inputs.frame.without(("class",))
    one = _ones(xp, true, _rows_with_weight(prepared, rows), rows.shape)
    right = xp.where(predicted == true, one, one * 0)
    bins = [(right, true), (one, predicted), (one, true)]
    counted = [_by_class(xp, x, index, inputs.classes) for x, index in bins]
    return xp.stack(counted, 0)


def _sigmoid_hits(prepared: Prepared, threshold: float) -> Array | None:
    xp, frame = prepared.xp, prepared.frame
    if prepared.positive is None:
        return None
    predicted = xp.detach(prepared.decided) > threshold
    true = prepared.positive
    factors = tuple(f for f in prepared.factors if f.name != "class_weight")
    alive = kept(xp, factors, frame, {}, frame.axes)
    if alive is not None:
        alive = xp.broadcast_to(align(xp, NamedArray(alive, frame.axes), frame), frame.shape)
        predicted, true = predicted & alive, true & alive
    axes = tuple(i for i, a in enumerate(frame.axes) if a != "class")
    counter = xp.counter(predicted)
    parts = [xp.sum(xp.astype(x, counter), axis=axes) for x in (predicted & true, predicted, true)]
    return xp.stack(parts, 0)


def _rows_with_weight(prepared: Prepared, rows: Frame) -> Array | None:
    """Where a decision counts: where any of its classes has weight."""
    xp, whole = prepared.xp, prepared.inputs.frame
    factors = tuple(f for f in prepared.factors if f.name != "class_weight")
    by_class = tuple(f for f in factors if "class" in f.axes and "class" in prepared.frame.axes)
    alive = kept(xp, tuple(f for f in factors if "class" not in f.axes), rows, {}, rows.axes)
    classes = kept(xp, by_class, whole, {}, whole.axes)
    if classes is None:
        return alive
    some = xp.any(classes, axis=prepared.inputs.class_axis)
    return some if alive is None else some & alive


def _ones(xp: ArrayLibrary, like: Array, alive: Array | None, shape: tuple[int, ...]) -> Array:
    if alive is None:
        return xp.astype(like * 0 + 1, xp.counter(like))
    return xp.astype(xp.broadcast_to(alive, shape), xp.counter(like))


def _by_class(xp: ArrayLibrary, x: Array, index: Array, n: int) -> Array:
    return xp.bin_sum(xp.reshape(x, (-1,)), xp.reshape(index, (-1,)), n)
