# SPDX-License-Identifier: Apache-2.0
"""Criteria explained: losses of libraries, presets, objectives, and functions of one's own."""

from dataclasses import replace
from typing import Any

from lossledger._errors import DomainError, MatchError
from lossledger._typing import Mapping, Sequence, Tree
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Note
from lossledger.explanation.criterion._call import called
from lossledger.explanation.criterion._conventions import elsewhere, explain_convention
from lossledger.explanation.criterion._explain import explain_known, explain_objective
from lossledger.explanation.criterion._host import Data, data_of, framework_of
from lossledger.explanation.criterion._known import Known, Unknown
from lossledger.explanation.criterion._probe import Probe, probe_of
from lossledger.explanation.criterion._recognize import recognize
from lossledger.explanation.criterion._unknown import explain_unknown
from lossledger.objective import Objective
from lossledger.presets._base import AbstractLibraryLoss

__all__ = ["explain_criterion"]


def explain_criterion(
    thing: Any,
    outputs: Tree,
    targets: Tree,
    sample_weight: Tree,
    mask: Tree,
    classes: Sequence[str] | None,
    convention: str | None,
) -> Explanation:
    """Explain how a criterion, a preset or an objective makes its number on this data."""
    if isinstance(thing, Objective):
        _refuse_for_objective({"classes": classes, "convention": convention})
        return explain_objective(thing, outputs, targets, sample_weight, mask)
    data = data_of(outputs, targets, sample_weight, mask)
    found = recognize(thing)
    if convention is not None:
        return explain_convention(found, convention, data, classes)
    if isinstance(found, Known):
        return _known(found, thing, data, classes)
    return explain_unknown(found, probe_of(thing, data), data, classes)


def _refuse_for_objective(given: Mapping[str, Any]) -> None:
    """Refuse what an objective says by itself.

    Raises:
        MatchError: If something is given.
    """
    found = [name for name, value in given.items() if value is not None]
    if found:
        raise MatchError(
            f"An objective takes no {' and no '.join(given)} when it is explained",
            f"Found {', '.join(found)}",
            "Its terms name their classes, and are of no version of Keras",
            "Name the classes in ll.Term(..., classes=[...])",
        )


def _known(known: Known, thing: Any, data: Data, classes: Sequence[str] | None) -> Explanation:
    """Explain what is recognized; as a black box where its preset refuses numbers it takes."""
    theirs = called(known, thing, data)
    try:
        found = explain_known(known, theirs, data, classes)
    except (DomainError, MatchError) as error:
        if isinstance(thing, AbstractLibraryLoss) or known.takes or data.mask is not None:
            raise
        home = known.home or framework_of(data.outputs[0])
        probe = Probe(thing, known.spelled, home, known.call)
        reason = Unknown(f"its preset refuses this data: {error.rule}; {error.found}")
        found = explain_unknown(reason, probe, data, classes)
        note = Note("refused", f"{error.rule}. {error.found}. {error.cause}.", f"{error.remedy}.")
        return replace(found, notes=(note, *found.notes))
    return replace(found, elsewhere=elsewhere(known, data))
