# SPDX-License-Identifier: Apache-2.0
"""How one loss's data is laid out for another: class axis, form of the targets, logits."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lossledger._typing import Array, Callable, Sequence
from lossledger.explanation.criterion._host import Data

ONE_HOT, LABELS = "one-hot targets", "labels for one-hot targets"
"""Forms of the same classes that a loss may divide otherwise: not tried on one that takes both."""

Pull = Callable[[Array, Array], Array]
"""(gradient for what was made, what it was made of) -> gradient for the latter."""


@dataclass(frozen=True)
class Move:
    """One change of the outputs, with the way back for gradients.

    Attributes:
        name: In words; "" for none.
        apply: NumPy array -> NumPy array.
        pull: For gradients.
    """

    name: str
    apply: Callable[[Array], Array]
    pull: Pull


@dataclass(frozen=True)
class Layout:
    """What is done to the data before the second loss gets it.

    Attributes:
        name: In words; "" if nothing.
        place: Where the class axis goes.
        domain: What outputs become.
        targets: What targets become: (targets, outputs as placed) -> targets, or None if they
            cannot.
        form: The same in words; "" if nothing.
    """

    name: str
    place: Move
    domain: Move
    targets: Callable[[Array, Array], Array | None]
    form: str = ""

    @property
    def outputs(self) -> tuple[str, str]:
        """What is done to the outputs, in words."""
        return self.place.name, self.domain.name

    def apply(self, data: Data) -> Data | None:
        """Return the data laid out; None if it cannot be."""
        placed = tuple(self.place.apply(o) for o in data.outputs)
        goal = data.targets
        if goal is not None and goal.shape == data.outputs[0].shape:
            goal = self.place.apply(goal)
        goal = None if goal is None else self.targets(goal, placed[0])
        if goal is None and data.targets is not None:
            return None
        with np.errstate(all="ignore"):
            outputs = tuple(self.domain.apply(o) for o in placed)
        if not all(np.isfinite(o).all() for o in outputs):
            return None
        return Data(outputs, goal, data.sample_weight, data.mask)

    def back(self, slopes: Sequence[Array], data: Data) -> tuple[Array, ...]:
        """Return gradients for the outputs as they were before."""
        found = []
        for slope, output in zip(slopes, data.outputs, strict=True):
            placed = self.place.apply(output)
            found.append(self.place.pull(self.domain.pull(slope, placed), output))
        return tuple(found)


def _same(name: str = "") -> Move:
    return Move(name, lambda x: x, lambda g, _: g)


def _moved(name: str, source: int, goal: int) -> Move:
    return Move(
        name,
        lambda x: np.moveaxis(x, source, goal),
        lambda g, _: np.moveaxis(g, goal, source),
    )


def _softmax(x: Array, axis: int) -> Array:
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


def _domains(axis: int) -> tuple[Move, ...]:
    """Return what outputs may become, the class axis at `axis`."""
    return (
        _same(),
        Move(
            "softmax(outputs)",
            lambda x: _softmax(x, axis),
            lambda g, x: _softmax(x, axis) * (g - (g * _softmax(x, axis)).sum(axis, keepdims=True)),
        ),
        Move(
            "sigmoid(outputs)",
            lambda x: 1 / (1 + np.exp(-x)),
            lambda g, x: g * np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2,
        ),
        Move(
            "log_softmax(outputs)",
            lambda x: (
                x
                - x.max(axis, keepdims=True)
                - np.log(np.exp(x - x.max(axis, keepdims=True)).sum(axis, keepdims=True))
            ),
            lambda g, x: g - _softmax(x, axis) * g.sum(axis, keepdims=True),
        ),
        Move("log(outputs)", np.log, lambda g, x: g / x),
        Move("logit(outputs)", lambda x: np.log(x / (1 - x)), lambda g, x: g / (x * (1 - x))),
    )


def _forms(axis: int) -> tuple[tuple[str, Callable[[Array, Array], Array | None]], ...]:
    """Return what targets may become, the class axis at `axis`."""
    return (
        ("", lambda t, _: t),
        (ONE_HOT, lambda t, o: _one_hot(t, o, axis)),
        (LABELS, lambda t, o: _labels(t, o, axis)),
        ("labels without their axis of length 1", lambda t, o: _squeezed(t, o, axis)),
        ("labels with a class axis of length 1", lambda t, o: _expanded(t, o, axis)),
        ("targets −1 and 1", lambda t, _: 2.0 * t - 1 if set(np.unique(t)) <= {0, 1} else None),
        ("targets 0 and 1", lambda t, _: (t + 1) / 2.0 if set(np.unique(t)) <= {-1, 1} else None),
    )


def _one_hot(targets: Array, outputs: Array, axis: int) -> Array | None:
    classes = outputs.shape[axis]
    shape = tuple(np.delete(outputs.shape, axis))
    integer = targets.dtype.kind in "iu" and targets.shape == shape
    if not integer or targets.min() < 0 or targets.max() >= classes:
        return None
    return np.moveaxis(np.eye(classes)[targets], -1, axis)


def _labels(targets: Array, outputs: Array, axis: int) -> Array | None:
    hot = targets.shape == outputs.shape and set(np.unique(targets)) <= {0, 1}
    if not hot or not (targets.sum(axis) == 1).all():
        return None
    return targets.argmax(axis)


def _squeezed(targets: Array, outputs: Array, axis: int) -> Array | None:
    fits = targets.ndim == outputs.ndim and targets.shape[axis] == 1 < outputs.shape[axis]
    return targets.squeeze(axis) if fits else None


def _expanded(targets: Array, outputs: Array, axis: int) -> Array | None:
    return np.expand_dims(targets, axis) if targets.ndim == outputs.ndim - 1 else None


def layouts(data: Data) -> Iterator[Layout]:
    """Yield ways to lay the data out, those that change least first."""
    rank = data.outputs[0].ndim
    places = [(_same(), 1 if rank > 2 else -1)]
    if rank > 2:
        places += [
            (_same(), -1),
            (_moved("class axis last instead of second", 1, -1), -1),
            (_moved("class axis second instead of last", -1, 1), 1),
        ]
    found = []
    for place, axis in places:
        if rank == 0:
            continue
        for domain, (form, targets) in itertools.product(_domains(axis), _forms(axis)):
            name = ", ".join(n for n in (place.name, domain.name, form) if n)
            steps = sum(1 for n in (place.name, domain.name, form) if n)
            found.append((steps, Layout(name, place, domain, targets, form)))
    found.sort(key=lambda pair: pair[0])
    plain = [layout for _, layout in found if not layout.name]
    yield from plain[:1]
    yield from (layout for _, layout in found if layout.name)
