# SPDX-License-Identifier: Apache-2.0
"""Cross entropy of logits whose class axis is sharded over the ranks of a process group."""

import sys
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from lossledger._array import ArrayLibrary, library_of
from lossledger._errors import DomainError, ReductionError, ShapeError
from lossledger._typing import Array
from lossledger.losses import AbstractLoss, AbstractShards, Facts, Inputs, Met
from lossledger.losses._checks import check_probability
from lossledger.torch._group import ELSEWHERE, gather, rank_of
from lossledger.torch._rows import (
    Labels,
    Normalizer,
    Pull,
    as_rows,
    combine,
    largest,
    slope,
    statistics,
)


@dataclass(frozen=True)
class ShardedCrossEntropy(AbstractLoss, AbstractShards):
    """`CrossEntropy` where each rank of a group holds a shard of the classes.

    −Σ_c t_c·log p_c over the classes of all shards; ∂/∂z_c = (Σt)·p_c − t_c for a rank's own
    classes; z-loss adds λ·LSE(z)².

    Args:
        classes: Number of classes in all shards together.
        group: The process group whose ranks hold the shards, in the order of its ranks; None
            for the group of all ranks. A copy in another process has none.
        label_smoothing: ε in [0, 1]: t becomes (1 − ε)·t + ε/K.
        z_loss: λ of the penalty on the log of the normalizer.
        ignore_index: Label whose elements have no weight.

    Every rank passes its own shard of the logits (tensors, or DTensors sharded along the class
    axis alone), of any length. All else is the same on all ranks: class indices among all
    classes, masks, weights. Then so are the values, the total and the ledger, and each rank's
    gradient is that of its own shard.

    The forward pass gathers three small tensors over the group: what the batches are, four
    numbers a row (three without smoothing), and the decisions that the ledger counts.
    `value_and_grad` gathers once more. The backward pass does not communicate; it cannot be
    differentiated again.

    Source: `lossledger.losses.CrossEntropy` of the whole row, which equals
    torch.nn.functional.cross_entropy.
    """

    classes: int
    group: Any = field(default=None, repr=False, compare=False)
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the range of the smoothing and the number of classes."""
        check_probability("label_smoothing", self.label_smoothing)
        given: Any = self.classes
        if not isinstance(given, int) or isinstance(given, bool) or given < 1:
            raise DomainError(
                "`classes` must be the number of classes in all shards together",
                f"Found {self.classes!r}",
                "Class names were given, which belong to the term",
                "Pass the size of the vocabulary, e.g. classes=128_256",
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the group behind: it belongs to this process."""
        return {**self.__dict__, "group": ELSEWHERE}

    def __copy__(self) -> Self:
        """Return the loss itself, which cannot change and keeps its group."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the loss itself."""
        return self

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="classes",
            removes=("class",),
            scores="softmax",
            class_weight_within=True,
            shards=self,
            source="lossledger.losses.CrossEntropy",
        )

    def meet(self, outputs: tuple[Array, ...], targets: Array, axis: int) -> Met:
        """Compare lengths, dtypes and targets over the ranks.

        Raises:
            DomainError: If the output is no tensor of torch.
            ShapeError: If it is a DTensor that is not sharded along the class axis alone.
            MatchError: If there is no group.
        """
        z = _local(outputs[0], axis)
        mine = _said(z, targets, axis, self.classes)
        rank_of(self.group)
        all_say = gather(mine, self.group)
        lengths = all_say[:, 0]
        starts = torch.cat((torch.zeros_like(lengths[:1]), lengths.cumsum(0)))
        alike = (all_say == all_say[:1]).all(0)
        whole = (lengths.sum() == self.classes) & alike[1] & alike[2]
        same = alike[3] & alike[4]

        def sizes() -> str:
            return (
                f"Found shards of {', '.join(str(n) for n in lengths.tolist())} logits, for "
                f"{', '.join(str(n) for n in sorted(set(all_say[:, 1].tolist())))} classes"
                + ("" if alike[2] else ", in several dtypes")
            )

        def others() -> str:
            what = "targets" if alike[3] else "numbers of rows and targets"
            odd = (all_say[:, 3:] != all_say[:1, 3:]).any(1).nonzero().flatten().tolist()
            return f"Found other {what} on rank {', '.join(map(str, odd))} of the group than on 0"

        return Met((z,), starts, (("shards", whole, sizes), ("ranks", same, others)))

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row, the same on all ranks."""
        z = outputs[0]
        labels = self._labels(z, targets, inputs)
        row = self._normalizer(z, labels, inputs)
        label, spread, mass = self._parts(targets, inputs, labels.work)
        value = torch.where(label != 0, row.log_sum - row.label, torch.zeros_like(row.top)) * label
        if spread:
            value = value + spread * (row.mass * row.log_sum - row.spread)
        square = (row.top + row.log_sum) ** 2
        value = value + self.z_loss * square * mass if self.z_loss else value
        pull = self._pull(row, label, spread, mass)
        shape = inputs.frame.without(("class",)).shape
        attach: Any = _Attached.apply  # torch leaves it without a type
        return attach(z, value, inputs.class_axis, (labels, row, pull)).reshape(shape)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·((Σt)·p − t + 2λ·LSE·p) for this rank's classes."""
        z = outputs[0]
        labels = self._labels(z, targets, inputs)
        row = self._normalizer(z, labels, inputs)
        pull = self._pull(row, *self._parts(targets, inputs, labels.work))
        rows = as_rows(z.detach(), inputs.class_axis)
        found = slope(rows, labels, row, pull, coefficients.reshape(-1), labels.work)
        return (_from_rows(found, z, inputs.class_axis),)

    def decide(self, output: Array, inputs: Inputs) -> Array:
        """Return the class of the largest logit in all shards, the first of equal ones."""
        rows = as_rows(output, inputs.class_axis)
        most, place = largest(rows, torch.float64)
        place = place + _start(self, inputs)
        told = gather(torch.stack((most, place.to(most.dtype))), self.group)
        winner = told[:, 0].argmax(0, keepdim=True)
        found = told[:, 1].gather(0, winner).to(torch.int64)
        return found.reshape(inputs.frame.without(("class",)).shape)

    def _normalizer(self, z: Tensor, labels: Labels, inputs: Inputs) -> Normalizer:
        """Ask all ranks for their parts of the rows."""
        rows = as_rows(z.detach(), inputs.class_axis)
        return combine(gather(statistics(rows, labels), self.group), labels)

    def _labels(self, z: Tensor, targets: Tensor, inputs: Inputs) -> Labels:
        """Find each row's label in the shards."""
        starts = inputs.starts
        assert starts is not None  # noqa: S101 - the engine has met
        length = z.shape[inputs.class_axis]
        own = targets.reshape(-1)
        place = own - _start(self, inputs)
        here = (place >= 0) & (place < length)
        owner = torch.searchsorted(starts[1:], own, right=True).clamp(max=len(starts) - 2)
        alive = inputs.alive
        if alive is not None:
            alive = alive.broadcast_to(targets.shape).reshape(-1)
        work = torch.float64 if z.dtype is torch.float64 else torch.float32
        spread = self._spread(z, length, inputs).to(work) if self.label_smoothing else None
        return Labels(place.clamp(0, max(length - 1, 0)), here, owner, alive, spread, work)

    def _spread(self, z: Tensor, length: int, inputs: Inputs) -> Tensor:
        """Return this shard's class weights; ones without them."""
        weights: Tensor | None = inputs.class_weight
        if weights is None:
            return torch.ones(length, device=z.device)
        places = torch.arange(length, device=z.device) + _start(self, inputs)
        return weights[places.clamp(max=self.classes - 1)]

    def _parts(
        self, targets: Tensor, inputs: Inputs, work: torch.dtype
    ) -> tuple[Tensor, float, Tensor]:
        """Return the weights of the label and of every class in a row's target, and of the row."""
        rows = targets.reshape(-1)
        mass = torch.ones_like(rows, dtype=work)
        if inputs.class_weight is not None:
            mass = inputs.class_weight[rows].to(work)
        smoothing = self.label_smoothing
        return mass * (1 - smoothing), smoothing / self.classes, mass

    def _pull(self, row: Normalizer, label: Tensor, spread: float, mass: Tensor) -> Pull:
        """Return the derivative of the rows' values."""
        scale = label + spread * row.mass
        if self.z_loss:
            scale = scale + 2 * self.z_loss * (row.top + row.log_sum) * mass
        return Pull(scale, label, spread)


class _Attached(torch.autograd.Function):
    """Values that were computed without a graph, with their closed-form derivative."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, value: Tensor, axis: int, parts: tuple[Labels, Normalizer, Pull]
    ) -> Tensor:
        """Return the values."""
        ctx.save_for_backward(z)
        ctx.axis, ctx.parts = axis, parts
        return value.clone()

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Any, None, None, None]:
        """Return the derivative for this rank's logits, in their dtype."""
        (z,) = ctx.saved_tensors
        slope_once: Any = _Slope.apply
        return slope_once(z, given, ctx.axis, ctx.parts), None, None, None


class _Slope(torch.autograd.Function):
    """The derivative for a rank's logits, which has none itself."""

    @staticmethod
    def forward(
        _ctx: Any, z: Tensor, given: Tensor, axis: int, parts: tuple[Labels, Normalizer, Pull]
    ) -> Tensor:
        """Return the derivative in the dtype of the logits."""
        labels, row, pull = parts
        return _from_rows(slope(as_rows(z, axis), labels, row, pull, given, z.dtype), z, axis)

    @staticmethod
    def backward(_ctx: Any, *_given: Tensor) -> None:
        """Refuse: other ranks' logits would be needed.

        Raises:
            ReductionError: Always.
        """
        raise ReductionError(
            "ShardedCrossEntropy can be differentiated once",
            "Found a derivative of its gradient",
            "A gradient penalty or a Hessian was taken, which needs the rows of all ranks",
            "Gather the logits and use ll.losses.CrossEntropy for it",
        )


def _start(loss: ShardedCrossEntropy, inputs: Inputs) -> Tensor:
    """Return the first class of this rank's shard."""
    assert inputs.starts is not None  # noqa: S101 - the engine has met
    start: Tensor = inputs.starts[rank_of(loss.group)]
    return start


def _from_rows(rows: Tensor, like: Tensor, axis: int) -> Tensor:
    """Undo `as_rows`."""
    return rows.reshape(like.movedim(axis, -1).shape).movedim(-1, axis)


def _said(z: Tensor, targets: Tensor, axis: int, classes: int) -> Tensor:
    """Return what the ranks compare: length, classes, dtype, sizes and a checksum of the targets.

    The checksum weighs each target by an odd number of its place, modulo 2⁶⁴. Targets with a
    class axis differ by rank, and are refused by their shape later, on every rank alike.
    """
    length = z.shape[axis] if z.ndim > axis else 0
    wide = int(z.dtype is torch.float64)
    dense = targets.shape == z.shape
    beside = () if dense else tuple(targets.shape)
    sizes = hash((*z.shape[:axis], -1, *z.shape[axis + 1 :], -1, *beside))
    flat = targets.detach().reshape(-1)[: 0 if dense else None].to(z.device, torch.int64)
    places = torch.arange(len(flat), device=z.device)
    checksum = ((flat + 1) * ((places * 0x9E3779B97F4A7C1) | 1)).sum()
    numbers = torch.tensor([length, classes, wide, sizes], device=z.device)
    return torch.cat((numbers, checksum.reshape(1)))


def _local(output: Array, axis: int) -> Tensor:
    """Return a rank's own shard as a plain tensor.

    Raises:
        DomainError: If it is no tensor of torch.
        ShapeError: If it is a DTensor that is not sharded along the class axis alone.
    """
    if not isinstance(output, Tensor):
        raise DomainError(
            "ShardedCrossEntropy needs tensors of PyTorch: its ranks are a torch process group",
            f"Found an array of {library_of(output).name}",
            "Outputs of another framework, or already copied to NumPy, were passed",
            "Pass the model's tensors; without shards, use ll.losses.CrossEntropy",
        )
    module = sys.modules.get("torch.distributed.tensor")
    if module is None or not isinstance(output, module.DTensor):
        return output
    placements: tuple[Any, ...] = output.placements
    if len(placements) != 1 or not placements[0].is_shard(axis):
        raise ShapeError(
            "A DTensor of logits must be sharded along the class axis and nothing else",
            f"Found the placements {', '.join(map(str, placements))}, class axis {axis}",
            "The last layer gathers its output, or the mesh has a data axis too",
            "Keep the output sharded (Shard(-1)), or pass logits.to_local() of each rank",
        )
    local: Tensor = output.to_local(grad_placements=placements)
    return local
