# SPDX-License-Identifier: Apache-2.0
"""Every script in examples/ runs to its end and prints an answer with numbers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def answer_of(script: Path, folder: Path) -> str:
    """Run a script in a fresh process and an empty folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, script],
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


def test_there_are_examples():
    """The folder holds one script for each of the four questions, at least."""
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script, tmp_path):
    """An example runs and prints numbers."""
    print(answer_of(script, tmp_path))


@pytest.mark.parametrize("code", ["1 / 0", "print('done')"], ids=["raises", "no number"])
def test_example_twin(code, tmp_path):
    """A script that fails, or that answers nothing, is found."""
    script = tmp_path / "broken.py"
    script.write_text(code)
    with pytest.raises(AssertionError, match=r"ZeroDivisionError|prints no number"):
        answer_of(script, tmp_path)
