# SPDX-License-Identifier: Apache-2.0
"""Shapes of a batch against a term's named axes; nothing is broadcast."""

from itertools import combinations

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Array
from lossledger.frames import Frame, NamedArray
from lossledger.losses import AbstractOverlapLoss
from lossledger.losses._base import Form
from lossledger.term import Term


def frame_of(term: Term, outputs: tuple[Array, ...]) -> Frame:
    """Name the axes of a term's outputs, which must all have one shape.

    Raises:
        ShapeError: If the number of axes differs, or the outputs differ.
    """
    first = tuple(outputs[0].shape)
    if len(first) != len(term.axes):
        raise ShapeError(
            f"Output `{term.outputs[0]}` must have the {len(term.axes)} axes {' '.join(term.axes)}",
            f"Found shape {first}",
            "The batch or class axis is missing, or `axes` describes another output",
            "Name every axis of the output, in order, in the term's `axes`",
        )
    for name, output in zip(term.outputs, outputs, strict=True):
        if tuple(output.shape) != first:
            raise ShapeError(
                f"All outputs of the term `{term.name}` must have the same shape",
                f"Found {first} for `{term.outputs[0]}` and {tuple(output.shape)} for `{name}`",
                "One of them has an axis of length 1 that would broadcast",
                "Reshape the outputs to one shape",
            )
    frame = Frame(term.axes, first)
    bare = () if term.facts.shards is None else ("class",)  # more ranks than classes
    empty = [a for a in frame.axes if frame.length(a) == 0 and a not in bare]
    if empty:
        raise ShapeError(
            "A batch must hold at least one element",
            f"Found {frame}, where {', '.join(empty)} is empty",
            "The data loader gave an empty last batch, or a filter removed every sample",
            "Skip empty batches before the call",
        )
    return frame


def values_frame(term: Term, frame: Frame) -> Frame:
    """Return the axes of a term's values (of its channels, for a loss of sums)."""
    facts = term.facts
    missing = [a for a in (*facts.coupled, *facts.lacks) if a not in frame.axes]
    if missing:
        raise MatchError(
            f"{type(term.loss).__name__} needs the axis {', '.join(dict.fromkeys(missing))}",
            f"Found the axes {' '.join(frame.axes)}",
            f"The {missing[0]} axis has another name in `axes`",
            f"Name it {missing[0]!r}",
        )
    return frame.without(facts.removes)


def targets_frame(term: Term, frame: Frame, form: Form) -> Frame:
    """Return the axes of a term's targets; those of the values, where targets have none."""
    facts = term.facts
    if form == "dense":
        return frame
    if form == "index":
        return frame.without(("class",))
    return frame.without(facts.lacks if form == "rows" else facts.removes)


def target_form(xp: ArrayLibrary, term: Term, frame: Frame, targets: Array) -> Form:
    """Decide by shape and dtype which axes of the outputs the targets have.

    Raises:
        ShapeError: If they are neither.
        DomainError: If indices are floats.
    """
    facts = term.facts
    accepts = facts.accepts
    if accepts == "none":
        return "none"
    if accepts == "free":
        return "free"
    _check_real(xp, term, targets)
    shape = tuple(targets.shape)
    if accepts == "rows":
        own = frame.without(facts.lacks)
        if shape == own.shape:
            return "rows"
        raise _no_match(term, frame, own, shape)
    if shape == frame.shape and facts.shards is None:
        return "dense"
    rows = frame.without(("class",))
    if accepts == "classes" and shape == rows.shape:
        if not (xp.is_integer(targets) or xp.is_bool(targets)):
            raise DomainError(
                f"Class indices in target `{term.target}` must be integers",
                f"Found {xp.dtype(targets)} of shape {shape}",
                "The labels were loaded as floats, or are values for a regression",
                "Cast the labels to an integer dtype",
            )
        return "index"
    raise _no_match(term, frame, rows, shape)


def _check_real(xp: ArrayLibrary, term: Term, targets: Array) -> None:
    if not (xp.is_float(targets) or xp.is_integer(targets) or xp.is_bool(targets)):
        raise DomainError(
            f"Target `{term.target}` of `{term.name}` must hold real numbers or booleans",
            f"Found {xp.dtype(targets)}",
            "Text, dates, objects or complex numbers were loaded as targets",
            "Encode them as numbers first",
        )


def read_weight(
    name: str, given: Array | NamedArray, term: Term, targets: Frame, values: Frame
) -> NamedArray:
    """Name the axes of a mask or weight: those of the targets, or `batch` alone.

    Raises:
        ShapeError: If no reading fits, or two do.
    """
    if isinstance(given, NamedArray):
        return _named(name, given, term, targets, values)
    shape = tuple(given.shape)
    narrower = (("class",), term.facts.removes)
    readings = [targets, *(targets.without(a) for a in narrower), targets.only(("batch",))]
    fitting: list[Frame] = []
    for reading in readings:
        if reading.shape == shape and reading not in fitting and reading.axes:
            fitting.append(reading)
    fitting += _also_fitting(targets, fitting)
    if len(fitting) == 1:
        return NamedArray(given, fitting[0].axes)
    found = " or ".join(str(f) for f in fitting) or "no reading"
    if not fitting:
        found = f"no reading that fits the targets' {targets}"
    raise ShapeError(
        f"`{name}` must have the axes of the targets, or `batch` alone",
        f"Found shape {shape}, which has {found}",
        "One number weighs every element alike, which a loss weight says"
        if shape == ()
        else "An axis of length 1 would broadcast, or the weight belongs to another output",
        "Use loss_weight= of the term"
        if shape == ()
        else f"Reshape it, or name its axes: ll.NamedArray({name}, ('batch', ...))",
    )


def _also_fitting(targets: Frame, fitting: list[Frame]) -> list[Frame]:
    """Other axes that a weight of several axes may have meant: their lengths are the same.

    An array along `batch` alone weighs samples, whatever other axis is as long.
    """
    if not fitting or not 1 < len(fitting[0].axes) < len(targets.axes):
        return []
    others = combinations(targets.axes, len(fitting[0].axes))
    frames = [targets.only(axes) for axes in others if "batch" in axes]
    return [f for f in frames if f.shape == fitting[0].shape and f not in fitting]


def _named(name: str, given: NamedArray, term: Term, targets: Frame, values: Frame) -> NamedArray:
    shape = tuple(given.array.shape)
    lengths = dict(zip(targets.axes + values.axes, targets.shape + values.shape, strict=True))
    unknown = [a for a in given.axes if a not in lengths]
    expected = () if unknown else tuple(lengths[a] for a in given.axes)
    if unknown or shape != expected:
        raise ShapeError(
            f"`{name}` must have axes and lengths of the targets of `{term.name}`",
            f"Found axes {' '.join(given.axes)} of shape {shape} beside {targets}",
            "An axis is misspelled, or the weight belongs to another output",
            "Name the axes as in the term's `axes`",
        )
    return given


def _no_match(term: Term, frame: Frame, rows: Frame, shape: tuple[int, ...]) -> ShapeError:
    accepts = term.facts.accepts
    cause = "The target belongs to another output, or an axis is missing"
    remedies = {
        "same": f"Pass targets of shape {frame.shape}",
        "rows": f"Pass targets of shape {rows.shape}",
        "classes": f"Pass class indices of shape {rows.shape}, or {frame.shape} with one number "
        "a class",
    }
    remedy = remedies[accepts]
    if len(shape) != len(frame.shape) or 1 in shape or 1 in frame.shape:
        squeezed = [tuple(n for n in s if n != 1) for s in (shape, frame.shape, rows.shape)]
        if squeezed[0] in squeezed[1:]:
            cause = "An axis of length 1 is missing or left over, and would broadcast"
    if isinstance(term.loss, AbstractOverlapLoss) and shape == rows.shape:
        cause = "Class indices were given to a loss of independent sigmoid channels"
        remedy = "Use kind='softmax', or pass one mask a class"
    if term.facts.shards is not None:
        accepts, remedy = "rows", f"Pass class indices of shape {rows.shape}, the same on all ranks"
    allowed = {"same": f"{frame}", "rows": f"{rows}", "classes": f"{frame} or {rows}"}[accepts]
    return ShapeError(
        f"Target `{term.target}` of `{term.name}` must have the axes {allowed}",
        f"Found outputs {frame} and targets of shape {shape}",
        cause,
        remedy,
    )
