# SPDX-License-Identifier: Apache-2.0
"""The reference engine: the definition of every number, in the array API."""

from dataclasses import dataclass, replace

from lossledger._errors import MatchError
from lossledger._typing import Array, Axes
from lossledger.engines._account import Account, CellNames
from lossledger.engines._booking import Booker, Elements, Part
from lossledger.engines._hits import hits
from lossledger.engines._limbs import growing
from lossledger.engines._overlap import Overlap, evaluate_overlap
from lossledger.engines._prepare import Prepared
from lossledger.engines._watch import Watch
from lossledger.frames import NamedArray, align, group
from lossledger.losses import AbstractLoss, AbstractOverlapLoss
from lossledger.reductions import Evaluated, evaluate
from lossledger.statistics import AbstractStatistic
from lossledger.weighting import Factor, masses


@dataclass(frozen=True, eq=False)
class Own:
    """Which samples of a joined batch are a part's own.

    Attributes:
        here: Booleans along `batch`.
        at: The same as a slice.
        share: The part's share of all samples.
    """

    here: Array
    at: slice
    share: float | Array


@dataclass(frozen=True, eq=False)
class Ran:
    """One term as it ran.

    Attributes:
        value: The reduced value, before the loss weight; differentiable.
        evaluated: The chain of reductions.
        overlap: The sums in front of the chain, for a loss of sums.
        values: One value per element; None for a loss of sums.
        own: Which samples count here, if others were joined to compare them with.
    """

    prepared: Prepared
    value: Array
    evaluated: Evaluated
    overlap: Overlap | None
    values: Array | None
    own: Own | None = None

    @property
    def statistic(self) -> AbstractStatistic:
        """The mergeable statistic: of the stage that removes `batch`."""
        if self.overlap is not None and "batch" in self.overlap.grouping.removed:
            return self.overlap.statistic
        return self.evaluated.statistic


def run(prepared: Prepared, watch: Watch) -> Ran:
    """Compute a term's value: losses, then weights, then statistics, then finalize."""
    term, xp = prepared.term, prepared.xp
    if isinstance(term.loss, AbstractOverlapLoss):
        overlap = evaluate_overlap(prepared)
        evaluated = evaluate(
            xp, term.reduction, overlap.cells, overlap.frame, {}, overlap.later, overlap.presence
        )
        report_broken(watch, overlap.finalized.broken)
        report_broken(watch, evaluated.broken)
        return Ran(prepared, evaluated.value, evaluated, overlap, None)
    values = term.loss.values(xp, prepared.outputs, prepared.targets, prepared.inputs)
    values = xp.astype(values, prepared.work)
    evaluated = evaluate(
        xp, term.reduction, values, prepared.frame, prepared.keys, prepared.factors
    )
    report_broken(watch, evaluated.broken)
    return Ran(prepared, evaluated.value, evaluated, None, values)


def report_broken(watch: Watch, broken: Array | None) -> None:
    """Keep in mind that a cell was empty under empty="raise" where nothing could be read."""
    if broken is not None:
        watch.require(~broken, "empty", lambda: "Found a cell without weight")


def gradient(ran: Ran, scale: float) -> tuple[Array, ...]:
    """Return scale · ∂value/∂output in closed form, for libraries without autodiff."""
    found = _gradient(ran, scale)
    if ran.own is None:
        return found
    before = (slice(None),) * ran.prepared.inputs.frame.axes.index("batch")
    return tuple(slope[(*before, ran.own.at)] for slope in found)


def _gradient(ran: Ran, scale: float) -> tuple[Array, ...]:
    prepared, term = ran.prepared, ran.prepared.term
    if ran.overlap is not None:
        return ran.overlap.gradient(ran.evaluated.coefficients(), scale)
    assert isinstance(term.loss, AbstractLoss) and ran.values is not None  # noqa: S101, PT018
    coefficients = ran.evaluated.coefficients() * scale
    full = prepared.xp.broadcast_to(coefficients + ran.values * 0, prepared.frame.shape)
    return term.loss.gradient(
        prepared.xp, prepared.outputs, prepared.targets, prepared.inputs, full
    )


def cell_names(prepared: Prepared) -> tuple[Axes, bool]:
    """Return the names that the ledger's cells keep, and whether labels split them."""
    rows = prepared.term.rows
    if rows is None:
        known = "class" in prepared.frame.axes or "class" in prepared.keys
        rows = ("class",) if known else ()
        return rows, prepared.positive is not None
    if "label" in rows and prepared.positive is None:
        raise MatchError(
            f"`rows` of `{prepared.term.name}` may split by label where elements have one",
            f"Found rows={' '.join(rows)!r} and a loss without positive and negative elements",
            "Only losses of yes/no targets split a class into positive and negative",
            "Leave 'label' out of `rows`",
        )
    return tuple(r for r in rows if r != "label"), "label" in rows


def account(ran: Ran, loss_weight: Array) -> tuple[Account, CellNames]:
    """Book a term's value by cell, chosen independently of its reduction."""
    prepared, xp = ran.prepared, ran.prepared.xp
    rows, split = cell_names(prepared)
    grouping = group(xp, prepared.frame, prepared.keys, rows)
    elements = _elements(ran)
    positive = prepared.positive if split else None
    book = Booker(xp, grouping, positive, prepared.outputs[0], prepared.work)
    wide = xp.wide(ran.value)
    counts, decided = book.counts(elements.alive), hits(_own_only(ran))
    mass = xp.astype(counts, wide) if elements.mass is None else book.mass(elements.mass)
    if elements.denominator is not None:
        mass = book.total(elements.denominator)
    scale = xp.astype(xp.detach(loss_weight), wide) + 0  # a copy: a learned weight moves on
    none = xp.zeros((), xp.dtype(ran.value), ran.value)
    booked = Account(
        contribution=growing(xp, book.total(elements.contribution) * scale),
        numerator=growing(xp, book.total(elements.numerator)),
        denominator=growing(xp, mass),
        count=growing(xp, counts),
        curvature=growing(xp, xp.astype(elements.rest + none, wide) * scale),
        total=growing(xp, xp.astype(xp.detach(ran.value), wide) * scale),
        loss_weight=scale,
        hits=None if decided is None else growing(xp, decided),
    )
    names = grouping.cells.axes + (("label",) if split else ())
    return booked, CellNames(names, grouping.cells.shape + ((2,) if split else ()))


def _own_only(ran: Ran) -> Prepared:
    """Return the batch with weight for its own samples alone."""
    if ran.own is None:
        return ran.prepared
    factor = Factor("part", ran.own.here, ("batch",))
    return replace(ran.prepared, factors=(*ran.prepared.factors, factor))


def amount(ran: Ran) -> Array:
    """Return what the elements contribute, and the part's share of what is no element's."""
    xp, elements = ran.prepared.xp, _elements(ran)
    total = elements.rest + xp.zeros((), xp.dtype(ran.value), ran.value)
    for part in elements.contribution:
        product = part.x
        for factor in part.factors:
            product = product * factor
        total = total + xp.sum(xp.broadcast_to(product, ran.prepared.frame.shape))
    return total


def _elements(ran: Ran) -> Elements:
    """Return what each element adds to the ledger; elements that are not its own add nothing."""
    elements = _all_elements(ran)
    if ran.own is None:
        return elements
    xp, frame = ran.prepared.xp, ran.prepared.frame
    here = align(xp, NamedArray(ran.own.here, ("batch",)), frame)
    own = xp.broadcast_to(xp.astype(here, xp.dtype(ran.prepared.outputs[0])), frame.shape)

    def only(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(Part(p.x, (*p.factors, own)) for p in parts)

    below = None if elements.denominator is None else only(elements.denominator)
    mass = own if elements.mass is None else elements.mass * own
    rest = elements.rest * ran.own.share
    return Elements(only(elements.contribution), only(elements.numerator), below, mass, rest)


def _all_elements(ran: Ran) -> Elements:
    prepared, xp = ran.prepared, ran.prepared.xp
    spread, curvature = ran.evaluated.attribution()
    if ran.overlap is not None:
        elements = ran.overlap.elements(spread)
        if ran.overlap.over_batch:  # the cells are the whole's
            curvature = curvature * ran.overlap.share
        return replace(elements, rest=curvature + elements.rest)
    values = xp.detach(ran.values)
    weights = masses(xp, prepared.factors, prepared.frame, prepared.keys, xp.dtype(values))
    weighing = () if weights.numerator is None else (weights.numerator,)
    return Elements(
        contribution=(Part(_chosen(ran, values, spread), (spread,)),),
        numerator=(Part(values, weighing),),
        denominator=None,
        mass=weights.denominator,
        rest=curvature,
    )


def _chosen(ran: Ran, values: Array, spread: Array | float) -> Array:
    """Values, 0 where a reduction by order did not choose them: they may be infinite."""
    xp, chain = ran.prepared.xp, ran.prepared.term.reduction
    if isinstance(spread, float) or all(stage.split != "order" for stage in chain.stages):
        return values
    return xp.where(spread != 0, values, xp.full_like(values, 0))
