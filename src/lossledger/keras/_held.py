# SPDX-License-Identifier: Apache-2.0
"""One Keras variable that holds the sums of an epoch.

    value = [ sums | what rounding took from them, in 32 bits | what must not change ]

It is one variable, and not three, because each that a compiled step takes and returns costs a
small step several microseconds.
"""

from typing import Any

import keras
import numpy as np

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Sequence
from lossledger.engines import Limbs
from lossledger.keras._evaluate import host
from lossledger.keras._layout import HEAD
from lossledger.keras._private import outside_graph


class Held:
    """Sums that grow, and numbers that must stay the same until the next reset.

    Args:
        capacity: How many sums there is room for, beside the head.
        same: How many numbers must not change.
        wide: The widest float that there is: "float64", or "float32" for pairs.
    """

    def __init__(self, capacity: int, same: int, wide: str) -> None:
        """Make the variable, outside of a step that is being compiled."""
        self.capacity, self.same_capacity = capacity, same
        self._pair = wide != "float64"
        length = (capacity + HEAD) * (2 if self._pair else 1) + same
        with outside_graph():
            self.variable = keras.Variable(
                initializer="zeros", shape=(length,), dtype=wide, trainable=False, autocast=False,
                name="lossledger_sums",
            )  # fmt: skip

    def reset(self) -> None:
        """Make everything 0."""
        self.variable.assign(keras.ops.zeros(self.variable.shape, dtype=self.variable.dtype))

    def add(self, xp: ArrayLibrary, steps: Sequence[Array], same: Array | None) -> None:
        """Add the sums of steps, one vector or a pair; note where `same` changed."""
        sums, held = self._sums(self.variable.value), self._same(self.variable.value)
        fresh = sums[0][-HEAD] == 0
        if self._pair:
            added = Limbs(*sums) + Limbs(*steps)
            sums = (added.high, added.low)
        else:
            sums = (sums[0] + steps[0],)
        parts = [*sums, *([] if held is None else [_kept(xp, held, same, fresh)])]
        self.variable.assign(parts[0] if len(parts) == 1 else xp.concat(parts, 0))

    def vector(self) -> Array:
        """Return the sums where they are, as they round."""
        sums = self._sums(self.variable.value)
        return sums[0] + sums[1] if self._pair else sums[0]

    def on_host(self) -> tuple[Any, Any]:
        """Return the sums, and what must not change, in float64."""
        value = host(self.variable).astype(np.float64)
        same = self._same(value)
        return sum(self._sums(value)), np.zeros(0) if same is None else same

    def _sums(self, value: Array) -> tuple[Array, ...]:
        n = self.capacity + HEAD
        return (value[:n], value[n : 2 * n]) if self._pair else (value[:n],)

    def _same(self, value: Array) -> Array | None:
        return value[-self.same_capacity :] if self.same_capacity else None


def _kept(xp: ArrayLibrary, held: Array, same: Array | None, fresh: Array) -> Array:
    """Return what must not change: NaN where it did."""
    if same is None:
        return held
    missing = int(held.shape[0]) - int(same.shape[0])
    if missing:
        same = xp.concat([same, xp.zeros((missing,), xp.dtype(same), same)], 0)
    return xp.where(fresh | (held == same), same, xp.full_like(same, float("nan")))
