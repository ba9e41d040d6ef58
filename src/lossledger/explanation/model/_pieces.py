# SPDX-License-Identifier: Apache-2.0
"""One loss of one output as a piece: its steps from outputs to a number."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossledger._typing import Array, Mapping
from lossledger.explanation._parts import Piece, Step
from lossledger.explanation.model._inner import Inner
from lossledger.explanation.model._reading import LossReading
from lossledger.explanation.model._reduce import MEANS, Reduced, reduced
from lossledger.presets._keras_shapes import same_rank

CLOSE = 1e-5
"""Largest deviation of a recomputed number, relative to it, beside float32 rounding."""


@dataclass(frozen=True, eq=False)
class Made:
    """A piece, and the arrays behind it.

    Attributes:
        piece: For the page.
        reduced: How its number is made; None if it could not be found out.
        undecided: Why not; "" if it could.
    """

    piece: Piece
    reduced: Reduced | None
    undecided: str = ""


def piece_of(loss: LossReading, inner: Inner) -> Made:
    """Return a loss as a piece; its value is Keras' own where the steps do not lead to it."""
    found = None
    undecided = ""
    if loss.values is None:
        undecided = (
            f"How `{loss.spelled}` of `{loss.output}` makes its number: its class calls no "
            "unreduced values. Its number is Keras'."
        )
    else:
        masks = tuple(m for m in (loss.mask, loss.own_mask) if m is not None)
        found = reduced(loss.values, loss.sample_weight, masks, loss.loss.reduction)
        if not agrees(found.value, loss):
            undecided = (
                f"How `{loss.spelled}` of `{loss.output}` makes its number: its values, reduced "
                f"by {loss.loss.reduction!r}, give {found.value:.6g}, and Keras' call gave "
                f"{loss.value:.6g}. It may draw random numbers, or reduce in a way of its own."
            )
            found = None
    return Made(_piece(loss, inner, found), found, undecided)


def agrees(value: float, loss: LossReading) -> bool:
    """Whether a recomputed value is Keras', up to rounding in the loss's dtype."""
    if not (math.isfinite(value) and math.isfinite(loss.value)):
        return str(value) == str(loss.value)
    narrow = str(getattr(loss.loss, "dtype", "float32")) in ("float16", "bfloat16")
    close = 1e-2 if narrow else CLOSE
    return abs(value - loss.value) <= close * max(abs(loss.value), 0.1)


def _piece(loss: LossReading, inner: Inner, found: Reduced | None) -> Piece:
    steps = [_values_step(loss), _inner_step(loss, inner)]
    if found is not None:
        steps += [*_weight_steps(loss, found), *_fraction_steps(loss, found)]
    if loss.loss_weight != 1:
        steps.append(_loss_weight_step(loss))
    fraction = found is not None and (found.rule != "1" or found.weighted.ndim > 0)
    value = loss.value if found is None else found.value
    return Piece(
        output=loss.output,
        name=str(getattr(loss.loss, "name", "loss")),
        loss=loss.spelled,
        steps=tuple(steps),
        formula=_formula(loss, found),
        value=value,
        loss_weight=loss.loss_weight,
        numerator=found.numerator if found is not None and fraction else None,
        denominator=found.denominator if found is not None and fraction else None,
        measured=inner.measured,
    )


def _values_step(loss: LossReading) -> Step:
    shape = np.shape(loss.outputs) if isinstance(loss.outputs, np.ndarray) else None
    goal = np.shape(loss.targets) if isinstance(loss.targets, np.ndarray) else None
    text = "outputs against targets" + ("" if goal is None else f" of shape {goal}")
    return Step("values", text, shape)


def _inner_step(loss: LossReading, inner: Inner) -> Step:
    shape = None if loss.values is None else left(loss)
    settings: Mapping[str, Any] = {"how": inner.how, "axis": inner.axis}
    return Step("inner", inner.text, shape, settings=settings)


def _weight_steps(loss: LossReading, found: Reduced) -> list[Step]:
    """Return a step for each source of weight."""
    steps = []
    if loss.sample_weight is not None:
        source = loss.weight_source or "sample_weight"
        text = f"times the weights of `{source}`, of shape {np.shape(loss.sample_weight)}"
        steps.append(
            Step(
                "weights",
                text + _lined_up(loss.sample_weight, loss, found),
                settings={"source": source},
            )
        )
    for mask, source in ((loss.mask, loss.mask_source), (loss.own_mask, "")):
        if mask is not None:
            steps.append(_mask_step(loss, mask, source))
    shape = found.weighted.shape
    if steps and shape != left(loss):
        last = steps[-1]
        steps[-1] = Step(last.stage, last.text, shape, last.amount, last.settings)
    return steps


def _lined_up(weight: Array, loss: LossReading, found: Reduced) -> str:
    """Say along which axes weights were repeated, where shapes are not the same."""
    if not left(loss):
        return ": the loss is one number, multiplied by each of them"
    values, fitted = same_rank(left(loss), tuple(np.shape(weight)))
    if values == fitted:
        return ""
    if len(fitted) < len(values):
        return f", which Keras lines up with the last axes of {values}"
    return f", repeated to {found.weighted.shape}"


def _mask_step(loss: LossReading, mask: Array, source: str) -> Step:
    kept, every = int(np.sum(mask)), int(np.size(mask))
    made = f"of layer `{source}`" if source else f"that {loss.spelled} sets itself"
    text = f"times the mask {made}: {kept} of {every} count"
    if left(loss) == ():
        text += "; it changes nothing, the loss is one number already" * (
            loss.loss.reduction in MEANS
        )
    return Step("weights", text, settings={"source": source or "loss"})


def _fraction_steps(loss: LossReading, found: Reduced) -> list[Step]:
    """Return the sum and what divides it."""
    if found.rule == "1" and found.weighted.ndim == 0:
        return [Step("numerator", "one number already: nothing is averaged", (), found.numerator)]
    factors = _factors(loss)
    reduction = loss.loss.reduction
    settings = {"reduction": reduction, "rule": found.rule}
    return [
        Step("numerator", f"Σ {factors}l over every axis at once", (), found.numerator),
        Step("denominator", _told(loss, found), (), found.denominator, settings),
    ]


def _told(loss: LossReading, found: Reduced) -> str:
    """Return what divides the sum, in words."""
    reduction = repr(loss.loss.reduction)
    product = "·".join(str(n) for n in found.weighted.shape)
    weights = ", not by Σw" if loss.sample_weight is not None else ""
    if found.rule == "1":
        return f"not divided: {reduction}"
    if found.rule == "N":
        return f"divided by the number of values, {product}{weights}: {reduction}"
    if found.rule == "Σm":
        return f"divided by Σm, the values that the mask keeps{weights}: {reduction}"
    if found.rule.startswith("N·"):
        text = f"divided by {product} values times the share that the mask keeps{weights}"
        return f"{text}: {reduction}"
    return f"divided by {found.rule}, summed as passed: {reduction}"


def _factors(loss: LossReading) -> str:
    weights = "w·" if loss.sample_weight is not None else ""
    masks = "m·" if loss.mask is not None or loss.own_mask is not None else ""
    return weights + masks


def _loss_weight_step(loss: LossReading) -> Step:
    if loss.loss_weight == 0:
        text = "not in the total: Keras leaves it out, or multiplies it by 0"
        return Step("loss_weight", text, ())
    return Step("loss_weight", "times its loss weight", (), loss.loss_weight)


def _formula(loss: LossReading, found: Reduced | None) -> str:
    name = f"{getattr(loss.loss, 'name', 'loss')}[{loss.output}]"
    if found is None or (found.rule == "1" and found.weighted.ndim == 0):
        return name
    top = f"Σ {_factors(loss)}{name}"
    return top if found.rule == "1" else f"{top} / {found.rule}"


def left(loss: LossReading) -> tuple[int, ...]:
    """Return the shape of what a loss leaves before weights; () if it is not known."""
    return () if loss.values is None else tuple(np.shape(loss.values))
