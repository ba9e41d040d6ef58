# SPDX-License-Identifier: Apache-2.0
"""In which precision a black box is measured: float64 where it takes it, else its own."""

from dataclasses import dataclass

from lossledger._typing import Array
from lossledger.explanation.criterion._call import RESOLUTION, Answer, dtype_of
from lossledger.explanation.criterion._host import Data, into
from lossledger.explanation.criterion._probe import NARROW, Probe, tried

WITHIN = {"float64": 1e-9, "float32": 2e-5, "float16": 2e-2, "bfloat16": 5e-2}
"""Largest deviation of what is called equal, by the coarsest dtype that took part."""

_HELD = 1e-6
"""Largest deviation where it was run in float64 and may hold constants rounded to float32."""

STRICT = WITHIN["float64"]
"""What is fine enough for sums of two: factors that are fitted find a match within less."""

_WIDER = ("float64", "float32")


@dataclass(frozen=True, eq=False)
class Precise:
    """A black box on the data in the widest dtype that it takes.

    Attributes:
        data: NumPy arrays, to be rearranged.
        answer: What it gives on them.
        dtype: The coarsest dtype that took part.
        given: The coarsest of the data as passed, and of what it returned on them.
    """

    data: Data
    answer: Answer
    dtype: str
    given: str

    @property
    def within(self) -> float:
        """Largest deviation of what is called equal."""
        return WITHIN.get(self.dtype, 1e-9)

    @property
    def tiers(self) -> tuple[float, ...]:
        """The same, and a looser one where constants inside may have been rounded to float32."""
        held = self.within == STRICT and self.given == "float32"
        return (self.within, _HELD) if held else (self.within,)

    @property
    def decides(self) -> bool:
        """Whether it is fine enough to tell a mean from a weighted mean."""
        return self.dtype not in NARROW

    def told(self, deviation: float) -> str:
        """Say in which dtype numbers were compared, and what follows from how far they are off."""
        if self.dtype != "float64":
            return f" It was run in {self.dtype}: what differs by less is taken for equal."
        if deviation > WITHIN["float64"]:
            return (
                " It was run in float64, and the deviation is more than that explains: what it "
                f"holds may be rounded to {self.given}."
            )
        return "" if self.given == "float64" else " It was run in float64."


def precise(probe: Probe, data: Data, first: Answer) -> Precise:
    """Return a black box in float64 if it takes that and gives the number that it gave before.

    Args:
        probe: The criterion.
        data: As passed.
        first: What it gave on it.
    """
    given = coarsest(first, data)
    own = data.map(lambda a: into("numpy", a))
    for dtype in _WIDER:
        if WITHIN[dtype] > WITHIN.get(given, 1e-9):
            break
        wide = _cast_all(data, dtype)
        found = tried(probe, wide)
        if found is None or found.array.shape != first.array.shape:
            continue
        took = coarsest(found, wide)
        finer = WITHIN.get(took, 1e-9) < WITHIN.get(given, 1e-9)
        if (finer or took == given) and _same(first, found, given):
            return Precise(wide, found, took, given)
    return Precise(own, first, given, given)


def coarsest(answer: Answer, data: Data) -> str:
    """Return the coarsest dtype of floats among the outputs and the number."""
    floats = (answer.dtype, *(dtype_of(o) for o in data.outputs))
    return max(floats, key=lambda name: WITHIN.get(name, 1e-9))


def tolerance(answer: Answer, data: Data) -> float:
    """Return the largest deviation of what is called equal: of the coarsest dtype there is."""
    return WITHIN.get(coarsest(answer, data), 1e-9)


def _cast_all(data: Data, dtype: str) -> Data:
    return data.map(lambda a: _cast(a, dtype))


def _cast(array: Array, dtype: str) -> Array:
    """Return an array of NumPy; floats in another dtype."""
    found = into("numpy", array)
    floats = found.dtype.kind == "f" or dtype_of(found) in NARROW
    return found.astype(dtype) if floats else found


def _same(first: Answer, found: Answer, given: str) -> bool:
    """Whether two answers are one number in two dtypes."""
    size = max(float(abs(first.array).max(initial=0.0)), 1e-12)
    apart = float(abs(first.array - found.array).max(initial=0.0))
    return apart <= RESOLUTION.get(given, 1e-9) * size
