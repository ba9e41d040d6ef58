# SPDX-License-Identifier: Apache-2.0
"""The pages on training stacks show what their commands print, and run on ranks."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from docs_blocks import PYTHON, blocks

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "stacks").glob("*.md"))


def commands():
    """Yield (page, command, what the page shows) for console blocks before a text block."""
    for page in PAGES:
        for block, after in pairwise(blocks(page.read_text(encoding="utf-8"), str(page))):
            if block.language == "console":
                assert (after.language, after.follows) == ("text", True), f"{page} shows nothing"
                yield page.stem, block.text.split(), after.text


def printed(*arguments: str) -> str:
    """Return what a Python process prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def test_there_are_commands():
    """Some page shows a command, and it is one of Python."""
    found = list(commands())
    assert found
    assert all(command[0] == "python" for _, command, _ in found)


@pytest.mark.parametrize(("page", "command", "shown"), list(commands()), ids=lambda v: str(v)[:12])
def test_page_shows_what_its_command_prints(page, command, shown):
    """Word for word, but for white space at the ends of lines."""
    lines = [line.rstrip() for line in printed(*command[1:]).strip().splitlines()]
    assert lines == [line.rstrip() for line in shown.strip().splitlines()], page


def on_ranks(*script: str) -> str:
    """Return what two ranks print."""
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
    return printed(*launch, "--rdzv-endpoint", "localhost:0", *script)


def test_page_runs_on_ranks(tmp_path):
    """The page's loop, on two ranks, says what it measured of DDP."""
    page = ROOT / "docs" / "stacks" / "ranks.md"
    (code,) = (b.text for b in blocks(page.read_text(encoding="utf-8")) if b.language in PYTHON)
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    assert "DistributedDataParallel over 2 ranks, measured: mean" in on_ranks(str(script))


@pytest.mark.parametrize("stack", ["accelerate", "lightning", "transformers"])
def test_stack_is_exact_on_ranks(stack):
    """Each window of two ranks has the gradient of all their samples in one batch."""
    text = on_ranks(str(ROOT / "tests" / "ranks" / "stacks.py"), stack)
    found = [float(number) for number in re.findall(r"off by (\d\.\d+e[+-]\d+)", text)]
    assert len(found) == 4, text  # a full window and a last one, on either rank
    assert max(found) < 1e-12
