# SPDX-License-Identifier: Apache-2.0
"""Hard decisions counted in the same pass: right, predicted and true elements by class."""

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.engines._prepare import Prepared
from lossledger.frames import Frame, NamedArray, align
from lossledger.weighting import kept

_FEW = 1 << 10
"""Rows up to which the number of operations costs more than copies of them."""


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
    return _by_class(xp, (right, one, one), (true, predicted, true), inputs.classes)


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


def _by_class(xp: ArrayLibrary, counts: Sequence[Array], index: Sequence[Array], n: int) -> Array:
    """Return Σ counts at each index, (len(counts), n): one operation for a small batch."""
    flat = [xp.reshape(x, (-1,)) for x in counts]
    places = [xp.reshape(x, (-1,)) for x in index]
    rows = flat[0].shape[0]
    if rows is None or rows > _FEW:
        pairs = zip(flat, places, strict=True)
        return xp.stack([xp.bin_sum(x, place, n) for x, place in pairs], 0)
    shifted = [place + i * n for i, place in enumerate(places)]
    same = [xp.astype(place, xp.dtype(places[0])) for place in shifted]
    found = xp.bin_sum(xp.concat(flat, 0), xp.concat(same, 0), len(flat) * n)
    return xp.reshape(found, (len(flat), n))
