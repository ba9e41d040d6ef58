# SPDX-License-Identifier: Apache-2.0
"""Ranks give the gradient and the ledger of one process, or an error on all that survive."""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from ranks.exact import CASES
from ranks.faults import FAULTS, TIMEOUT, endings

RANKS = Path(__file__).parent / "ranks"
# What the plan says of each wrapper, after the first window.
MEASURED = {
    2: {
        "ddp": "ranks: DistributedDataParallel over 2 ranks, measured: mean",
        "sum hook": "ranks: DistributedDataParallel over 2 ranks, measured: sum",
        "fsdp2": "ranks: FSDPTagger over 2 ranks, measured: mean",
        "fsdp2 sum": "ranks: FSDPTagger over 2 ranks, measured: sum",
        "no wrapper": "ranks: summed here over 2 ranks: no wrapper reduces",
    },
    4: {"mesh": "ranks: DistributedDataParallel over 4 ranks, measured: mean"},
}


def launch(size: int, script: str, folder: str) -> None:
    """Run a script on ranks."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"),
            *(str(RANKS / script), folder),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    print(done.stdout)


def found(size: int) -> list[list[dict[str, Any]]]:
    """Return what every rank wrote down: one launch of torchrun for all cases."""
    with TemporaryDirectory() as folder:
        launch(size, "exact.py", folder)
        return [torch.load(Path(folder) / f"{r}.pt") for r in range(size)]


@pytest.mark.parametrize("size", CASES)
def test_ranks_are_one_process(size: int) -> None:
    """Gradient, total and rows; the rows are the same on every rank, to the bit.

    The broken twin is plain DDP: averaging the ranks' own losses is wrong by 1 % to 110 %.
    """
    every = found(size)
    for place, case in enumerate(CASES[size]):
        for mine in (ranks[place] for ranks in every):
            assert mine["case"] == case
            for what in ("ours", "total", "ledger"):
                assert mine[what] <= 1e-12, (case, what, mine[what])
            assert mine["rows"] == every[0][place]["rows"], case
    errors = [case["plain"] for case in every[0]]
    assert min(errors) > 0.01
    assert max(errors) > 0.5
    plans = {case["case"][1]: case["plan"].splitlines()[-1] for case in every[0]}
    assert {how: plans[how] for how in plans if how in MEASURED[size]} == MEASURED[size]


def test_once_wrong(tmp_path: Path) -> None:
    """Each was a wrong number, a crash or a drift of the ranks once."""
    launch(2, "once_wrong.py", str(tmp_path))
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for name in ("twice_alone", "by_name", "one_row_sharded", "few", "unused_in_the_last"):
            assert found[name] <= 1e-12, (name, found[name])
        assert found["unused"]
        assert "All ranks must have the same terms" in found["other_settings"]
        assert "All ranks must have the same terms" in found["other_weights"]
        assert "parameters of the model alone" in found["outside"]
        assert "ready only once" in found["unused_in_the_last_twin"]


# Which rank ends well, and what the error of the others says.
ENDINGS: dict[str, tuple[list[int], str]] = {
    "dies": ([], "at step 2"),
    "dies_within": ([], "at step 2"),
    "stops": ([1], "at step 3"),
    "sleeps": ([], "at step 2"),
    "disagrees": ([], "micro-batches at step 2: rank 0: 2, rank 1: 1"),
    "differs": ([], "All ranks must have the same terms"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_in_errors(name: str, tmp_path: Path) -> None:
    """Every surviving rank raises within the time-out, with its gradients cleared."""
    well, says = ENDINGS[name]
    found = endings(name, tmp_path)
    assert (found[1] is None) == name.startswith("dies")
    for rank, ending in enumerate(found):
        if ending is None:
            continue
        print(name, rank, ending)
        if rank in well:
            assert ending["error"] is None
            continue
        assert ending["error"] == "RankError", ending
        assert says in ending["text"]
        assert "its gradients were cleared" in "".join(ending["notes"])
        assert ending["waited"] < 4 * TIMEOUT
    if name in ("dies", "stops", "sleeps"):  # gloo's barrier knows who is missing
        assert found[0] is not None
        assert re.search(r"[Rr]anks? 1 failed", found[0]["text"])
