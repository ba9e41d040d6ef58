# SPDX-License-Identifier: Apache-2.0
"""A flow in words and in symbols: the steps of a piece, and its formula."""

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation._parts import Piece, Step
from lossledger.explanation.criterion._flow import Flow, Stage, Weight, is_of_sums
from lossledger.losses import Elementwise
from lossledger.reductions import Mean, RootMean, Sum
from lossledger.reductions.shares import ShareMean

_NAMES = {
    "class_weight": "class weights of the labels",
    "ignore_index": "labels that are not ignored",
    "present": "elements that have a value",
    "mask": "mask",
    "sample_weight": "sample weights",
    "element_weight": "element weights",
}


def piece_of(flow: Flow, output: str, loss: str) -> Piece:
    """Return a term as a piece: what it computes on this data, and what it adds."""
    last = flow.last
    return Piece(
        output,
        flow.term.name,
        loss,
        steps_of(flow),
        formula_of(flow),
        flow.value,
        flow.loss_weight,
        _one(last.numerator),
        _one(last.denominator),
    )


def steps_of(flow: Flow) -> tuple[Step, ...]:
    """Return the stages from outputs to the number, in words."""
    found = [_values(flow), *_present(flow)]
    found += [_inner(stage) for stage in flow.inner]
    found += [_weighing(w, flow) for w in flow.weights]
    if flow.within is not None:
        text = "class weights multiply inside each value: the share of a class by its weight"
        within = {"class_weight": flow.within.tolist()}
        found.append(Step("weights", text, settings=within))
    last = flow.last
    if last.numerator is not None and not last.before.axes:
        text = "the one cell there is"
        found.append(Step("numerator", text, (), _one(last.numerator)))
    elif last.numerator is not None:
        text = f"numerator: Σ of the {_count(flow)} {_what(flow)}{_times(last)}"
        found.append(Step("numerator", text, last.after.shape, _one(last.numerator)))
    else:
        text = f"{last.reduction} of the {_count(flow)} {_what(flow)}"
        found.append(Step("numerator", text, last.after.shape, _one(last.cells)))
    found.append(_below(flow))
    found += _smoothing(flow)
    if flow.loss_weight != 1:
        factor = {"loss_weight": flow.loss_weight}
        found.append(Step("loss_weight", "times its weight", None, flow.loss_weight, factor))
    return tuple(found)


def formula_of(flow: Flow) -> str:
    """Return the number in symbols: l a value, w a weight, m a mask, N the values, B the batch."""
    text = "l"
    for stage in flow.stages:
        text = _symbols(stage, text)
    return text


def about(loss: Any) -> str:
    """Return the first sentence of a loss's description, of the one inside it if it wraps one."""
    inner = bare(loss)
    if isinstance(inner, Elementwise):
        return getattr(inner.f, "__name__", "a function of yours")
    doc = inspect.getdoc(type(inner)) or type(inner).__name__
    first = doc.split("\n\n", maxsplit=1)[0].replace("\n", " ").split("; ∂", maxsplit=1)[0]
    return first.removesuffix(".")


def bare(loss: Any) -> Any:
    """Return the loss behind steps and labels."""
    while hasattr(loss, "loss"):
        loss = loss.loss
    return loss


def options_of(loss: Any) -> str:
    """Return the options of a loss that are not at their defaults, and the steps before it."""
    inner, said = bare(loss), []
    if is_dataclass(inner):
        for f in fields(inner):
            value = getattr(inner, f.name)
            plain = isinstance(value, bool | int | float | str)
            plain = plain and f.name not in ("over", "ignore_index")  # they have steps of their own
            if plain and value != f.default:
                said.append(f"{f.name}={value!r}")
    found = f" ({', '.join(said)})" if said else ""
    while hasattr(loss, "loss"):
        for name in ("outputs", "targets"):
            steps = getattr(loss, name, ())
            if isinstance(steps, tuple) and steps:
                found += f"; {name} through {', '.join(map(str, steps))} first"
        loss = loss.loss
    return found


def settings_of(loss: Any) -> dict[str, Any]:
    """Return the options of a loss that are numbers or names, those of its wrappers too."""
    found: dict[str, Any] = {"loss": type(bare(loss)).__name__}
    while True:
        if is_dataclass(loss):
            named = {f.name: getattr(loss, f.name) for f in fields(loss)}
            found |= {n: v for n, v in named.items() if isinstance(v, bool | int | float | str)}
        if not hasattr(loss, "loss"):
            return found
        loss = loss.loss


def _values(flow: Flow) -> Step:
    loss = flow.term.loss
    settings = settings_of(loss)
    if not is_of_sums(flow):
        return Step(
            "values",
            f"one value each: {about(loss)}{options_of(loss)}",
            flow.left.shape,
            None,
            settings,
        )
    over = " ".join(a for a in flow.frame.axes if a not in flow.left.axes)
    text = f"sums over {over}, one value a cell: {about(loss)}{options_of(loss)}"
    return Step("values", text, flow.left.shape, None, settings)


def _inner(stage: Stage) -> Step:
    over = " ".join(stage.removed)
    kind = "sum" if isinstance(stage.reduction, Sum) else "mean"
    text = f"{kind} over {over} first"
    if not isinstance(stage.reduction, Mean | Sum):
        text = f"{stage.reduction} over {over} first"
    if stage.weights:
        text += ", weighted by " + ", ".join(w.name for w in stage.weights)
    settings = {"over": over}
    return Step("inner", text, stage.after.shape, None, settings)


def _weighing(weight: Weight, flow: Flow) -> Step:
    array = weight.array
    settings = {"name": weight.name, "all": bool((array == 1).all())}
    if weight.is_mask or weight.name == "background":
        kept = int((array != 0).sum())
        what = f"{weight.name} keeps {kept} of {array.size}"
        return Step("weights", what, array.shape, float(kept), settings)
    alive = np.ones(array.shape, bool)
    for mask in flow.weights:
        if mask.is_mask and mask.array.shape == array.shape:
            alive &= mask.array != 0
    here = array[alive]
    low, high = (f"{v:g}" for v in ((here.min(), here.max()) if here.size else (0, 0)))
    text = f"{weight.name}: {_NAMES.get(weight.name, weight.name)}, from {low} to {high}; Σ"
    return Step("weights", text, array.shape, float(here.sum()), settings)


def _below(flow: Flow) -> Step:
    """Say by what the numerator is divided, and what that number is here."""
    stage = flow.last
    kind = getattr(stage.reduction, "denominator", None)
    settings = {"denominator": kind, "reduction": type(stage.reduction).__name__}
    amount = _one(stage.denominator)
    if isinstance(stage.reduction, Sum):
        text = f"denominator: none, the {'sum' if stage.before.axes else 'cell'} is the number"
    elif isinstance(kind, str):
        text = f"denominator: {_counted(kind, stage, flow)}"
        offset = getattr(stage.reduction, "offset", 0.0)
        text += f", then {offset:g} is added; divided by" if offset else ""
    elif isinstance(kind, int | float):
        text = "denominator: a constant"
    elif isinstance(stage.reduction, RootMean):
        text = "denominator: Σ of the weights, then a root"
    elif isinstance(stage.reduction, ShareMean):
        what = f"N, the number of {_what(flow)}"
        text = f"denominator: {what}, times the share that is in the mask, times the share of "
        text += "weights that are not 0"
    else:
        text = f"denominator: as {stage.reduction} has it"
    return Step("denominator", text, (), amount, settings)


def _counted(kind: str, stage: Stage, flow: Flow) -> str:
    masks = [w for w in stage.weights if w.is_mask]
    others = [w for w in stage.weights if not w.is_mask]
    what = _what(flow)
    if kind in ("weights", "passed") and others:
        names = " times the ".join(_NAMES.get(w.name, w.name) for w in others)
        here = "" if not masks else f", over the {_kept(masks)}"
        passed = ", each as it was passed" if kind == "passed" else ""
        return f"Σ of the {names}{here}{passed}"
    if kind in ("weights", "mask", "passed") and masks:
        return f"number of {_kept(masks)}"
    if kind == "samples":
        return "B, the number of samples"
    if kind == "nonzero" and (masks or others):
        return f"number of {what} whose weight is not 0"
    ignored = ", whatever their weights" if others or masks else ""
    return f"N, the number of {what}{ignored}"


def _kept(masks: Sequence[Weight]) -> str:
    names = {"mask": "elements in the mask"}
    return " and ".join(names.get(w.name, _NAMES.get(w.name, w.name)) for w in masks)


def _smoothing(flow: Flow) -> list[Step]:
    loss = flow.term.loss
    found = []
    epsilon = getattr(loss, "label_smoothing", 0.0)
    if epsilon:
        text = f"label smoothing: targets are moved by {epsilon:g} toward the uniform"
        found.append(Step("smoothing", text, None, None, {"label_smoothing": float(epsilon)}))
    inner = bare(loss)
    top = getattr(inner, "smooth", None)
    if is_of_sums(flow) and isinstance(top, int | float):
        bottom = getattr(inner, "smooth_denominator", None)
        bottom = top if bottom is None else bottom
        text = f"smoothing: {top:g} is added above and {bottom:g} below the fraction"
        settings = {"smooth": float(top), "smooth_denominator": float(bottom)}
        found.append(Step("smoothing", text, None, None, settings))
    return found


def _symbols(stage: Stage, inside: str) -> str:
    """Return one stage in symbols around what it reduces."""
    last = not stage.after.axes
    where = "" if last else "_" + ",".join(stage.removed)
    inside = f"({inside})" if " / " in inside else inside
    top = "".join(_letter(w) + "·" for w in stage.weights if w.above) + inside
    reduction = stage.reduction
    if not stage.before.axes:
        return inside
    if isinstance(reduction, Sum):
        return f"Σ{where} {top}"
    if type(reduction).__name__ == "OffsetMean":
        offset = float(getattr(reduction, "offset", 0.0))
        return f"Σ{where} {top} / {_divisor(stage)} {'-' if offset < 0 else '+'} {abs(offset):g}"
    if isinstance(reduction, Mean):
        bare_mean = not stage.weights and reduction.denominator in ("weights", "elements")
        if bare_mean and not last:
            return f"mean{where}({inside})"
        return f"Σ{where} {top} / {_divisor(stage)}"
    return f"{reduction}({inside})"


def _divisor(stage: Stage) -> str:
    kind: Any = getattr(stage.reduction, "denominator", None)
    every = "·".join(dict.fromkeys(_letter(w) for w in stage.weights))
    masks = "·".join(dict.fromkeys(_letter(w) for w in stage.weights if w.is_mask))
    if kind in ("weights", "passed") and every:
        return f"Σ {every}"
    if kind == "mask" and masks:
        return f"Σ {masks}"
    if kind == "nonzero" and every:
        return f"#{{{every} ≠ 0}}"
    if kind == "samples":
        return "B"
    inner = "_" + ",".join(stage.removed) if stage.after.axes else ""
    return f"N{inner}" if isinstance(kind, str) else f"{kind:g}"


def _letter(weight: Weight) -> str:
    return "m" if weight.is_mask else "w"


def _what(flow: Flow) -> str:
    if flow.inner:
        stage = flow.inner[-1]
        kind = {Sum: "sums", Mean: "means"}.get(type(stage.reduction), "numbers")
        return f"{kind} over {' '.join(stage.removed)}"
    return "cells" if is_of_sums(flow) else "values"


def _times(stage: Stage) -> str:
    names = [w.name for w in stage.weights if w.above]
    return f", times {' and '.join(names)}" if names else ""


def _count(flow: Flow) -> str:
    if flow.present is not None and not flow.inner:
        return f"{int(flow.present.sum()):,}"
    return f"{flow.last.before.size:,}"


def _present(flow: Flow) -> list[Step]:
    """Say which cells of a loss of sums are left out."""
    if flow.present is None:
        return []
    kept, every = int(flow.present.sum()), flow.present.size
    loss = bare(flow.term.loss)
    only = loss.include_background is False and getattr(loss, "empty", "keep") != "skip"
    left = "the background is" if only else "the background, or what has no elements, is"
    text = f"{kept} of {every} cells count: {left} left out"
    return [Step("weights", text, None, None, {"present": kept})]


def _one(array: Array | None) -> float | None:
    return None if array is None else float(np.asarray(array))
