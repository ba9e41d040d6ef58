# SPDX-License-Identifier: Apache-2.0
"""Which layers lie between the source of a mask and an output: for functional models."""

from dataclasses import dataclass
from typing import Any

import keras

from lossledger._typing import Mapping, Sequence
from lossledger.keras._private import inputs_of, made_by

RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed)


@dataclass(frozen=True)
class Way:
    """How a mask could come from a layer to an output.

    Attributes:
        source: The layer that makes the mask.
        layers: Those behind it, each once.
        recurrent: Whether one of them is recurrent, or a wrapper over time.
    """

    source: Any
    layers: tuple[Any, ...]
    recurrent: bool


def ways(model: Any, output: str) -> tuple[Way, ...] | None:
    """Return the ways from each source of a mask to an output.

    Ways from one source are one, unless one of them meets recurrent layers and another does not.

    Args:
        model: A Keras model.
        output: Name of one of its outputs.

    Returns:
        None where the model has no graph of layers that can be read: a subclass with a `call`
        of its own.
    """
    tensor = _tensor(model, output)
    if tensor is None:
        return None
    if not any(makes_mask(layer) for layer in flat(model)):
        return ()
    return tuple(_ways(tensor, {}).values())


def last_activation(model: Any, output: str) -> str:
    """Return the name of an output's activation; "" where it cannot be read or there is none."""
    tensor = _tensor(model, output)
    made = None if tensor is None else made_by(tensor)
    layer = None if made is None else made[0]
    while isinstance(layer, keras.Model):
        inner = flat(layer)
        layer = inner[-1] if inner else None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def _tensor(model: Any, output: str) -> Any:
    """Return the symbolic tensor of an output; None where there is no graph of layers."""
    tensors = getattr(model, "outputs", None) or []
    names = list(getattr(model, "output_names", None) or ())
    if len(tensors) != 1 and (output not in names or len(names) != len(tensors)):
        return None
    tensor = tensors[0] if len(tensors) == 1 else tensors[names.index(output)]
    return None if made_by(tensor) is None else tensor


def makes_mask(layer: Any) -> bool:
    """Whether a layer makes a mask of its inputs, rather than passing one on."""
    if isinstance(layer, keras.layers.Masking):
        return True
    return isinstance(layer, keras.layers.Embedding) and bool(getattr(layer, "mask_zero", False))


def drops_mask(layer: Any) -> bool:
    """Whether Keras takes the mask off what the layer gives, unless it gives its own input."""
    return not getattr(layer, "supports_masking", True)


def recurrent(layer: Any) -> bool:
    """Whether it is a recurrent layer, or a wrapper of layers over time."""
    return isinstance(layer, RECURRENT)


def named(layers: Sequence[Any]) -> str:
    """Return names and types of layers."""
    return ", ".join(f"`{layer.name}` ({type(layer).__name__})" for layer in layers)


def flat(model: Any) -> tuple[Any, ...]:
    """Return the layers of a model, those of models inside it included, in order."""
    found: list[Any] = []
    for layer in model.layers:
        found += flat(layer) if isinstance(layer, keras.Model) else [layer]
    return tuple(found)


def _ways(tensor: Any, known: dict[int, dict[Any, Way]]) -> dict[Any, Way]:
    """Return the ways that end in a tensor, by source and by whether they are recurrent."""
    if id(tensor) in known:
        return known[id(tensor)]
    made = made_by(tensor)
    if made is None:
        return {}
    operation, call = made
    found: dict[Any, Way] = {}
    for before in inputs_of(operation, call):
        for way in _ways(before, known).values():
            _join(found, way)
    inner = flat(operation) if isinstance(operation, keras.Model) else (operation,)
    for layer in inner:
        found = _through(found, layer)
        if makes_mask(layer):
            _join(found, Way(layer, (), False))
    known[id(tensor)] = found
    return found


def _through(found: Mapping[Any, Way], layer: Any) -> dict[Any, Way]:
    """Return the ways, one layer further."""
    after: dict[Any, Way] = {}
    for way in found.values():
        _join(after, Way(way.source, (*way.layers, layer), way.recurrent or recurrent(layer)))
    return after


def _join(found: dict[Any, Way], way: Way) -> None:
    """Add a way; those of one source and kind become one."""
    key = (id(way.source), way.recurrent)
    before = found[key].layers if key in found else ()
    more = tuple(x for x in way.layers if all(x is not y for y in before))
    found[key] = Way(way.source, (*before, *more), way.recurrent)
