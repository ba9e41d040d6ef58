# SPDX-License-Identifier: Apache-2.0
"""One stage of a reduction, and chains of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError
from lossledger._typing import Array, Axes, Names
from lossledger.frames import AbstractGrouping, parse_axes
from lossledger.statistics import AbstractStatistic
from lossledger.weighting import Masses

Empty = Literal["zero", "skip", "raise"]
Denominator = Literal["weights", "passed", "elements", "nonzero", "mask", "samples"] | float
Split = Literal["linear", "smooth", "order"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Finalized values by cell.

    Attributes:
        values: One a cell.
        presence: False where an empty cell is skipped; None where none is.
        broken: True where a cell that may not be empty is, and nothing could be raised.
    """

    values: Array
    presence: Array | None
    broken: Array | None = None


class AbstractReduction(ABC):
    """One stage: values and weights of elements to one value a cell.

    Attributes:
        over: Names of the axes removed; None removes all that are left (unless `by`).
        by: Names of the axes or keys kept.
        empty: What a cell with no weight gives: "zero" counts as 0, "skip" is left out of
            the next stage, "raise" is an error.
        split: How a cell depends on the outputs' sums: linearly, smoothly, or by their order.
        attribution: What an element contributes is this times coefficient · value.
        curved: Whether contributions leave a remainder (the stage is not homogeneous).
    """

    over: Names | None
    by: Names | None
    empty: Empty
    split: ClassVar[Split]
    attribution: ClassVar[float] = 1.0
    curved: ClassVar[bool] = False

    @abstractmethod
    def statistic(
        self, xp: ArrayLibrary, values: Array, weights: Masses, grouping: AbstractGrouping
    ) -> AbstractStatistic:
        """Summarize the elements of every cell."""

    @abstractmethod
    def finalize(self, xp: ArrayLibrary, statistic: Any) -> Cells:
        """Turn merged statistics into one value a cell."""

    @abstractmethod
    def coefficients(
        self,
        xp: ArrayLibrary,
        values: Array,
        weights: Masses,
        grouping: AbstractGrouping,
        statistic: Any,
    ) -> Array | float:
        """Return ∂cell/∂value at every element, without gradient."""

    def __str__(self) -> str:
        """Write with the settings that differ from the default."""
        shown = [f for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        settings = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in shown)
        return f"{type(self).__name__}({settings})"

    def __post_init__(self) -> None:
        """Check the settings that all reductions have, then its own."""
        if self.empty not in ("zero", "skip", "raise"):
            raise ReductionError(
                "`empty` must be 'zero', 'skip' or 'raise'",
                f"Found {self.empty!r}",
                "The name is misspelled",
                "Use 'zero' to count an empty cell as 0, 'skip' to leave it out",
            )
        if self.over is not None and self.by is not None:
            raise ReductionError(
                "A reduction takes `over` (axes removed) or `by` (axes kept), not both",
                f"Found over={self.over!r} and by={self.by!r}",
                "One says the same as the other, or they contradict each other",
                "Keep `by` to name what stays, or `over` to name what goes",
            )
        self.check()

    def check(self) -> None:  # noqa: B027 - a hook: most reductions have no further settings
        """Raise for settings of its own that mean nothing."""

    def then(self, following: "AbstractReduction | Chain") -> "Chain":
        """Reduce the cells of this stage by `following`."""
        return Chain((self,)).then(following)

    def keep(self, axes: Axes) -> Axes:
        """Return the names kept of a frame's axes (and the keys in `by`)."""
        if self.by is not None:
            return parse_axes(self.by, "by")
        if self.over is None:
            return ()
        over = parse_axes(self.over, "over")
        unknown = [a for a in over if a not in axes]
        if unknown:
            raise ReductionError(
                "A reduction's axes must be axes of the values it reduces",
                f"Found {', '.join(unknown)} in over={' '.join(over)!r}; "
                f"the values have {' '.join(axes) or 'no axis'}",
                "The loss or an earlier stage has removed it, or it is misspelled",
                "Name the axes that are left, or leave `over` out to reduce them all",
            )
        return tuple(a for a in axes if a not in over)


@dataclass(frozen=True)
class Chain:
    """Reductions one after the other, each on the cells of the one before."""

    stages: tuple[AbstractReduction, ...]

    def then(self, following: "AbstractReduction | Chain") -> "Chain":
        """Append a stage, or all stages of another chain."""
        if not isinstance(following, AbstractReduction | Chain):
            raise ReductionError(
                "A stage of a chain must be a reduction object",
                f"Found {following!r}",
                "A name was given, or a class without ()",
                "Write e.g. .then(ll.Mean())",
            )
        more = following.stages if isinstance(following, Chain) else (following,)
        return Chain(self.stages + more)

    def names(self, key: str) -> bool:
        """Whether a stage keeps the cells of a key."""
        return any(s.by is not None and key in parse_axes(s.by, "by") for s in self.stages)

    def __str__(self) -> str:
        """Write in the order of the work: `Mean(by=class) then Mean()`."""
        return " then ".join(str(s) for s in self.stages)
