# SPDX-License-Identifier: Apache-2.0
"""Measure one workload, alone in its process, and write what was found as JSON."""

import argparse
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from agreement import Deviation, Seen, deviation, seen
from floor import autograd
from memory import peak_bytes
from registry import ENTRIES
from timing import Clock, Spread, interleave, seconds
from workload import REFERENCE, Answer, Competitor, Step, Workload

FLOOR = "floor"


def main() -> None:
    """Read the arguments, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ENTRIES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    limit_threads(options.threads)
    build: Callable[[str, bool], Workload]
    build = importlib.import_module(ENTRIES[options.name].module).workload
    workload = build(options.name, options.quick)
    if options.quick:
        workload = replace(
            workload, rounds=3, competitors=tuple(c for c in workload.competitors if not c.compiles)
        )
    clock = time.process_time if options.cpu_time else time.perf_counter
    found = measure(workload, options.rounds or workload.rounds, clock)
    found["clock"] = "Processor times" if options.cpu_time else "Times"
    options.out.write_text(json.dumps({"name": options.name} | found), encoding="utf-8")


def limit_threads(threads: int) -> None:
    """Give every library the same cores: JAX asks the system, PyTorch has a setting."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)


def measure(workload: Workload, rounds: int, clock: Clock) -> dict[str, Any]:
    """Return everything that is known of a workload, ready for JSON."""
    present, absent = sort_out(workload.competitors)
    autograd(2).build()()  # PyTorch's own first call is nobody's
    steps: dict[str, Step] = {}
    first: dict[str, float] = {}
    for competitor in present:
        say(f"  first call: {competitor.name}")
        steps[competitor.name] = competitor.build()
        first[competitor.name] = seconds(steps[competitor.name])
    say("  comparing values and gradients")
    apart = compare({c.name: steps[c.name] for c in present if c.alike})
    gc.collect()
    gc.freeze()  # what was imported is not searched for garbage in the middle of a sample
    say(f"  {rounds} rounds")
    floor = workload.floor.build()
    spreads = interleave({FLOOR: floor, **steps}, rounds, clock)
    del floor
    say("  memory")
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    rows = [row(n, spreads[n], first[n], peaks[n], apart.get(n)) for n in steps]
    return describe(workload, rounds, spreads[FLOOR]) | {"rows": rows, "absent": absent}


def sort_out(competitors: tuple[Competitor, ...]) -> tuple[list[Competitor], list[str]]:
    """Return those whose packages are installed, and the names of the others."""
    present = [c for c in competitors if all(find_spec(n) is not None for n in c.needs)]
    return present, [c.name for c in competitors if c not in present]


def compare(steps: dict[str, Step]) -> dict[str, Deviation]:
    """Return everyone's deviation from the reference.

    Raises:
        SystemExit: If one of them computes something else.
    """
    reference = seen(steps[REFERENCE]())
    iou = None
    found = {}
    for name, step in steps.items():
        answer: Answer = step()
        mine: Seen = seen(answer)
        iou = mine.iou if iou is None else iou
        found[name] = deviation(mine, reference, iou)
        if not found[name].agrees:
            raise SystemExit(f"{name} is no competitor: it computes something else: {found[name]}")
    return found


def describe(workload: Workload, rounds: int, floor: Spread) -> dict[str, Any]:
    """Return what is known of the workload as a whole."""
    moved = workload.floor.moved
    return {
        "title": workload.title,
        "rounds": rounds,
        "floor": {
            "says": workload.floor.says,
            "seconds": floor.median * workload.floor.share,
            "gigabytes_per_second": None if moved is None else moved / floor.median / 1e9,
        },
        "gates": [vars(gate) for gate in workload.gates],
    }


def row(
    name: str, spread: Spread, first: float, peak: int | None, apart: Deviation | None
) -> dict[str, Any]:
    """Return one competitor's numbers."""
    return {
        "name": name,
        "median_seconds": spread.median,
        "iqr_seconds": spread.iqr,
        "round_seconds": list(spread.rounds),
        "first_seconds": first,
        "peak_bytes": peak,
        "value_deviation": None if apart is None else apart.value,
        "gradient_deviation": None if apart is None else apart.gradient,
        "iou_deviation": None if apart is None else apart.iou,
    }


def say(text: str) -> None:
    """Tell how far it is, apart from the results."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
