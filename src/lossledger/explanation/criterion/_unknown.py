# SPDX-License-Identifier: Apache-2.0
"""Criteria that are not recognized: equal to something that is known, or measured."""

from dataclasses import replace

import numpy as np

from lossledger._typing import Sequence
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Note, Piece, Step
from lossledger.explanation.criterion._call import Answer, dtype_of
from lossledger.explanation.criterion._candidates import Equal, equals, factor_in_words
from lossledger.explanation.criterion._explain import explain_preset
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._known import Known, Unknown, spelling
from lossledger.explanation.criterion._probe import Probe, in_numpy, is_narrow, summed
from lossledger.explanation.criterion._repeat import drawn
from lossledger.explanation.criterion._tests import measure
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets.torch import CrossEntropyLoss

_ELSEWHERE = "Losses that agree here may differ elsewhere: try data with other labels and sizes."
_WITHIN = {"float64": 1e-9, "float32": 2e-5, "float16": 2e-2, "bfloat16": 5e-2}


def explain_unknown(
    unknown: Unknown, probe: Probe, data: Data, classes: Sequence[str] | None
) -> Explanation:
    """Explain a criterion by what it is equal to on this data, or by what can be measured."""
    answer = probe.answer(data)
    other = drawn(probe, data, answer, tolerance(answer, data))
    if other is not None:
        return _random(probe, answer, other, unknown)
    plain = in_numpy(data)
    seen_in = answer if not is_narrow(data) else probe.answer(plain)
    within = tolerance(seen_in, plain)
    if not answer.reduced:
        alike = [e for e in equals(summed(probe), plain, within) if e.factor == 1]
        return _array(probe, answer, unknown, alike[0] if alike else None, data)
    found = equals(probe, plain, within)
    if found:
        return _equal(probe, answer, found, data, classes)
    value = float(seen_in.array)
    nameless = () if classes is None else ("rows by class: nothing says what a class is here",)
    seen = measure(probe, plain, value, within)
    own = float(answer.array)
    last = Step("numerator", f"the number that {probe.name} returns", (), own)
    piece = Piece("outputs", probe.name, probe.name, (*seen.steps, last), "f", own, measured=True)
    note = Note(
        "measured",
        f"{unknown.reason[:1].upper()}{unknown.reason[1:]}; no preset equals it on this data.",
        "Read the steps as measurements of values and gradients on this data, no more.",
    )
    return Explanation(
        probe.name,
        probe.name,
        (piece,),
        number=own,
        notes=(note,),
        undecided=(*seen.undecided, *nameless, f"what its parts are: {unknown.reason}"),
    )


def tolerance(answer: Answer, data: Data) -> float:
    """Return the largest deviation of what is called equal: of the coarsest dtype there is."""
    floats = (answer.dtype, *(dtype_of(o) for o in data.outputs))
    return max(_WITHIN.get(name, 1e-9) for name in floats)


def _random(probe: Probe, answer: Answer, other: Answer, unknown: Unknown) -> Explanation:
    """Explain what draws random numbers: its number here, and nothing that follows from it."""
    here, there = float(answer.array.sum()), float(other.array.sum())
    name, what = probe.name, "number" if answer.reduced else "sum of the array"
    last = Step("numerator", f"the {what} that {name} returns, of one draw", (), here)
    piece = Piece("outputs", name, name, (last,), "f", here, measured=True)
    note = Note(
        "random",
        f"It draws random numbers: it gives {here:.6g} here and {there:.6g} with other draws.",
        "Turn the random part off (e.g. with .eval()), or draw outside and bind what was drawn.",
    )
    undecided = (
        "how it is reduced, and what it equals: a change of the data changes the draws too",
        f"what it is: {unknown.reason}",
    )
    number = here if answer.reduced else None
    return Explanation(name, name, (piece,), number=number, notes=(note,), undecided=undecided)


def _equal(
    probe: Probe,
    answer: Answer,
    found: Sequence[Equal],
    data: Data,
    classes: Sequence[str] | None,
) -> Explanation:
    best = found[0]
    known = Known(best.preset, spelling(best.preset), probe.home, "", probe.call)
    inner = explain_preset(known, replace(data, sample_weight=None, mask=None), classes)
    pieces = tuple(
        replace(p, measured=True, loss_weight=p.loss_weight * best.factor) for p in inner.pieces
    )
    times = "" if best.factor == 1 else f"{factor_in_words(best.factor, data, batch=False)} times "
    slope = "no gradient to compare" if best.slope is None else f"gradient {best.slope:.1e}"
    also = [spelling(e.preset) for e in found[1:] if e.factor == 1][:3]
    note = Note(
        "measured",
        f"On this data, in part and with its outputs in reverse, {probe.name} equals {times}"
        f"{known.spelled}: the number deviates by {best.deviation:.1e}, {slope}."
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
            "whether they agree on other data: only this batch was tried",
            *_absent(best.preset, data),
            *inner.undecided,
        ),
    )


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


def _array(
    probe: Probe, answer: Answer, unknown: Unknown, alike: Equal | None, data: Data
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
    undecided = ("what is minimized: an array is no loss", f"what it is: {unknown.reason}")
    if alike is None:
        return Explanation(name, probe.home, (piece,), notes=(note,), undecided=undecided)
    known = Known(alike.preset, spelling(alike.preset), probe.home, "", probe.call)
    inner = explain_preset(known, data, None)
    slope = "no gradient to compare" if alike.slope is None else f"gradient {alike.slope:.1e}"
    measured = Note(
        "measured",
        f"On this data, in part and with its outputs in reverse, its sum equals {known.spelled}: "
        f"the number deviates by {alike.deviation:.1e}, {slope}.",
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
        undecided=undecided[:1],
    )
