# SPDX-License-Identifier: Apache-2.0
"""Ranks that die, stop early or disagree: plain processes, each of which says how it ended."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ranks.models import OBJECTIVES, cut, data, tagger
from torch.nn.parallel import DistributedDataParallel

from lossledger.torch import Accumulator

TIMEOUT = 4.0
STEPS = 3


@dataclass
class Rank:
    """One rank's training, three windows long, with a fault in some of it."""

    rank: int
    size: int
    objective: str = "token mean"
    since: float = 0.0

    def run(self, before: Callable[[int, list[Any]], list[Any]]) -> int:
        """Train; `before(step, window)` may change the window, stop or die."""
        model = tagger()
        objective = OBJECTIVES[self.objective](model)
        wrapped = DistributedDataParallel(model, find_unused_parameters=True)
        accumulator = Accumulator(objective, wrapped, timeout=TIMEOUT)
        every = cut(data(objective), [0, 4, 8, 12, 16])
        mine = every[self.rank :: self.size]
        for step in range(1, STEPS + 1):
            window = before(step, mine)
            if not window:
                break
            self.since = time.monotonic()
            accumulator.backward(window)
            for p in model.parameters():
                p.grad = None
        return accumulator.steps


def dies(rank: Rank) -> int:
    """Rank 1 is killed before its second window."""

    def before(step: int, window: list[Any]) -> list[Any]:
        if rank.rank == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return window

    return rank.run(before)


def dies_within(rank: Rank) -> int:
    """Rank 1 is killed in the second window, after the denominators were exchanged."""

    def before(step: int, window: list[Any]) -> list[Any]:
        if rank.rank == 1 and step == 2:
            torch.nn.Linear.forward = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment]
        return window

    return rank.run(before)


def stops(rank: Rank) -> int:
    """Rank 1 has one window less: its data loader was shorter."""
    return rank.run(lambda step, window: [] if rank.rank == 1 and step == 3 else window)


def sleeps(rank: Rank) -> int:
    """Rank 1 hangs in its data loader."""

    def before(step: int, window: list[Any]) -> list[Any]:
        if rank.rank == 1 and step == 2:
            time.sleep(2 * TIMEOUT)
        return window

    return rank.run(before)


def disagrees(rank: Rank) -> int:
    """Rank 1 has a micro-batch less in its second window."""
    return rank.run(lambda step, window: window[: 1 if rank.rank == 1 and step == 2 else None])


def differs(rank: Rank) -> int:
    """Rank 1 was built with another objective."""
    rank.objective = "mean of class means" if rank.rank == 1 else "token mean"
    return rank.run(lambda _step, window: window)


FAULTS = {f.__name__: f for f in (dies, dies_within, stops, sleeps, disagrees, differs)}


def endings(name: str, folder: Path, size: int = 2) -> list[dict[str, Any] | None]:
    """Run a fault on ranks; return how each ended, None for one that was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "lossledger.torch"])  # once; DDP wants both
    ranks = [context.Process(target=_rank, args=(name, str(folder), r, size)) for r in range(size)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"{name}: a rank hangs")
    files = [folder / f"{r}.json" for r in range(size)]
    return [json.loads(f.read_text()) if f.exists() else None for f in files]


def _rank(name: str, folder: str, rank: int, size: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size,
        timeout=timedelta(seconds=6 * TIMEOUT),
    )  # fmt: skip
    ending: dict[str, Any] = {"error": None}
    one = Rank(rank, size)
    try:
        ending["steps"] = FAULTS[name](one)
    except Exception as failure:  # noqa: BLE001 - what ended the rank is the result
        notes = getattr(failure, "__notes__", [])
        ending |= {"error": type(failure).__name__, "text": str(failure), "notes": notes}
    ending["waited"] = time.monotonic() - one.since
    (Path(folder) / f"{rank}.json").write_text(json.dumps(ending))
    os._exit(0)  # no goodbye: a dead rank would not answer it
