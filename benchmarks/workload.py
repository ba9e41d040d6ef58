# SPDX-License-Identifier: Apache-2.0
"""What is measured: a workload, those who compete on it, and the least it can cost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

OURS = "lossledger"
REFERENCE = "torch eager"
"""Everyone's value and gradients are compared with its."""


class Answer(NamedTuple):
    """What one step gave: the number minimised, and its gradient for every input.

    Arrays are those of the step's own library; `iou` is one number a class, where the step
    counts them.
    """

    value: Any
    gradients: tuple[Any, ...]
    iou: Any = None


Step = Callable[[], Answer]


@dataclass(frozen=True)
class Competitor:
    """One way to compute a workload.

    Attributes:
        name: Its row in the table.
        build: What a user does once, before the first step; gives the step.
        needs: Packages that have to be installed.
        compiles: Whether the first call takes many seconds; left out of quick runs.
        alike: False for what computes another number, and is there for its time alone.
    """

    name: str
    build: Callable[[], Step]
    needs: tuple[str, ...] = ()
    compiles: bool = False
    alike: bool = True


@dataclass(frozen=True)
class Floor:
    """The least that a workload can cost on this machine, measured beside the competitors.

    Attributes:
        says: What it is, for the table's heading.
        build: Gives the step that is timed.
        share: The floor is this part of that step's time.
        moved: Bytes that the step itself moves; None if it is no matter of bandwidth.
    """

    says: str
    build: Callable[[], Callable[[], object]]
    share: float = 1.0
    moved: int | None = None


@dataclass(frozen=True)
class Gate:
    """A goal that is printed: `who` takes at most `ratio` times as long as `peer`."""

    peer: str
    ratio: float
    who: str = OURS


@dataclass(frozen=True)
class Workload:
    """A loss on arrays of fixed shape and values.

    Attributes:
        title: What is computed, on which shape.
        competitors: In the order of the table. `OURS` and `REFERENCE` are among them.
        floor: What a multiple of the floor means here.
        rounds: How often everyone has a turn.
        gates: Goals, printed below the table.
    """

    title: str
    competitors: tuple[Competitor, ...]
    floor: Floor
    rounds: int
    gates: tuple[Gate, ...] = ()
