# SPDX-License-Identifier: Apache-2.0
"""Softmax rows: losses of the form h(log p_y), for index and for soft targets.

Σ_c t_c·w_c·h(log p_c) with t the targets (indicators of an index) and w the class weights
has the derivative a_c − p_c·Σ_k a_k for logit c, where a_c = t_c·w_c·h'(log p_c).
"""

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array, Callable, Sequence
from lossledger.losses._base import Facts, Inputs

Link = Callable[[Array], Array]


def row_facts(source: str, class_weight_within: bool = True) -> Facts:
    """Return the facts of a loss of softmax rows, with index, one-hot or soft targets."""
    return Facts(
        accepts="classes",
        outputs="logits",
        targets="distribution",
        removes=("class",),
        scores="softmax",
        class_weight_within=class_weight_within,
        source=source,
    )


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
        dense = indicators(xp, targets, like.shape[axis], axis, xp.dtype(like))
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
    safe = xp.where(soft != 0, log_p, soft * 0)
    finite = xp.where(soft != 0, h(safe) * soft, soft * 0)
    return xp.sum(finite, axis=inputs.class_axis)


def row_slopes(
    xp: ArrayLibrary,
    log_p: Array,
    targets: Array,
    inputs: Inputs,
    slope: Link,
    smoothing: float = 0.0,
) -> Array:
    """Return t_c·w_c·h'(log p_c) with the class axis, 0 where t_c = 0."""
    soft = soften(xp, targets, inputs, log_p, smoothing)
    if smoothing or inputs.form == "dense":
        soft = _weighted(xp, soft, inputs)
    safe = xp.where(soft != 0, log_p, soft * 0)
    return xp.where(soft != 0, slope(safe) * soft, soft * 0)


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
    a = row_slopes(xp, log_p, targets, inputs, slope, smoothing)
    if not from_logits:
        row = a * xp.exp(-xp.where(a != 0, log_p, a * 0))
    else:
        total = xp.expand(xp.sum(a, axis=inputs.class_axis), inputs.class_axis)
        row = a - xp.exp(log_p) * total
    return row * xp.expand(coefficients, inputs.class_axis)


def by_class(
    xp: ArrayLibrary, name: str, numbers: Sequence[float], like: Array, inputs: Inputs
) -> Array:
    """Return a setting with one number a class, shaped so that it multiplies rows.

    Raises:
        ShapeError: If there is not one number for each class.
    """
    axes = inputs.frame.axes
    classes = inputs.frame.length("class") if "class" in axes else None
    if len(numbers) != classes:
        raise ShapeError(
            f"`{name}` must have one number for each class",
            f"Found {len(numbers)} numbers and {classes or 'no axis of'} classes in {inputs.frame}",
            "A class was forgotten, or the class axis has another name in `axes`",
            f"Pass one number a class to {name}, in the order of the class axis",
        )
    return along_class(xp, xp.asarray(numbers, xp.dtype(like), like), inputs)


def by_place(xp: ArrayLibrary, name: str, numbers: Array, like: Array, inputs: Inputs) -> Array:
    """Return a setting with the axes of the outputs, of length 1 where its numbers are alike.

    Raises:
        ShapeError: If an axis has another length.
    """
    pairs = zip(numbers.shape, inputs.frame.shape, strict=True)
    if any(n not in (1, length) for n, length in pairs):
        raise ShapeError(
            f"`{name}` of several axes must have the outputs' lengths, or 1",
            f"Found shape {tuple(numbers.shape)} beside {inputs.frame}",
            "A class was forgotten, or the axes are in another order",
            f"Give {name} an axis for each of the outputs', of length 1 where it does not vary",
        )
    return xp.asarray(numbers, xp.dtype(like), like)


def at_labels(xp: ArrayLibrary, along: Array, targets: Array, inputs: Inputs) -> Array:
    """Look up numbers shaped along the class axis at index targets; leave others as they are."""
    if inputs.form != "index":
        return along
    picked = xp.take(xp.reshape(along, (-1,)), xp.reshape(targets, (-1,)))
    return xp.reshape(picked, tuple(targets.shape))


def along_class(xp: ArrayLibrary, by_class: Array, inputs: Inputs) -> Array:
    """Shape a number per class so that it multiplies rows."""
    rank, axis = len(inputs.frame.axes), inputs.class_axis
    return xp.reshape(by_class, tuple(-1 if i == axis else 1 for i in range(rank)))


def row_mass(xp: ArrayLibrary, targets: Array, inputs: Inputs) -> Array | float:
    """Return what a row weighs where class weights multiply inside its value: Σ_c t_c·w_c."""
    if inputs.class_weight is None:
        return 1.0
    along = along_class(xp, inputs.class_weight, inputs)
    if inputs.form == "index":
        return at_labels(xp, along, targets, inputs)
    return xp.sum(targets * along, axis=inputs.class_axis)


def _weighted(xp: ArrayLibrary, soft: Array, inputs: Inputs) -> Array:
    if inputs.class_weight is None:
        return soft
    return soft * along_class(xp, inputs.class_weight, inputs)


def indicators(xp: ArrayLibrary, index: Array, n: int, axis: int, dtype: str) -> Array:
    """Return one-hot rows with the class axis at its place."""
    hot = xp.one_hot(index, n, dtype)
    last = len(hot.shape) - 1
    order = (*range(axis), last, *range(axis, last))
    return hot if axis == last else xp.permute(hot, order)
