# SPDX-License-Identifier: Apache-2.0
"""Runs spread over processes: one thread each, because the network is too small for two."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from queue import Empty, SimpleQueue
from typing import Any, Protocol, runtime_checkable

import torch

from lossledger._typing import Sequence
from lossledger.demo.experiment import Data, Job, Outcome, Reading, train
from lossledger.demo.objectives import Recipe

MOST_WORKERS = 4
EVERY = 5
"""Steps between two messages to the progress bar."""


@dataclass(frozen=True)
class Advanced:
    """Some run went this many steps further."""

    steps: int


@dataclass(frozen=True)
class EpochDone:
    """A run finished an epoch."""

    job: Job
    epoch: int
    reading: Reading


Event = Advanced | EpochDone | Outcome


@runtime_checkable
class Messages(Protocol):
    """Where a run tells of its progress: a queue."""

    def put(self, event: Event) -> None:
        """Pass an event on."""


def workers_for(jobs: int) -> int:
    """Return how many processes share the work: one for each core that we may use, at most 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_WORKERS, cores or 1, jobs))


def events(
    jobs: Sequence[Job], data: Data, ruler: Recipe, workers: int
) -> Iterator[Advanced | EpochDone | Outcome]:
    """Do all jobs; tell of every advance and epoch, and of every outcome as it is known.

    Numbers do not depend on `workers`: each run has one thread and its own seeds.
    """
    return _alone(jobs, data, ruler) if workers == 1 else _together(jobs, data, ruler, workers)


def _alone(jobs: Sequence[Job], data: Data, ruler: Recipe) -> Iterator[Event]:
    for job in jobs:
        messages: SimpleQueue[Event] = SimpleQueue()
        outcome = _one_thread(job, data, ruler, messages)
        while not messages.empty():
            yield messages.get()
        yield outcome


def _together(jobs: Sequence[Job], data: Data, ruler: Recipe, workers: int) -> Iterator[Event]:
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        messages = manager.Queue()
        waiting = [pool.submit(_one_thread, job, data, ruler, messages) for job in jobs]
        try:
            while waiting:
                yield from _arrived(messages)
                done = [future for future in waiting if future.done()]
                waiting = [future for future in waiting if future not in done]
                yield from _results(done)
            yield from _arrived(messages)
        finally:
            pool.shutdown(cancel_futures=True)


def _results(done: Sequence[Future[Outcome]]) -> Iterator[Outcome]:
    for future in done:
        yield future.result()


def _arrived(messages: Any) -> Iterator[Event]:
    """Wait a little for a message, then take all that there are."""
    try:
        yield messages.get(timeout=0.2)
        while True:
            yield messages.get_nowait()
    except Empty:
        return


def _one_thread(job: Job, data: Data, ruler: Recipe, messages: Messages) -> Outcome:
    """Do one job, and leave the number of threads as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(job, data, ruler, Teller(job, messages))
    finally:
        torch.set_num_threads(threads)


class Teller:
    """Tells of a run's progress, a few steps at a time."""

    def __init__(self, job: Job, messages: Messages) -> None:
        self.job = job
        self.messages = messages
        self.untold = 0

    def step(self) -> None:
        """Count a step."""
        self.untold += 1
        if self.untold >= EVERY:
            self.tell()

    def epoch(self, number: int, reading: Reading) -> None:
        """Pass an epoch's reading on."""
        self.tell()
        self.messages.put(EpochDone(self.job, number, reading))

    def tell(self) -> None:
        """Say how many steps were done since last time."""
        if self.untold:
            self.messages.put(Advanced(self.untold))
        self.untold = 0
