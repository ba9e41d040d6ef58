# SPDX-License-Identifier: Apache-2.0
"""Losses of sums: weighted channels, summed over named axes, made into one value a cell."""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Mapping
from lossledger.engines._booking import Elements, Part
from lossledger.engines._prepare import Prepared
from lossledger.engines._sums import MASS, WEIGHT, Finalized, finalize_cells, overlap_of, pooled_at
from lossledger.frames import AbstractGrouping, Frame, group, parse_axes
from lossledger.losses import AbstractOverlapLoss
from lossledger.statistics import ChannelStatistic
from lossledger.weighting import Factor, axes_in, enters, masses


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
        weighted: Whether some element may have no weight.
        made: The cells with what they were made of; None before `finish_overlap`.
        share: What a part bears of what is no element's: 1 for a whole batch.
    """

    prepared: Prepared
    probabilities: tuple[Array, ...]
    channels: Mapping[str, Array]
    mass: Array | None
    grouping: AbstractGrouping
    statistic: ChannelStatistic
    frame: Frame
    later: tuple[Factor, ...]
    weighted: bool
    made: Finalized | None = None
    share: float | Array = 1.0

    @property
    def finalized(self) -> Finalized:
        """The cells with what they were made of."""
        assert self.made is not None  # noqa: S101 - sums alone have no cells yet
        return self.made

    @property
    def over_batch(self) -> bool:
        """Whether the sums run over samples, so that they merge over parts."""
        return "batch" in self.grouping.removed

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
        beyond = xp.sum(rest * outer) * self.share if self.over_batch else xp.sum(rest * outer)
        return Elements(contribution, above, below, weights.denominator, beyond)

    def linear(self, coefficients: Array | float) -> Array:
        """Return ⟨c, S⟩ over the sums of this part, c the derivatives at those of the whole."""
        xp = self.prepared.xp
        slopes = overlap_of(self.prepared.term).slopes(xp, self._sums(), self.pooled_at)
        outer = self._unpooled(self._outer(coefficients))
        sums = self.statistic.by_name()
        each = [xp.sum(slope * outer * sums[name]) for name, slope in slopes.items()]
        total = each[0]
        for one in each[1:]:
            total = total + one
        return total

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
        return pooled_at(overlap_of(self.prepared.term), self.grouping.cells)

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
    return finish_overlap(sum_overlap(prepared))


def finish_overlap(
    overlap: Overlap, whole: ChannelStatistic | None = None, share: float | Array = 1.0
) -> Overlap:
    """Make one value a cell of the sums, or of those of the whole that they are part of."""
    sums, weighted = (overlap.statistic, overlap.weighted) if whole is None else (whole, True)
    term, cells = overlap.prepared.term, overlap.grouping.cells
    made = finalize_cells(overlap.prepared.xp, term, cells, sums, weighted=weighted)
    return replace(overlap, made=made, share=share)


def sum_overlap(prepared: Prepared) -> Overlap:
    """Sum a loss's weighted channels over its axes."""
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
    frame = grouping.cells.without(loss.pools())
    return Overlap(
        prepared, probabilities, channels, mass, grouping, statistic, frame, later, weighted
    )


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


def _touches(factor: Factor, frame: Frame, axes: Axes) -> bool:
    return any(a in axes for a in axes_in(factor, frame, {}))


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
