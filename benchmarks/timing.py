# SPDX-License-Identifier: Apache-2.0
"""Time in interleaved rounds: whatever else the machine does, it does to everyone alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from memory import settle

# A sample is one call, or the mean of as many as fit in here.
SAMPLE_SECONDS = 0.03
MOST_CALLS = 1000
Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """Median and interquartile range of the seconds that one call takes, over the rounds."""

    median: float
    iqr: float
    rounds: tuple[float, ...] = ()


def seconds(step: Callable[[], object], calls: int = 1, clock: Clock = time.perf_counter) -> float:
    """Return the mean time of a call."""
    start = clock()
    for _ in range(calls):
        step()
    return (clock() - start) / calls


def interleave(
    steps: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, Spread]:
    """Give every step its turn in every round, in alternating order; return spreads by name."""
    calls = {name: calls_in_sample(step) for name, step in steps.items()}
    samples: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(rounds):
        for name in order:
            settle()
            samples[name].append(seconds(steps[name], calls[name], clock))
        order.reverse()
    return {name: spread(found) for name, found in samples.items()}


def calls_in_sample(step: Callable[[], object]) -> int:
    """Return how many calls fit into a sample, warm."""
    once = seconds(step)
    if once < SAMPLE_SECONDS:
        once = min(once, *(seconds(step) for _ in range(5)))
    return max(1, min(MOST_CALLS, round(SAMPLE_SECONDS / once)))


def spread(samples: Sequence[float]) -> Spread:
    """Return the median and the interquartile range; the range is 0 for one sample."""
    if len(samples) == 1:
        return Spread(samples[0], 0.0, tuple(samples))
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(statistics.median(samples), high - low, tuple(samples))
