# SPDX-License-Identifier: Apache-2.0
"""One ledger of all losses of a model: those of Keras by their presets, beside terms of ours."""

from dataclasses import dataclass, field, replace
from typing import Any

from lossledger._typing import Sequence
from lossledger.explanation.model import _accounts, _own_losses
from lossledger.explanation.model._pieces import CLOSE
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model._terms import hosted, tensors, with_extras
from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.presets._keras_base import AbstractKeras
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class Known:
    """One loss, and what is known of it.

    Attributes:
        loss: As it was read.
        preset: Of a loss of Keras; None for others.
        agrees: Whether its preset or its terms gave Keras' number.
    """

    loss: LossReading
    preset: AbstractKeras | None
    agrees: bool


def ledger_of(
    reading: Reading, losses: Sequence[Known], classes: Sequence[str] | None
) -> tuple[Ledger | None, tuple[str, ...]]:
    """Return (one ledger of the total, which loss has none).

    A loss that should be known and gave another number than Keras has said so elsewhere.
    """
    counted = [each for each in losses if each.loss.loss_weight]
    unknown = [k.loss for k in counted if k.preset is None and not k.loss.terms]
    if unknown:
        alone = len(unknown) == len(counted)  # then no loss could have had a ledger
        return None, () if alone else tuple(_unknown(loss) for loss in unknown)
    if not counted or not all(each.agrees for each in counted):
        return None, ()
    names = [each.loss.output for each in counted]
    shared = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if shared:
        told = f"One ledger of all losses: several are on the output `{shared[0]}`."
        return None, (told,)
    presets = [each.preset for each in losses if each.preset is not None]
    if len(presets) == len(losses):
        return _accounts.ledger_of(reading, presets, classes), ()
    found = _together(counted, classes)
    wanted = sum(each.loss.value * each.loss.loss_weight for each in counted)
    if not abs(found.total - wanted) <= CLOSE * max(1.0, abs(wanted)):
        told = (
            f"One ledger of all losses: together they are {found.total:.6g}, and Keras' calls "
            f"gave {wanted:.6g}."
        )
        return None, (told,)
    return with_extras(found, reading.extras), ()


def _unknown(loss: LossReading) -> str:
    return (
        f"One ledger of all losses: `{loss.spelled}` of `{loss.output}` is neither a loss of Keras "
        "that is known nor made of terms."
    )


@dataclass(frozen=True, eq=False)
class _Batch:
    """An objective's terms, and what they are called with, by name."""

    terms: list[Term] = field(default_factory=list)
    given: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "outputs": {}, "targets": {}, "sample_weight": {}, "mask": {}, "element_weight": {}
        }
    )  # fmt: skip

    def add(self, terms: Sequence[Term], given: Any) -> None:
        """Put terms beside those that are there."""
        self.terms.extend(terms)
        for kind, arrays in given.items():
            self.given[kind].update({n: a for n, a in (arrays or {}).items() if a is not None})


def _together(losses: Sequence[Known], classes: Sequence[str] | None) -> Ledger:
    """Run all losses as one objective, each under the name of its output."""
    batch = _Batch()
    own = [each.loss for each in losses if each.loss.terms]
    batch.add(*_own_losses.parts_of(own, classes, several=len(losses) > 1))
    for each in losses:
        if each.preset is not None:
            batch.add(*_of_preset(each.loss, each.preset, classes))
    objective = Objective(*batch.terms)
    given = {kind: arrays or None for kind, arrays in batch.given.items()}
    placed = {kind: hosted(objective, tree) for kind, tree in given.items()}
    if placed["outputs"] is given["outputs"]:  # a user's function takes the backend's arrays
        placed = {kind: tensors(tree) for kind, tree in given.items()}
    _, ledger = objective(**placed)
    return ledger


def _of_preset(
    loss: LossReading, preset: AbstractKeras, classes: Sequence[str] | None
) -> tuple[list[Term], dict[str, Any]]:
    """Return a loss of Keras as a term with the name of its output."""
    name = loss.output
    fits = classes is not None and loss.outputs.shape[-1:] == (len(classes),)
    arrays = _accounts.arrays_of(loss, "float64")
    batch = _accounts.in_dtype(preset, "float64").on_batch(
        **arrays, classes=classes if fits else None
    )
    (term,) = batch.terms
    given: dict[str, Any] = {
        "outputs": {name: batch.outputs[term.outputs[0]]},
        "targets": {name: (batch.targets or {}).get(term.target or "")},
    }
    given |= {kind: {name: array} for kind, array in batch.weights.items()}
    factor = term.loss_weight * loss.loss_weight
    return [replace(term, outputs=(name,), target=name, name=name, loss_weight=factor)], given
