# SPDX-License-Identifier: Apache-2.0
"""How much of the machine others use: what no ratio shows and every number suffers from."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

# Of the machine's cores; below this, others are taken to be silent.
QUIET = 0.1
LOOK_SECONDS = 10.0


@dataclass(frozen=True)
class Clock:
    """Seconds since some start: of the wall, of all processors, of processes that we ran."""

    wall: float
    busy: float
    own: float

    @classmethod
    def read(cls) -> "Clock | None":
        """Return the present state (Linux), or None."""
        try:
            fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        except OSError:
            return None
        user, nice, system, _, _, irq, softirq, steal = (int(x) for x in fields[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(time.monotonic(), busy, sum(u.ru_utime + u.ru_stime for u in used))


def share_of_others(start: Clock | None, end: Clock | None) -> float | None:
    """Return which share of the cores other processes (and other machines) used between."""
    if start is None or end is None:
        return None
    theirs = (end.busy - start.busy) - (end.own - start.own)
    return max(0.0, theirs / (end.wall - start.wall) / (os.cpu_count() or 1))


def wait_until_quiet(minutes: float) -> None:
    """Wait until others are silent, for a while at most."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        start = Clock.read()
        time.sleep(LOOK_SECONDS)
        share = share_of_others(start, Clock.read())
        if share is None or share < QUIET:
            return
