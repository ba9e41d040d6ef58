# SPDX-License-Identifier: Apache-2.0
"""A criterion beside a model: called with the model's outputs, and the weights that it takes."""

from typing import Any

from lossledger._errors import MatchError
from lossledger.explanation.comparison._sides import source_of
from lossledger.explanation.comparison._units import WEIGHTS, Side, Unit, lacking
from lossledger.explanation.criterion._keras import is_keras
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._recognize import recognize
from lossledger.objective import Objective


def beside(model: Side, thing: Any, convention: str | None) -> tuple[Side, tuple[str, ...]]:
    """Return (a criterion as a side, what it is called without).

    Args:
        model: What it is compared with.
        thing: The criterion.
        convention: Of Keras, for a loss of Keras; None for the criterion as it is.

    Raises:
        MatchError: If the model has several outputs with losses, or none.
    """
    if len(model.units) != 1:
        names = ", ".join(unit.output for unit in model.units)
        raise MatchError(
            "A criterion is compared with a model of one output",
            f"Found losses of {len(model.units)} outputs{': ' * bool(names)}{names}",
            "A criterion gets one output and its targets",
            "Compare two models: compile a copy with ll.keras.compile(model, objective)",
        )
    unit = model.units[0]
    takes = _takes(thing, convention)
    without = [n for n in WEIGHTS if getattr(unit.data, n) is not None and n not in takes]
    data = lacking(unit.data, without)
    source = source_of(thing, data, convention)
    alone = Unit(unit.output, source.name, None, 1.0, (), data, source, thing)
    what = {"mask": "mask", "sample_weight": "sample weights"}
    made = " (made of class_weight)" * (model.weighs == "class_weight")
    told = tuple(
        f"{source.name} takes no {what[n]}: it is called without the model's"
        f"{made * (n == 'sample_weight')}."
        for n in without
    )
    return Side(source.name, (alone,), (), None), told


def _takes(thing: Any, convention: str | None) -> tuple[str, ...]:
    """Return which weights a criterion can be called with."""
    if convention is not None or isinstance(thing, Objective):
        return WEIGHTS
    found = recognize(thing)
    if isinstance(found, Known):
        return found.takes
    return ("sample_weight",) if is_keras(thing) else ()
