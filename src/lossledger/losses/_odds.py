# SPDX-License-Identifier: Apache-2.0
"""Softmax rows by log-odds: losses of the form h(m_c), m_c = log(p_c/(1 − p_c)).

m_c = z_c − log Σ_{j≠c} exp(z_j), so that a softmax row looks like a sigmoid with logit m_c:
p_c = σ(m_c) and 1 − p_c = σ(−m_c), both right to the last digit where p_c is near 1 and
1 − p_c computed from p_c is not. ∂m_c/∂z_j = 1[j=c] − 1[j≠c]·p_j/(1 − p_c).
"""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import Inputs
from lossledger.losses._rows import Link, indicators, pick, row_slopes, row_values, soften

# Stands for −∞ where −∞ times 0 would be NaN; its exp is 0 in every float type.
LOWEST = -1e30


@dataclass(frozen=True, eq=False)
class Odds:
    """Log-odds of a batch of rows.

    Attributes:
        inputs: With the form "dense" if smoothing made soft rows out of indices.
        targets: Indices, or rows (smoothed).
        m: Of the label's class, without the class axis, for index targets; of every class
            otherwise.
        here: Where the pivot is: the class whose 1 − p is summed from the others.
        rest: The other logits less the largest of them; hugely negative at the pivot.
    """

    inputs: Inputs
    targets: Array
    m: Array
    here: Array
    rest: Array


def odds(
    xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs, smoothing: float = 0.0
) -> Odds:
    """Return log-odds: of the label for index targets, of all classes for soft rows.

    The pivot is the label, or the most likely class: for all classes but that one
    1 − p_c ≥ 1/2, and log(1 − p_c) loses nothing.
    """
    axis = inputs.class_axis
    if smoothing:
        targets = soften(xp, targets, inputs, z, smoothing)
        inputs = replace(inputs, form="dense")
    index = inputs.form == "index"
    pivot = targets if index else xp.argmax(xp.detach(z), axis)
    here = indicators(xp, pivot, z.shape[axis], axis, xp.dtype(z)) != 0
    rest = xp.where(here, xp.full_like(z, LOWEST), z)
    # Differences from the largest of the others: near them, large logits lose no digits.
    top = xp.max(xp.detach(rest), axis=axis)
    rest = rest - xp.expand(top, axis)
    m = pick(xp, z, pivot, axis) - top - xp.logsumexp(rest, axis)
    if not index:
        log_p = xp.log_softmax(z, axis)
        low = xp.where(here, xp.full_like(z, -1.0), log_p)
        m = xp.where(here, xp.expand(m, axis), low - xp.log1p(-xp.exp(low)))
    return Odds(inputs, targets, m, here, rest)


def odds_values(xp: ArrayLibrary, found: Odds, h: Link) -> Array:
    """Return Σ_c t_c·w_c·h(m_c): h(m_y) for index targets."""
    if found.inputs.form == "index":
        return h(found.m)
    return row_values(xp, found.m, found.targets, found.inputs, h)


def odds_gradient(
    xp: ArrayLibrary, z: Array, found: Odds, slope: Link, coefficients: Array
) -> Array:
    """Return the derivative of `odds_values` for the logits, from h' = `slope`."""
    inputs, here = found.inputs, found.here
    axis = inputs.class_axis
    spread = xp.expand(coefficients, axis)
    zero = xp.full_like(z, 0.0)
    others = xp.exp(found.rest - xp.expand(xp.logsumexp(found.rest, axis), axis))
    if inputs.form == "index":
        a = xp.expand(slope(found.m), axis) * spread
        return xp.where(here, a, -a * others)
    a = row_slopes(xp, found.m, found.targets, inputs, slope) * spread
    top = xp.expand(xp.sum(xp.where(here, a, zero), axis=axis), axis)
    p = xp.exp(xp.log_softmax(z, axis))
    b = xp.where(here, zero, a) / xp.where(here, zero + 1, 1 - p)
    row = b - p * xp.expand(xp.sum(b, axis=axis), axis)
    return row + xp.where(here, top, -top * others)
