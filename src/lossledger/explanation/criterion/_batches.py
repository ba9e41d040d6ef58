# SPDX-License-Identifier: Apache-2.0
"""Batches on which a black box and what may equal it are compared, and what it gives on them."""

from dataclasses import dataclass, replace

import numpy as np

from lossledger._typing import Array, Callable
from lossledger.explanation.criterion._host import Data
from lossledger.explanation.criterion._probe import Probe, taken
from lossledger.explanation.criterion._tests import matching, number

_MOST = 1024
"""Outputs of the part that is tried first."""

_LEAST = 1e-12
"""Of the number: a gradient that is smaller is none."""

_SHARE = 0.75
"""Of its own outputs in a sample whose outputs are mixed with the next one's."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a black box gives on one batch.

    Attributes:
        name: Which batch: "part", "less", "whole", "reversed" or "mixed".
        data: On the host, floats as float64.
        number: Its number.
        slopes: Its gradient for every output; None where there is none.
    """

    name: str
    data: Data
    number: float
    slopes: tuple[Array, ...] | None

    @property
    def vector(self) -> Array:
        """The number and the gradient as one row."""
        return joined(self.number, self.slopes or ())

    @property
    def scales(self) -> Array:
        """By what number and gradient are multiplied to be shares of their sizes."""
        found = np.ones(self.vector.shape)
        size = abs(self.number)
        found[1:] /= max(float(np.linalg.norm(self.vector[1:])), _LEAST * size)
        found[0] = 1 / size
        return found


def joined(value: float, slopes: tuple[Array, ...]) -> Array:
    """Return a number and a gradient as one row of numbers."""
    return np.concatenate([[value], *(np.ravel(s) for s in slopes)])


def wanted_of(probe: Probe, data: Data) -> tuple[Wanted, ...]:
    """Return what a black box gives on the data and on batches made of it, the smallest first.

    A part, with long axes cut short; a smaller part, whose samples are in another share; the data;
    the data with outputs in reverse, and with the outputs of neighbors mixed. Batches that the
    black box refuses are left out. Empty if it gives 0 on the data: of a 0 nothing follows. Where
    it gives 0 on another batch, no more is compared than that.
    """
    found = []
    for name, batch in _made(probe, data):
        value = number(probe, batch)
        if name == "whole" and not value:
            return ()
        if value is not None:
            found.append(Wanted(name, batch.on_host(), value, probe.slopes(batch)))
    return tuple(found)


def _made(probe: Probe, data: Data) -> list[tuple[str, Data]]:
    count = data.outputs[0].shape[0] if data.outputs[0].ndim else 0
    if count < 2 or any(o.shape[:1] != (count,) for o in data.outputs):
        return [("whole", data)]
    found = [
        ("whole", data),
        ("reversed", _rearranged(data, lambda o: o[::-1].copy())),
        ("mixed", _rearranged(data, _mixed)),
    ]
    short = _shortened(probe, data)
    few = _MOST // max(1, short.outputs[0].size // count)
    part = max(2, min(few, 2 * count // 3))
    parts = [("part", taken(short, np.arange(part)))]
    if count > 2:
        parts.append(("less", taken(short, np.arange(count - max(1, part // 2), count))))
    return parts + found


def _rearranged(data: Data, change: Callable[[Array], Array]) -> Data:
    return replace(data, outputs=tuple(change(o) for o in data.outputs))


def _mixed(outputs: Array) -> Array:
    """Return each sample's outputs mixed with the next one's: probabilities stay probabilities."""
    if outputs.dtype.kind != "f":
        return np.roll(outputs, 1, axis=0)
    found: Array = _SHARE * outputs + (1 - _SHARE) * np.roll(outputs, 1, axis=0)
    return found.astype(outputs.dtype)


def _shortened(probe: Probe, data: Data) -> Data:
    """Return data whose places (neither batch nor class) are cut so that two samples are few."""
    first = data.outputs[0]
    places = range(2, first.ndim) if probe.home == "torch" else range(1, first.ndim - 1)
    size = first.size // first.shape[0]
    if not places or size <= _MOST // 2 or any(o.shape != first.shape for o in data.outputs):
        return data
    share = (_MOST / 2 / size) ** (1 / len(places))
    found = data
    for axis in places:
        matched = matching(found, axis)
        if isinstance(matched, str):
            return data
        few = max(2, int(first.shape[axis] * share))
        found = taken(found, np.arange(min(few, first.shape[axis])), axis, matched)
    return found if number(probe, found) else data
