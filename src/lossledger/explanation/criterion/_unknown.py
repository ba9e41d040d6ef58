# SPDX-License-Identifier: Apache-2.0
"""Criteria that are not recognized: equal to something that is known, or measured."""

from lossledger._typing import Sequence
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Note, Piece, Step
from lossledger.explanation.criterion._call import RESOLUTION, Answer
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._known import Unknown
from lossledger.explanation.criterion._matched import explain_array, explain_equal, explain_sum
from lossledger.explanation.criterion._matches import Matches, matches_of
from lossledger.explanation.criterion._precision import STRICT, Precise, precise, tolerance
from lossledger.explanation.criterion._probe import Probe, summed
from lossledger.explanation.criterion._repeat import drawn, refuse_change, refuse_total
from lossledger.explanation.criterion._tests import measure


def explain_unknown(
    unknown: Unknown, probe: Probe, data: Data, classes: Sequence[str] | None
) -> Explanation:
    """Explain a criterion by what it is equal to on this data, or by what can be measured."""
    answer = probe.answer(data)
    within = tolerance(answer, data)
    other = drawn(probe, data, answer, within)
    if other is not None:
        return _random(probe, answer, other, unknown)
    fine = precise(probe, data, answer)
    if not fine.decides:
        return _coarse(probe, answer, fine, unknown)
    found = _decided(unknown, probe, answer, fine, data, classes)
    refuse_change(probe, data, answer, within)
    return found


def _decided(
    unknown: Unknown,
    probe: Probe,
    answer: Answer,
    fine: Precise,
    data: Data,
    classes: Sequence[str] | None,
) -> Explanation:
    """Explain what is fine enough to be compared with presets."""
    if not answer.reduced:
        alike = matches_of(summed(probe), fine, only_one=True)
        found = explain_array(probe, answer, unknown, alike, fine, data)
    else:
        alike = matches_of(probe, fine)
        if not (alike.equal or alike.sums):
            return _measured(unknown, probe, answer, fine, alike, classes)
        explain = explain_equal if alike.equal else explain_sum
        found = explain(probe, answer, alike, fine, data, classes)
    refuse_total(probe, answer, found.total, RESOLUTION.get(fine.given, STRICT))
    return found


def _measured(
    unknown: Unknown,
    probe: Probe,
    answer: Answer,
    fine: Precise,
    found: Matches,
    classes: Sequence[str] | None,
) -> Explanation:
    """Explain what equals nothing by what it does to batches."""
    value = float(fine.answer.array)
    nameless = () if classes is None else ("rows by class: nothing says what a class is here",)
    seen = measure(probe, fine.data, value, fine.within)
    own = float(answer.array)
    last = Step("numerator", f"the number that {probe.name} returns", (), own)
    piece = Piece("outputs", probe.name, probe.name, (*seen.steps, last), "f", own, measured=True)
    note = Note(
        "measured",
        f"{unknown.reason[:1].upper()}{unknown.reason[1:]}{_nothing(found)}.{fine.told(0.0)}",
        "Read the steps as measurements of values and gradients on this data, no more.",
    )
    return Explanation(
        probe.name,
        probe.name,
        (piece,),
        number=own,
        notes=(note,),
        undecided=(
            *seen.undecided,
            *nameless,
            *found.undecided,
            f"what its parts are: {unknown.reason}",
        ),
    )


def _nothing(found: Matches) -> str:
    """Say what was compared and does not equal it."""
    if not found.batches:
        return ""
    tried = "at its defaults"
    if found.searched:
        tried += " or under numbers that were searched for"
    if found.paired:
        tried += ", nor does the sum of two"
    return f"; no preset equals it on this data {tried}"


def _coarse(probe: Probe, answer: Answer, fine: Precise, unknown: Unknown) -> Explanation:
    """Explain what takes half precision alone: its number, and nothing that follows from it."""
    here, name = float(answer.array.sum()), probe.name
    what = "number" if answer.reduced else "sum of the array"
    last = Step("numerator", f"the {what} that {name} returns", (), here)
    piece = Piece("outputs", name, name, (last,), "f", here, measured=True)
    note = Note(
        "coarse",
        f"It gives its number in {fine.dtype} alone, in which losses that differ by some percent "
        "are the same number.",
        "Let it compute in float32 or float64, and explain it on such data.",
    )
    undecided = (
        f"how it is reduced, and what it equals: that cannot be decided in {fine.dtype}",
        f"what it is: {unknown.reason}",
    )
    number = here if answer.reduced else None
    return Explanation(name, name, (piece,), number=number, notes=(note,), undecided=undecided)


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
