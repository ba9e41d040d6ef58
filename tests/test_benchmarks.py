# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run to their end, and only who computes the same thing is in the table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "benchmarks" / "run.py"
ROWS = ("lossledger", "lossledger, rows read", "lossledger, added up", "torch eager")


def bench(*arguments):
    """Run the benchmarks in a fresh process, on one core."""
    return subprocess.run(
        [sys.executable, RUN, *map(str, arguments), "--threads", "1"],
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def table_of(printed, name):
    """Return the cells of a workload's table by row, as text."""
    section = printed.split(f"### {name}:")[1].split("\n### ")[0]
    lines = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]}


def test_quick_run_agrees_and_prints_numbers(tmp_path):
    """Small arrays: everyone computes the same loss and gradient, and every cell is filled."""
    done = bench("--quick", "--only", "W4", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr[-6000:]
    print(done.stdout)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    names = [workload["name"] for workload in found["workloads"]]
    assert names == ["W4-128x10", "W4-128x10-smooth", "W4-4096x1000", "W4-4096x1000-smooth"]
    for workload in found["workloads"]:
        table = table_of(done.stdout, workload["name"])
        assert set(ROWS) <= set(table)
        for row in workload["rows"]:
            assert max(row["value_deviation"], row["gradient_deviation"]) <= 1e-4
            assert row["median_seconds"] > 0
            assert row["first_seconds"] > 0
            median, _, ratio, multiple = table[row["name"]][:4]
            assert float(median) > 0
            assert float(ratio) > 0
            assert float(multiple) > 0
        assert workload["floor"]["seconds"] > 0
    assert "Goal: at most 2.5 times torch eager. Measured: " in done.stdout


def test_steps_of_keras(tmp_path):
    """W7: everyone minimises the same loss, and has a row with its ratio."""
    done = bench("--quick", "--only", "W7-torch", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr[-6000:]
    (workload,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["workloads"]
    assert [row["goal"] for row in workload["rows"]] == [None, 1.03, 1.03, None, 1.15, 1.15]
    assert all(row["median_seconds"] > 0 for row in workload["rows"])
    table = table_of(done.stdout, "W7-torch")
    assert [float(table[row["name"]][1]) for row in workload["rows"][::3]] == [1.0, 1.0]
    assert len(table) == 6


def test_steps_of_keras_twin():
    """Who reports another loss than Keras is found, and nothing is timed."""
    code = (
        f"import sys\nsys.path.insert(0, {str(RUN.parent)!r})\n"
        "from keras_steps import PLAIN, compare\n"
        "compare({PLAIN: 2.0, 'same': 2.00001})\nprint('same')\n"
        "compare({PLAIN: 2.0, 'a sum': 64.0})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["same"]
    assert "a sum is no competitor: its loss is 64.0, not 2.0" in done.stderr


def test_unknown_workload_is_refused():
    """A name that no workload begins with is an error that lists the names."""
    done = bench("--only", "W9")
    assert done.returncode == 2
    assert "no workload begins with 'W9'; there are W1, " in done.stderr


TWIN = """
import sys
sys.path.insert(0, {folder!r})
import torch
from steps import torch_step
from worker import compare
x = torch.ones(3, requires_grad=True)
mean, total = (torch_step(f, (x,)) for f in (torch.mean, torch.sum))
compare({{"torch eager": mean, "another mean": mean}})
print("same")
compare({{"torch eager": mean, "a sum": total}})
"""


def test_agreement_twin():
    """Who computes a sum beside a mean is found, and nothing is timed."""
    code = TWIN.format(folder=str(RUN.parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["same"]
    assert done.returncode == 1
    assert "a sum is no competitor: it computes something else" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_peak_memory_counts_what_a_step_returns():
    """A step that makes 40 MB costs 40 MB, whether it was called before or not."""
    code = (
        f"import sys\nsys.path.insert(0, {str(RUN.parent)!r})\nfrom memory import peak_bytes\n"
        "step = lambda: b'x' * 40_000_000\nfirst = peak_bytes(step)\nprint(first, peak_bytes(step))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if "None" in done.stdout:
        pytest.skip("this system does not let a process reset its peak")
    assert [round(int(n) / 1e7) for n in done.stdout.split()] == [4, 4]
