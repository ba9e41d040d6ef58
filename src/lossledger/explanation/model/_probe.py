# SPDX-License-Identifier: Apache-2.0
"""A model of Keras that records what Keras calls losses with, by public names alone.

Keras itself decides which targets, outputs and weights meet which loss. A second model is
compiled with the same losses, each inside a `Recorder`; its `compute_loss` then goes Keras'
own way, and the recorders see every call.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import keras

from lossledger._typing import Array, Tree
from lossledger.explanation.model._data import host
from lossledger.explanation.model._private import Private


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one loss, as Keras made it.

    Attributes:
        loss: The loss object.
        identifier: What was compiled: a string, a function, a loss object.
        targets: As Keras passed them.
        outputs: As Keras passed them.
        sample_weight: As Keras passed them, NumPy; None for none.
        value: What the loss gave.
    """

    loss: Any
    identifier: Any
    targets: Tree
    outputs: Tree
    sample_weight: Array
    value: Array


@dataclass
class Record:
    """The calls of one pass; or, with `unit` set, ones in the place of losses.

    Attributes:
        calls: In Keras' order.
        unit: Place of the only loss that is 1, all others being 0; None for real losses.
        asked: How many losses were asked since `unit` was set.
        open: The call that has not come back; its `value` is None.
    """

    calls: list[Call] = field(default_factory=list)
    unit: int | None = None
    asked: int = 0
    open: Call | None = None


class Recorder(keras.losses.Loss):  # type: ignore[misc] # Keras has no types
    """A loss that calls another and remembers the call."""

    def __init__(self, identifier: Any, record: Record, private: Private) -> None:
        """Wrap what was compiled: a string, a function, a loss object."""
        super().__init__(name="recorded", reduction="none")
        self.identifier = identifier
        self.record = record
        self.private = private

    def __call__(self, y_true: Tree, y_pred: Tree, sample_weight: Array = None) -> Array:
        """Return the loss's value."""
        record = self.record
        if record.unit is not None:
            record.asked += 1
            return keras.ops.convert_to_tensor(float(record.asked - 1 == record.unit))
        loss = loss_of(self.identifier, y_true, y_pred, self.private)
        # On PyTorch Keras multiplies a mask into the weights where they stand.
        weights = host(sample_weight)
        record.open = Call(loss, self.identifier, y_true, y_pred, weights, None)
        lent = None if weights is None else keras.ops.convert_to_tensor(weights.copy())
        value = loss(y_true, y_pred, lent)
        record.calls.append(replace(record.open, value=value))
        record.open = None
        return value


def loss_of(identifier: Any, targets: Tree, outputs: Tree, private: Private) -> Any:
    """Return the loss object that Keras calls for what was compiled."""
    found = private.resolved(identifier, targets, outputs)
    if found is not None:
        return found
    found = keras.losses.get(identifier)
    if isinstance(found, keras.losses.Loss):
        return found
    # Keras wraps functions in the class that its own losses of functions are made of.
    wrapper = keras.losses.MeanSquaredError.__base__
    named = identifier if isinstance(identifier, str) else getattr(found, "__name__", "function")
    return wrapper(found, name=named)


class Probe(keras.Model):  # type: ignore[misc] # the same
    """A model without layers that computes with recorders, and with another model's extras."""

    def __init__(self, model: Any, loss: Any, loss_weights: Any) -> None:
        """Compile with the losses given."""
        super().__init__(name="lossledger_probe")
        if hasattr(model, "output_names"):
            self.output_names = list(model.output_names)
        self.__dict__["extras_of"] = model
        self.compile(optimizer=None, loss=loss, loss_weights=loss_weights, jit_compile=False)

    @property
    def losses(self) -> list[Array]:
        """The extras of the model; none while loss weights are measured."""
        model = self.__dict__.get("extras_of")
        return [] if model is None else list(model.losses)


def probe_of(model: Any, record: Record, loss_weights: Any, private: Private) -> Probe:
    """Return a probe with the model's own losses, each inside a recorder."""

    def wrapped(identifier: Any) -> Any:
        return None if identifier is None else Recorder(identifier, record, private)

    loss = model.loss
    nested = keras.tree.is_nested(loss)
    return Probe(
        model, keras.tree.map_structure(wrapped, loss) if nested else wrapped(loss), loss_weights
    )


def factors(probe: Probe, record: Record, y: Tree, y_pred: Tree) -> tuple[float, ...]:
    """Measure each loss's factor in Keras' total: it alone is 1, and the others are 0."""
    found = []
    model, probe.__dict__["extras_of"] = probe.__dict__["extras_of"], None
    for i in range(len(record.calls)):
        record.unit, record.asked = i, 0
        total = probe.compute_loss(y=y, y_pred=y_pred)
        found.append(float(host(total)))
    record.unit = None
    probe.__dict__["extras_of"] = model
    return tuple(found)
