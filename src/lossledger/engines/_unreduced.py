# SPDX-License-Identifier: Apache-2.0
"""Values that no reduction has made into one number, with the weights they carry."""

from lossledger._typing import Array, Sequence
from lossledger.engines._overlap import evaluate_overlap
from lossledger.engines._prepare import Prepared
from lossledger.engines._watch import Watch
from lossledger.losses import AbstractOverlapLoss
from lossledger.reductions import walk
from lossledger.weighting import Masses, masses, with_presence


def unreduced(prepared: Prepared, watch: Watch) -> Array:
    """Return a term's cells after the stages it has, times the weights they have not used.

    The chain may leave axes, or have no stage at all: then the cells are the elements.
    """
    xp, chain = prepared.xp, prepared.term.reduction
    if isinstance(prepared.term.loss, AbstractOverlapLoss):
        overlap = evaluate_overlap(prepared)
        found, left = walk(
            xp, chain, overlap.cells, overlap.frame, {}, overlap.later, overlap.presence
        )
    else:
        values = prepared.term.loss.values(xp, prepared.outputs, prepared.targets, prepared.inputs)
        values = xp.astype(values, prepared.work)
        found, left = walk(xp, chain, values, prepared.frame, prepared.keys, prepared.factors)
    dtype = xp.dtype(found.value)
    bare: Masses = masses(xp, left.factors, left.frame, left.keys, dtype)
    weights = with_presence(xp, bare, found.presence, dtype)
    cells = found.value if weights.numerator is None else found.value * weights.numerator
    return watch.guard(cells)


def spread_sum(arrays: Sequence[Array], factors: Sequence[float | Array]) -> Array:
    """Return Σ factor · array, the shapes lined up at their last axes as array libraries do.

    Nothing else here broadcasts: this is for a library whose sum of losses does. An array is
    repeated along the axes that it lacks, or has with length 1.
    """
    first, *rest = (array * factor for array, factor in zip(arrays, factors, strict=True))
    for each in rest:
        first = first + each
    return first
