# SPDX-License-Identifier: Apache-2.0
"""Sources of weight of one term's batch: ignored labels, masks, weights, and class weights."""

from dataclasses import dataclass, field

from lossledger._array import ArrayLibrary, is_array
from lossledger._errors import DomainError, ShapeError
from lossledger._typing import Array, Mapping
from lossledger.engines._shapes import read_weight, targets_frame, values_frame
from lossledger.engines._watch import Watch
from lossledger.frames import Frame, NamedArray, align
from lossledger.losses import AbstractLoss, Inputs
from lossledger.losses._base import Form
from lossledger.term import Term
from lossledger.weighting import Factor


@dataclass(frozen=True, eq=False)
class BatchWeights:
    """Weights of one batch for one term, as the user passed them; None stands for ones."""

    mask: Array | NamedArray | None = None
    sample_weight: Array | NamedArray | None = None
    element_weight: Array | NamedArray | None = None
    keys: Mapping[str, Array] = field(default_factory=dict)


def batch_factors(
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
    if isinstance(term.loss, AbstractLoss) and targets is not None:
        present = term.loss.present(xp, targets)
        if present is not None:
            found.append(Factor("present", present, beside.axes))
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


def class_weights(
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


def weighs_within(term: Term, form: str) -> bool:
    """Whether class weights multiply inside the value: soft or smoothed targets of a row."""
    soft = form == "dense" or bool(getattr(term.loss, "label_smoothing", 0.0))
    return term.facts.class_weight_within and soft


def removes_elements(class_weight: Array | None, term: Term) -> bool:
    """Whether a class weight may be 0; of arrays of a framework that cannot be seen here."""
    given = term.class_weight
    if class_weight is None or given is None:
        return False
    return True if is_array(given) else 0 in given


def channel_factor(class_weight: Array | None, left: Frame) -> tuple[Factor, ...]:
    """Class weights as a factor of values that have a class axis."""
    if class_weight is None or "class" not in left.axes:
        return ()
    return (Factor("class_weight", class_weight, ("class",)),)


def row_factor(
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
