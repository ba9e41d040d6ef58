# SPDX-License-Identifier: Apache-2.0
"""What a script prints, and claims about its numbers that wrong numbers refute."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

ROUNDING = 1e-12
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")


def answer_of(script: Path, folder: Path, allowed: Sequence[str] = ()) -> str:
    """Run a script in a new process and an empty folder, with warnings as errors.

    Warnings that begin with one of `allowed` are a library's own.
    """
    ignored = [part for text in allowed for part in ("-W", f"ignore:{text}")]
    done = subprocess.run(
        [sys.executable, "-W", "error", *ignored, script],
        cwd=folder,
        env=os.environ | {"COLUMNS": "100", "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert re.search(r"\d\.\d", done.stdout), "prints no number"
    return done.stdout


@dataclass(frozen=True)
class Printed:
    """What a script printed: numbered sections of tables, whose lines begin with a label."""

    text: str
    change: Callable[[float], float] = lambda number: number
    """What is done to every number that is read: the twins read wrong ones."""

    def row(self, section: int, label: str) -> list[float]:
        """Return the numbers after a label, in the first line of a section that has both."""
        found = re.search(
            rf"^{section}\. .*?(?=^{section + 1}\. |^Answer|\Z)",
            self.text,
            re.MULTILINE | re.DOTALL,
        )
        assert found, f"no section {section}"
        for line in found[0].splitlines():
            words = " ".join(line.split())
            numbers = _NUMBER.findall(words.removeprefix(label + " "))
            if words.startswith(label + " ") and numbers:
                return [self.change(float(n)) for n in numbers]
        raise AssertionError(f"no line {label!r} in section {section}")


Claims = Iterator[tuple[str, bool]]


def near(a: float, b: float, relative: float = ROUNDING) -> bool:
    """Whether two numbers agree, up to a share of the larger."""
    return math.isclose(a, b, rel_tol=relative)


def check_claims(printed: Printed, claims: Callable[[Printed], Claims]) -> None:
    """Require that each claim holds of the numbers, and not of negated or mixed-up ones."""
    assert [claim for claim, holds in claims(printed) if not holds] == []
    place = count(1)
    wrong = (lambda n: -n, lambda n: n + next(place) ** 2)
    twins = [list(claims(replace(printed, change=change))) for change in wrong]
    pairs = zip(*twins, strict=True)
    stuck = [claim for (claim, negated), (_, mixed_up) in pairs if negated and mixed_up]
    assert stuck == [], "these claims cannot fail"
