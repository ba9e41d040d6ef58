# SPDX-License-Identifier: Apache-2.0
"""Users' own functions as losses: values per element, or sums and a value of them."""

from dataclasses import dataclass
from typing import Any

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ReductionError, ShapeError
from lossledger._typing import Array, Axes, Callable, Names
from lossledger.frames import parse_axes
from lossledger.losses._base import AbstractLoss, Facts, Inputs


@dataclass(frozen=True)
class Elementwise(AbstractLoss):
    """Any callable `f(outputs, targets) -> values` with one value per element.

    Args:
        f: For instance a torch loss with `reduction="none"`, an optax loss, or a Keras loss
            with `reduction=None`. It gets the tuple of outputs if the term reads several.
        removes: Axes of the outputs that its values no longer have, such as "class".
        derivative: `(outputs, targets) -> ∂value/∂output`; needed only for `value_and_grad`.
        reads: Number of outputs.
    """

    f: Callable[..., Array]
    removes: Names = ()
    derivative: Callable[..., Array] | None = None
    reads: int = 1

    def __post_init__(self) -> None:
        """Check that it can be called, and is not a class that was meant to be."""
        given: Any = self.f
        if isinstance(given, type) or not callable(given):
            name = f"the class {given.__name__}" if isinstance(given, type) else repr(given)
            raise MatchError(
                "A loss must be a loss object or a callable `f(outputs, targets) -> values`",
                f"Found {name}",
                "A class was passed without (), or a name as other libraries have them",
                "Pass an object, e.g. ll.losses.CrossEntropy()",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        removed = parse_axes(self.removes, "removes")
        return Facts(accepts="free", removes=removed, reads=self.reads, source="the user")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return what the callable gives, if it has the axes that are left."""
        left = inputs.frame.without(parse_axes(self.removes, "removes"))
        given = self.f(outputs[0] if self.reads == 1 else outputs, targets)
        found = tuple(getattr(given, "shape", ()))
        if found != left.shape:
            raise ShapeError(
                "A callable loss must return one value per element",
                f"Found shape {found} where the axes left are {left}",
                "It reduces by itself (reduction='mean'), or it consumes an axis",
                "Switch its reduction off, or name the axis it consumes: removes='class'",
            )
        return given

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c · derivative."""
        if self.derivative is None:
            raise ReductionError(
                "`value_and_grad` needs the closed-form derivative of every loss",
                f"Found the callable {getattr(self.f, '__name__', self.f)!r} without one",
                "NumPy cannot differentiate, and the callable was given alone",
                "Pass ll.losses.Elementwise(f, derivative=...), or use torch or JAX arrays",
            )
        single = self.reads == 1
        slopes = self.derivative(outputs[0] if single else outputs, targets)
        places = [i for i, a in enumerate(inputs.frame.axes) if a in self._removed()]
        spread = coefficients
        for place in places:
            spread = xp.expand(spread, place)
        return tuple(spread * s for s in ((slopes,) if single else slopes))

    def _removed(self) -> Axes:
        return parse_axes(self.removes, "removes")
