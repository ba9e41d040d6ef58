# SPDX-License-Identifier: Apache-2.0
"""Terms read as losses of Keras are: values, weights and a reduction by Keras' name for it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossledger._errors import LossLedgerError
from lossledger._typing import Array, Mapping, Sequence
from lossledger.explanation._parts import Piece
from lossledger.explanation.criterion._flow import Flow, Stage, flow_of
from lossledger.explanation.criterion._plain import bare
from lossledger.explanation.model._data import host
from lossledger.explanation.model._formulas import MEANS, WEIGHTED_MEAN, wide
from lossledger.explanation.model._reading import LossReading
from lossledger.explanation.model._terms import plain, tensors
from lossledger.frames import NamedArray
from lossledger.keras._columns import fitted
from lossledger.keras._evaluate import Matched
from lossledger.losses import Elementwise, FromSums
from lossledger.objective import Objective, match
from lossledger.reductions import AbstractReduction, Mean, Sum
from lossledger.term import Term

_BY_DENOMINATOR = {"elements": MEANS[0], "mask": MEANS[0], "passed": WEIGHTED_MEAN}
"""Denominators of a mean that Keras has a reduction for."""


def readings_of(
    objective: Objective, given: Matched, pieces: Sequence[Piece], source: str, maker: str
) -> tuple[LossReading, ...]:
    """Return one reading for each term of an objective that a model was compiled with.

    Args:
        objective: Whose terms are read.
        given: What it is called with.
        pieces: Its terms as they are explained, in their order.
        source: Where weights come from: "sample_weight", "class_weight" or "".
        maker: The layer that made the masks.
    """
    weights = {"mask": given.mask, "sample_weight": given.sample_weight, "element_weight": None}
    names = objective.skip, objective.output_names
    call = match(objective.terms, *names, given.outputs, given.targets, weights, {})
    found = []
    for term, piece in zip(objective.terms, pieces, strict=True):
        own = call.weights[term.name]
        outputs = {name: host(call.outputs[name]) for name in term.outputs}
        mask = own.mask.array if isinstance(own.mask, NamedArray) else own.mask
        found.append(
            LossReading(
                output=piece.output,
                loss=None,
                spelled=piece.loss,
                loss_weight=piece.loss_weight,
                outputs=outputs if len(outputs) > 1 else outputs[term.outputs[0]],
                targets=None if term.target is None else host(call.targets[term.target]),
                sample_weight=host(own.sample_weight),
                weight_source=source if own.sample_weight is not None else "",
                mask=host(mask),
                mask_source=maker if mask is not None else "",
                values=None,
                own_mask=None,
                value=piece.value,
                terms=(term,),
            )
        )
    return tuple(found)


def by_term(loss: LossReading) -> tuple[LossReading, ...]:
    """Return one reading for each term of a loss, with its values; the loss itself without terms.

    Values are those that the stage which removes the batch is given, with a weight and a mask
    for each of them.
    """
    if not loss.terms or not hasattr(loss.outputs, "shape"):
        return (loss,)
    return tuple(_read(loss, term) for term in loss.terms)


def called(loss: LossReading, targets: Array) -> float | None:
    """Return the mean of one term's values for other targets, unweighted; None if it raises."""
    flow = _flow(loss, loss.terms[0], targets, {})
    return None if flow is None else float(np.mean(wide(flow.values)))


def is_function(term: Term) -> bool:
    """Whether a term's loss is a user's own function."""
    return isinstance(bare(term.loss), Elementwise | FromSums)


def _read(loss: LossReading, term: Term) -> LossReading:
    """Return one term's reading; without values where its stages are not Keras' kind."""
    own = replace(loss, terms=(term,), spelled=type(term.loss).__name__, reduction="")
    weights = {"sample_weight": loss.sample_weight}
    if loss.mask is not None:
        weights["mask"] = NamedArray(loss.mask, term.axes[: np.ndim(loss.mask)])
    shapes = {term.outputs[0]: np.shape(loss.outputs)}
    targets = fitted(Objective(term), shapes, loss.targets)
    flow = _flow(loss, term, targets, weights)
    seen = None if flow is None else _seen(flow, loss.sample_weight)
    if flow is None or seen is None:
        return own
    every = _flow(loss, term, targets, {})  # what has no weight is left out of the other's
    whole = None if every is None else _given(every)
    if whole is None and loss.mask is not None:
        return own
    source = "class_weight" if seen.by_class else loss.weight_source
    filled = replace(
        own,
        loss_weight=flow.loss_weight * (1.0 if loss.loss is None else loss.loss_weight),
        sample_weight=seen.weight,
        weight_source=source if seen.weight is not None else "",
        mask=seen.mask,
        values=seen.values if whole is None else whole,
        value=flow.value,
    )
    return replace(filled, reduction=_reduction(seen, flow.value))


def _flow(loss: LossReading, term: Term, targets: Array, weights: Mapping[str, Any]) -> Flow | None:
    """Run a term in float64, or a user's function on the backend's arrays; None if it raises."""
    outputs = {term.outputs[0]: _wide(loss.outputs)}
    goals = None if term.target is None else {term.target: _wide(targets)}
    given = {kind: None if w is None else {term.name: w} for kind, w in weights.items()}
    if is_function(term):
        outputs, goals, given = tensors(outputs), tensors(goals), tensors(given)
    try:
        return flow_of(plain(term), outputs, goals, given)
    except Exception as error:
        if isinstance(error, LossLedgerError) or is_function(term):
            return None
        raise


def _wide(array: Array) -> Array:
    found = np.asarray(array)
    return found if found.dtype.kind in "biu" else found.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the stage that removes the batch is given.

    Attributes:
        reduction: That stage.
        values: Batch first.
        weight: With the values' axes, of length 1 where a weight by sample has none of them.
        by_class: Whether class weights are in it.
        mask: For each value; None for none.
    """

    reduction: AbstractReduction
    values: Array
    weight: Array | None
    by_class: bool
    mask: Array | None


def _seen(flow: Flow, given: Array | None) -> _Seen | None:
    """Return what the last stage is given, where it removes the batch and all weights enter it."""
    stage = flow.last
    inner = [w for before in flow.inner for w in before.weights]
    if flow.pooled or flow.within is not None or inner or stage.before.axes[:1] != ("batch",):
        return None
    values = _given(flow)
    if values.shape != stage.before.shape or stage.after.axes:
        return None
    weight = _product(stage, mask=False)
    names = {w.name for w in stage.weights}
    narrow = given is not None and np.ndim(given) == 1 and "class_weight" not in names
    if weight is not None and narrow:
        weight = wide(given).reshape(-1, *(1,) * (values.ndim - 1))
    mask = _product(stage, mask=True)
    kept = None if mask is None else mask != 0
    return _Seen(stage.reduction, values, weight, "class_weight" in names, kept)


def _given(flow: Flow) -> Array:
    """Return what the last stage is given."""
    return wide(flow.inner[-1].cells if flow.inner else flow.values)


def _product(stage: Stage, mask: bool) -> Array | None:
    found = [wide(w.array) for w in stage.weights if w.is_mask == mask]
    return np.prod(found, axis=0) if found else None


def _reduction(seen: _Seen, value: float) -> str:
    """Return Keras' name for the stage, if it gives the term's number; else ""."""
    if isinstance(seen.reduction, Sum):
        name = "sum"
    elif isinstance(seen.reduction, Mean):
        name = _BY_DENOMINATOR.get(str(seen.reduction.denominator), "")
    else:
        return ""
    mask = np.ones(seen.values.shape) if seen.mask is None else wide(seen.mask)
    weight = np.ones((1,) * seen.values.ndim) if seen.weight is None else seen.weight
    below = {"sum": 1.0, MEANS[0]: float(mask.sum()), WEIGHTED_MEAN: float(weight.sum())}
    divisor = below.get(name, 0.0)
    above = float((seen.values * weight * mask).sum())
    return name if divisor and math.isclose(above / divisor, value, rel_tol=1e-6) else ""
