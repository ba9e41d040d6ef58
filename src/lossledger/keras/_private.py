# SPDX-License-Identifier: Apache-2.0
"""The one place that reads what Keras keeps private; each reader says what it falls back to.

Checked against Keras 3.12 to 3.15. Where a later release has moved something, a reader returns
None (or does nothing), and its caller takes the public way or says what it cannot see.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import keras

from lossledger._typing import Array


class CompiledLoss(NamedTuple):
    """One loss as Keras evaluates it.

    Attributes:
        path: Keys and places that lead to its output in the model's structure of outputs.
        loss: The loss object, or the wrapper around a function.
        loss_weight: Its factor; None for 1.
        name: Name of its output in the logs.
    """

    path: tuple[Any, ...]
    loss: Any
    loss_weight: Any
    name: str


def mask_of(output: Any) -> Array | None:
    """Return the mask that layers left on an output; None if there is none, or none is known.

    Keras 3.4 and later keep it in `_keras_mask`; no public function reads it.
    """
    try:
        read = import_module("keras.src.backend").get_keras_mask
    except (ImportError, AttributeError):
        return getattr(output, "_keras_mask", None)
    return read(output)


def compiled_losses(model: Any) -> tuple[CompiledLoss, ...] | None:
    """Return the losses of a compiled model in Keras' order; None before its first batch.

    The tuples of four parts are of Keras 3.7 and later.
    """
    flat = getattr(getattr(model, "_compile_loss", None), "_flat_losses", None)
    if not flat or any(len(each) != len(CompiledLoss._fields) for each in flat):
        return None
    return tuple(CompiledLoss(*each) for each in flat)


def user_loss(model: Any) -> Any:
    """Return `loss` as `compile` was given it: an object, a string, a list or a dict."""
    return getattr(getattr(model, "_compile_loss", None), "_user_loss", model.loss)


def user_loss_weights(model: Any) -> Any:
    """Return `loss_weights` as `compile` was given them; None if there are none.

    Falls back to the compile configuration, in which they are written as plain numbers.
    """
    known: Any = getattr(model, "_compile_loss", None)
    if hasattr(known, "_user_loss_weights"):
        return known._user_loss_weights  # noqa: SLF001 - what this module is for
    config = model.get_compile_config() if getattr(model, "compiled", False) else None
    return (config or {}).get("loss_weights")


def mark_loss_built(model: Any, *, built: bool) -> None:
    """Tell Keras whether the loss needs a symbolic batch before the next fit or evaluate.

    Without it Keras traces the model once more at every call, with the same result.
    """
    known: Any = getattr(model, "_compile_loss", None)
    if hasattr(known, "built"):
        known.built = built


def in_symbolic_scope() -> bool:
    """Whether Keras only works out shapes now: variables may be made, numbers mean nothing.

    Where it cannot be asked, the answer is no.
    """
    try:
        ask = import_module("keras.src.backend.common.symbolic_scope").in_symbolic_scope
    except (ImportError, AttributeError):
        return False
    return bool(ask())


def uncompiled(function: Any) -> Any:
    """Return a function that `torch.compile` leaves alone: objectives run eagerly in its steps.

    A compiled step cannot pass a ledger on, which is no tensor.
    """
    if keras.backend.backend() != "torch":
        return function
    return import_module("torch").compiler.disable(function)


def outside_graph() -> AbstractContextManager[Any]:
    """Return a scope in which variables are made at once, also while TensorFlow traces a step."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    found: AbstractContextManager[Any] = import_module("tensorflow").init_scope()
    return found


def replicas() -> int:
    """Return over how many replicas TensorFlow's strategy splits a batch; 1 elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return 1
    tensorflow = import_module("tensorflow")
    return int(tensorflow.distribute.get_strategy().num_replicas_in_sync)


def attach_metric(model: Any, name: str, metric: Any) -> None:
    """Make a metric an attribute of a model, in the place of the one that was there.

    Keras tracks it, also on models that are locked because they were built.
    """
    tracker: Any = getattr(model, "_tracker", None)
    before = vars(model).get(name)
    if tracker is None:
        setattr(model, name, metric)
        return
    locked = tracker.locked
    tracker.unlock()
    try:
        if before is not None:
            tracker.untrack(before)
        setattr(model, name, metric)
    finally:
        tracker.locked = locked


def put_mask(output: Any, mask: Array) -> None:
    """Leave a mask on an output, as layers do."""
    try:
        write = import_module("keras.src.backend").set_keras_mask
    except (ImportError, AttributeError):
        output._keras_mask = mask  # noqa: SLF001 - what this module is for
        return
    write(output, mask)


TRIED = ((3, 3), (3, 17))
"""Versions of Keras in which explaining a model was tried: from the first to below the second."""


def is_tried(version: str) -> bool:
    """Return whether private names were read in a version of Keras."""
    found = tuple(int(n) for n in version.split(".")[:2])
    return TRIED[0] <= found < TRIED[1]


def has_known_loss(model: Any) -> bool:
    """Return whether the compiled loss is where it was, or there is none."""
    compiled = vars(model).get("_compile_loss")
    return compiled is None or hasattr(compiled, "_user_loss_weights")


@contextmanager
def lent_loss(model: Any, other: Any) -> Iterator[bool]:
    """Let the model compute with another model's compiled loss; tell whether it does."""
    if "_compile_loss" not in vars(model):
        yield False
        return
    own = vars(model)["_compile_loss"]
    vars(model)["_compile_loss"] = vars(other)["_compile_loss"] if own is not None else None
    try:
        yield True
    finally:
        vars(model)["_compile_loss"] = own


def function_options(loss: Any) -> dict[str, Any] | None:
    """Return the options that a loss passes to its function; None if they are not found."""
    found = getattr(loss, "_fn_kwargs", None)
    return dict(found) if isinstance(found, dict) else None


def resolved_loss(identifier: Any, targets: Array, outputs: Array) -> Any:
    """Return the loss object that Keras makes of what was compiled; None if unknown."""
    try:
        resolve = import_module("keras.src.trainers.compile_utils").get_loss
    except (ImportError, AttributeError):
        return None
    return resolve(identifier, targets, outputs)


def flat_layers(model: Any) -> list[Any] | None:
    """Return the model and every layer inside, in Keras' order; None if not found."""
    flatten = getattr(model, "_flatten_layers", None)
    return None if flatten is None else list(flatten())


def own_losses(layer: Any) -> list[Array] | None:
    """Return what a layer itself added in this scope; None if not found."""
    own = getattr(layer, "_get_own_losses", None)
    return None if own is None else list(own())


@contextmanager
def kept_losses(layers: Sequence[Any]) -> Iterator[None]:
    """Leave what the layers added in their last call as it was."""
    held = [
        (kept, list(kept) if isinstance(kept, list) else set(kept))
        for layer in layers
        for name in ("_losses", "_loss_ids")
        if isinstance(kept := vars(layer).get(name), list | set)
    ]
    try:
        yield
    finally:
        for kept, before in held:
            kept.clear()
            if isinstance(kept, list):
                kept.extend(before)
            else:
                kept.update(before)


@contextmanager
def kept_seeds() -> Iterator[None]:
    """Leave Keras' global seed generator away where it was not made yet."""
    name = "global_seed_generator"
    try:
        state = import_module("keras.src.backend.common.global_state")
        read, write = state.get_global_attribute, state.set_global_attribute
    except (ImportError, AttributeError):
        yield
        return
    before = read(name)
    try:
        yield
    finally:
        if before is None:
            write(name, None)


def user_metrics(model: Any) -> tuple[Any, Any]:
    """Return (`metrics`, `weighted_metrics`) as `compile` was given them; None for none."""
    compiled = getattr(model, "_compile_metrics", None)
    plain = getattr(compiled, "_user_metrics", None)
    return plain, getattr(compiled, "_user_weighted_metrics", None)


def given_rate(optimizer: Any) -> Any:
    """Return the learning rate as an optimizer has it: a schedule or a variable; None if unknown.

    The public `learning_rate` is a schedule's number.
    """
    return getattr(optimizer, "_learning_rate", None)


def made_by(tensor: Any) -> tuple[Any, int] | None:
    """Return (the operation that made a symbolic tensor, which of its calls did); None if unknown.

    No public name leads from a tensor to its layer.
    """
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else (history[0], history[1])


def inputs_of(operation: Any, call: int) -> list[Any]:
    """Return the symbolic tensors that one call of an operation took; none if not found."""
    nodes = getattr(operation, "_inbound_nodes", [])
    return list(getattr(nodes[call], "input_tensors", [])) if nodes else []
