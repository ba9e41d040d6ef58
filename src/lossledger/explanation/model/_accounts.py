# SPDX-License-Identifier: Apache-2.0
"""Losses that are known, computed anew in float64 with a ledger."""

from dataclasses import replace
from typing import Any

import numpy as np

from lossledger._errors import LossLedgerError
from lossledger._typing import Array, Sequence
from lossledger.explanation.model._pieces import agrees
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.ledger import Ledger, Row
from lossledger.presets import keras as presets
from lossledger.presets._keras_base import AbstractKeras


def account_of(
    loss: LossReading, preset: AbstractKeras, classes: Sequence[str] | None
) -> tuple[Ledger | None, str]:
    """Return (the ledger of one loss before its weight, why there is none).

    Computed in float64; in float32 where a clip that rounds there makes the number another.
    """
    told = ""
    for dtype in ("float64", "float32"):
        try:
            given = arrays_of(loss, dtype)
            total, ledger = in_dtype(preset, dtype).account(**given, classes=classes)
        except LossLedgerError as error:
            return None, (
                f"The ledger and the classes of `{loss.spelled}` of `{loss.output}`. {error}"
            )
        if agrees(float(total), loss):
            return ledger, ""
        told = told or (
            f"The ledger and the classes of `{loss.spelled}` of `{loss.output}`: computed anew it "
            f"is {float(total):.6g}, and Keras' call gave {loss.value:.6g}."
        )
    return None, told


def arrays_of(loss: LossReading, dtype: str) -> dict[str, Array]:
    """Return what a preset is called with."""
    rows = np.shape(loss.targets) == np.shape(loss.outputs)
    weight = loss.sample_weight
    return {
        "outputs": loss.outputs.astype(dtype),
        "targets": loss.targets.astype(dtype) if rows else loss.targets,
        "sample_weight": None if weight is None else weight.astype(dtype),
        "mask": loss.mask,
    }


def rows_of(ledger: Ledger, loss: LossReading, total: float) -> list[Row]:
    """Return the rows of one loss by class and label, as shares of the whole total."""
    found = []
    for row in ledger.rows:
        if row.cls is None and row.label is None:
            continue
        amount = row.contribution * loss.loss_weight
        name = str(getattr(loss.loss, "name", "loss"))
        share = amount / total if total else None
        found.append(replace(row, output=loss.output, term=name, contribution=amount, share=share))
    return found


def ledger_of(
    reading: Reading, known: Sequence[AbstractKeras], classes: Sequence[str] | None
) -> Ledger:
    """Return one ledger of all losses and extras; each loss has an output of its own."""
    counted = [(x, p) for x, p in zip(reading.losses, known, strict=True) if x.loss_weight]
    given = {loss.output: arrays_of(loss, "float64") for loss, _ in counted}
    named = {
        name: tuple(classes)
        for name, arrays in given.items()
        if classes is not None and arrays["outputs"].shape[-1:] == (len(classes),)
    }
    total = presets.total(
        {loss.output: in_dtype(preset, "float64") for loss, preset in counted},
        {loss.output: loss.loss_weight for loss, _ in counted},
        classes=named,
    )
    kinds = ("outputs", "targets", "sample_weight", "mask")
    arrays = {k: {n: a[k] for n, a in given.items() if a[k] is not None} for k in kinds}
    _, ledger = total(**arrays)
    extras = tuple((f"{e.kind} {e.name}", np.float64(e.amount)) for e in reading.extras)
    added = sum(e.amount for e in reading.extras)
    return replace(ledger, regularizers=extras, summed=ledger.summed + added)


def in_dtype(preset: AbstractKeras, dtype: str) -> AbstractKeras:
    """Return the preset computing in another dtype; every preset has this option."""
    settings: dict[str, Any] = {"dtype": dtype}
    return replace(preset, **settings)
