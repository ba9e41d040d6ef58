# SPDX-License-Identifier: Apache-2.0
"""Launch a function on ranks: real processes, a gloo group, and a file to meet at."""

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SECONDS = 60.0


def on_ranks(size: int, work: Any, *arguments: Any) -> list[Any]:
    """Run work(rank, size, *arguments) on `size` ranks; return what each gave."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_start, (size, folder, work, arguments), nprocs=size)
        return [torch.load(Path(folder) / f"{r}.pt", weights_only=False) for r in range(size)]


def _start(rank: int, size: int, folder: str, work: Any, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size,
        timeout=timedelta(seconds=SECONDS),
    )  # fmt: skip
    found = work(rank, size, *arguments)
    torch.save(found, Path(folder) / f"{rank}.pt")
    sys.stdout.flush()
    dist.barrier()
    dist.destroy_process_group()
