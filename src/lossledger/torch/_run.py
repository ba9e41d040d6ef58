# SPDX-License-Identifier: Apache-2.0
"""One window on one rank: its micro-batches, and the steps that every way to run it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.objective._parts import OpenPart
from lossledger.splitting import Whole
from lossledger.torch._batches import MicroBatch
from lossledger.torch._reducer import Reducer
from lossledger.torch._state import buffers_kept, buffers_of, draw_again, drawn, put_buffers


@dataclass(frozen=True, eq=False)
class Run:
    """A window, and what its micro-batches run through.

    Attributes:
        terms: What is minimised, without regularizers.
        model: The model, in its wrapper.
        window: The micro-batches of this rank.
        reducer: What reduces the gradients.
        forward: The model's outputs for a micro-batch.
        exchange: Merges a whole with those of the other ranks.
        scaler: A `GradScaler`, or None.
        place: Of the first micro-batch, among those of all ranks.
    """

    terms: Objective
    model: torch.nn.Module
    window: list[MicroBatch]
    reducer: Reducer
    forward: Callable[[MicroBatch], Any]
    exchange: Callable[[Whole], Whole]
    scaler: Any
    place: int

    @property
    def last(self) -> int:
        """The number of the last micro-batch."""
        return len(self.window) - 1

    def outputs(self, i: int) -> Any:
        """Run the model on a micro-batch."""
        return self.forward(self.window[i])

    def count(self, i: int) -> Whole:
        """Return denominators: targets, masks and weights decide them."""
        return self.terms.count(self.window[i].targets, **self.window[i].arguments())

    def statistics(self, i: int, outputs: Any) -> Whole:
        """Return the statistics of a micro-batch."""
        batch = self.window[i]
        return self.terms.statistics(outputs, batch.targets, **batch.arguments())

    def open(self, i: int, outputs: Any) -> OpenPart:
        """Run the loss up to its statistics, with the graph of the outputs."""
        return self.terms.open(outputs, self.window[i].targets, **self.window[i].arguments())

    def close(self, i: int, part: OpenPart, whole: Whole) -> tuple[torch.Tensor, Ledger]:
        """Return total and ledger of an open part of the whole."""
        total, ledger = part.close(whole, self.place + i)
        return total, ledger

    def differentiate(self, total: torch.Tensor) -> None:
        """Add a part's gradient to `.grad`."""
        scaled = scaled_by(self.scaler, total * self.reducer.compensation)
        scaled.backward()  # type: ignore[no-untyped-call]

    def backward(self, i: int, whole: Whole) -> Ledger:
        """Run a micro-batch forward and backward, as a part of the whole."""
        batch = self.window[i]
        total, ledger = self.terms(
            self.outputs(i), batch.targets, **batch.arguments(), whole=whole, part=self.place + i
        )
        self.differentiate(total)
        return ledger


def scaled_by(scaler: Any, total: torch.Tensor) -> torch.Tensor:
    """Return a total times a scaler's factor, if there is one."""
    scaled: torch.Tensor = total if scaler is None else scaler.scale(total)
    return scaled


def in_one_pass(run: Run) -> list[Ledger]:
    """Count first, then run every micro-batch with what it is divided by."""
    counts = [run.count(i) for i in range(len(run.window))]
    whole = run.exchange(sum(counts[1:], counts[0]))
    ledgers = []
    for i in range(len(run.window)):
        with run.reducer.reducing(last=i == run.last):
            ledgers.append(run.backward(i, whole))
    return ledgers


def at_once(run: Run, *, checkpointed: bool = False) -> list[Ledger]:
    """Keep the graphs of all micro-batches, or their checkpoints, for one backward."""
    kept = []
    for i in range(len(run.window)):
        with run.reducer.reducing(last=i == run.last):
            outputs = _checkpointed(run, i) if checkpointed else run.outputs(i)
        kept.append(run.open(i, outputs))
    whole = run.exchange(sum((part.whole for part in kept[1:]), kept[0].whole))
    closed = [run.close(i, part, whole) for i, part in enumerate(kept)]
    with run.reducer.reducing(last=True):
        run.differentiate(torch.stack([total for total, _ in closed]).sum())
    return [ledger for _, ledger in closed]


def _checkpointed(run: Run, i: int) -> Any:
    """Run the model so that backward runs it again: with the numbers that it drew before."""
    state, before = drawn(run.model), buffers_of(run.model)
    ran: list[bool] = []

    def forward() -> Any:
        if not ran:
            ran.append(True)
            return run.outputs(i)
        now = drawn(run.model)
        draw_again(state)
        try:
            with buffers_kept(run.model):
                put_buffers(before)
                return run.outputs(i)
        finally:
            draw_again(now)

    return checkpoint(forward, use_reentrant=False, preserve_rng_state=False)
