# SPDX-License-Identifier: Apache-2.0
"""Losses of sums: weighted channels, summed over named axes, made into one value a cell."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ReductionError
from lossledger._typing import Array, Mapping
from lossledger.engines._prepare import Prepared
from lossledger.frames import AbstractGrouping, Frame, group, parse_axes
from lossledger.losses import AbstractOverlapLoss
from lossledger.statistics import ChannelStatistic
from lossledger.term import Term
from lossledger.weighting import Factor, enters, masses


@dataclass(frozen=True, eq=False)
class Elements:
    """What each element adds to the ledger; `rest` is what a cell has beyond its elements."""

    contribution: Array
    numerator: Array
    denominator: Array | None
    alive: Array | None
    rest: Array


@dataclass(frozen=True, eq=False)
class Overlap:
    """The first stage of a loss of sums, as it ran.

    Attributes:
        grouping: Elements to sums.
        statistic: The sums.
        frame: Axes of the cells' values (without pooled axes).
        cells: One value a cell; differentiable.
        presence: Which cells exist; None for all.
        later: Factors that no axis summed over concerns.
        live: 0 where a cell was set to 0 because its class is absent; None for all ones.
    """

    prepared: Prepared
    probabilities: tuple[Array, ...]
    channels: Mapping[str, Array]
    mass: Array | None
    grouping: AbstractGrouping
    statistic: ChannelStatistic
    frame: Frame
    cells: Array
    presence: Array | None
    later: tuple[Factor, ...]
    live: Array | None

    def elements(self, spread: Array | float) -> Elements:
        """Attribute the cells to the elements, `spread` per unit of cell value."""
        prepared, xp = self.prepared, self.prepared.xp
        loss = _overlap_of(prepared.term)
        factors, rest = loss.attribution(xp, _detached(xp, self.statistic), self.pooled_at)
        outer = self._outer(spread)
        contribution: Array | float = 0.0
        for name, channel in self.channels.items():
            if name not in factors:
                continue
            each = self.grouping.spread(factors[name] * self._unpooled(outer))
            contribution = contribution + xp.detach(channel) * each
        contribution = contribution if self.mass is None else contribution * self.mass
        weights = masses(xp, prepared.factors, prepared.frame, {}, xp.dtype(self.cells))
        numerator, denominator = (self._own(part, weights.numerator) for part in loss.own())
        alive = None if weights.denominator is None else weights.denominator != 0
        total_rest = xp.sum(rest * outer)
        if numerator is None:
            numerator = contribution
        return Elements(contribution, numerator, denominator, alive, total_rest)

    def gradient(self, coefficients: Array | float, scale: float) -> tuple[Array, ...]:
        """Return scale · Σ coefficient · ∂cell/∂output in closed form."""
        prepared, xp = self.prepared, self.prepared.xp
        loss = _overlap_of(prepared.term)
        slopes = loss.slopes(xp, self.statistic.by_name(), self.pooled_at)
        inner = loss.channel_slopes(xp, self.probabilities, prepared.targets)
        outer = self._unpooled(self._outer(coefficients) * scale)
        found: Array | float = 0.0
        for name, slope in slopes.items():
            found = found + self.grouping.spread(slope * outer) * inner[name]
        full = found if self.mass is None else found * self.mass
        return (_back_to_logits(prepared, full, self.probabilities[0]),)

    @property
    def pooled_at(self) -> int | None:
        """Place of the pooled axis among the sums' axes."""
        return _pooled_at(_overlap_of(self.prepared.term), self.grouping.cells)

    def _outer(self, spread: Array | float) -> Array:
        """Spread over the cells' frame, 0 where a cell was zeroed."""
        xp = self.prepared.xp
        outer = xp.detach(self.cells) * 0 + spread
        return outer if self.live is None else outer * self.live

    def _unpooled(self, cells: Array) -> Array:
        axis = self.pooled_at
        return cells if axis is None else self.prepared.xp.expand(cells, axis)

    def _own(self, factors: Mapping[str, float], mass: Array | None) -> Array | None:
        if not factors:
            return None
        xp = self.prepared.xp
        total: Array | float = 0.0
        for name, factor in factors.items():
            total = total + factor * xp.detach(self.channels[name])
        return total if mass is None else total * mass


def evaluate_overlap(prepared: Prepared) -> Overlap:
    """Sum a loss's weighted channels over its axes and make one value a cell."""
    term, xp, loss = prepared.term, prepared.xp, _overlap_of(prepared.term)
    over = parse_axes(loss.over, "over")
    unknown = [a for a in over + loss.pools() if a not in prepared.frame.axes]
    if unknown:
        raise MatchError(
            f"{type(loss).__name__} sums over axes of the outputs",
            f"Found {', '.join(unknown)} where the outputs have {prepared.frame}",
            "`over` or the term's `axes` is misspelled",
            "Name the axes to sum over, e.g. over='batch height width'",
        )
    keep = tuple(a for a in prepared.frame.axes if a not in over)
    first = tuple(a for a in keep if a not in loss.pools())
    factors = prepared.factors + _background(prepared, loss)
    inside = tuple(f for f in factors if enters(f, prepared.frame, {}, first))
    later = tuple(f for f in factors if f not in inside)
    probabilities = _probabilities(prepared)
    channels = loss.channels(xp, probabilities, prepared.targets)
    mass = masses(xp, inside, prepared.frame, {}, xp.dtype(prepared.outputs[0])).numerator
    grouping = group(xp, prepared.frame, {}, keep)
    sums = tuple(grouping.sum(c if mass is None else c * mass) for c in channels.values())
    statistic = ChannelStatistic(tuple(channels), sums)
    cells, presence, live = finalize_cells(xp, term, grouping.cells, statistic)
    frame = grouping.cells.without(loss.pools())
    return Overlap(
        prepared, probabilities, channels, mass, grouping, statistic, frame, cells,
        presence, later, live,
    )  # fmt: skip


def finalize_cells(
    xp: ArrayLibrary, term: Term, sums_frame: Frame, statistic: ChannelStatistic
) -> tuple[Array, Array | None, Array | None]:
    """Return (values, presence, live) by cell under the policy for absent targets."""
    loss = _overlap_of(term)
    sums, axis = statistic.by_name(), _pooled_at(loss, sums_frame)
    values = loss.finalize(xp, sums, axis)
    presence = live = None
    if loss.empty != "keep":
        absent = _absent(xp, loss, sums, axis)
        if loss.empty == "raise" and xp.readable(absent) and bool(xp.any(absent)):
            raise ReductionError(
                "Every cell needs targets under empty='raise'",
                f"Found a cell of `{term.name}` whose targets sum to 0",
                "The class is absent from this batch (or sample), or masked",
                "Choose empty='keep', 'zero', 'skip' or 'agree'",
            )
        hole = values * 0 + float("nan") if loss.empty == "raise" else values * 0
        values = xp.where(absent, hole, values)
        live = xp.astype(~absent, xp.dtype(values))
        presence = ~absent if loss.empty == "skip" else None
    if not loss.include_background and "class" not in loss.pools():
        foreground = _foreground(xp, values, sums_frame.without(loss.pools()))
        presence = foreground if presence is None else presence & foreground
    return values, presence, live


def _overlap_of(term: Term) -> AbstractOverlapLoss:
    assert isinstance(term.loss, AbstractOverlapLoss)  # noqa: S101 - the engine chose by type
    return term.loss


def _pooled_at(loss: AbstractOverlapLoss, sums_frame: Frame) -> int | None:
    pools = loss.pools()
    return sums_frame.axes.index(pools[0]) if pools else None


def _absent(
    xp: ArrayLibrary, loss: AbstractOverlapLoss, sums: Mapping[str, Array], axis: int | None
) -> Array:
    names = ("targets", "outputs") if loss.empty == "agree" else ("targets",)
    parts = [sums[n] if axis is None else xp.sum(sums[n], axis=axis) for n in names]
    absent = parts[0] == 0
    return absent if len(parts) == 1 else absent & (parts[1] == 0)


def _foreground(xp: ArrayLibrary, like: Array, frame: Frame) -> Array:
    place = frame.axes.index("class")
    index = xp.arange(frame.length("class"), like) > 0
    shape = tuple(-1 if i == place else 1 for i in range(len(frame.axes)))
    return xp.broadcast_to(xp.reshape(index, shape), frame.shape)


def _background(prepared: Prepared, loss: AbstractOverlapLoss) -> tuple[Factor, ...]:
    """Weight 0 for class 0 where classes are pooled into one value."""
    if loss.include_background or "class" not in loss.pools():
        return ()
    xp = prepared.xp
    index = xp.arange(prepared.frame.length("class"), prepared.outputs[0])
    return (Factor("background", index > 0, ("class",)),)


def _probabilities(prepared: Prepared) -> tuple[Array, ...]:
    xp, facts = prepared.xp, prepared.term.loss.facts()
    if facts.outputs != "logits" or facts.scores is None:
        return prepared.outputs
    if facts.scores == "sigmoid":
        return tuple(xp.sigmoid(o) for o in prepared.outputs)
    axis = prepared.inputs.class_axis
    return tuple(xp.exp(xp.log_softmax(o, axis)) for o in prepared.outputs)


def _back_to_logits(prepared: Prepared, slope: Array, p: Array) -> Array:
    xp, facts = prepared.xp, prepared.term.loss.facts()
    if facts.outputs != "logits" or facts.scores is None:
        return slope
    if facts.scores == "sigmoid":
        return slope * p * (1 - p)
    axis = prepared.inputs.class_axis
    return p * (slope - xp.expand(xp.sum(p * slope, axis=axis), axis))


def _detached(xp: ArrayLibrary, statistic: ChannelStatistic) -> dict[str, Array]:
    return {name: xp.detach(s) for name, s in statistic.by_name().items()}
