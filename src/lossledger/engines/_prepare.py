# SPDX-License-Identifier: Apache-2.0
"""From what the user passed to what the engine computes with: frames, factors, safe numbers."""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, ShapeError
from lossledger._typing import Array
from lossledger.engines._clean import Places, clean_output, clean_targets
from lossledger.engines._domain import check_outputs, check_targets
from lossledger.engines._factors import (
    BatchWeights,
    batch_factors,
    channel_factor,
    class_weights,
    removes_elements,
    row_factor,
    weighs_within,
)
from lossledger.engines._shapes import (
    frame_of,
    target_form,
    values_frame,
)
from lossledger.engines._watch import Watch
from lossledger.frames import Frame, Key, NamedArray, align
from lossledger.losses import AbstractOverlapLoss, Inputs
from lossledger.losses._base import Form
from lossledger.term import Term
from lossledger.weighting import Factor, kept


@dataclass(frozen=True, eq=False)
class Prepared:
    """One term's batch, checked and safe to compute with.

    Attributes:
        outputs: In the dtype of the work, with a harmless number where no weight is; shards of
            a class axis as they were passed.
        targets: Likewise; None if the loss takes none.
        inputs: What the loss is told.
        frame: Axes of the values (of the channels, for a loss of sums).
        keys: Class labels and other keys of the elements.
        factors: Sources of weight.
        positive: Which elements have a positive label; None if labels mean nothing here.
        decided: The first output as it was passed, for the counts of decisions.
        work: Name of the dtype of the work.
    """

    term: Term
    xp: ArrayLibrary
    outputs: tuple[Array, ...]
    targets: Array
    inputs: Inputs
    frame: Frame
    keys: dict[str, Key]
    factors: tuple[Factor, ...]
    positive: Array | None
    decided: Array
    work: str


def prepare(
    term: Term,
    outputs: tuple[Array, ...],
    targets: Array,
    weights: BatchWeights,
    watch: Watch,
) -> Prepared:
    """Check one term's batch and bring it into the form that the engine computes with.

    Raises:
        ShapeError: If shapes or axes don't fit; nothing is broadcast.
        DomainError: If numbers lie outside their domain and can be read.
    """
    xp = watch.xp
    outputs, starts = _meet(term, outputs, targets, watch)
    seen = _look(term, outputs, targets, weights, watch)
    frame, form, work, places = seen.frame, seen.form, seen.work, seen.places
    clean = clean_targets(xp, term, form, targets, places, work)
    if form == "index" and not xp.readable(clean):
        clean = _in_range(xp, clean, seen.classes)
    if form == "index" and isinstance(term.loss, AbstractOverlapLoss):
        clean, form = _indicators(xp, clean, frame, work), "dense"
    found = _weigh(term, outputs, clean, form, seen, weights, watch)
    if starts is not None:
        inputs = replace(found.prepared.inputs, alive=found.places.alive, starts=starts)
        return replace(found.prepared, inputs=inputs)
    safe = tuple(
        clean_output(xp, xp.astype(output, work), found.places, domain, form)
        for output, domain in zip(outputs, term.facts.domains, strict=True)
    )
    check_outputs(xp, term, frame, safe, watch)
    return replace(found.prepared, outputs=safe)


def prepare_counts(
    term: Term,
    outputs: tuple[Array, ...],
    targets: Array,
    weights: BatchWeights,
    watch: Watch,
    *,
    labeled: bool,
) -> Prepared:
    """Prepare what decides a term's denominators; outputs give their shape and dtype alone.

    Without `labeled` the number of classes is not known, and nothing asks for it.
    """
    seen = _look(term, outputs, targets, weights, watch, labeled=labeled)
    clean = clean_targets(watch.xp, term, seen.form, targets, seen.places, seen.work)
    if seen.form == "index" and not labeled:
        seen = replace(seen, classes=None)
    return _weigh(term, outputs, clean, seen.form, seen, weights, watch).prepared


@dataclass(frozen=True, eq=False)
class _Seen:
    """A batch after its shapes were read and its targets checked."""

    frame: Frame
    left: Frame
    form: Form
    work: str
    classes: int | None
    class_weight: Array | None
    factors: tuple[Factor, ...]
    places: Places


@dataclass(frozen=True, eq=False)
class _Weighed:
    prepared: Prepared
    places: Places


def _look(
    term: Term,
    outputs: tuple[Array, ...],
    targets: Array,
    weights: BatchWeights,
    watch: Watch,
    *,
    labeled: bool = True,
) -> _Seen:
    """Match shapes to named axes, and check targets where they have weight."""
    xp = watch.xp
    frame = frame_of(term, outputs)
    left = values_frame(term, frame)
    form = target_form(xp, term, frame, targets)
    work = _work_dtype(xp, term, outputs)
    classes = _class_count(term, frame)
    class_weight = class_weights(xp, term, outputs[0], classes, work, watch)
    factors = batch_factors(xp, term, frame, form, targets, weights, watch)
    by_channel = channel_factor(class_weight, left)
    removing = removes_elements(class_weight, term)
    places = _places(xp, term, frame, factors, by_channel if removing else ())
    if labeled or form != "index":
        on_targets = places.on_targets(xp, term, form, places.alive)
        check_targets(xp, term, form, targets, classes, on_targets, watch)
    return _Seen(frame, left, form, work, classes, class_weight, factors + by_channel, places)


def _weigh(
    term: Term,
    outputs: tuple[Array, ...],
    clean: Array,
    form: Form,
    seen: _Seen,
    weights: BatchWeights,
    watch: Watch,
) -> _Weighed:
    """Gather keys and every source of weight; class weights of rows follow their labels."""
    xp, places, class_weight = watch.xp, seen.places, seen.class_weight
    within = weighs_within(term, form)
    inner = class_weight if within else None
    inputs = Inputs(seen.frame, form, seen.classes, inner, places.alive)
    labeled = places.on_targets(xp, term, form, places.given)
    keys = _keys(term, inputs, clean, labeled, weights, watch)
    by_row = row_factor(xp, class_weight, within, inputs, clean, seen.left)
    factors = seen.factors + by_row
    # Smoothed targets give every class a part of each row, whatever its own class weighs.
    removing = removes_elements(class_weight, term)
    if by_row and removing and not getattr(term.loss, "label_smoothing", 0.0):
        places = replace(places, alive=kept(xp, factors, places.free, keys, places.free.axes))
    positive = _positive(term, inputs, clean)
    prepared = Prepared(
        term, xp, outputs, clean, inputs, seen.left, keys, factors, positive, outputs[0], seen.work
    )
    return _Weighed(prepared, places)


def _meet(
    term: Term, outputs: tuple[Array, ...], targets: Array, watch: Watch
) -> tuple[tuple[Array, ...], Array | None]:
    """Compare the batch over the ranks, if the class axis is a shard: one that stops stops all."""
    shards = term.facts.shards
    if shards is None:
        return outputs, None
    values_frame(term, Frame(term.axes, (1,) * len(term.axes)))  # there is a class axis
    met = shards.meet(outputs, targets, term.axes.index("class"))
    for rule, good, found in met.rules:
        watch.require(good, rule, found)
    return met.outputs, met.starts


def _places(
    xp: ArrayLibrary,
    term: Term,
    frame: Frame,
    factors: tuple[Factor, ...],
    by_channel: tuple[Factor, ...],
) -> Places:
    """Find where elements have weight, along the axes that the loss does not couple."""
    free = frame.without(term.facts.coupled)
    given = kept(xp, factors, free, {}, free.axes)
    alive = kept(xp, factors + by_channel, free, {}, free.axes) if by_channel else given
    return Places(frame, free, alive, given)


def _work_dtype(xp: ArrayLibrary, term: Term, outputs: tuple[Array, ...]) -> str:
    for name, output in zip(term.outputs, outputs, strict=True):
        if not xp.is_float(output):
            raise DomainError(
                f"Output `{name}` must have a floating dtype",
                f"Found {xp.dtype(output)}",
                "Predicted labels (an argmax) were passed instead of logits",
                "Pass the numbers that the network gives before argmax or rounding",
            )
    wide = ("float64", "float96", "float128", "longdouble")
    return "float64" if any(xp.dtype(o) in wide for o in outputs) else "float32"


def _class_count(term: Term, frame: Frame) -> int | None:
    if "class" not in frame.axes:
        return term.class_count
    shards = term.facts.shards
    length = frame.length("class") if shards is None else shards.classes
    if term.class_count not in (None, length):
        raise ShapeError(
            "`classes` must match the outputs' class axis",
            f"Found {term.class_count} classes and a class axis of length {length} "
            + (f"in {frame}" if shards is None else "in all shards together"),
            "A class was left out of the names, or `axes` names another axis 'class'",
            f"Give {length} class names, in the order of the axis",
        )
    return length


def _keys(
    term: Term,
    inputs: Inputs,
    targets: Array,
    labeled: Array | None,
    weights: BatchWeights,
    watch: Watch,
) -> dict[str, Key]:
    xp = watch.xp
    left = values_frame(term, inputs.frame)
    keys: dict[str, Key] = {}
    if inputs.classes is not None and "class" not in left.axes and targets is not None:
        if inputs.form == "index":
            # Whatever label stands where no weight is, it is counted in no class.
            keys["class"] = Key(targets, inputs.classes, left.axes, labeled)
        elif inputs.form == "dense" and "class" in inputs.frame.axes:
            likely = xp.argmax(targets, inputs.class_axis)
            keys["class"] = Key(likely, inputs.classes, left.axes)
    positive = _positive(term, inputs, targets) if term.reduction.names("label") else None
    if positive is not None:
        keys["label"] = Key(xp.astype(positive, xp.counter(positive)), 2, left.axes)
    for name, size in term.keys.items():
        keys[name] = _user_key(xp, name, size, weights, left)
        _check_key(name, keys[name], watch)
    return keys


def _user_key(xp: ArrayLibrary, name: str, size: int, weights: BatchWeights, left: Frame) -> Key:
    if name not in weights.keys:
        raise ShapeError(
            f"Key `{name}` must be passed with every batch",
            f"Found the keys {', '.join(weights.keys) or 'none'}",
            "The call lacks keys={...}",
            f"Pass keys={{{name!r}: labels from 0 to {size - 1}}}",
        )
    index = weights.keys[name]
    axes = left.axes[: len(index.shape)]
    shape = left.only(axes).shape
    if tuple(index.shape) != shape or not xp.is_integer(index):
        raise ShapeError(
            f"Key `{name}` must hold integers over the leading axes of the values",
            f"Found {xp.dtype(index)} of shape {tuple(index.shape)} where the values have {left}",
            "The key is a float array, or its axes are in another order",
            "Pass integers of shape (batch,) or with more leading axes",
        )
    return Key(index, size, axes)


def _check_key(name: str, key: Key, watch: Watch) -> None:
    """Require labels within the key's size: an array library may wrap or drop the others."""
    good = (key.index >= 0) & (key.index < key.size)
    watch.require(good, "labels", lambda: f"Found `{name}` outside 0 … {key.size - 1}")


def _positive(term: Term, inputs: Inputs, targets: Array) -> Array | None:
    """Which elements have a positive label, where the loss has labels."""
    labeled = term.facts.labels and inputs.form == "dense"
    return targets > 0.5 if labeled else None


def _in_range(xp: ArrayLibrary, index: Array, classes: int | None) -> Array:
    """Labels that can be looked up; the watch has seen the bad ones, which nothing could raise."""
    return xp.where((index >= 0) & (index < (classes or 0)), index, xp.full_like(index, 0))


def _indicators(xp: ArrayLibrary, index: Array, frame: Frame, work: str) -> Array:
    """One-hot masks on the class axis: losses of sums need a target for every class."""
    rows = frame.without(("class",))
    hot = NamedArray(xp.one_hot(index, frame.length("class"), work), (*rows.axes, "class"))
    return align(xp, hot, frame)
