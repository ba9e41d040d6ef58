# SPDX-License-Identifier: Apache-2.0
"""Two passes over a window: statistics of the whole first, then the gradient of every part."""

from dataclasses import dataclass
from typing import Any

import torch

from lossledger.ledger import Ledger
from lossledger.objective._parts import OpenPart
from lossledger.splitting import Whole
from lossledger.torch._run import Run, at_once
from lossledger.torch._state import (
    Drawn,
    Kept,
    buffers_kept,
    draw_again,
    drawn,
    leaf,
    map_tensors,
    tensors,
    written,
)


@dataclass(frozen=True, eq=False)
class First:
    """What the first pass leaves of a micro-batch.

    Attributes:
        drawn: The states of the random number generators before it.
        whole: Its statistics.
        leaves: Its outputs without their graph; None where they are made again.
        part: The loss on these.
    """

    drawn: Drawn
    whole: Whole
    leaves: Any = None
    part: OpenPart | None = None


class TwoPasses:
    """Runs windows with terms that need statistics of the whole.

    The last micro-batches run once: their graphs wait for the exchange. Forward passes that
    write buffers are run in order instead, all of them twice: a graph that waits would have
    written before those that run again, or read what a later pass has overwritten.

    Attributes:
        cached: Whether the loss runs once, on outputs that are kept.
        live: How many graphs may wait.
    """

    def __init__(self, *, cached: bool, live: int) -> None:
        """Choose; whether forward passes write buffers is found out in the first window."""
        self.cached, self.live = cached, live
        self._writes: dict[tuple[bool, ...], bool] = {}

    def run(self, run: Run) -> list[Ledger]:
        """Add a window's gradient to `.grad`; return the ledgers of its parts."""
        if self._covers(run):
            return at_once(run)
        firsts = self._first_pass(run)
        begin = len(firsts)
        with run.reducer.apart():
            live = [run.open(i, run.outputs(i)) for i in range(begin, len(run.window))]
        after = drawn(run.model)
        wholes = [first.whole for first in firsts] + [part.whole for part in live]
        whole = run.exchange(sum(wholes[1:], wholes[0]))
        # Each graph is let go as soon as it is used up.
        once = [_from_graph(run, begin + j, live.pop(0), whole) for j in range(len(live))]
        twice = [_again(run, i, firsts, whole) for i in range(begin)]
        draw_again(after)
        return twice + once

    def _covers(self, run: Run) -> bool:
        """Whether every micro-batch can wait: no other runs after them, to reduce."""
        if run.last == 0:
            return True
        if run.last >= self.live or run.reducer.by_one_graph:
            return False
        unknown = next(run.model.buffers(), None) is not None
        return not self._writes.get(_modes(run), unknown)

    def _first_pass(self, run: Run) -> list[First]:
        """Make the statistics of the micro-batches that run twice, and leave no trace."""
        firsts: list[First] = []
        enough = max(len(run.window) - self.live, 1)
        with torch.no_grad(), buffers_kept(run.model) as before, run.reducer.apart():
            for i in range(len(run.window)):
                if i >= enough and not self._ordered(run, before):
                    break
                firsts.append(self._first(run, i))
        return firsts

    def _first(self, run: Run, i: int) -> First:
        state = drawn(run.model)
        outputs = run.outputs(i)
        if not self.cached:
            return First(state, run.statistics(i, outputs))
        leaves = map_tensors(outputs, leaf)
        with torch.enable_grad():
            part = run.open(i, leaves)
        return First(state, part.whole, leaves, part)

    def _ordered(self, run: Run, before: Kept) -> bool:
        """Whether forward passes write buffers, found out once for each choice of `.train()`."""
        modes = _modes(run)
        if modes not in self._writes:
            self._writes[modes] = written(before)
        return self._writes[modes]


def _modes(run: Run) -> tuple[bool, ...]:
    return tuple(module.training for module in run.model.modules())


def _from_graph(run: Run, i: int, part: OpenPart, whole: Whole) -> Ledger:
    """Differentiate a micro-batch whose graph is still there; another one reduces."""
    total, ledger = run.close(i, part, whole)
    with run.reducer.apart():
        run.differentiate(total)
    return ledger


def _again(run: Run, i: int, firsts: list[First], whole: Whole) -> Ledger:
    """Run a micro-batch as it ran before, with gradient; the last that is left reduces."""
    first = firsts.pop(0)
    if first.part is None:
        draw_again(first.drawn)
        with run.reducer.reducing(last=not firsts):
            return run.backward(i, whole)
    state, leaves = first.drawn, first.leaves
    total, ledger = run.close(i, first.part, whole)
    run.differentiate(total)
    del first, total  # the graph of the loss
    draw_again(state)
    with run.reducer.reducing(last=not firsts):
        pairs = zip(tensors(run.outputs(i)), tensors(leaves), strict=True)
        used = [(o, leaf.grad) for o, leaf in pairs if leaf.grad is not None]
        torch.autograd.backward([o for o, _ in used], [g for _, g in used])
    return ledger
