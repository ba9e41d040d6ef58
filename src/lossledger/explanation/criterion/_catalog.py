# SPDX-License-Identifier: Apache-2.0
"""The presets that take a batch, those that differ in their reduction together."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from lossledger._typing import Array, Mapping, Sequence
from lossledger.explanation.criterion._batches import Wanted, joined
from lossledger.explanation.criterion._candidates import ORDER, configured
from lossledger.explanation.criterion._host import Data
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets.migration import REFUSALS

TRIALS = 4_000
"""Most trials of a preset in one explanation."""

OUTPUTS = 6_000_000
"""Most outputs that these trials go through."""

LARGEST = 16_384
"""Most outputs of a batch that is searched on."""

COLUMN = "labels[:, None]"
ONE_HOT = "one-hot targets"
"""Forms in which indices are passed to presets that do not take them as they are."""

_REDUCTIONS = ("reduction", "batch_reduction")
_FLAGS: Sequence[Mapping[str, bool]] = (
    {}, {"batch": True}, {"squared_pred": True}, {"batch": True, "squared_pred": True},
    {"softmax": True}, {"softmax": True, "batch": True}, {"softmax": True, "squared_pred": True},
    {"use_softmax": True}, {"jaccard": True},
)  # fmt: skip
"""Flags that are tried where a loss has them."""


@dataclass(eq=False)
class Meter:
    """How much has been tried: a bound on the time, the same on every machine.

    Attributes:
        trials: So far.
        outputs: That they went through.
        left: What was not searched when the bound was reached, by name.
    """

    trials: int = 0
    outputs: int = 0
    left: tuple[str, ...] = ()

    def leave(self, name: str) -> None:
        """Keep the name of what is left out."""
        self.left = tuple(dict.fromkeys((*self.left, name)))

    @property
    def is_spent(self) -> bool:
        """Whether the bound is reached."""
        return self.trials >= TRIALS or self.outputs >= OUTPUTS


@dataclass(frozen=True, eq=False)
class Family:
    """Presets that take a batch and differ in their reduction alone.

    Attributes:
        alike: The presets.
        form: In which targets are passed to them; "" for as they are.
        row: Number and gradient of the first on the batch.
        options: Those whose numbers are not the defaults.
    """

    alike: tuple[AbstractLibraryLoss, ...]
    form: str
    row: Array
    options: tuple[str, ...] = ()


def families(goal: Wanted, home: str, meter: Meter) -> list[Family]:
    """Return the presets that take a batch, each with its number and gradient.

    Args:
        goal: What the black box gives on a small batch.
        home: Framework of its arrays.
        meter: Counts the trials.
    """
    forms = {form: formed(goal, form) for form in forms_of(goal.data)}
    found = []
    for library in ORDER[home]:
        for alike in _groups(library, len(goal.data.outputs)):
            for form, batch in forms.items():
                takers = [(p, row) for p in alike if (row := row_of(p, batch, meter)) is not None]
                if takers:
                    kept = tuple(p for p, _ in takers)
                    found.append(Family(kept, form, takers[0][1]))
                    break
    return found


def row_of(preset: AbstractLibraryLoss, goal: Wanted, meter: Meter) -> Array | None:
    """Return a preset's number and gradient on a batch; None if it refuses it, or gives 0."""
    if meter.is_spent:
        return None
    meter.trials += 1
    try:
        with np.errstate(all="ignore"):
            value, mine = preset.value_and_grad(goal.data.given, goal.data.targets)
    except REFUSALS:
        return None
    meter.outputs += goal.data.outputs[0].size
    slopes = mine if isinstance(mine, tuple) else (mine,)
    found = joined(float(value), slopes if goal.slopes is not None else ())
    fits = found.shape == goal.vector.shape and bool(np.isfinite(found).all())
    return found if fits and found.any() else None


def forms_of(data: Data) -> tuple[str, ...]:
    """Return the forms in which targets can be passed."""
    outputs, labels = data.outputs[0], data.targets
    if labels is None or labels.dtype.kind not in "iu" or outputs.ndim < 2:
        return ("",)
    if labels.shape != (outputs.shape[0], *outputs.shape[2:]) or len(data.outputs) > 1:
        return ("",)
    inside = labels.size and labels.min() >= 0 and labels.max() < outputs.shape[1]
    return ("", COLUMN, ONE_HOT) if inside else ("",)


def formed(wanted: Wanted, form: str) -> Wanted:
    """Return what is wanted with its targets in another form."""
    return replace(wanted, data=in_form(wanted.data, form))


def in_form(data: Data, form: str) -> Data:
    """Return data of NumPy with their targets in another form, the class axis second."""
    if form == COLUMN:
        return replace(data, targets=data.targets[:, None])
    if form == ONE_HOT:
        hot = np.eye(data.outputs[0].shape[1])[data.targets]
        return replace(data, targets=np.moveaxis(hot, -1, 1))
    return data


def _groups(library: str, reads: int) -> Iterator[list[AbstractLibraryLoss]]:
    groups: dict[str, list[AbstractLibraryLoss]] = {}
    for preset in configured(library, reads):
        for each in _flagged(preset):
            groups.setdefault(_but_reduction(each), []).append(each)
    yield from groups.values()


def _flagged(preset: AbstractLibraryLoss) -> Iterator[AbstractLibraryLoss]:
    names = {f.name for f in fields(preset) if f.init}
    for flags in _FLAGS:
        if {*flags} <= names:
            try:
                yield replace(preset, **flags)
            except REFUSALS:
                continue


def _but_reduction(preset: AbstractLibraryLoss) -> str:
    rest = {f.name: getattr(preset, f.name) for f in fields(preset) if f.name not in _REDUCTIONS}
    return f"{type(preset).__name__} {rest}"
