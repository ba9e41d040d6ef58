# SPDX-License-Identifier: Apache-2.0
"""A Keras loss in other versions of Keras."""

from dataclasses import replace

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Mapping, Sequence
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Elsewhere
from lossledger.explanation.criterion._call import called
from lossledger.explanation.criterion._difference import first_difference
from lossledger.explanation.criterion._explain import explain_known, flows_of, on_batch
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._known import Found, Known
from lossledger.explanation.criterion._recognize import of_preset
from lossledger.presets._keras_base import AbstractKeras
from lossledger.presets._keras_history import CONVENTIONS, Convention

VERSIONS: Mapping[Convention, str] = {
    "keras3": "Keras 3",
    "keras2.11": "Keras 2.4 to 2.15",
    "keras2.3": "Keras 2.3",
    "keras1": "Keras 1 to 2.2",
}
_SAME = {"keras3.16": "keras3"}
"""Versions whose losses, called alone, are those of another; their models differ."""


def explain_convention(
    found: Found, convention: str, data: Data, classes: Sequence[str] | None
) -> Explanation:
    """Explain a Keras loss as another version computes it.

    Raises:
        MatchError: If it is no loss of Keras, or there is no such version.
    """
    other = under(found, convention)
    return explain_known(other, called(other, other.preset, data), data, classes)


def under(found: Found, convention: str) -> Known:
    """Return a Keras loss as another version computes it.

    Raises:
        MatchError: If it is no loss of Keras, or there is no such version.
    """
    named = _SAME.get(convention, convention)
    preset = found.preset if isinstance(found, Known) else None
    if not isinstance(preset, AbstractKeras) or named not in CONVENTIONS:
        raise MatchError(
            "`convention` names a version of Keras, for losses of Keras: "
            + ", ".join([*CONVENTIONS, *_SAME]),
            f"Found {convention!r} for {preset or 'a loss without a preset'}",
            "The version is misspelled, or the loss is another library's",
            "Leave `convention` out",
        )
    return of_preset(replace(preset, convention=named))


def elsewhere(known: Known, data: Data) -> tuple[Elsewhere, ...]:
    """Return a Keras loss's number in every version, its own too; nothing for other losses."""
    preset = known.preset
    if not isinstance(preset, AbstractKeras) or preset.reduction in ("none", None):
        return ()
    own, found = flows_of(on_batch(known, data)), []
    for name in CONVENTIONS:
        other: float | None = None
        try:
            other_known = of_preset(replace(preset, convention=name))
            there = flows_of(on_batch(other_known, data))
        except LossLedgerError as error:
            why = f"{error.rule}; {error.found}"
        else:
            other = sum(f.value * f.loss_weight for f in there)
            parted = first_difference(own, there)
            why = "" if parted is None else parted.of_b
        found.append(Elsewhere(name, VERSIONS[name], other, why))
    return tuple(found)
