# SPDX-License-Identifier: Apache-2.0
"""Black boxes explained by what they equal on the data: one preset, or a sum of two."""

import math
from dataclasses import replace

import numpy as np

from lossledger._typing import Sequence
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Note, Piece, Step
from lossledger.explanation.criterion._call import Answer
from lossledger.explanation.criterion._candidates import SLOPES, Equal
from lossledger.explanation.criterion._catalog import in_form
from lossledger.explanation.criterion._explain import explain_preset
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._known import Known, Unknown, spelling
from lossledger.explanation.criterion._matches import Matches
from lossledger.explanation.criterion._precision import STRICT, Precise
from lossledger.explanation.criterion._probe import Probe, in_numpy
from lossledger.explanation.criterion._sums import Sum
from lossledger.ledger import Row
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets.torch import CrossEntropyLoss

_ELSEWHERE = "Losses that agree here may differ elsewhere: try data with other labels and sizes."
_OTHER_DATA = "whether they agree on other data: only this batch was tried"


def explain_equal(
    probe: Probe,
    answer: Answer,
    matches: Matches,
    fine: Precise,
    data: Data,
    classes: Sequence[str] | None,
) -> Explanation:
    """Explain a black box by the preset that it equals on this data."""
    best, *others = matches.equal
    known = Known(best.preset, spelling(best.preset), probe.home, "", probe.call)
    inner = explain_preset(known, _in_form(data, best.form), classes)
    pieces = tuple(
        replace(p, measured=True, loss_weight=p.loss_weight * best.factor) for p in inner.pieces
    )
    also = [_passed(e.preset, e.form) for e in others if e.factor == 1][:3]
    note = Note(
        "measured",
        f"{probe.name} {_equals(fine, best.deviation, best.slope)} {_times(best, data)}"
        f"{_passed(best.preset, best.form)} on {_batches(matches)}"
        f"{_found(best)}: {_apart(best.deviation, best.slope)}.{fine.told(best.deviation)}"
        + (f" So does {', '.join(also)}." if also else ""),
        _ELSEWHERE,
    )
    rows = inner.rows if best.factor == 1 else ()
    return replace(
        inner,
        subject=probe.name,
        framework=probe.name,
        pieces=pieces,
        number=float(answer.array),
        rows=rows,
        overlooked=inner.overlooked if rows else (),
        notes=(note, *inner.notes),
        ledger=inner.ledger if best.factor == 1 else None,
        undecided=(
            _OTHER_DATA,
            *_open(best),
            *matches.undecided,
            *_absent(best.preset, data),
            *inner.undecided,
        ),
    )


def explain_sum(
    probe: Probe,
    answer: Answer,
    matches: Matches,
    fine: Precise,
    data: Data,
    classes: Sequence[str] | None,
) -> Explanation:
    """Explain a black box by the two presets of which it is a weighted sum on this data."""
    best, *others = matches.sums
    inner = []
    for preset, form, factor in zip(best.presets, best.forms, best.factors, strict=True):
        known = Known(preset, spelling(preset), probe.home, "", probe.call)
        inner.append((explain_preset(known, _in_form(data, form), classes), factor))
    pieces = tuple(
        replace(p, measured=True, loss_weight=p.loss_weight * factor)
        for found, factor in inner
        for p in found.pieces
    )
    total = sum(p.contribution for p in pieces)
    note = Note(
        "measured",
        f"{probe.name} {_equals(fine, best.deviation, best.slope)} {_spelled(best)} on "
        f"{_batches(matches)}, found by least squares: {_apart(best.deviation, best.slope)}. "
        "On the batch that took no part in finding the factors the number deviates by "
        f"{best.held:.1e}.{fine.told(best.deviation)}",
        _ELSEWHERE,
    )
    same = tuple(f"which sum it is: on this data {_spelled(s)} is the same" for s in others[:3])
    if best.alike:
        names = ", ".join(spelling(p) for p in best.alike[:3])
        same += (f"which losses the parts are: on this data {names} is a multiple of one of them",)
    return Explanation(
        probe.name,
        probe.name,
        pieces,
        number=float(answer.array),
        rows=tuple(_scaled(r, f, total) for e, f in inner for r in e.rows),
        overlooked=tuple(_scaled(r, f, total) for e, f in inner for r in e.overlooked),
        notes=(note, *dict.fromkeys(n for e, _ in inner for n in e.notes)),
        undecided=(
            _OTHER_DATA,
            *same,
            *matches.undecided,
            *dict.fromkeys(u for e, _ in inner for u in e.undecided),
        ),
    )


def _in_form(data: Data, form: str) -> Data:
    """Return what a preset is explained on: without weights, targets in a form."""
    return in_form(replace(data.on_host(), sample_weight=None, mask=None), form)


def _scaled(row: Row, factor: float, total: float) -> Row:
    """Return a row of a part as one of the sum."""
    amount = row.contribution * factor
    return replace(row, contribution=amount, share=amount / total if total else None)


def _spelled(found: Sum) -> str:
    parts = zip(found.presets, found.forms, found.factors, strict=True)
    return " plus ".join(
        _passed(p, form) if k == 1 else f"{k:.6g} times {_passed(p, form)}" for p, form, k in parts
    )


def _passed(preset: AbstractLibraryLoss, form: str) -> str:
    """Return a preset as its users write it, and what is to be passed to it."""
    return spelling(preset) + (f" (called with {form})" if form else "")


def _equals(fine: Precise, deviation: float, slope: float | None) -> str:
    """Return the verb: what agrees within more than float64 explains is called near."""
    near = max(deviation, (slope or 0.0) / SLOPES)
    if fine.within <= STRICT and near <= STRICT:
        return "equals"
    return f"nearly equals, to {max(deviation, slope or 0.0):.1e},"


def _times(equal: Equal, data: Data) -> str:
    """Return a factor, and which lengths it is here that no batch had otherwise."""
    if equal.factor == 1:
        return ""
    shape = tuple(data.outputs[0].shape)
    lengths = {f"axis {i}": n for i, n in enumerate(shape) if i and n > 1}
    if len(lengths) > 1:
        lengths["a sample"] = math.prod(shape[1:])
    for name, length in lengths.items():
        for size, how in ((length, "as long as"), (1 / length, "one over the length of")):
            if abs(equal.factor / size - 1) <= max(equal.deviation, 1e-9):
                return f"{equal.factor:.6g} ({how} {name} here, which was not varied) times "
    return f"{equal.factor:.6g} times "


def _batches(matches: Matches) -> str:
    """Say on what numbers and gradients were compared."""
    if matches.batches < 2:
        return "this batch"
    return f"{matches.batches} batches (this one, and parts and rearrangements of it)"


def _found(equal: Equal) -> str:
    return f", {' and '.join(equal.options)} found by search" if equal.options else ""


def _apart(deviation: float, slope: float | None) -> str:
    gradient = "no gradient to compare" if slope is None else f"gradient {slope:.1e}"
    return f"the number deviates by {deviation:.1e}, {gradient}"


def _open(equal: Equal) -> tuple[str, ...]:
    """Say which of the numbers that were searched for the data leave open."""
    return tuple(f"the value of {name}: others agree on this data as well" for name in equal.loose)


def _absent(preset: AbstractLibraryLoss, data: Data) -> tuple[str, ...]:
    """Say which of the class weights that were read off belong to labels that do not occur."""
    weight = getattr(preset, "weight", None)
    if not isinstance(preset, CrossEntropyLoss) or weight is None:
        return ()
    there = np.unique(in_numpy(data).targets)
    names = [str(k) for k in range(len(weight)) if k not in there]
    if not names:
        return ()
    text = f"the weight of {', '.join(names)}: no label here is of it; 1 is written for it"
    return (text,)


def explain_array(
    probe: Probe, answer: Answer, unknown: Unknown, matches: Matches, fine: Precise, data: Data
) -> Explanation:
    """Explain what returns an array: nothing is minimized until it is reduced."""
    array, shape = answer.array, tuple(answer.array.shape)
    total, mean = float(array.sum()), float(array.mean())
    steps = (
        Step("values", "an array, which nothing reduces", shape),
        Step("numerator", f"numerator: Σ of the {array.size} values", (), total),
        Step("denominator", "denominator: none, the sum is taken to explain it"),
    )
    name = probe.name
    piece = Piece("outputs", name, name, steps, "Σ l", total, 1.0, total, measured=True)
    note = Note(
        "unreduced",
        f"It returns an array of shape {shape}, not a number: its sum is {total:.6g}, its mean "
        f"{mean:.6g}.",
        "Call .mean() or .sum() on it before the gradient is taken, and say which.",
    )
    undecided: tuple[str, ...] = (
        "what is minimized: an array is no loss",
        f"what it is: {unknown.reason}",
    )
    if not matches.equal:
        undecided += matches.undecided
        return Explanation(name, probe.home, (piece,), notes=(note,), undecided=undecided)
    alike = matches.equal[0]
    known = Known(alike.preset, spelling(alike.preset), probe.home, "", probe.call)
    inner = explain_preset(known, _in_form(data, alike.form), None)
    measured = Note(
        "measured",
        f"Its sum {_equals(fine, alike.deviation, alike.slope)} "
        f"{_passed(alike.preset, alike.form)} on {_batches(matches)}"
        f"{_found(alike)}: {_apart(alike.deviation, alike.slope)}.{fine.told(alike.deviation)}",
        _ELSEWHERE,
    )
    pieces = tuple(replace(p, measured=True) for p in inner.pieces)
    return replace(
        inner,
        subject=name,
        framework=name,
        pieces=pieces,
        notes=(note, measured),
        overlooked=(),
        undecided=(*undecided[:1], *_open(alike), *matches.undecided),
    )
