# SPDX-License-Identifier: Apache-2.0
"""Read a compiled Keras model on one batch: one forward pass, and Keras' own number of it.

Everything happens inside `keras.StatelessScope`: variables are read and never written. The
pass is that of the next training step: training=True, dropout drawn from the same state.
"""

import inspect
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lossledger._errors import DomainError, MatchError
from lossledger._typing import Array, Mapping, Tree
from lossledger.explanation._parts import Extra
from lossledger.explanation.model._data import Batch, batch_of, host
from lossledger.explanation.model._extras import extras_of
from lossledger.explanation.model._guard import unchanged
from lossledger.explanation.model._masks import mask_maker, mask_of, own_mask_of
from lossledger.explanation.model._private import Private
from lossledger.explanation.model._probe import Call, Record, factors, probe_of
from lossledger.explanation.model._reading import LossReading, Reading
from lossledger.explanation.model._refuse import refused
from lossledger.explanation.model._spelled import spelled


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
    batch = batch_of(x, y, sample_weight, class_weight)
    weights, undecided = _loss_weights(model, private)
    with ExitStack() as stack:
        stack.enter_context(unchanged(model))
        stack.enter_context(private.kept_losses(model))
        stack.enter_context(private.kept_seeds())
        held = [(v, v.value) for v in model.variables]
        stack.enter_context(keras.StatelessScope(held, collect_losses=True))
        passed = _pass(model, batch, weights, private)
        losses = tuple(_losses(model, batch, passed, private))
    return Reading(
        model=model,
        version=keras.__version__,
        backend=keras.backend.backend(),
        jit=bool(model.jit_compile),
        losses=losses,
        extras=passed.extras,
        number=passed.number,
        x=x,
        y=y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        compiled_loss=model.loss,
        compiled_weights=weights,
        private=private.readable(model),
        undecided=(*undecided, *passed.undecided, *_overridden(model)),
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


def _pass(model: Any, batch: Batch, loss_weights: Any, private: Private) -> _Pass:
    """Run the model once, and let Keras compute its total of what it gives."""
    training = {"training": True} if takes(model.call, "training") else {}
    y_pred = model(batch.x, **training)
    record = Record()
    number = 0.0
    weights: tuple[float, ...] = ()
    try:
        if model.loss is None:
            number = _number(_total(model, batch, y_pred))
        else:
            probe = probe_of(model, record, loss_weights, private)
            with private.lent(model, probe) as lent:
                overridden = type(model).compute_loss is not keras.Model.compute_loss
                source = model if lent or overridden else probe
                number = _number(_total(source, batch, y_pred))
            if not lent and overridden:
                _total(probe, batch, y_pred)
            weights = factors(probe, record, batch.y, y_pred)
    except (DomainError, MatchError):
        raise
    except Exception as error:
        raise refused(error, batch.y, y_pred, record) from error
    extras, undecided = extras_of(model, private)
    return _Pass(y_pred, number, tuple(record.calls), weights, extras, undecided)


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


def _number(total: Array) -> float:
    """Return Keras' total.

    Raises:
        DomainError: If it is no single number.
    """
    found = host(total)
    if found is None or found.shape != ():
        shape = "None" if found is None else f"an array of shape {found.shape}"
        raise DomainError(
            "What a model minimizes must be one number",
            f"Found {shape}",
            "A loss has reduction=None or 'none': JAX and PyTorch raise in fit, TensorFlow "
            "minimizes the sum and reports the mean",
            "Give the loss a reduction, such as 'sum_over_batch_size'",
        )
    return float(found)


def _losses(model: Any, batch: Batch, passed: _Pass, private: Private) -> list[LossReading]:
    """Return each call of a loss with what can be read of it."""
    _check_one_each(model, passed.calls)
    names = _output_names(model, passed.y_pred)
    maker = mask_maker(model, private)
    found = []
    for call, weight in zip(passed.calls, passed.weights, strict=True):
        mask = None if keras.tree.is_nested(call.outputs) else mask_of(call.outputs, private)
        values, own_mask = _values(call, private)
        found.append(
            LossReading(
                output=names.get(id(call.outputs), "output"),
                loss=call.loss,
                spelled=spelled(call.identifier, call.loss),
                loss_weight=float(str(np.float32(weight))),
                outputs=_hosted(call.outputs),
                targets=_hosted(call.targets),
                sample_weight=call.sample_weight,
                weight_source=batch.source if call.sample_weight is not None else "",
                mask=host(mask),
                mask_source=maker if mask is not None else "",
                values=host(values),
                own_mask=host(own_mask),
                value=_number(call.value),
            )
        )
    return found


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


def _hosted(tree: Tree) -> Any:
    """Return one array, or the nested structure that a loss was called with."""
    return keras.tree.map_structure(host, tree) if keras.tree.is_nested(tree) else host(tree)


def _output_names(model: Any, y_pred: Tree) -> dict[int, str]:
    """Return the name of every output, by the identity of its tensor."""
    leaves = keras.tree.flatten_with_path(y_pred)
    known = list(getattr(model, "output_names", None) or ())
    if not keras.tree.is_nested(y_pred) and known:
        return {id(y_pred): str(known[0])}
    found = {}
    for i, (path, leaf) in enumerate(leaves):
        spelled_path = "/".join(str(p) for p in path)
        named = isinstance(y_pred, dict) or len(known) != len(leaves)
        name = spelled_path if named else str(known[i])
        found[id(leaf)] = name if not name.isdigit() else f"output_{name}"
    return {k: v or "output" for k, v in found.items()}


def _values(call: Call, private: Private) -> tuple[Array, Array]:
    """Return (what is left after the loss's own reduction, the mask it sets); None if unknown."""
    loss = call.loss
    if type(loss).__call__ is not keras.losses.Loss.__call__:
        return None, None

    def cast(leaf: Array) -> Array:
        return keras.ops.convert_to_tensor(leaf, dtype=loss.dtype)

    targets = keras.tree.map_structure(cast, call.targets)
    values = loss.call(targets, keras.tree.map_structure(cast, call.outputs))
    return values, own_mask_of(loss, values, targets, private)


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
