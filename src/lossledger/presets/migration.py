# SPDX-License-Identifier: Apache-2.0
"""From one library's loss to another's: found by trying, on data, what the other has.

Every preset of the other library, of one part and of several, is configured with the options
that may mean the same, and its number and gradient are compared with the source's on batches of
several sizes. What is equal on all of them is equal; what is off by one factor, by a size of the
batch or by one constant is said to be; the rest cannot be expressed.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array, Mapping, Sequence
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._compound import AbstractCompound
from lossledger.presets._registry import library_of, parse, presets_of, spell
from lossledger.presets._samples import COLUMN, Sample, class_weights, layouts, moved_back, samples
from lossledger.presets._settings import configurations, lost, overlaps

CLOSE = 1e-11
"""Largest deviation of what is equal: a smoothing by 1e-7 moves a sum over a batch by more."""

FAR = 1e-6
"""Least share of a number that a constant or a change of factor is said to make."""

MOST = 3
"""Equals that are shown; the plainest come first."""
REFUSALS = (LossLedgerError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError)
"""How a preset refuses a batch of a shape that is not its own."""

FACTORS = ("a factor", "the batch size", "the number of classes", "the number of elements")

Answer = tuple[Array, tuple[Array, ...], str]
"""A number, its gradient for each output, and what targets it took."""

Memo = dict[tuple[str, str, str, int], list[Answer] | None]


@dataclass(frozen=True)
class Candidate:
    """Another library's loss beside the source.

    Attributes:
        preset: Configured as closely as it goes.
        call: What to pass when calling it, beside outputs and targets as the source takes
            them; "" for nothing.
        times: By what its number has to be multiplied: "", or the factor in words.
        plus: What has to be added after that; a constant has no gradient.
        deviation: Largest deviation of number and gradient after that, relative; of what is
            not equal, on the first batch.
        number: What it gives on the first batch, before that.
    """

    preset: AbstractLibraryLoss
    call: str
    times: str
    deviation: float
    number: float = 0.0
    plus: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether number and gradient are the source's as they are."""
        return self.deviation <= CLOSE and not self.times and not self.plus

    def __str__(self) -> str:
        """Write as code, with what has to be passed and multiplied."""
        text = spell(self.preset)
        text += f", called with {self.call}" if self.call else ""
        text += f", times {self.times}" if self.times else ""
        sign = "plus" if self.plus > 0 else "minus"
        return text + (f", {sign} {abs(self.plus):.6g}" if self.plus else "")


@dataclass(frozen=True)
class Migration:
    """What another library has in place of a loss.

    Attributes:
        source: The loss.
        to: The other library.
        equal: What gives the same number and gradient, the plainest first.
        scaled: What does so after multiplying by a factor, or adding a constant.
        nearest: The closest of all; None if nothing takes the data.
        number: What the source gives on the first batch.
        lost: Options of the source that the nearest does not have.
    """

    source: AbstractLibraryLoss
    to: str
    equal: tuple[Candidate, ...]
    scaled: tuple[Candidate, ...]
    nearest: Candidate | None
    lost: tuple[str, ...]
    number: float = 0.0

    def __str__(self) -> str:
        """Write what is equal, or else the nearest and what it lacks."""
        lines = [f"{spell(self.source)} in {self.to}:"]
        lines += [f"  equal: {c}" for c in self.equal[:MOST]]
        lines += [f"  equal: {c}" for c in self.scaled[: MOST - len(self.equal[:MOST])]]
        if not self.equal and not self.scaled:
            lines.append("  cannot be expressed")
            if self.nearest is not None:
                far = f"{self.nearest.deviation:.3g}"
                lines.append(f"  nearest: {self.nearest}, off by {far} of the largest number")
                both = f"{self.number:.6g} against {self.nearest.number:.6g}"
                lines.append(f"  on one batch: {both}")
        lines += [f"  without counterpart: {name}" for name in self.lost]
        shown = [self.source, *(c.preset for c in (*self.equal, *self.scaled)[:1])]
        notes = [f"  note on {library_of(p)}: {note}" for p in shown for note in p.notes]
        lines += dict.fromkeys(notes)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain strings and numbers."""
        nearest = self.nearest
        return {
            "source": spell(self.source),
            "to": self.to,
            "number": self.number,
            "equal": [str(c) for c in self.equal],
            "scaled": [str(c) for c in self.scaled],
            "nearest": None if nearest is None else str(nearest),
            "deviation": None if nearest is None else nearest.deviation,
            "lost": list(self.lost),
        }


def migrate(source: AbstractLibraryLoss | str, to: str, memo: Memo | None = None) -> Migration:
    """Look for a loss in another library.

    Args:
        source: A preset, or its text: "torch.CrossEntropyLoss(weight=[1, 2, 5])".
        to: Name of the other library, one of `LIBRARIES`.
        memo: A dict that keeps what was computed, for many calls in a row.

    Raises:
        MatchError: If a library, a loss or an option does not exist.
    """
    preset = _reduced(parse(source) if isinstance(source, str) else source)
    drawn = samples(preset)
    wanted = [answer(preset, s, None) for s in drawn]
    _check_telling(preset, wanted)
    found: list[Candidate] = []
    several = overlaps(preset)
    for kind in presets_of(to):
        if issubclass(kind, AbstractCompound) and not several:
            continue
        for configured in configurations(kind, preset):
            found += _compared(configured, preset, drawn, wanted, {} if memo is None else memo)
    found.sort(key=lambda c: (len(c.call) > 0, c.plus != 0, len(spell(c.preset))))
    equal = tuple(c for c in found if c.equal)
    scaled = tuple(c for c in found if c.times or c.plus)
    nearest = min(found, key=lambda c: c.deviation, default=None)
    missing: tuple[str, ...] = ()
    if nearest is not None and not equal and not scaled:
        missing = lost(preset, nearest.preset, nearest.call)
    return Migration(preset, to, equal, scaled, nearest, missing, float(wanted[0][0]))


def answer(preset: AbstractLibraryLoss, sample: Sample, weight: Array | None) -> Answer:
    """Return number and gradient on a sample, the gradient with the class axis second.

    Raises:
        LossLedgerError: If the preset takes the sample in none of its forms.
    """
    refused: Exception | None = None
    for given, targets, form in layouts(preset, sample):
        outputs = given if preset.reads > 1 else given[0]
        try:
            value, slopes = preset.value_and_grad(outputs, targets, weight)
        except REFUSALS as error:
            refused = refused or error
            continue
        found = slopes if isinstance(slopes, tuple) else (slopes,)
        return np.asarray(value), tuple(moved_back(preset, np.asarray(s)) for s in found), form
    assert refused is not None  # noqa: S101 - there is a layout, and none was taken
    raise refused


def _reduced(preset: AbstractLibraryLoss) -> AbstractLibraryLoss:
    """Return the preset, with a mean where it gives an array: arrays have no gradient."""
    for name in ("reduction", "batch_reduction"):
        if getattr(preset, name, "mean") in ("none", None):
            return replace(preset, **{name: "mean"})
    return preset


def _check_telling(preset: AbstractLibraryLoss, wanted: Sequence[Answer]) -> None:
    """Require numbers and gradients other than 0: of two zeros nothing follows."""
    if not all(value and any(s.any() for s in slopes) for value, slopes, _ in wanted):
        raise MatchError(
            "A loss is compared on batches where it is not 0",
            f"Found 0 or no gradient for {spell(preset)}",
            "It compares samples, or takes targets of a form of its own",
            "Compare the two presets on data of your own",
        )


def _compared(
    configured: AbstractLibraryLoss,
    source: AbstractLibraryLoss,
    drawn: Sequence[Sample],
    wanted: Sequence[Answer],
    memo: Memo,
) -> list[Candidate]:
    """Return the candidates that one configuration makes, with and without sample weights."""
    calls: list[tuple[str, list[Array | None]]] = [("", [None] * len(drawn))]
    by_class = class_weights(source)
    if by_class is not None and drawn[0].labels is not None:
        looked_up = [np.asarray(by_class, np.float64)[s.labels] for s in drawn]
        calls.append(("sample_weight=weight[labels]", list(looked_up)))
    found = []
    for text, weights in calls:
        key = (spell(configured), text and repr(by_class), drawn[0].kind)
        for count in (1, len(drawn)):  # what fails on the first batch is not tried on the rest
            some = (*key, count)
            if some not in memo:
                memo[some] = _answers(configured, drawn[:count], weights[:count])
            answers = memo[some]
            if answers is None:
                break
            form = answers[0][2] if answers[0][2] != wanted[0][2] else ""
            form = form or ("labels" if wanted[0][2] == COLUMN != answers[0][2] else "")
            passed = " and ".join(part for part in (form, text) if part)
            one = _judged(configured, passed, answers, wanted[:count], drawn[:count])
            if one.deviation > CLOSE or count > 1:
                found.append(one)
                break
    return found


def _answers(
    configured: AbstractLibraryLoss, drawn: Sequence[Sample], weights: Sequence[Array | None]
) -> list[Answer] | None:
    """Return numbers and gradients on all samples; None if the preset cannot take them."""
    try:
        return [answer(configured, s, w) for s, w in zip(drawn, weights, strict=True)]
    except REFUSALS:
        return None


def _judged(
    configured: AbstractLibraryLoss,
    call: str,
    answers: Sequence[Answer],
    wanted: Sequence[Answer],
    drawn: Sequence[Sample],
) -> Candidate:
    number = float(answers[0][0])
    ones = [1.0] * len(drawn)
    plain = _distance(answers, wanted, ones)
    if plain <= CLOSE:
        return Candidate(configured, call, "", plain, number)
    sizes: Mapping[str, list[float]] = {
        FACTORS[0]: ones,
        FACTORS[1]: [float(s.batch) for s in drawn],
        FACTORS[2]: [float(s.classes) for s in drawn],
        FACTORS[3]: [float(s.elements) for s in drawn],
    }
    factor = _steeper(answers[0], wanted[0])
    factor = 1.0 if abs(factor - 1) <= FAR else factor
    for name, size in sizes.items():
        for power in (1, -1):
            constant = factor / size[0] ** power
            scales = [constant * n**power for n in size]
            plus = float(wanted[0][0]) - scales[0] * float(answers[0][0])
            plus = 0.0 if abs(plus) <= FAR * abs(float(wanted[0][0])) else plus
            rest = _distance(answers, wanted, scales, plus)
            if rest <= CLOSE:
                times = "" if scales == ones else _factor(constant, name, power)
                return Candidate(configured, call, times, rest, number, plus)
    return Candidate(configured, call, "", plain, number)


def _steeper(answer: Answer, wanted: Answer) -> float:
    """Return by what an answer's gradient has to be multiplied, if any number will do."""
    if [s.shape for s in answer[1]] != [s.shape for s in wanted[1]]:
        return float("nan")
    pairs = list(zip(answer[1], wanted[1], strict=True))
    square = sum(float((mine * mine).sum()) for mine, _ in pairs)
    return sum(float((mine * goal).sum()) for mine, goal in pairs) / square if square else np.nan


def _factor(constant: float, name: str, power: int) -> str:
    number = f"{constant:.6g}"
    if name == FACTORS[0]:
        return number
    joined = name if number == "1" else f"{number} · {name}"
    return joined if power == 1 else f"{number} / {name}"


def _distance(
    answers: Sequence[Answer],
    wanted: Sequence[Answer],
    scales: Sequence[float],
    plus: float = 0.0,
) -> float:
    """Return the largest deviation of numbers and gradients, relative to the wanted."""
    worst = 0.0
    for (value, slopes, _), (goal, goals, _), scale in zip(answers, wanted, scales, strict=True):
        if len(slopes) != len(goals):
            return float("inf")
        pairs = [(value * scale + plus, goal)]
        pairs += [(mine * scale, theirs) for mine, theirs in zip(slopes, goals, strict=True)]
        for mine, theirs in pairs:
            if mine.shape != theirs.shape:
                return float("inf")
            gap = np.abs(mine - theirs).max(initial=0.0)
            size = max(np.abs(theirs).max(initial=0.0), 1e-6)
            worst = max(worst, float(gap / size) if np.isfinite(gap) else float("inf"))
    return worst
