# SPDX-License-Identifier: Apache-2.0
"""A flow in words and in symbols: the steps of a piece, and its formula."""

from typing import Any

import numpy as np

from lossledger._typing import Array, Sequence
from lossledger.explanation._parts import Piece, Step
from lossledger.explanation.criterion._flow import Flow, Stage, Weight, is_of_sums
from lossledger.explanation.criterion._plain import (
    about,
    bare,
    divided,
    options_of,
    reduced,
    settings_of,
    steps_before,
    symbol,
)
from lossledger.reductions import Mean, Sum
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
    """Return the stages from targets and outputs to the number, in the order in which they act."""
    found = [*_before(flow), *(_weighing(w, flow) for w in flow.pooled), _values(flow)]
    found += [*_smoothing(flow), *_present(flow)]
    if flow.within is not None:
        text = "class weights multiply inside each value: the share of a class by its weight"
        within = {"class_weight": flow.within.tolist()}
        found.append(Step("weights", text, settings=within))
    for stage in flow.inner:
        found += [*(_weighing(w, flow) for w in stage.weights), _inner(stage)]
    found += [_weighing(w, flow) for w in flow.last.weights]
    found += [_above(flow), _below(flow)]
    if flow.loss_weight != 1:
        factor = {"loss_weight": flow.loss_weight}
        found.append(Step("loss_weight", "times its weight", None, flow.loss_weight, factor))
    return tuple(found)


def _before(flow: Flow) -> list[Step]:
    """Say what is done to targets and outputs first."""
    loss, found = flow.term.loss, []
    epsilon = getattr(loss, "label_smoothing", 0.0)
    if epsilon:
        text = f"label smoothing: targets are moved by {epsilon:g} toward the uniform"
        found.append(Step("smoothing", text, None, None, {"label_smoothing": float(epsilon)}))
    smooth = f"moved by {epsilon:g} toward the uniform"
    for name in ("targets", "outputs"):
        done = [text for text in steps_before(loss, name) if text != smooth]
        if done:
            found.append(Step("values", f"{name}: {', then '.join(done)}"))
    return found


def _above(flow: Flow) -> Step:
    """Say what is summed, or what else a reduction makes of the values."""
    last = flow.last
    if last.numerator is not None and not last.before.axes:
        return Step("numerator", "the one cell there is", (), _one(last.numerator))
    what = f"{_count(flow)} {_what(flow)}"
    if last.numerator is not None:
        text = f"numerator: Σ of the {what}{_times(last)}"
        return Step("numerator", text, last.after.shape, _one(last.numerator))
    return Step("numerator", reduced(last.reduction, what), last.after.shape, _one(last.cells))


def formula_of(flow: Flow) -> str:
    """Return the number in symbols: l a value, w a weight, m a mask, N the values, B the batch."""
    text = "l"
    for stage in flow.stages:
        text = _symbols(stage, text)
    return text


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
        text = f"{reduced(stage.reduction, 'values')} over {over} first"
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
        text += f" (then {offset:g} is added to the quotient)" if offset else ""
    elif isinstance(kind, int | float):
        text = "denominator: a constant"
    elif isinstance(stage.reduction, ShareMean):
        text = f"denominator: {_shares(stage, flow)}"
    else:
        text = f"denominator: {divided(stage.reduction)}"
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


def _shares(stage: Stage, flow: Flow) -> str:
    """Say by what a mean over two shares divides: masks and weights each count apart."""
    masks = [w for w in stage.weights if w.is_mask]
    others = len(stage.weights) > len(masks)
    if not masks:
        return _counted("nonzero" if others else "elements", stage, flow)
    if not others:
        return _counted("mask", stage, flow)
    return f"number of {_kept(masks)}, times the share of the {_what(flow)} whose weight is not 0"


def _kept(masks: Sequence[Weight]) -> str:
    names = {"mask": "elements in the mask"}
    return " and ".join(names.get(w.name, _NAMES.get(w.name, w.name)) for w in masks)


def _smoothing(flow: Flow) -> list[Step]:
    """Say what is added above and below the fraction of a loss of sums."""
    loss, found = flow.term.loss, []
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
    divisor = _share_divisor(stage) if isinstance(reduction, ShareMean) else ""
    if hasattr(reduction, "denominator"):
        divisor = _divisor(stage)
    bare_mean = isinstance(reduction, Mean) and not last and not stage.weights
    if bare_mean and getattr(reduction, "denominator", None) in ("weights", "elements"):
        return f"mean{where}({inside})"
    if not divisor:
        sums = isinstance(reduction, Sum)
        return f"Σ{where} {top}" if sums else symbol(reduction, top)
    offset = float(getattr(reduction, "offset", 0.0))
    added = f" {'-' if offset < 0 else '+'} {abs(offset):g}" if offset else ""
    return f"Σ{where} {top} / {divisor}{added}"


def _share_divisor(stage: Stage) -> str:
    masks = "·".join(dict.fromkeys(_letter(w) for w in stage.weights if w.is_mask))
    others = "·".join(dict.fromkeys(_letter(w) for w in stage.weights if not w.is_mask))
    if masks and others:
        return f"(Σ {masks} · #{{{others} ≠ 0}} / N)"
    return f"#{{{others} ≠ 0}}" if others else f"Σ {masks}" if masks else "N"


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
