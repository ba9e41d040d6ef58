# SPDX-License-Identifier: Apache-2.0
"""Sums in two 32-bit numbers, where 64-bit types are off: JAX's default, Apple's GPUs."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lossledger._array import ArrayLibrary
from lossledger._typing import Array

_UNIT = 1 << 30


@dataclass(frozen=True, eq=False)
class Limbs:
    """A number that grows over steps beyond what 32 bits hold.

    Integers: high·2³⁰ + low, so that counts do not wrap at 2³¹. Floats: high + low, where
    low is what rounding took from high (Knuth's two-sum), so that an epoch of small steps
    loses nothing.
    """

    high: Array
    low: Array

    def __add__(self, other: Self) -> Self:
        """Add; what does not fit into one number stays in the other."""
        if not isinstance(other, Limbs):
            return NotImplemented
        if "int" in str(self.low.dtype):
            low = self.low + other.low
            return type(self)(self.high + other.high + low // _UNIT, low % _UNIT)
        high, lost = _two_sum(self.high, other.high)
        return type(self)(*_two_sum(high, self.low + other.low + lost))

    def on_host(self, to_numpy: Any) -> Any:
        """Return the number in 64 bits."""
        high, low = (np.asarray(to_numpy(part)) for part in (self.high, self.low))
        if low.dtype.kind == "i":
            return high.astype(np.int64) * _UNIT + low
        return high.astype(np.float64) + low


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a + b as it rounds, and what rounding took."""
    total = a + b
    shift = total - a
    return total, (a - (total - shift)) + (b - shift)


def growing(xp: ArrayLibrary, x: Array) -> Any:
    """Return what a ledger keeps of a sum: the array itself where it has 64 bits."""
    if xp.dtype(x) not in ("float32", "int32"):
        return x
    if xp.is_integer(x):
        return Limbs(x // _UNIT, x % _UNIT)
    return Limbs(x, xp.full_like(x, 0))


def counted(xp: ArrayLibrary, count: int, like: Array) -> Limbs:
    """Return a count that is known without a device, which 31 bits need not hold."""
    return Limbs(*(xp.asarray(part, xp.counter(like), like) for part in divmod(count, _UNIT)))


def number(xp: ArrayLibrary, x: Limbs) -> Array:
    """Return what a pair holds as one array of 32-bit floats."""
    if not xp.is_integer(x.low):
        return x.high + x.low
    work = xp.wide(x.low)
    return xp.astype(x.high, work) * float(_UNIT) + xp.astype(x.low, work)
