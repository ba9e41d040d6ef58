# SPDX-License-Identifier: Apache-2.0
"""Time and memory of the reference workloads, beside what else one would use.

Each workload runs in a process of its own. Within it everyone has a turn in every round,
and values and gradients are compared before anything is timed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import HUGE_PAGES, Machine, cores, look
from memory import available_bytes
from others import Clock, share_of_others, wait_until_quiet
from registry import ENTRIES, chosen
from table import render

HERE = Path(__file__).parent


def main() -> int:
    """Run what was asked for; return 1 if a workload failed."""
    options = arguments()
    environment = environment_of(options.threads, huge_pages=options.huge_pages)
    machine = look(options.threads, environment)
    print("\n".join(f"- {line}" for line in machine.lines()))
    results = []
    failed = False
    for name in chosen(options.only):
        if not fits(name, quick=options.quick):
            continue
        wait_until_quiet(options.wait)
        before = Clock.read()
        result = run(name, options, environment)
        failed = failed or result is None
        if result is not None:
            result["others"] = share_of_others(before, Clock.read())
            results.append(result)
            print(f"\n{render(result)}", flush=True)
    if options.json is not None:
        write(options.json, machine, results)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--only", metavar="NAME", help=f"one of {', '.join(ENTRIES)}, or a start")
    parser.add_argument("--rounds", type=int, help="rounds for every workload; default: its own")
    parser.add_argument("--threads", type=int, default=cores(), help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument(
        "--huge-pages", action="store_true", help="run with GLIBC_TUNABLES=" + HUGE_PAGES
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="before each workload, wait that long at most until others are silent",
    )
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processor's seconds: with --threads 1, where others use the machine",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small arrays, 3 rounds, no torch.compile"
    )
    options = parser.parse_args()
    try:
        chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    return options


def environment_of(threads: int, *, huge_pages: bool) -> dict[str, str]:
    """Return the environment of the workers."""
    settings = {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "torch", "PYTHONWARNINGS": "ignore"}
    settings["TF_CPP_MIN_LOG_LEVEL"] = "3"  # XLA tells on stderr how long it compiles
    for library in ("OMP", "MKL", "OPENBLAS"):
        settings[f"{library}_NUM_THREADS"] = str(threads)
    if huge_pages:
        settings["GLIBC_TUNABLES"] = HUGE_PAGES
    return dict(os.environ) | settings


def fits(name: str, *, quick: bool) -> bool:
    """Whether there is memory for a workload; says so if there is not."""
    needed, free = ENTRIES[name].gib, available_bytes()
    if quick or free is None or free / 2**30 >= needed:
        return True
    print(f"\n### {name}\n\nNot run: it needs {needed:g} GiB, {free / 2**30:.1f} GiB are free.")
    return False


def run(
    name: str, options: argparse.Namespace, environment: dict[str, str]
) -> dict[str, Any] | None:
    """Measure one workload in a fresh process; None if it failed."""
    print(name, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "result.json")
        entry = ENTRIES[name]
        program = "worker.py" if entry.backend is None else f"{entry.module}.py"
        command = [sys.executable, str(HERE / program), name, "--out", str(out)]
        command += ["--threads", str(options.threads)]
        command += ["--quick"] if options.quick else []
        command += ["--cpu-time"] if options.cpu_time else []
        command += [] if options.rounds is None else ["--rounds", str(options.rounds)]
        # A first call is the first only if no earlier run left its compiled code behind.
        own = environment | {"TORCHINDUCTOR_CACHE_DIR": str(Path(folder, "inductor"))}
        own |= {} if entry.backend is None else {"KERAS_BACKEND": entry.backend}
        done = subprocess.run(command, env=own, check=False)
        if done.returncode:
            print(f"{name} failed with status {done.returncode}", file=sys.stderr)
            return None
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def write(path: Path, machine: Machine, results: list[dict[str, Any]]) -> None:
    """Write everything that was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    both = {"machine": machine.to_dict(), "workloads": results}
    path.write_text(json.dumps(both, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
