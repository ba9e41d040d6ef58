# SPDX-License-Identifier: Apache-2.0
"""Losses among a part of the classes: those that a batch's samples can choose from."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._odds import LOWEST
from lossledger.losses._rows import pick, row_facts
from lossledger.losses.steps import AbstractStep


@dataclass(frozen=True, eq=False)
class Fill(AbstractStep):
    """A number where `where` is False; the derivative is 1 where it is True, else 0.

    Args:
        where: Booleans over the array's axes (length 1 where all agree), or over those
            without `axis`.
        number: What stands elsewhere.
        axis: Name of the axis that `where` may lack; None lets it lack the first ones.
    """

    where: Array
    number: float = 0.0
    axis: str | None = "class"

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return x where it is kept."""
        return xp.where(
            placed(xp, self.where, x, inputs, self.axis), x, xp.full_like(x, self.number)
        )

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return the slope where it is kept, 0 elsewhere."""
        here = placed(xp, self.where, x, inputs, self.axis)
        return xp.where(here, slope, xp.full_like(slope, 0.0))


@dataclass(frozen=True, eq=False)
class SubsetCrossEntropy(AbstractLoss):
    """Σ_{c∈S} t_c·(log Σ_{j∈S} exp z_j − z_c) among the classes S; log Σ exp z − z_y of an index.

    ∂/∂z_c = (Σ_S t)·p_c − t_c in S with p the softmax in S, 0 elsewhere. A row without any
    class in S has the value 0.

    Args:
        among: Which classes are in S: booleans over the axes of the outputs (length 1 where
            all agree), or over those without the class axis.

    An index y outside S keeps its term −z_y and its derivative −1, as in optax.

    Source: optax.losses.softmax_cross_entropy(where=...), and with integer labels.
    """

    among: Array

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("optax.losses.softmax_cross_entropy", class_weight_within=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        z, axis = outputs[0], inputs.class_axis
        here, some = self._places(xp, z, inputs)
        inside = xp.where(here, z, xp.full_like(z, LOWEST))
        if inputs.form == "index":
            value = xp.logsumexp(inside, axis) - pick(xp, z, targets, axis)
            return xp.where(some, value, xp.full_like(value, 0.0))
        counted = here & (targets != 0)
        log_p = xp.where(counted, xp.log_softmax(inside, axis), xp.full_like(z, 0.0))
        return -xp.sum(log_p * targets, axis=axis)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·((Σ_S t)·p − t)."""
        z, axis = outputs[0], inputs.class_axis
        here, some = self._places(xp, z, inputs)
        zero = xp.full_like(z, 0.0)
        p = xp.exp(xp.log_softmax(xp.where(here, z, xp.full_like(z, LOWEST)), axis))
        p = xp.where(here, p, zero)
        if inputs.form == "index":
            label = xp.expand(targets, axis) == _classes(xp, z, targets, axis)
            row = xp.where(label, p - 1, p)
            row = xp.where(xp.expand(some, axis), row, zero)
        else:
            t = xp.where(here, targets, zero)
            row = p * xp.expand(xp.sum(t, axis=axis), axis) - t
        return (row * xp.expand(coefficients, axis),)

    def _places(self, xp: ArrayLibrary, z: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Return which outputs are in S, and which rows have any."""
        here = placed(xp, self.among, z, inputs, "class")
        return here, xp.any(here, axis=inputs.class_axis)


def placed(xp: ArrayLibrary, where: Array, x: Array, inputs: Inputs, axis: str | None) -> Array:
    """Return booleans over the axes of `x`.

    Raises:
        ShapeError: If they have neither the axes of `x` nor those without `axis` (without the
            first ones, if that is None).
    """
    given, shape = xp.asarray(where, "bool", x), tuple(x.shape)
    if axis is None:
        given = xp.reshape(given, (1,) * (len(shape) - len(given.shape)) + tuple(given.shape))
    elif len(given.shape) == len(shape) - 1:
        given = xp.expand(given, inputs.frame.axes.index(axis))
    pairs = zip(tuple(given.shape), shape, strict=False)
    if len(given.shape) != len(shape) or any(n not in (1, m) for n, m in pairs):
        raise ShapeError(
            f"`where` must have the axes {inputs.frame}, or those without `{axis or 'batch'}`",
            f"Found shape {tuple(getattr(where, 'shape', ()))}",
            "It is a mask of classes without the axes of the samples",
            f"Give it the length 1 along the axes where it does not vary, {len(shape)} axes in all",
        )
    return xp.broadcast_to(given, shape)


def _classes(xp: ArrayLibrary, z: Array, targets: Array, axis: int) -> Array:
    numbers = xp.arange(z.shape[axis], targets)
    return xp.reshape(numbers, tuple(-1 if i == axis else 1 for i in range(len(z.shape))))
