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
from lossledger.frames import group
from lossledger.losses import AbstractLoss, AbstractOverlapLoss
from lossledger.reductions import Evaluated, evaluate
from lossledger.statistics import AbstractStatistic
from lossledger.weighting import masses


@dataclass(frozen=True, eq=False)
class Ran:
    """One term as it ran.

    Attributes:
        value: The reduced value, before the loss weight; differentiable.
        evaluated: The chain of reductions.
        overlap: The sums in front of the chain, for a loss of sums.
        values: One value per element; None for a loss of sums.
    """

    prepared: Prepared
    value: Array
    evaluated: Evaluated
    overlap: Overlap | None
    values: Array | None

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
        _report(watch, overlap.finalized.broken)
        _report(watch, evaluated.broken)
        return Ran(prepared, evaluated.value, evaluated, overlap, None)
    values = term.loss.values(xp, prepared.outputs, prepared.targets, prepared.inputs)
    values = xp.astype(values, prepared.work)
    evaluated = evaluate(
        xp, term.reduction, values, prepared.frame, prepared.keys, prepared.factors
    )
    _report(watch, evaluated.broken)
    return Ran(prepared, evaluated.value, evaluated, None, values)


def _report(watch: Watch, broken: Array | None) -> None:
    """Keep in mind that a cell was empty under empty="raise" where nothing could be read."""
    if broken is not None:
        watch.require(~broken, "empty", lambda: "Found a cell without weight")


def gradient(ran: Ran, scale: float) -> tuple[Array, ...]:
    """Return scale · ∂value/∂output in closed form, for libraries without autodiff."""
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
    counts, decided = book.counts(elements.alive), hits(prepared)
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


def _elements(ran: Ran) -> Elements:
    """Return what each element adds to the ledger."""
    prepared, xp = ran.prepared, ran.prepared.xp
    spread, curvature = ran.evaluated.attribution()
    if ran.overlap is not None:
        elements = ran.overlap.elements(spread)
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
