# SPDX-License-Identifier: Apache-2.0
"""Who computes something else is no competitor: values and gradients side by side."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workload import Answer

# Single precision over a million elements: a rounding error is far below, another
# definition (a denominator, a smoothing, a background class) far above.
TOLERANCE = 1e-4

Arrays = NDArray[Any]


@dataclass(frozen=True)
class Deviation:
    """Largest deviations from the reference, relative to its value and largest slope.

    Attributes:
        value: |v − v'| / |v'|.
        gradient: max |g − g'| / max |g'|, over all inputs.
        iou: max |IoU − IoU'|; None if it is not counted.
    """

    value: float
    gradient: float
    iou: float | None

    @property
    def largest(self) -> float:
        """The worst of them; NaN if one is NaN."""
        return float(np.max([self.value, self.gradient, self.iou or 0.0]))

    @property
    def agrees(self) -> bool:
        """Whether both compute the same thing."""
        return self.largest <= TOLERANCE


@dataclass(frozen=True)
class Seen:
    """An answer on the host."""

    value: float
    gradients: tuple[Arrays, ...]
    iou: Arrays | None


def seen(answer: Answer) -> Seen:
    """Copy an answer to NumPy."""
    gradients = tuple(host(g) for g in answer.gradients)
    return Seen(float(host(answer.value)), gradients, _maybe(answer.iou))


def deviation(mine: Seen, reference: Seen, iou_reference: Arrays | None) -> Deviation:
    """Compare an answer with the reference's.

    Args:
        mine: The answer.
        reference: The reference's.
        iou_reference: The IoU by class of the first competitor that counts it.

    Raises:
        ValueError: If gradients have other shapes.
    """
    slopes = []
    for g, r in zip(mine.gradients, reference.gradients, strict=True):
        if g.shape != r.shape:
            raise ValueError(f"gradients of shapes {g.shape} and {r.shape}")
        slopes.append(_apart(g, r) / float(np.abs(r).max()))
    iou = None
    if mine.iou is not None and iou_reference is not None:
        iou = float(np.abs(mine.iou - iou_reference).max())
    return Deviation(abs(mine.value - reference.value) / abs(reference.value), max(slopes), iou)


def host(x: Any) -> Arrays:
    """Return an array of any library as NumPy."""
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def _maybe(x: Any) -> Arrays | None:
    return None if x is None else host(x)


def _apart(mine: Arrays, theirs: Arrays) -> float:
    """Return max |mine − theirs|, row by row: no array as large as they are is made."""
    rows = zip(mine.reshape(len(mine), -1), theirs.reshape(len(theirs), -1), strict=True)
    return max(float(np.abs(m - t).max()) for m, t in rows)
