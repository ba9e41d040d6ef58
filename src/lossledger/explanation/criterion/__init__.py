# SPDX-License-Identifier: Apache-2.0
"""Criteria explained: losses of libraries, presets, objectives, and functions of one's own."""

from dataclasses import replace
from typing import Any

from lossledger._typing import Sequence, Tree
from lossledger.explanation._explanation import Explanation
from lossledger.explanation.criterion._conventions import elsewhere, explain_convention
from lossledger.explanation.criterion._explain import explain_known, explain_objective
from lossledger.explanation.criterion._host import data_of
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._recognize import recognize
from lossledger.explanation.criterion._unknown import explain_unknown
from lossledger.objective import Objective

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
        return explain_objective(thing, outputs, targets, sample_weight, mask)
    data = data_of(outputs, targets, sample_weight, mask)
    found = recognize(thing)
    if convention is not None:
        return explain_convention(found, convention, data, classes)
    if isinstance(found, Known):
        explained = explain_known(found, thing, data, classes)
        return replace(explained, elsewhere=elsewhere(found, data))
    return explain_unknown(found, thing, data, classes)
