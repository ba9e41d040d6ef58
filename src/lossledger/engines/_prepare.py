# SPDX-License-Identifier: Apache-2.0
"""From what the user passed to what the engine computes with: frames, factors, safe numbers."""

from dataclasses import dataclass, field, replace

from lossledger._array import ArrayLibrary, is_array
from lossledger._errors import DomainError, ShapeError
from lossledger._typing import Array, Mapping
from lossledger.engines._clean import Places, clean_output, clean_targets
from lossledger.engines._domain import check_outputs, check_targets
from lossledger.engines._shapes import (
    frame_of,
    read_weight,
    target_form,
    targets_frame,
    values_frame,
)
from lossledger.engines._watch import Watch
from lossledger.frames import Frame, Key, NamedArray, align
from lossledger.losses import AbstractOverlapLoss, Inputs
from lossledger.losses._base import Form
from lossledger.term import Term
from lossledger.weighting import Factor, kept


@dataclass(frozen=True, eq=False)
class BatchWeights:
    """Weights of one batch for one term, as the user passed them; None stands for ones."""

    mask: Array | NamedArray | None = None
    sample_weight: Array | NamedArray | None = None
    element_weight: Array | NamedArray | None = None
    keys: Mapping[str, Array] = field(default_factory=dict)


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
    facts = term.facts
    outputs, starts = _meet(term, outputs, targets, watch)
    frame = frame_of(term, outputs)
    left = values_frame(term, frame)
    form = target_form(xp, term, frame, targets)
    work = _work_dtype(xp, term, outputs)
    classes = _class_count(term, frame)
    class_weight = _class_weight(xp, term, outputs[0], classes, work, watch)
    factors = _factors(xp, term, frame, form, targets, weights, watch)
    by_channel = _channel_factor(class_weight, left)
    removing = _removes_elements(class_weight, term)
    places = _places(xp, term, frame, factors, by_channel if removing else ())
    factors += by_channel
    on_targets = places.on_targets(xp, term, form, places.alive)
    check_targets(xp, term, form, targets, classes, on_targets, watch)
    clean = clean_targets(xp, term, form, targets, places, work)
    if form == "index" and not xp.readable(clean):
        clean = _in_range(xp, clean, classes)
    if form == "index" and isinstance(term.loss, AbstractOverlapLoss):
        clean, form = _indicators(xp, clean, frame, work), "dense"
    within = _weighs_within(term, form)
    inputs = Inputs(frame, form, classes, class_weight if within else None, places.alive, starts)
    labeled = places.on_targets(xp, term, form, places.given)
    keys = _keys(term, inputs, clean, labeled, weights, watch)
    by_row = _row_factor(xp, class_weight, within, inputs, clean, left)
    factors += by_row
    # Smoothed targets give every class a part of each row, whatever its own class weighs.
    if by_row and removing and not getattr(term.loss, "label_smoothing", 0.0):
        places = replace(places, alive=kept(xp, factors, places.free, keys, places.free.axes))
    if starts is not None:
        safe, inputs = outputs, replace(inputs, alive=places.alive)
    else:
        safe = tuple(
            clean_output(xp, xp.astype(output, work), places, domain, form)
            for output, domain in zip(outputs, facts.domains, strict=True)
        )
        check_outputs(xp, term, frame, safe, watch)
    return Prepared(
        term, xp, safe, clean, inputs, left, keys, factors,
        _positive(term, inputs, clean), outputs[0], work,
    )  # fmt: skip


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


def _factors(
    xp: ArrayLibrary,
    term: Term,
    frame: Frame,
    form: Form,
    targets: Array,
    weights: BatchWeights,
    watch: Watch,
) -> tuple[Factor, ...]:
    """Name every source of weight that comes with the batch, placed by axes."""
    beside = targets_frame(term, frame, form)
    found: list[Factor] = []
    ignored = getattr(term.loss, "ignore_index", None)
    if ignored is not None and form == "dense" and term.facts.scores == "softmax":
        raise DomainError(
            f"`ignore_index` of `{term.name}` needs class indices as targets",
            f"Found one number a class in target `{term.target}`",
            "A label can be ignored; a row of one-hot or soft targets has none",
            "Pass class indices, or mask the rows: mask={...}",
        )
    if ignored is not None and targets is not None:
        found.append(Factor("ignore_index", targets != ignored, beside.axes))
    for name in ("mask", "sample_weight", "element_weight"):
        given = getattr(weights, name)
        if given is None:
            continue
        placed = read_weight(name, given, term, beside, values_frame(term, frame))
        _check_weight(xp, name, placed.array, watch)
        found.append(Factor(name, placed.array, placed.axes))
    return tuple(found)


def _check_weight(xp: ArrayLibrary, name: str, array: Array, watch: Watch) -> None:
    if xp.is_bool(array):
        return
    real = xp.is_float(array)
    if not real and not xp.is_integer(array):
        raise DomainError(
            f"`{name}` must hold real numbers or booleans",
            f"Found {xp.dtype(array)}",
            "Complex numbers or text were loaded as weights",
            "Pass floats, integers or booleans",
        )
    if name == "mask":
        good = (array == 0) | (array == 1)
        watch.require(good, "mask", lambda: _bad(xp, name, array, good))
        return
    good = xp.isfinite(array) & (array >= 0) if real else array >= 0
    watch.require(good, "weights", lambda: _bad(xp, name, array, good))


def _bad(xp: ArrayLibrary, name: str, array: Array, good: Array) -> str:
    bad = xp.to_numpy(array)[~xp.to_numpy(good)]
    numbers = "a bad number" if bad.size == 1 else f"{bad.size} bad numbers, the first of them"
    return f"Found {numbers} in `{name}`: {float(bad[0]):.6g}"


def _class_weight(
    xp: ArrayLibrary, term: Term, like: Array, classes: int | None, work: str, watch: Watch
) -> Array | None:
    if term.class_weight is None:
        return None
    array = xp.asarray(term.class_weight, work, like)
    if tuple(array.shape) != (classes,):
        raise ShapeError(
            "`class_weight` must have one weight for each class",
            f"Found shape {tuple(array.shape)} and {classes} classes",
            "A class was forgotten, or the term's outputs have no class axis",
            "Pass one weight a class, in order, or a dict by class name",
        )
    good = xp.isfinite(array) & (array >= 0)
    watch.require(good, "weights", lambda: f"Found class_weight={term.class_weight!r}")
    return array


def _weighs_within(term: Term, form: str) -> bool:
    """Whether class weights multiply inside the value: soft or smoothed targets of a row."""
    soft = form == "dense" or bool(getattr(term.loss, "label_smoothing", 0.0))
    return term.facts.class_weight_within and soft


def _removes_elements(class_weight: Array | None, term: Term) -> bool:
    """Whether a class weight may be 0; of arrays of a framework that cannot be seen here."""
    given = term.class_weight
    if class_weight is None or given is None:
        return False
    return True if is_array(given) else 0 in given


def _channel_factor(class_weight: Array | None, left: Frame) -> tuple[Factor, ...]:
    """Class weights as a factor of values that have a class axis."""
    if class_weight is None or "class" not in left.axes:
        return ()
    return (Factor("class_weight", class_weight, ("class",)),)


def _row_factor(
    xp: ArrayLibrary,
    class_weight: Array | None,
    within: bool,
    inputs: Inputs,
    targets: Array,
    left: Frame,
) -> tuple[Factor, ...]:
    """Class weights as a factor of rows, by the class of each."""
    if class_weight is None or "class" in left.axes:
        return ()
    if not within:
        return (Factor("class_weight", class_weight, ("class",)),)
    if inputs.form == "index":
        return (Factor("class_weight", class_weight, ("class",), in_numerator=False),)
    # Soft targets: the mass that is averaged over is Σ_c t_c·w_c, so that one-hot rows
    # give the same mean as indices.
    by_class = align(xp, NamedArray(class_weight, ("class",)), inputs.frame)
    mass = xp.sum(targets * by_class, axis=inputs.class_axis)
    return (Factor("class_weight", mass, left.axes, in_numerator=False),)


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
