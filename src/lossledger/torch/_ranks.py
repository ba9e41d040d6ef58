# SPDX-License-Identifier: Apache-2.0
"""Collectives that end in an error which names the rank and the step, never in a hang."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from lossledger._errors import LossLedgerError, RankError
from lossledger.torch._group import gather

_OF_RANKS = ("gloo", "nccl", "connection", "processgroup", "timed out", "peer")


def of_ranks(failure: BaseException) -> bool:
    """Whether an error comes from a collective: a wrapper's own, in the backward pass."""
    if isinstance(failure, LossLedgerError) or not isinstance(failure, RuntimeError):
        return False
    text = str(failure).lower()
    return isinstance(failure, dist.DistError) or any(word in text for word in _OF_RANKS)


@dataclass(frozen=True)
class Ranks:
    """The ranks of a process group at one step.

    Attributes:
        group: The process group; None for all ranks.
        step: Number of the step, for messages.
        timeout: Seconds to wait for a rank at the start of an exchange (gloo).
    """

    group: Any = None
    step: int | None = None
    timeout: float | None = None

    @property
    def size(self) -> int:
        """Number of ranks."""
        return dist.get_world_size(self.group) if dist.is_initialized() else 1

    @property
    def rank(self) -> int:
        """This rank's place in the group."""
        return dist.get_rank(self.group)

    def agree(self, fingerprint: int, number: int, what: str) -> None:
        """Require that all ranks hold the same terms and the same number of something.

        Raises:
            RankError: On every rank, with the numbers of all.
        """
        self.meet()
        mine = torch.tensor([fingerprint, number, -1 if self.step is None else self.step])
        mine = mine.to(self._device())
        with self.reporting():
            every = gather(mine, self.group)
        prints, numbers, steps = every.cpu().T.tolist()
        if len(set(steps)) > 1:
            raise self._disagree("be at the same step", "step", steps)
        if len(set(numbers)) > 1:
            raise self._disagree(f"have the same number of {what}", what, numbers)
        if len(set(prints)) > 1:
            raise self._disagree("have the same terms, shapes and dtypes", "terms of kind", prints)

    def meet(self) -> None:
        """Wait for every rank, no longer than `timeout`; only gloo can name who is missing."""
        if self.timeout is None or dist.get_backend(self.group) != "gloo":
            return
        with self.reporting():
            dist.monitored_barrier(
                self.group, timeout=timedelta(seconds=self.timeout), wait_all_ranks=True
            )

    def sum(self, packed: torch.Tensor) -> None:
        """Add a tensor up over the ranks, in place."""
        with self.reporting():
            dist.all_reduce(packed, group=self.group)

    def gather(self, thing: Any) -> list[Any]:
        """Return the things of all ranks, in order."""
        found: list[Any] = [None] * self.size
        with self.reporting():
            dist.all_gather_object(found, thing, group=self.group)
        return found

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn a failed collective into an error that says at which step, and who is missing."""
        try:
            yield
        except RuntimeError as failure:
            if isinstance(failure, RankError):
                raise
            raise self.lost(failure) from failure

    def lost(self, failure: RuntimeError) -> RankError:
        """Return the error for a collective that failed."""
        return RankError(
            "Every rank must answer",
            f"Found none from some rank{self._at()}, on rank {self.rank}: "
            f"{str(failure).splitlines()[0]}",
            "A rank died, or runs another number of steps or micro-batches",
            "Read the log of the rank that is named; restart from the last checkpoint",
        )

    def _disagree(self, rule: str, what: str, numbers: list[int]) -> RankError:
        found = ", ".join(f"rank {rank}: {number}" for rank, number in enumerate(numbers))
        return RankError(
            f"All ranks must {rule}",
            f"Found {what}{self._at()}: {found}",
            "A rank's data loader is shorter, or it was built with other settings",
            "Give every rank as many; a micro-batch that is wholly masked adds nothing",
        )

    def _at(self) -> str:
        return "" if self.step is None else f" at step {self.step}"

    def _device(self) -> torch.device:
        accelerated = dist.get_backend(self.group) == "nccl"
        return (
            torch.device("cuda", torch.cuda.current_device())
            if accelerated
            else torch.device("cpu")
        )
