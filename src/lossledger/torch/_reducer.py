# SPDX-License-Identifier: Apache-2.0
"""What reduces gradients over ranks: DDP, FSDP, or nothing yet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from lossledger._errors import RankError
from lossledger.torch._probe import measure
from lossledger.torch._ranks import Ranks
from lossledger.torch._state import buffers_kept, draw_again, drawn

_SAME = 1e-4  # ranks reduce in one order, so nearly all reducers give the same bits


@dataclass(frozen=True, eq=False)
class Reducer:
    """How the gradients of a model get from this rank to all of them.

    Attributes:
        name: In words, with the factor that was measured.
        compensation: What the loss is multiplied by to undo that factor.
        alone: Whether nothing reduces, so that `finish` has to.
        before: Gradients of earlier windows, set aside.
    """

    model: torch.nn.Module
    ranks: Ranks
    name: str
    compensation: float
    alone: bool
    before: dict[torch.Tensor, torch.Tensor | None] = field(default_factory=dict)

    @property
    def by_one_graph(self) -> bool:
        """Whether a wrapper takes what is used from the last forward pass alone, as DDP can."""
        return bool(getattr(self.model, "find_unused_parameters", False))

    @contextmanager
    def reducing(self, *, last: bool) -> Iterator[None]:
        """Let the model's wrapper reduce after the last micro-batch of a window alone."""
        if last:
            _sync(self.model, on=True)
            yield
            return
        with self.apart():
            yield

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keep gradients on this rank."""
        pause: Any = getattr(self.model, "no_sync", None)
        if pause is not None:
            with pause():
                yield
            return
        _sync(self.model, on=False)
        yield

    def begin(self) -> None:
        """Set aside the gradients of earlier windows, where this one's are summed here."""
        self.before.clear()
        if self.alone:
            for p in self.model.parameters():
                self.before[p], p.grad = p.grad, None

    def finish(self) -> None:
        """Add the gradients up over the ranks, if no wrapper did."""
        if not self.alone:
            return
        used = [p for p in self.model.parameters() if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        there = torch.tensor([p.grad is not None for p in used]).to(grads[0].device).double()
        packed = torch.cat([there, *(g.reshape(-1).double() for g in grads)])
        self.ranks.sum(packed)
        there, *pieces = torch.split(packed, [len(used), *(g.numel() for g in grads)])
        for p, here, piece in zip(used, there.tolist(), pieces, strict=True):
            p.grad = piece.reshape(p.shape).to(p.dtype) if here else None
        for own, earlier in self.before.items():
            if earlier is not None:
                own.grad = earlier if own.grad is None else earlier.add_(own.grad)

    def verify(self) -> None:
        """Require that every rank has the same gradients, once they should be reduced.

        Raises:
            RankError: If some parameter's differ: its wrapper did not reduce it.
        """
        if self.ranks.size == 1:
            return
        mine = {
            name: float(p.grad.double().sum())
            for name, p in self.model.named_parameters()
            if p.grad is not None and not hasattr(p.grad, "full_tensor")
        }
        every = self.ranks.gather(mine)
        for name in mine:
            sums = [found.get(name, 0.0) for found in every]
            if any(abs(s - sums[0]) > _SAME * max(map(abs, sums)) for s in sums):
                raise RankError(
                    "Every rank must have the same gradients after a window",
                    f"Found other ones of `{name}`: their sums are "
                    + ", ".join(f"{s:.6g}" for s in sums),
                    "DDP with static_graph=True met a parameter that the loss does not use, or "
                    "the parameter is left out of the reduction",
                    "Use find_unused_parameters=True, or freeze what the loss does not use",
                )

    def whole(self, amount: torch.Tensor) -> torch.Tensor:
        """Return a number that sharded parameters gave, as one that every rank has."""
        gather: Any = getattr(amount, "full_tensor", None)
        full: torch.Tensor = amount if gather is None else gather()
        return full


def reducer_of(model: torch.nn.Module, group: Any, forward: Callable[[], Any]) -> Reducer:
    """Measure what reduces a model's gradients, with one pass that leaves nothing behind.

    Raises:
        MatchError: If parameters are reduced by different factors, or over another group.
    """
    ranks = Ranks(group)
    if ranks.size == 1:
        return Reducer(model, ranks, "one process", 1.0, alone=False)
    state = drawn(model)
    _sync(model, on=True)
    with buffers_kept(model):
        factor = measure(model, forward, group)
    draw_again(state)
    if factor is None:
        name = f"summed here over {ranks.size} ranks: no wrapper reduces"
        return Reducer(model, ranks, name, 1.0, alone=True)
    kind = "mean" if factor == 1 / ranks.size else "sum" if factor == 1 else f"{factor:.4g} · sum"
    name = f"{type(model).__name__} over {ranks.size} ranks, measured: {kind}"
    return Reducer(model, ranks, name, 1 / factor, alone=False)


def _sync(model: torch.nn.Module, *, on: bool) -> None:
    """Switch the reduction of a `fully_shard` module; others need none."""
    switch = getattr(model, "set_requires_gradient_sync", None)
    if switch is not None:
        switch(on)
