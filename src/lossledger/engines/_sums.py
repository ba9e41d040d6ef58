# SPDX-License-Identifier: Apache-2.0
"""Sums made into one value a cell, under the policies for cells with nothing in them."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import ReductionError, ShapeError
from lossledger._typing import Array, Mapping
from lossledger.frames import Frame
from lossledger.losses import AbstractOverlapLoss
from lossledger.statistics import ChannelStatistic
from lossledger.term import Term

MASS = "mass"
"""The sum of the weights inside a loss's sums: 0 where a cell does not exist."""
WEIGHT = "weight"
"""The sum of all weights but the classes': 0 where outputs were replaced, so say nothing."""


@dataclass(frozen=True, eq=False)
class Finalized:
    """Cells made of sums.

    Attributes:
        values: One a cell, 0 where the policy for empty cells says so.
        presence: Which cells count; None for all.
        live: 0 where a cell was set to 0; None for all ones.
        sums: The sums, 1 in cells that were set to 0, so that no formula breaks there.
        broken: Where targets are absent under "raise" and nothing could be raised.
    """

    values: Array
    presence: Array | None
    live: Array | None
    sums: Mapping[str, Array]
    broken: Array | None = None


def finalize_cells(
    xp: ArrayLibrary,
    term: Term,
    sums_frame: Frame,
    statistic: ChannelStatistic,
    *,
    weighted: bool = True,
) -> Finalized:
    """Make one value a cell under the policy for absent targets.

    `weighted` is False if every element is known to have weight, so that all cells exist.
    """
    loss = overlap_of(term)
    sums, axis = statistic.by_name(), pooled_at(loss, sums_frame)
    mass, weight = (_pooled(xp, sums.pop(name), axis) for name in (MASS, WEIGHT))
    here = mass != 0 if weighted else None
    absent = None if loss.empty == "keep" else _absent(xp, loss, sums, axis)
    dead = weight == 0 if weighted else None
    presence = here
    if absent is not None:
        absent = absent if dead is None else absent & ~dead
        dead = absent if dead is None else dead | absent
        if loss.empty == "skip":
            presence = ~absent if here is None else here & ~absent
    if dead is not None:
        blank = dead if axis is None else xp.expand(dead, axis)
        sums = {n: xp.where(blank, xp.full_like(s, 1.0), s) for n, s in sums.items()}
    values = loss.finalize(xp, sums, axis)
    frame = sums_frame.without(loss.pools())
    _check_values(loss, values, frame)
    live = None
    if dead is not None:
        values = xp.where(dead, xp.full_like(values, 0.0), values)
        live = xp.astype(~dead, xp.dtype(values))
    broken = None
    if absent is not None and loss.empty == "raise":
        broken = _refused(xp, term, absent if dead is None else absent | ~xp.any(~dead))
    if not loss.include_background and "class" in frame.axes:
        foreground = _foreground(xp, values, frame)
        presence = foreground if presence is None else presence & foreground
    return Finalized(values, presence, live, sums, broken)


def overlap_of(term: Term) -> AbstractOverlapLoss:
    """Return a term's loss, which the engine knows to be one of sums."""
    assert isinstance(term.loss, AbstractOverlapLoss)  # noqa: S101 - the engine chose by type
    return term.loss


def pooled_at(loss: AbstractOverlapLoss, sums_frame: Frame) -> int | None:
    pools = loss.pools()
    return sums_frame.axes.index(pools[0]) if pools else None


def _check_values(loss: AbstractOverlapLoss, values: Array, frame: Frame) -> None:
    shape = tuple(getattr(values, "shape", ()))
    if shape != frame.shape:
        raise ShapeError(
            "A loss of sums must give one value for each cell",
            f"Found shape {shape} where the axes left after over={loss.over!r} are {frame}",
            "The value was reduced over the cells, or an axis is missing in `over`",
            "Return an array shaped like the sums; a reduction makes one number of the cells",
        )


def _refused(xp: ArrayLibrary, term: Term, absent: Array) -> Array | None:
    """Raise for absent targets; return where they are if nothing can be read."""
    if xp.readable(absent):
        if bool(xp.any(absent)):
            raise ReductionError(
                "Every cell needs targets under empty='raise'",
                f"Found a cell of `{term.name}` whose targets sum to 0",
                "The class is absent from this batch (or sample)",
                "Choose empty='keep', 'zero', 'skip' or 'agree'",
            )
        return None
    return absent


def _pooled(xp: ArrayLibrary, sums: Array, axis: int | None) -> Array:
    return sums if axis is None else xp.sum(sums, axis=axis)


def _absent(
    xp: ArrayLibrary, loss: AbstractOverlapLoss, sums: Mapping[str, Array], axis: int | None
) -> Array:
    absent = _pooled(xp, sums["targets"], axis) == 0
    if loss.empty != "agree":
        return absent
    return absent & (_pooled(xp, sums["outputs"], axis) == 0)


def _foreground(xp: ArrayLibrary, like: Array, frame: Frame) -> Array:
    place = frame.axes.index("class")
    index = xp.arange(frame.length("class"), like) > 0
    shape = tuple(-1 if i == place else 1 for i in range(len(frame.axes)))
    return xp.broadcast_to(xp.reshape(index, shape), frame.shape)
