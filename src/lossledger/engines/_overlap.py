# SPDX-License-Identifier: Apache-2.0
"""Losses of sums: weighted channels, summed over named axes, made into one value a cell."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ReductionError, ShapeError
from lossledger._typing import Array, Axes, Mapping
from lossledger.engines._booking import Elements, Part
from lossledger.engines._prepare import Prepared
from lossledger.frames import AbstractGrouping, Frame, group, parse_axes
from lossledger.losses import AbstractOverlapLoss
from lossledger.statistics import ChannelStatistic
from lossledger.term import Term
from lossledger.weighting import Factor, axes_in, enters, masses

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


@dataclass(frozen=True, eq=False)
class Overlap:
    """The first stage of a loss of sums, as it ran.

    Attributes:
        mass: Weights inside the sums; None for ones.
        grouping: Elements to sums.
        statistic: The sums.
        frame: Axes of the cells' values (without pooled axes).
        cells: One value a cell; differentiable.
        presence: Which cells exist; None for all.
        later: Factors that no axis summed over concerns.
        finalized: The cells with what they were made of.
    """

    prepared: Prepared
    probabilities: tuple[Array, ...]
    channels: Mapping[str, Array]
    mass: Array | None
    grouping: AbstractGrouping
    statistic: ChannelStatistic
    frame: Frame
    finalized: Finalized
    later: tuple[Factor, ...]

    @property
    def cells(self) -> Array:
        """One value a cell; differentiable."""
        return self.finalized.values

    @property
    def presence(self) -> Array | None:
        """Which cells exist; None for all."""
        return self.finalized.presence

    def elements(self, spread: Array | float) -> Elements:
        """Attribute the cells to the elements, `spread` per unit of cell value."""
        prepared, xp = self.prepared, self.prepared.xp
        loss = overlap_of(prepared.term)
        bare = {name: xp.detach(channel) for name, channel in self.channels.items()}
        factors, rest = loss.attribution(xp, self._sums(), self.pooled_at)
        outer = self._outer(spread)
        weighing = () if self.mass is None else (self.mass,)
        contribution = tuple(
            Part(bare[name], (*weighing, self.grouping.spread(f * self._unpooled(outer))))
            for name, f in factors.items()
        )
        weights = masses(xp, prepared.factors, prepared.frame, {}, xp.dtype(self.cells))
        above, below = (_own(bare, part, weights.numerator) for part in loss.own())
        if above is None:  # a loss of the user's own: it has no mean of its own
            nothing = (Part(next(iter(bare.values())), (0.0,)),)
            above, below = nothing, nothing
        return Elements(contribution, above, below, weights.denominator, xp.sum(rest * outer))

    def gradient(self, coefficients: Array | float, scale: float) -> tuple[Array, ...]:
        """Return scale · Σ coefficient · ∂cell/∂output in closed form."""
        prepared, xp = self.prepared, self.prepared.xp
        loss = overlap_of(prepared.term)
        slopes = loss.slopes(xp, self._sums(), self.pooled_at)
        inner = loss.channel_slopes(xp, self.probabilities, prepared.targets, prepared.inputs)
        outer = self._unpooled(self._outer(coefficients) * scale)
        found = []
        for probability, own in zip(self.probabilities, inner, strict=True):
            slope: Array | float = 0.0
            for name in own:
                if name in slopes:
                    each = self.grouping.spread(slopes[name] * outer)
                    each = each if self.mass is None else each * self.mass
                    slope = slope + self._at_outputs(each) * own[name]
            found.append(_back_to_logits(prepared, slope, probability))
        return tuple(found)

    @property
    def pooled_at(self) -> int | None:
        """Place of the pooled axis among the sums' axes."""
        return _pooled_at(overlap_of(self.prepared.term), self.grouping.cells)

    def _sums(self) -> dict[str, Array]:
        xp = self.prepared.xp
        return {name: xp.detach(s) for name, s in self.finalized.sums.items()}

    def _outer(self, spread: Array | float) -> Array:
        """Spread over the cells' frame, 0 where a cell was zeroed."""
        xp, live = self.prepared.xp, self.finalized.live
        outer = xp.detach(self.cells) * 0 + spread
        return outer if live is None else outer * live

    def _unpooled(self, cells: Array) -> Array:
        axis = self.pooled_at
        return cells if axis is None else self.prepared.xp.expand(cells, axis)

    def _at_outputs(self, x: Array) -> Array:
        """Give an array over the channels' axes length 1 along those the loss removes."""
        whole, left = self.prepared.inputs.frame.axes, self.prepared.frame.axes
        if whole == left:
            return x
        lengths = iter(tuple(x.shape))
        shape = tuple(next(lengths) if a in left else 1 for a in whole)
        return self.prepared.xp.reshape(x, shape)


def evaluate_overlap(prepared: Prepared) -> Overlap:
    """Sum a loss's weighted channels over its axes and make one value a cell."""
    xp, loss = prepared.xp, overlap_of(prepared.term)
    over = _summed(prepared, loss)
    keep = tuple(a for a in prepared.frame.axes if a not in over)
    first = tuple(a for a in keep if a not in loss.pools())
    factors = prepared.factors + _background(prepared, loss, first)
    inside = tuple(f for f in factors if enters(f, prepared.frame, {}, first))
    later = tuple(f for f in factors if f not in inside)
    probabilities = _probabilities(prepared)
    channels = loss.channels(xp, probabilities, prepared.targets, prepared.inputs)
    _check_channels(prepared, channels)
    dtype = xp.dtype(prepared.outputs[0])
    mass = masses(xp, inside, prepared.frame, {}, dtype).numerator
    bare = mass
    if loss.bare:
        touching = tuple(f for f in inside if _touches(f, prepared.frame, over))
        bare = masses(xp, touching, prepared.frame, {}, dtype).numerator
    grouping = group(xp, prepared.frame, {}, keep)
    given = tuple(f for f in prepared.factors if f.name != "class_weight")
    every = masses(xp, given, prepared.frame, {}, dtype).denominator if later else mass
    by_name = dict.fromkeys(loss.bare, bare) | {MASS: mass, WEIGHT: every}
    statistic = _statistic(xp, grouping, channels, by_name, mass, dtype)
    weighted = mass is not None or every is not None
    finalized = finalize_cells(xp, prepared.term, grouping.cells, statistic, weighted=weighted)
    frame = grouping.cells.without(loss.pools())
    return Overlap(
        prepared, probabilities, channels, mass, grouping, statistic, frame, finalized, later
    )


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
    sums, axis = statistic.by_name(), _pooled_at(loss, sums_frame)
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


def _summed(prepared: Prepared, loss: AbstractOverlapLoss) -> Axes:
    over = parse_axes(loss.over, "over")
    needed = over + loss.pools() + (() if loss.include_background else ("class",))
    unknown = [a for a in needed if a not in prepared.frame.axes]
    if unknown:
        raise MatchError(
            f"{type(loss).__name__} sums over axes of the outputs",
            f"Found {', '.join(unknown)} where the outputs have {prepared.frame}",
            "`over` or the term's `axes` is misspelled, or there is no class axis",
            "Name the axes to sum over, e.g. over='batch height width'",
        )
    return over


def _own(
    bare: Mapping[str, Array], factors: Mapping[str, float], mass: Array | None
) -> tuple[Part, ...] | None:
    """Return Σ factor · channel · mass as summands."""
    if not factors:
        return None
    weighing = () if mass is None else (mass,)
    if min(factors.values()) >= 0:
        return tuple(Part(bare[n], (*weighing, float(f))) for n, f in factors.items())
    # A difference of sums would lose the digits that a difference of elements has.
    each: Array | float = 0.0
    for name, factor in factors.items():
        each = each + (bare[name] if factor == 1 else factor * bare[name])
    return (Part(each, weighing),)


def _statistic(
    xp: ArrayLibrary,
    grouping: AbstractGrouping,
    channels: Mapping[str, Array],
    by_name: Mapping[str, Array | None],
    mass: Array | None,
    dtype: str,
) -> ChannelStatistic:
    """Sum every channel with its weights, and the weights themselves."""
    sums = []
    for name, channel in channels.items():
        weight = by_name.get(name, mass)
        sums.append(grouping.sum(channel if weight is None else channel * weight))
    zero = xp.zeros(grouping.cells.shape, dtype, sums[0])
    for name in (MASS, WEIGHT):
        weight = by_name[name]
        sums.append(zero + grouping.count(zero) if weight is None else grouping.sum(weight))
    return ChannelStatistic((*channels, MASS, WEIGHT), tuple(sums))


def _check_channels(prepared: Prepared, channels: Mapping[str, Array]) -> None:
    for name, channel in channels.items():
        shape = tuple(getattr(channel, "shape", ()))
        if shape != prepared.frame.shape or name in (MASS, WEIGHT):
            raise ShapeError(
                f"Every channel must have the axes {prepared.frame}, and a name other than "
                f"{MASS!r} and {WEIGHT!r}",
                f"Found the channel {name!r} of shape {shape}",
                "It was summed already, has an axis of length 1, or the loss consumes an axis",
                "Return one number per element; name an axis that is consumed in `removes`",
            )


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


def _pooled_at(loss: AbstractOverlapLoss, sums_frame: Frame) -> int | None:
    pools = loss.pools()
    return sums_frame.axes.index(pools[0]) if pools else None


def _absent(
    xp: ArrayLibrary, loss: AbstractOverlapLoss, sums: Mapping[str, Array], axis: int | None
) -> Array:
    absent = _pooled(xp, sums["targets"], axis) == 0
    if loss.empty != "agree":
        return absent
    return absent & (_pooled(xp, sums["outputs"], axis) == 0)


def _touches(factor: Factor, frame: Frame, axes: Axes) -> bool:
    return any(a in axes for a in axes_in(factor, frame, {}))


def _foreground(xp: ArrayLibrary, like: Array, frame: Frame) -> Array:
    place = frame.axes.index("class")
    index = xp.arange(frame.length("class"), like) > 0
    shape = tuple(-1 if i == place else 1 for i in range(len(frame.axes)))
    return xp.broadcast_to(xp.reshape(index, shape), frame.shape)


def _background(prepared: Prepared, loss: AbstractOverlapLoss, cells: Axes) -> tuple[Factor, ...]:
    """Weight 0 for class 0 where classes are summed or pooled into one value."""
    if loss.include_background or "class" in cells:
        return ()
    xp = prepared.xp
    index = xp.arange(prepared.frame.length("class"), prepared.outputs[0])
    return (Factor("background", index > 0, ("class",)),)


def _probabilities(prepared: Prepared) -> tuple[Array, ...]:
    xp, facts = prepared.xp, prepared.term.facts
    if facts.outputs != "logits" or facts.scores is None:
        return prepared.outputs
    if facts.scores == "sigmoid":
        return tuple(xp.sigmoid(o) for o in prepared.outputs)
    axis = _rows_at(prepared)
    return tuple(xp.exp(xp.log_softmax(o, axis)) for o in prepared.outputs)


def _back_to_logits(prepared: Prepared, slope: Array, p: Array) -> Array:
    xp, facts = prepared.xp, prepared.term.facts
    if facts.outputs != "logits" or facts.scores is None:
        return slope
    if facts.scores == "sigmoid":
        return slope * p * (1 - p)
    axis = _rows_at(prepared)
    return p * (slope - xp.expand(xp.sum(p * slope, axis=axis), axis))


def _rows_at(prepared: Prepared) -> int:
    """Place of the axis along which a softmax runs."""
    couples = prepared.term.facts.couples
    return prepared.inputs.frame.axes.index(couples[0] if couples else "class")
