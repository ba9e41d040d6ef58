# SPDX-License-Identifier: Apache-2.0
"""One rank's part of softmax rows whose classes lie on several ranks.

Shapes: N rows, L classes of this rank, P ranks. A rank's numbers are relative to its own
largest logit, so that a common offset of a row costs no digits. Rows are read in blocks: of
logits in low precision only one block at a time exists in the dtype of the work.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Elements of a block: 16 MiB in float32, beside shards of hundreds.
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Labels:
    """What stands beside a rank's rows.

    Attributes:
        place: (N,) place of each row's label in this shard; any place if it lies elsewhere.
        here: (N,) whether it lies in this shard.
        owner: (N,) the rank in whose shard it lies.
        alive: (N,) whether a row has weight, else its logits count as 0; None for all.
        spread: (L,) weight of each class of this shard in the part of the targets that
            smoothing spreads over all classes; None without smoothing.
        work: The dtype that is computed in.
    """

    place: Tensor
    here: Tensor
    owner: Tensor
    alive: Tensor | None
    spread: Tensor | None
    work: torch.dtype


@dataclass(frozen=True, eq=False)
class Normalizer:
    """A row over all shards; log Σ exp(z) = top + log_sum.

    Attributes:
        top: (N,) largest logit.
        log_sum: (N,) log Σ exp(z − top).
        label: (N,) z_y − top.
        spread: (N,) Σ_c w_c·(z_c − top) over the classes that smoothing spreads to; 0 without.
        mass: Σ_c w_c over them; 0 without.
    """

    top: Tensor
    log_sum: Tensor
    label: Tensor
    spread: Tensor | float
    mass: Tensor | float


@dataclass(frozen=True, eq=False)
class Pull:
    """The derivative of the rows' values: scale·p_c − label·[c = y] − spread·w_c.

    Attributes:
        scale: (N,).
        label: (N,) or one number.
        spread: One number.
    """

    scale: Tensor
    label: Tensor | float
    spread: float

    def times(self, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three factors times one coefficient (N,) for each row."""
        return coefficients * self.scale, coefficients * self.label, coefficients * self.spread


def as_rows(z: Tensor, axis: int) -> Tensor:
    """Return logits as (N, L): a view where the class axis is the last one."""
    moved = z.movedim(axis, -1)
    return moved.reshape(moved.shape[:-1].numel(), moved.shape[-1])


def statistics(rows: Tensor, labels: Labels) -> Tensor:
    """Return what a rank tells the others, one vector of length 4·N + 1, or 3·N without spread.

    The largest logit m, log Σ exp(z − m), z_y − m (0 if y lies elsewhere), and with smoothing
    Σ w·(z − m) and Σ w, over the classes of this shard.
    """
    found = [_of_block(z, labels, part) for z, part in _blocks(rows, labels)]
    flat = torch.stack([torch.cat(column) for column in zip(*found, strict=True)]).reshape(-1)
    if labels.spread is None:
        return flat
    return torch.cat((flat, labels.spread.sum().reshape(1)))


def combine(gathered: Tensor, labels: Labels) -> Normalizer:
    """Return the rows over all shards from the vectors (P, ·) of all ranks.

    Every rank adds up the same numbers in the same order.
    """
    n = len(labels.place)
    tops, log_sums, picked = (gathered[:, i * n : (i + 1) * n] for i in range(3))
    top = tops.amax(0)
    moved = tops - top
    log_sum = torch.logsumexp(moved + log_sums, 0)
    label = (picked + moved).gather(0, labels.owner.unsqueeze(0)).squeeze(0)
    if labels.spread is None:
        return Normalizer(top, log_sum, label, 0.0, 0.0)
    masses = gathered[:, -1]
    spread = (gathered[:, 3 * n : 4 * n] + moved * masses.unsqueeze(1)).sum(0)
    return Normalizer(top, log_sum, label, spread, masses.sum())


def slope(
    rows: Tensor, labels: Labels, row: Normalizer, pull: Pull, given: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return (N, L) the derivative of Σ given · value for this rank's logits, in `dtype`."""
    scale, label, spread = pull.times(given)
    label = torch.where(labels.here, label, torch.zeros_like(label))
    found = torch.empty(rows.shape, dtype=dtype, device=rows.device)
    for z, part in _blocks(rows, labels):
        p = z - row.top[part].unsqueeze(1)
        p -= row.log_sum[part].unsqueeze(1)
        p = p.exp_().mul_(scale[part].unsqueeze(1))
        if p.shape[1]:
            p.scatter_add_(1, labels.place[part].unsqueeze(1), -label[part].unsqueeze(1))
        if labels.spread is not None:
            p.addcmul_(spread[part].unsqueeze(1), labels.spread, value=-1)
        if labels.alive is not None:
            p.masked_fill_(~labels.alive[part].unsqueeze(1), 0.0)
        found[part] = p
    return found


def largest(rows: Tensor, work: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return each row's largest logit and the first place where it stands."""
    if not rows.shape[1]:
        lowest = torch.full(rows.shape[:1], -torch.inf, dtype=work, device=rows.device)
        return lowest, torch.zeros_like(lowest, dtype=torch.int64)
    place = rows.argmax(1)
    return rows.gather(1, place.unsqueeze(1)).squeeze(1).to(work), place


def _blocks(rows: Tensor, labels: Labels) -> Iterator[tuple[Tensor, slice]]:
    """Yield blocks of rows in the dtype of the work, 0 where a row has no weight."""
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        z = rows[part].to(labels.work)
        if labels.alive is not None:
            z = z.masked_fill(~labels.alive[part].unsqueeze(1), 0.0)
        yield z, part


def _of_block(z: Tensor, labels: Labels, part: slice) -> list[Tensor]:
    lowest = torch.finfo(z.dtype).min
    if not z.shape[1]:
        nothing = z.sum(1)
        told = [nothing + lowest, nothing - torch.inf, nothing]
        return told if labels.spread is None else [*told, nothing]
    top = z.amax(1)
    # A shard of padding alone has no largest logit: the lowest number stands in for −inf.
    top = top.masked_fill(top == -torch.inf, lowest)
    moved = z - top.unsqueeze(1)
    picked = moved.gather(1, labels.place[part].unsqueeze(1)).squeeze(1)
    picked = torch.where(labels.here[part], picked, torch.zeros_like(picked))
    told = [top, picked]
    if labels.spread is not None:
        # A class without weight may hold −inf, which times 0 would be NaN.
        known = moved.masked_fill(labels.spread == 0, 0.0)
        told.append(known.mul_(labels.spread).sum(1))
    told.insert(1, moved.exp_().sum(1).log())
    return told
