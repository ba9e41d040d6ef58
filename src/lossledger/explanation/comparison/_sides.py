# SPDX-License-Identifier: Apache-2.0
"""A thing to compare: its number and gradient in float64, on any part of the data."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lossledger._array import library_of
from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array, Sequence
from lossledger.explanation.criterion._call import Answer, called
from lossledger.explanation.criterion._conventions import under
from lossledger.explanation.criterion._explain import flows_of, on_batch
from lossledger.explanation.criterion._flow import Flow, flow_of
from lossledger.explanation.criterion._host import Data, framework_of, host, into
from lossledger.explanation.criterion._known import Known, spelling
from lossledger.explanation.criterion._precision import precise, tolerance
from lossledger.explanation.criterion._probe import Probe, probe_of
from lossledger.explanation.criterion._probe import tried as answer_of
from lossledger.explanation.criterion._recognize import recognize
from lossledger.objective import Objective
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets.migration import REFUSALS

EXACT = 1e-9
"""Largest deviation of what is equal, where both are computed in float64."""

HELD = 1e-6
"""The same, where a black box that is run in float64 may hold constants rounded to float32."""

COARSE = 2e-5
"""The same, where a black box computes in less than float64."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One loss on one batch.

    Attributes:
        number: In float64 where the loss is known, else its own.
        slopes: Gradient for every output; None where there is none.
    """

    number: float
    slopes: tuple[Array, ...] | None


@dataclass(frozen=True, eq=False)
class Source:
    """A loss as it is read.

    Attributes:
        name: As its users write it.
        known: What it was recognized as; None for objectives and black boxes.
        objective: An objective; None for others.
        probe: The black box; None for others.
        within: Largest deviation of what is equal, in its dtype.
        convention: The version of Keras that was asked for; "" for none.
        without: Which of "sample_weight" and "mask" it is called without, though the other
            loss has them.
    """

    name: str
    known: Known | None
    objective: Objective | None
    probe: Probe | None
    within: float = EXACT
    convention: str = ""
    without: frozenset[str] = field(default_factory=frozenset)

    def own(self, data: Data) -> Data:
        """Return the data that this loss gets."""
        none: dict[str, Any] = dict.fromkeys(self.without)
        return replace(data, **none) if none else data

    def read(self, data: Data) -> Reading:
        """Return number and gradient.

        Raises:
            LossLedgerError: If the loss does not take the data.
        """
        data = self.own(data)
        if self.probe is not None:
            answer = self.probe.answer(data)
            return Reading(float(answer.array.sum()), self.probe.slopes(data))
        if self.objective is not None:
            there = data.on_host()
            weights = {"mask": there.mask, "sample_weight": there.sample_weight}
            total, _, found = self.objective.value_and_grad(there.given, there.targets, **weights)
            several = tuple(found) if isinstance(found, tuple | list) else (found,)
            return Reading(float(total), several)
        assert self.known is not None  # noqa: S101 - one of the three is set
        return _of_preset(self.known, data)

    def as_probe(self, data: Data) -> Probe:
        """Return the loss as a black box, for measurements."""
        if self.probe is not None:
            return self.probe
        home = framework_of(data.outputs[0])

        def call(outputs: tuple[Array, ...], targets: Array, weight: Array, mask: Array) -> Array:
            if self.objective is not None:
                given = outputs if len(outputs) > 1 else outputs[0]
                return self.objective.loss(given, targets, sample_weight=weight, mask=mask)
            assert self.known is not None  # noqa: S101 - one of the three is set
            given = outputs if self.known.preset.reads > 1 else outputs[0]
            return self.known.preset(given, targets, weight, mask)

        return Probe(call, self.name, home, call)

    def flows(self, data: Data) -> tuple[Flow, ...]:
        """Return the stages of each part; none of a black box."""
        data = self.own(data)
        if self.known is not None:
            return flows_of(on_batch(self.known, data))
        if self.objective is None or len(data.outputs) > 1:
            return ()
        there = data.on_host()
        weights = {"mask": there.mask, "sample_weight": there.sample_weight}
        return tuple(
            flow_of(t, dict.fromkeys(t.outputs, there.outputs[0]), there.targets, weights)
            for t in self.objective.terms
        )


def source_of(thing: Any, data: Data, convention: str | None = None) -> Source:
    """Return how a thing is read, under a convention of Keras if one is named.

    Raises:
        MatchError: If it cannot be called, or is of no version of Keras.
    """
    if isinstance(thing, Objective):
        if convention is not None:
            raise MatchError(
                "An objective divides by what its terms say, in every version of Keras",
                f"Found convention={convention!r} for it",
                "Conventions are of Keras' own losses",
                "Pass a pair with None for the objective: convention=('keras2.3', None)",
            )
        return Source("ll.Objective", None, thing, None)
    found = recognize(thing)
    if convention is not None:
        there = under(found, convention)
        name = name_in(there.preset, convention)
        return Source(name, there, None, None, convention=convention)
    if isinstance(found, Known):
        return Source(found.spelled, found, None, None)
    probe = probe_of(thing, data)
    return Source(probe.name, None, None, probe)


def name_in(preset: AbstractLibraryLoss, convention: str = "") -> str:
    """Return a loss of Keras as code, and the convention that it is of."""
    text = re.sub(r", convention='[\w.]+'|convention='[\w.]+'(, )?", "", spelling(preset))
    return f"{text} in {convention or getattr(preset, 'convention', '')}"


def widest(sources: Sequence[Source], data: Data) -> Data:
    """Return data in float64 if every black box takes that and gives the number it gave before."""
    probes = [(s.probe, s.own(data)) for s in sources if s.probe is not None]
    answers = [answer_of(probe, own) for probe, own in probes]
    wide = [
        answer is not None and precise(probe, own, answer).dtype == "float64"
        for (probe, own), answer in zip(probes, answers, strict=True)
    ]
    if not wide or not all(wide):
        return data
    return data.map(lambda x: into(framework_of(x), x, "float64"))


def with_dtype(source: Source, data: Data, narrow: bool) -> Source:
    """Return a black box with the deviation that its dtype explains.

    Args:
        source: The black box.
        data: What it is called with.
        narrow: Whether less than float64 was passed: what it holds may be rounded to that.
    """
    answer = None if source.probe is None else answer_of(source.probe, source.own(data))
    if answer is None:
        return source
    wide = tolerance(answer, source.own(data)) <= EXACT
    return replace(source, within=(HELD if narrow else 10 * EXACT) if wide else COARSE)


def live(source: Source, thing: Any, data: Data) -> Answer | None:
    """Return what a recognized criterion itself gives; None for what is no criterion."""
    if source.known is None:
        return None
    return called(source.known, thing, source.own(data))


def tried(source: Source, data: Data) -> Reading | None:
    """Return number and gradient; None if the loss refuses the data, or gives no number."""
    try:
        found = source.read(data)
    except (LossLedgerError, *REFUSALS):
        return None
    slopes = found.slopes or ()
    fine = np.isfinite(found.number) and all(np.isfinite(s).all() for s in slopes)
    return found if fine else None


def _of_preset(known: Known, data: Data) -> Reading:
    batch = on_batch(known, data)
    objective = Objective(*batch.terms)
    total, _, found = objective.value_and_grad(batch.outputs, batch.targets, **batch.weights)
    slopes: list[Array] = []
    for name, output in zip(batch.terms[0].outputs, data.outputs, strict=True):
        array = host(output)
        try:
            slopes.append(host(known.preset.restore(library_of(array), found[name], array)))
        except LossLedgerError:  # outputs were laid out otherwise: closed form leads not back
            return Reading(float(total), None)
    return Reading(float(total), tuple(slopes))
