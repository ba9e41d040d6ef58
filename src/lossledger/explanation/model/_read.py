# SPDX-License-Identifier: Apache-2.0
"""Read a compiled Keras model on one batch: one forward pass, and Keras' own number of it.

Everything happens inside `keras.StatelessScope`: variables are read and never written. The
pass is that of the next training step: training=True, dropout drawn from the same state.
"""

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any

import keras

from lossledger._errors import DomainError, MatchError, ShapeError
from lossledger._typing import Array, Mapping, Tree
from lossledger.explanation._parts import Extra
from lossledger.explanation.model._calls import Told, number_of, readings
from lossledger.explanation.model._data import Batch, batch_of
from lossledger.explanation.model._extras import extras_of
from lossledger.explanation.model._guard import apart
from lossledger.explanation.model._private import Private
from lossledger.explanation.model._probe import Call, Record, factors, probe_of
from lossledger.explanation.model._reading import Reading
from lossledger.explanation.model._refuse import (
    OF_CLASS_WEIGHTS,
    OF_NUMBERS,
    is_of_keras,
    refused,
    with_trap,
)


def read(
    model: Any,
    x: Tree,
    y: Tree,
    sample_weight: Tree,
    class_weight: Mapping[int, float] | None,
    private: Private,
) -> Reading:
    """Return what there is to know of a compiled model and a batch.

    Raises:
        MatchError: If the model is not compiled or not built, or data do not fit.
        DomainError: If a loss gives no number.
    """
    check(model)
    weights, undecided = _loss_weights(model, private)
    settings = settings_of(model, x, y, sample_weight, class_weight, private)
    known = replace(settings, compiled_weights=weights)
    try:
        batch = batch_of(x, y, sample_weight, class_weight)
    except (ShapeError, DomainError) as error:
        raise with_trap(error, known, *OF_CLASS_WEIGHTS) from None
    with apart(model, private):
        passed = _pass(known, batch, private)
        _check_one_each(model, passed.calls)
        losses = readings(passed.calls, passed.weights, _told(known, batch, passed.y_pred), private)
    return replace(
        known,
        losses=losses,
        extras=passed.extras,
        number=passed.number,
        undecided=(*undecided, *passed.undecided, *_overridden(model)),
    )


def settings_of(
    model: Any,
    x: Tree,
    y: Tree,
    sample_weight: Tree,
    class_weight: Mapping[int, float] | None,
    private: Private,
) -> Reading:
    """Return what is known of a model and a batch before the model runs: no loss, no number."""
    return Reading(
        model=model,
        version=keras.__version__,
        backend=keras.backend.backend(),
        jit=bool(model.jit_compile),
        losses=(),
        extras=(),
        number=math.nan,
        x=x,
        y=y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        compiled_loss=model.loss,
        compiled_weights=None,
        private=private.readable(model),
    )


@dataclass(frozen=True, eq=False)
class _Pass:
    """One forward pass, and what Keras made of it.

    Attributes:
        y_pred: What the model gave.
        number: What Keras minimizes.
        calls: Of losses, in order.
        weights: Each one's factor, as measured.
        extras: Regularizers and added losses.
        undecided: What could not be found out.
    """

    y_pred: Tree
    number: float
    calls: tuple[Call, ...]
    weights: tuple[float, ...]
    extras: tuple[Extra, ...]
    undecided: tuple[str, ...]


def check(model: Any) -> None:
    """Require a model that is compiled and has its variables.

    Raises:
        MatchError: If it is not.
    """
    if not getattr(model, "compiled", False):
        raise MatchError(
            "A model must be compiled before its loss is explained",
            f"Found `{model.name}` without a call of compile",
            "The loss and its weights are given to compile",
            "Call model.compile(optimizer, loss=...), then ll.explain(model, x, y)",
        )
    if not model.built:
        raise MatchError(
            "A model must have its variables before its loss is explained",
            f"Found `{model.name}` not built",
            "A model without an Input makes its variables at its first call, from random numbers, "
            "and explaining changes nothing",
            "Call model(x[:1]) once, or model.build(shape)",
        )


def _loss_weights(model: Any, private: Private) -> tuple[Any, tuple[str, ...]]:
    """Return (loss weights as compiled, what could not be read)."""
    found, weights = private.loss_weights(model)
    if found:
        return weights, ()
    try:
        return model.get_compile_config().get("loss_weights"), ()
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        told = f"Loss weights, because the compile config cannot be written: {error}"
        return None, (told,)


def _pass(known: Reading, batch: Batch, private: Private) -> _Pass:
    """Run the model once, and let Keras compute its total of what it gives."""
    model = known.model
    training = {"training": True} if takes(model.call, "training") else {}
    y_pred = model(batch.x, **training)
    record = Record()
    weights: tuple[float, ...] = ()
    try:
        if model.loss is None:
            total = _total(model, batch, y_pred)
        else:
            probe = probe_of(model, record, known.compiled_weights, private)
            with private.lent(model, probe) as lent:
                overridden = type(model).compute_loss is not keras.Model.compute_loss
                source = model if lent or overridden else probe
                total = _total(source, batch, y_pred)
            if not lent and overridden:
                _total(probe, batch, y_pred)
            weights = factors(probe, record, batch.y, y_pred)
    except Exception as error:
        if not is_of_keras(error):
            raise
        failed = _failed(known, record, _told(known, batch, y_pred), private)
        raise refused(error, failed, batch.y, y_pred, record) from error
    try:
        number = number_of(total)
    except DomainError as error:
        failed = _failed(known, record, _told(known, batch, y_pred), private)
        raise with_trap(error, failed, *OF_NUMBERS) from None
    extras, undecided = extras_of(model, private)
    return _Pass(y_pred, number, tuple(record.calls), weights, extras, undecided)


def _told(known: Reading, batch: Batch, y_pred: Tree) -> Told:
    """Return what every call of a loss is read with."""
    return Told(known.model, y_pred, batch.source)


def _failed(known: Reading, record: Record, told: Told, private: Private) -> Reading:
    """Return a reading without numbers of the loss that failed, or of all that were called."""
    calls = tuple(record.calls) if record.open is None else (record.open,)
    try:
        losses = readings(calls, None, told, private)
    except Exception:  # noqa: BLE001 - a loss that failed may fail again, in any way
        losses = ()
    return replace(known, losses=losses)


def _check_one_each(model: Any, calls: tuple[Call, ...]) -> None:
    """Require one output for each of several losses: on TensorFlow Keras may hand over all."""
    if keras.tree.is_nested(model.loss) and any(keras.tree.is_nested(c.outputs) for c in calls):
        count = len(keras.tree.flatten(model.loss))
        raise MatchError(
            "Each of several losses must have an output of its own",
            f"Found {count} losses, and all outputs handed to each",
            "There are more losses than outputs; fit raises here",
            "Compile loss= in the structure of the outputs",
        )


def takes(function: Any, name: str) -> bool:
    """Whether a function takes an argument of this name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _total(source: Any, batch: Batch, y_pred: Tree) -> Array:
    """Call Keras' public `compute_loss`, as a training step does."""
    training = {"training": True} if takes(source.compute_loss, "training") else {}
    return source.compute_loss(
        x=batch.x, y=batch.y, y_pred=y_pred, sample_weight=batch.sample_weight, **training
    )


def _overridden(model: Any) -> tuple[str, ...]:
    """Say which steps the model's own class takes another way."""
    told = []
    if type(model).compute_loss is not keras.Model.compute_loss:
        told.append(
            f"What `{type(model).__name__}.compute_loss` does: the class writes its own. Keras' "
            "number is its number; the losses below are those that were compiled."
        )
    own = type(model).train_step
    if not own.__module__.startswith("keras."):
        told.append(
            f"What `{type(model).__name__}.train_step` minimizes: the class writes its own. Shown "
            "is what compute_loss gives."
        )
    return tuple(told)
