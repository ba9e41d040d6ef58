# SPDX-License-Identifier: Apache-2.0
"""A callable that nothing is known of: its number and its gradient, on data of one's choosing."""

import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array, Callable
from lossledger.explanation.criterion._call import Answer, answered, dtype_of
from lossledger.explanation.criterion._host import Data, framework_of, host, into
from lossledger.explanation.criterion._keras import caller, is_keras
from lossledger.explanation.criterion._untouched import untouched
from lossledger.losses import AbstractLoss, AbstractOverlapLoss
from lossledger.presets.migration import REFUSALS
from lossledger.term import Term

NARROW = ("float16", "bfloat16")
"""Dtypes too coarse to tell a mean from a weighted mean."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A criterion as a black box.

    Attributes:
        thing: The criterion.
        name: What to call it.
        home: Framework of the arrays that it is called with.
        call: (*outputs, targets, sample_weight, mask) -> what it returns.
    """

    thing: Any
    name: str
    home: str
    call: Callable[..., Any]

    def answer(self, data: Data) -> Answer:
        """Return its number or array on arrays of the framework."""
        own = data.map(lambda a: into(self.home, a))
        return answered(self.thing, lambda: self.call(*_parts(own)), self.name, data)

    def slopes(self, data: Data) -> tuple[Array, ...] | None:
        """Return its gradient (of its sum) for every output; None where there is none."""
        reader = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow}.get(self.home)
        if reader is None:
            return None
        own = data.map(lambda a: into(self.home, a))
        with untouched(self.thing), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = reader(self.call, own)
            except (RuntimeError, *REFUSALS):  # it can be computed, and not be differentiated
                return None
        return None if found is None else tuple(host(s) for s in found)


def tried(probe: Probe, data: Data) -> Answer | None:
    """Return the answer on data that no user passed; None if the criterion refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return probe.answer(data)
        except LossLedgerError:
            return None


def summed(probe: Probe) -> Probe:
    """Return a criterion that gives an array as one that gives its sum."""

    def call(*parts: Any) -> Any:
        found = probe.call(*parts)
        if probe.home == "tensorflow":
            return sys.modules["tensorflow"].reduce_sum(found)
        return found.sum()

    return replace(probe, call=call)


def probe_of(thing: Any, data: Data) -> Probe:
    """Return a criterion as a black box.

    Raises:
        MatchError: If it cannot be called, or weights are given.
    """
    name = getattr(thing, "__name__", type(thing).__name__)
    if isinstance(thing, AbstractLoss | AbstractOverlapLoss | Term):
        raise MatchError(
            "A loss or a term of lossledger is explained in its objective",
            f"Found {type(thing).__name__}",
            "Alone it has no reduction, or no outputs",
            "Pass ll.Objective(ll.Term('outputs', loss, axes=...))",
        )
    if isinstance(thing, str):
        raise MatchError(
            "What is explained is a loss, not its name: libraries give one name to several losses",
            f"Found {thing!r}",
            "Keras takes such strings in compile(), and looks them up itself",
            f"Pass keras.losses.get({thing!r}), or the loss of the library that you mean",
        )
    if not callable(thing):
        raise MatchError(
            "What is explained must be a criterion: callable with outputs and targets",
            f"Found {type(thing).__name__}",
            "A module's output, a name or a number was passed",
            "Pass the loss function itself",
        )
    given = [n for n in ("sample_weight", "mask") if getattr(data, n) is not None]
    if given and not is_keras(thing):
        raise MatchError(
            "A criterion that is not recognized takes outputs and targets alone",
            f"Found {' and '.join(given)}",
            "Nothing says how it would be passed on",
            "Bind it: functools.partial(criterion, sample_weight=...)",
        )
    home = framework_of(data.outputs[0])
    if home == "numpy" and hasattr(thing, "parameters"):
        home = "torch"
    call = caller(thing) if is_keras(thing) else _caller(thing)
    return Probe(thing, str(name), home, call)


def _caller(thing: Any) -> Callable[..., Any]:
    def call(outputs: tuple[Array, ...], targets: Array, *_: Any) -> Any:
        return thing(*outputs) if targets is None else thing(*outputs, targets)

    return call


def _parts(data: Data) -> tuple[Any, ...]:
    return data.outputs, data.targets, data.sample_weight, data.mask


def _torch(call: Callable[..., Any], data: Data) -> tuple[Array, ...] | None:
    torch = sys.modules["torch"]
    with torch.enable_grad():
        leaves = tuple(o.requires_grad_() if o.is_floating_point() else o for o in data.outputs)
        value = call(*_parts(replace(data, outputs=leaves)))
        floats = [o for o in leaves if o.requires_grad]
        if not floats or not getattr(value, "requires_grad", False):
            return None
        found: tuple[Array, ...] = torch.autograd.grad(
            value.sum(), floats, allow_unused=True, materialize_grads=True
        )
    return found if len(floats) == len(leaves) else None


def _jax(call: Callable[..., Any], data: Data) -> tuple[Array, ...] | None:
    jax = sys.modules["jax"]
    if not all(jax.numpy.issubdtype(o.dtype, jax.numpy.floating) for o in data.outputs):
        return None

    def total(leaves: tuple[Array, ...]) -> Array:
        return jax.numpy.sum(call(*_parts(replace(data, outputs=leaves))))

    found: tuple[Array, ...] = jax.grad(total)(data.outputs)
    return found


def _tensorflow(call: Callable[..., Any], data: Data) -> tuple[Array, ...] | None:
    tf = sys.modules["tensorflow"]
    with tf.GradientTape() as tape:
        tape.watch(data.outputs)
        value = tf.reduce_sum(call(*_parts(data)))
    found = tape.gradient(value, data.outputs, unconnected_gradients="zero")
    return tuple(found)


def taken(data: Data, at: Array, axis: int = 0, matched: int | None = 0) -> Data:
    """Return data with the places `at` along an axis of the outputs and of the targets."""

    def chosen(array: Array, place: int | None) -> Array:
        return array if array is None or place is None else np.take(array, at, axis=place)

    return Data(
        tuple(chosen(o, axis) for o in data.outputs),
        chosen(data.targets, matched),
        chosen(data.sample_weight, 0 if axis == 0 else None),
        chosen(data.mask, 0 if axis == 0 else None),
    )


def in_numpy(data: Data) -> Data:
    """Return data as NumPy arrays in their own dtypes, to be rearranged; halves as float32.

    In half precision, numbers are too coarse to tell a mean from a weighted mean.
    """
    return data.map(lambda a: _wide(into("numpy", a)))


def is_narrow(data: Data) -> bool:
    """Whether an array is of half precision."""
    arrays = (*data.outputs, data.targets, data.sample_weight)
    return any(dtype_of(a) in NARROW for a in arrays if a is not None)


def widened(data: Data) -> Data:
    """Return data in its own framework, halves as float32."""
    if not is_narrow(data):
        return data
    home = framework_of(data.outputs[0])
    return in_numpy(data).map(lambda a: into(home, a))


def _wide(array: Array) -> Array:
    return array.astype(np.float32) if dtype_of(array) in NARROW else array
