# SPDX-License-Identifier: Apache-2.0
"""Losses made from a potential: a convex function of a row of scores, which you bring."""

from dataclasses import dataclass
from typing import Any

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ReductionError, ShapeError
from lossledger._typing import Array, Callable
from lossledger.losses._base import AbstractLoss, Facts, Inputs


@dataclass(frozen=True)
class FenchelYoung(AbstractLoss):
    """Ω(z) − ⟨z, t⟩ for a row of scores z, its target t, and a potential Ω of yours.

    ∂/∂z = ∇Ω(z) − t: the prediction that belongs to the potential, less the target. Log-sum-exp
    makes it a cross entropy (less the targets' entropy), half of the squared norm a squared
    error, the largest score a perceptron.

    Args:
        potential: One row of scores, a vector -> one number. It is run once for all rows, by
            `jax.vmap` or `torch.func.vmap` (row by row in NumPy), and has to use functions of
            the arrays' own library.
        derivative: One row of scores -> ∇Ω, a vector: softmax for log-sum-exp. `value_and_grad`
            asks for it on NumPy arrays, which cannot be differentiated; elsewhere the gradient
            is the library's own, through your function.
        axis: Name of the axis that rows run along, which the values lose.

    Example:
        >>> import numpy as np, lossledger as ll
        >>> loss = ll.losses.FenchelYoung(np.max, axis="option")
        >>> objective = ll.Objective(ll.Term("y", loss, axes="batch option"))
        >>> float(objective.loss(np.array([[3.0, 1.0]]), np.array([[0.0, 1.0]])))
        2.0

    Source: optax.losses.make_fenchel_young_loss; Blondel, Martins and Niculae 2020.
    """

    potential: Callable[[Array], Array]
    derivative: Callable[[Array], Array] | None = None
    axis: str = "class"

    def __post_init__(self) -> None:
        """Check that the potential can be called."""
        given: Any = self.potential
        if isinstance(given, type) or not callable(given):
            raise MatchError(
                "A potential must be a callable `f(row of scores) -> number`",
                f"Found {given!r}",
                "A name was passed, or the loss that is made from it",
                "Pass the function itself, e.g. jax.scipy.special.logsumexp",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "optax.losses.make_fenchel_young_loss"
        return Facts(accepts="same", removes=(self.axis,), source=source)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row.

        Raises:
            ShapeError: If the potential gives more than one number for a row.
        """
        axis = inputs.frame.axes.index(self.axis)
        rows = _rows(xp, outputs[0], axis)
        found = xp.map_rows(self.potential, rows)
        _check_rows(found, (rows.shape[0],), "potential", "one number")
        left = inputs.frame.without((self.axis,)).shape
        potential = xp.astype(xp.reshape(found, left), xp.dtype(outputs[0]))
        return potential - xp.sum(outputs[0] * targets, axis=axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(∇Ω − t).

        Raises:
            ReductionError: If neither a derivative nor the library gives ∇Ω.
            ShapeError: If the derivative does not give one number for each score.
        """
        axis = inputs.frame.axes.index(self.axis)
        z = outputs[0]
        rows = _rows(xp, z, axis)
        slopes = xp.astype(self._slopes(xp, rows), xp.dtype(z))
        others = tuple(n for i, n in enumerate(z.shape) if i != axis)
        last = len(others)
        whole = xp.reshape(slopes, (*others, z.shape[axis]))
        order = (*range(axis), last, *range(axis, last))
        return ((xp.permute(whole, order) - targets) * xp.expand(coefficients, axis),)

    def _slopes(self, xp: ArrayLibrary, rows: Array) -> Array:
        if self.derivative is not None:
            found = xp.map_rows(self.derivative, rows) if rows.shape[0] else rows
            _check_rows(found, tuple(rows.shape), "derivative", "a vector like its row")
            return found
        if xp.differentiates:
            return xp.slopes(lambda r: xp.map_rows(self.potential, r), (rows,))[0]
        raise ReductionError(
            "`value_and_grad` needs the closed-form derivative of every loss",
            f"Found the potential {getattr(self.potential, '__name__', self.potential)!r} alone",
            "NumPy cannot differentiate it",
            "Pass FenchelYoung(potential, derivative=...), or use torch or JAX arrays",
        )


def _rows(xp: ArrayLibrary, z: Array, axis: int) -> Array:
    """Return the vectors along an axis as the rows of a matrix."""
    rank = len(z.shape)
    moved = xp.permute(z, (*(i for i in range(rank) if i != axis), axis))
    count = 1
    for length in moved.shape[:-1]:
        count *= length
    return xp.reshape(moved, (count, z.shape[axis]))


def _check_rows(found: Array, wanted: tuple[int, ...], name: str, what: str) -> None:
    """Require what a user's function must return for each row.

    Raises:
        ShapeError: If it returns something else.
    """
    shape = tuple(found.shape)
    if shape != wanted:
        raise ShapeError(
            f"The {name} of a row must be {what}",
            f"Found shape {shape[1:]} for a row",
            "It was written for a whole batch, or keeps the axis it sums over",
            f"Write the {name} for one row, as jax.vmap and torch.func.vmap want it",
        )
