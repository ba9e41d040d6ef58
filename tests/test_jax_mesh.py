# SPDX-License-Identifier: Apache-2.0
"""Batches spread over 4 devices: the gradient and the ledger of one, under jit and shard_map."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax")
RUN = Path(__file__).with_name("mesh_run.py")
# float64: sums of 32 elements in another order.
RTOL = 1e-12


def measured(way: str) -> dict[str, Any]:
    """Run one way on 4 virtual devices, in a process of its own."""
    done = subprocess.run(
        [sys.executable, RUN, way],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def hold(report: dict[str, float], way: str) -> None:
    """Hold every deviation of a way below the bound, and print the largest."""
    worst = max(report, key=lambda name: report[name])
    print(f"{way}: largest deviation {report[worst]:.1e} ({worst})")
    assert report[worst] <= RTOL, report


def test_jit_over_sharded_arrays() -> None:
    """One global view: nothing to merge, and nothing differs; in micro-batches too."""
    report = measured("global")
    for way in ("sharded", "accumulated", "explicit mesh"):
        hold(report[way], way)


def test_shard_map() -> None:
    """Gradients inside, outside and accumulated agree; broken twins do not; settings are refused.

    The twins: every device divides by its own sums; and check_vma=False, where a device's
    own gradient comes out as that of all.
    """
    report = measured("shard_map")
    for way in ("inside", "outside", "accumulated", "gathered by a sum"):
        hold(report[way], way)
    for twin in ("mean of means", "unchecked"):
        print(f"{twin}: {', '.join(f'{n} {d:.2f}' for n, d in report[twin].items())}")
        assert all(d > 0.1 for d in report[twin].values())
    refused = report["refused"]
    assert "Leave check_vma=True" in refused["check_vma"]
    assert "outside of shard_map" in refused["outside"]
    assert "Found 'model'" in refused["name"]
    assert "Use jit with sharded arrays" in refused["candidates"]
