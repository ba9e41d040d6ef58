# SPDX-License-Identifier: Apache-2.0
"""The demo: a five-class U-Net on real scanned digits, and what its loss is made of.

Importing this package loads no framework; `main` does, after checking that all are there.
"""

from argparse import Namespace
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lossledger._errors import DomainError, MissingExtraError

NEEDS = {"torch": "torch", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
"""Modules the demo imports, and the packages that they come in."""


@dataclass(frozen=True)
class Options:
    """What may be chosen about a run of the demo.

    Args:
        out: Folder for the plots.
        json: File for all the numbers, "-" for standard output, or None.
        seeds: How often each objective is trained, each time from other first weights and
            with the scenes in another order.
        quick: Seconds instead of minutes: too short to learn anything, long enough to test.
    """

    out: Path = Path("demo-output")
    json: str | None = None
    seeds: int = 3
    quick: bool = False


def main(options: Options | Namespace) -> int:
    """Train, print, plot; return the exit status 0.

    Args:
        options: The choices, or a command line's namespace with the same names.

    Raises:
        DomainError: If there is no seed to train with.
        MissingExtraError: If a package of the `demo` extra is not installed.
    """
    chosen = Options(Path(options.out), options.json, options.seeds, options.quick)
    if chosen.seeds < 1:
        raise DomainError(
            "`seeds` must be at least 1",
            f"Found {chosen.seeds}",
            "Each objective is trained once a seed, and none was asked for",
            "Pass --seeds 1 or more",
        )
    missing = [package for module, package in NEEDS.items() if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            "The demo needs " + ", ".join(NEEDS.values()),
            f"Not installed: {', '.join(missing)}",
            "lossledger was installed without its `demo` extra",
            "Run: pip install 'lossledger[demo]'",
        )
    from lossledger.demo.run import run  # noqa: PLC0415 - loads torch and scikit-learn

    return run(chosen)


__all__ = ["Options", "main"]
