# SPDX-License-Identifier: Apache-2.0
"""A window of micro-batches on every rank, with the gradient and ledger of one batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist

from lossledger._errors import MatchError
from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.regularizers import parameters_of, regularize
from lossledger.splitting import Whole
from lossledger.torch._batches import Last, MicroBatch, Windows, call_model, read_batch
from lossledger.torch._exchange import all_reduce
from lossledger.torch._plan import Plan, planned
from lossledger.torch._ranks import Ranks, of_ranks
from lossledger.torch._reducer import Reducer, reducer_of
from lossledger.torch._run import Run, at_once, in_one_pass, scaled_by
from lossledger.torch._settings import check_parameters, check_settings, check_weights, live_of
from lossledger.torch._state import add_gradient
from lossledger.torch._two_passes import TwoPasses

Mode = Literal["replay", "cached", "checkpoint", "retain"]


class Accumulator:
    """Runs windows of micro-batches so that their gradient is that of one batch.

    It owns every division: micro-batches, ranks, and what a wrapper divides by, which is
    measured once. Terms of one pass are counted first; for the others (batch Dice, worst
    cases, contrasts) the statistics of the window are made first, without gradient.

    Args:
        objective: What is minimised.
        model: A module, or one wrapped in DistributedDataParallel or `fully_shard`.
        optimizer: For `step`, which does all that a window needs.
        micro_batches: How many make a window in `windows`.
        last: A last window that is not full: "step" it (it is exact like any other), "carry"
            it over to the next epoch, or "drop" it.
        mode: How windows with terms of two passes run. "replay": forward without
            gradient, then once more (random numbers are drawn again). "cached": the same,
            and the loss runs once, on the outputs of the first; its graph waits for the window.
            "checkpoint": every forward is checkpointed, for one backward of them all.
            "retain": one forward, and every activation stays in memory.
        live: How many micro-batches may have their activations in memory at once, under "replay"
            (None: 1) and "cached" (None: 2). So many run once, the last ones of a window: their
            graphs wait for the statistics. Where forward passes write buffers none waits, and
            DDP with find_unused_parameters=True runs the first one twice in any case.
        read: From what a data loader gives to a `MicroBatch`; default: (inputs, targets).
        forward: (model, inputs) -> outputs; default: called with a tensor, tuple or dict.
        autocast: Gives a context for the forward pass, such as
            `lambda: torch.autocast("cuda", torch.bfloat16)`; the loss runs outside it.
        scaler: A `GradScaler`.
        clip_norm: Largest norm of the window's gradient, for `step`.
        group: The ranks that share a window; None for all of them.
        timeout: Seconds to wait for a rank at the start of a window (gloo names it).
        ledger: False leaves the ledger of a rank its own, and spares one all-reduce.

    Attributes:
        steps: Windows run so far.

    Raises:
        MatchError: If settings contradict each other.
    """

    def __init__(  # noqa: PLR0913 - one setting for each decision of a training loop
        self,
        objective: Objective,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        micro_batches: int = 1,
        last: Last = "step",
        mode: Mode = "replay",
        live: int | None = None,
        read: Callable[[Any], MicroBatch] = read_batch,
        forward: Callable[[torch.nn.Module, Any], Any] = call_model,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        scaler: Any = None,
        clip_norm: float | None = None,
        group: Any = None,
        timeout: float | None = None,
        ledger: bool = True,
    ) -> None:
        """Decide how each term runs; nothing is computed yet."""
        check_settings(micro_batches, last, mode, live, clip_norm)
        check_weights(objective)
        self.objective, self.model, self.optimizer = objective, model, optimizer
        self.scaler, self.clip_norm, self.timeout = scaler, clip_norm, timeout
        self.group = group
        self.steps = 0
        self._terms = Objective(
            *objective.terms, skip=objective.skip, output_names=objective.output_names
        )
        self._windows = Windows(micro_batches, last, read)
        self._mode, self._forward, self._autocast = mode, forward, autocast
        self._share_ledger = ledger
        live = live_of(mode, live)
        self._plan = planned(objective, model, mode, live)
        self._way = _way(mode, live, counts=self._plan.counts)
        self._reducer: Reducer | None = None
        self._verified = False

    @property
    def plan(self) -> Plan:
        """How each term runs and why, what reduces the gradients, and known limits."""
        return replace(self._plan, reduction=None if self._reducer is None else self._reducer.name)

    def __str__(self) -> str:
        """Write the plan."""
        return str(self.plan)

    def windows(self, batches: Iterable[Any]) -> Iterator[list[MicroBatch]]:
        """Yield the micro-batches of a data loader in windows."""
        return self._windows.over(batches)

    def step(self, window: Sequence[Any]) -> tuple[torch.Tensor, Ledger]:
        """Run a window, clip, step the optimizer and clear the gradients.

        Returns:
            What `backward` returns.

        Raises:
            MatchError: If there is no optimizer.
        """
        if self.optimizer is None:
            raise MatchError(
                "Accumulator.step needs an optimizer",
                "Found none",
                "The accumulator was built for a loop of your own",
                "Pass optimizer=, or call backward(window) and step yourself",
            )
        total, ledger = self.backward(window)
        if self.clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            trained = [p for g in self.optimizer.param_groups for p in g["params"]]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total, ledger

    def backward(self, window: Sequence[Any]) -> tuple[torch.Tensor, Ledger]:
        """Add the gradient of the window's total to `.grad`, on every rank.

        Args:
            window: Micro-batches; every rank passes as many.

        Returns:
            (total, ledger) of the window over all ranks, detached; the same on every rank,
            but for `ledger=False`, where they are this rank's share.
            With a `scaler` the gradients are scaled, the total is not.

        Raises:
            RankError: If a rank does not answer, or has another number of micro-batches.
        """
        self.steps += 1
        try:
            return self._run([self._windows.read(batch) for batch in window])
        except BaseException as failure:
            for parameter in self.model.parameters():
                parameter.grad = None
            note = "The window was given up: its gradients were cleared."
            if of_ranks(failure):
                lost = Ranks(self.group, self.steps).lost(failure)  # type: ignore[arg-type]
                lost.add_note(note)
                raise lost from failure
            failure.add_note(note)
            raise

    def _run(self, window: list[MicroBatch]) -> tuple[torch.Tensor, Ledger]:
        if not window:
            raise MatchError(
                "A window needs at least one micro-batch",
                "Found none",
                "The data loader is empty on this rank",
                "Pass a micro-batch that is wholly masked: it adds nothing",
            )
        reducer = self._reducing(window[0])
        reducer.begin()
        ledgers = self._way(self._ready(window, reducer))
        return self._closed(sum(ledgers[1:], ledgers[0]), reducer)

    def _ready(self, window: list[MicroBatch], reducer: Reducer) -> Run:
        """Return a window with what it runs through."""
        rank = dist.get_rank(self.group) if dist.is_initialized() else 0
        return Run(
            terms=self._terms,
            model=self.model,
            window=window,
            reducer=reducer,
            forward=self._outputs,
            exchange=self._exchange,
            scaler=self.scaler,
            place=rank * len(window),
        )

    def _reducing(self, batch: MicroBatch) -> Reducer:
        """Find out once what reduces the gradients, by the first micro-batch."""
        if self._reducer is None:
            if Ranks(self.group).size > 1:
                check_parameters(self.model, self.objective, self.optimizer, self._mode)
            self._reducer = reducer_of(self.model, self.group, lambda: self._outputs(batch))
        return self._reducer

    def _outputs(self, batch: MicroBatch) -> Any:
        with self._autocast():
            return self._forward(self.model, batch.inputs)

    def _exchange(self, whole: Whole) -> Whole:
        return all_reduce(whole, self.group, step=self.steps, timeout=self.timeout)

    def _closed(self, ledger: Ledger, reducer: Reducer) -> tuple[torch.Tensor, Ledger]:
        """Reduce what no wrapper reduces, and add the regularizers, once a window."""
        reducer.finish()
        if not self._verified:
            reducer.verify()
            self._verified = True
        amounts = []
        for regularizer in self.objective.regularizers:
            amount = regularize(regularizer, None)
            add_gradient(scaled_by(self.scaler, amount), parameters_of(regularizer))
            amounts.append((regularizer.name, reducer.whole(amount.detach()).double()))
        if self._share_ledger:
            ledger = all_reduce(ledger, self.group, step=self.steps, timeout=self.timeout)
        total = torch.as_tensor(ledger.summed)
        for _, amount in amounts:
            total = total + amount.to(total)
        return total, replace(ledger, regularizers=tuple(amounts), summed=total)


def _way(mode: Mode, live: int, *, counts: bool) -> Callable[[Run], list[Ledger]]:
    """Return how windows run."""
    if counts:
        return in_one_pass
    if mode in ("replay", "cached"):
        return TwoPasses(cached=mode == "cached", live=live).run
    return partial(at_once, checkpointed=mode == "checkpoint")
