# SPDX-License-Identifier: Apache-2.0
"""Softmax rows: losses of the form h(log p_y), for index and for soft targets.

Σ_c t_c·w_c·h(log p_c) with t the targets (indicators of an index) and w the class weights
has the derivative a_c − p_c·Σ_k a_k for logit c, where a_c = t_c·w_c·h'(log p_c).
"""

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Callable
from lossledger.losses._base import Inputs

Link = Callable[[Array], Array]


def pick(xp: ArrayLibrary, rows: Array, index: Array, axis: int) -> Array:
    """Return each row's element at its index, without the class axis."""
    picked = xp.take_along(rows, xp.expand(index, axis), axis)
    return xp.reshape(picked, tuple(index.shape))


def soften(
    xp: ArrayLibrary, targets: Array, inputs: Inputs, like: Array, smoothing: float
) -> Array:
    """Return targets as one number a class, moved by `smoothing` toward the uniform."""
    axis = inputs.class_axis
    dense = targets
    if inputs.form == "index":
        dense = _indicators(xp, targets, like.shape[axis], axis, xp.dtype(like))
    if smoothing:
        dense = dense * (1 - smoothing) + smoothing / like.shape[axis]
    return dense


def row_values(
    xp: ArrayLibrary,
    log_p: Array,
    targets: Array,
    inputs: Inputs,
    h: Link,
    smoothing: float = 0.0,
) -> Array:
    """Return Σ_c t_c·w_c·h(log p_c), terms with t_c = 0 left out."""
    if inputs.form == "index" and not smoothing:
        return h(pick(xp, log_p, targets, inputs.class_axis))
    soft = _weighted(xp, soften(xp, targets, inputs, log_p, smoothing), inputs)
    safe = xp.where(soft != 0, log_p, xp.detach(log_p) * 0)
    finite = xp.where(soft != 0, h(safe) * soft, soft * 0)
    return xp.sum(finite, axis=inputs.class_axis)


def row_gradient(
    xp: ArrayLibrary,
    log_p: Array,
    targets: Array,
    inputs: Inputs,
    slope: Link,
    coefficients: Array,
    smoothing: float = 0.0,
    from_logits: bool = True,
) -> Array:
    """Return the derivative for the logits (or for the probabilities) of `row_values`."""
    soft = soften(xp, targets, inputs, log_p, smoothing)
    if smoothing or inputs.form == "dense":
        soft = _weighted(xp, soft, inputs)
    safe = xp.where(soft != 0, log_p, log_p * 0)
    a = xp.where(soft != 0, slope(safe) * soft, soft * 0)
    if not from_logits:
        row = a * xp.exp(-safe)
    else:
        total = xp.expand(xp.sum(a, axis=inputs.class_axis), inputs.class_axis)
        row = a - xp.exp(log_p) * total
    return row * xp.expand(coefficients, inputs.class_axis)


def along_class(xp: ArrayLibrary, by_class: Array, inputs: Inputs) -> Array:
    """Shape a number per class so that it multiplies rows."""
    rank, axis = len(inputs.frame.axes), inputs.class_axis
    return xp.reshape(by_class, tuple(-1 if i == axis else 1 for i in range(rank)))


def _weighted(xp: ArrayLibrary, soft: Array, inputs: Inputs) -> Array:
    if inputs.class_weight is None:
        return soft
    return soft * along_class(xp, inputs.class_weight, inputs)


def _indicators(xp: ArrayLibrary, index: Array, n: int, axis: int, dtype: str) -> Array:
    hot = xp.one_hot(index, n, dtype)
    last = len(hot.shape) - 1
    order = tuple(range(axis)) + (last,) + tuple(range(axis, last))
    return hot if axis == last else xp.permute(hot, order)
