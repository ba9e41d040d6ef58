# SPDX-License-Identifier: Apache-2.0
"""Regularizers: functions of parameters, counted once a step and never divided by a batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._errors import DomainError, MatchError
from lossledger._typing import Array, Callable, Mapping, Tree
from lossledger.losses._checks import check_nonnegative

Parameters = Tree | Callable[[], Any]


class AbstractRegularizer(ABC):
    """scale · f(parameters), read from what it was given or from the call.

    Attributes:
        parameters: Arrays in any nesting of dicts, lists and tuples, (name, array) pairs, a
            torch module, or a callable that gives them, such as `model.parameters`; None
            reads `objective(..., parameters=...)`.
        name: Name in the ledger.
    """

    scale: float
    parameters: Parameters | None
    name: str

    @abstractmethod
    def amount(self, xp: ArrayLibrary, parameters: list[Array]) -> Array:
        """Return the regularizer's amount; differentiable."""


@dataclass(frozen=True, eq=False)
class L2(AbstractRegularizer):
    """scale · Σ θ², or half of it; ∂/∂θ = 2·scale·θ, or scale·θ.

    `half` must be given: Keras' L2 and an optimizer's weight decay differ by this factor.

    Source: keras.regularizers.L2 (half=False); tf.nn.l2_loss and torch's weight_decay
    (half=True).
    """

    scale: float
    parameters: Parameters | None = field(default=None, repr=False)
    half: bool | None = None
    name: str = "l2"

    def __post_init__(self) -> None:
        """Check the scale, and that the half was decided."""
        check_nonnegative("scale", self.scale)
        object.__setattr__(self, "parameters", _kept(self.parameters))
        if self.half not in (True, False):
            raise DomainError(
                "`half` of L2 must be True or False",
                f"Found {self.half!r}",
                "Libraries differ: Keras' L2 is Σθ², weight decay and tf.nn.l2_loss are Σθ²/2",
                "Pass half=False for scale·Σθ² or half=True for scale·Σθ²/2",
            )

    def amount(self, xp: ArrayLibrary, parameters: list[Array]) -> Array:
        """Return scale · Σ θ² (or half of it)."""
        total = _added([xp.sum(p * p) for p in parameters])
        return total * (self.scale / 2 if self.half else self.scale)


@dataclass(frozen=True, eq=False)
class L1(AbstractRegularizer):
    """scale · Σ |θ|; ∂/∂θ = scale·sign(θ), 0 at 0.

    Source: keras.regularizers.L1.
    """

    scale: float
    parameters: Parameters | None = field(default=None, repr=False)
    name: str = "l1"

    def __post_init__(self) -> None:
        """Check the scale."""
        check_nonnegative("scale", self.scale)
        object.__setattr__(self, "parameters", _kept(self.parameters))

    def amount(self, xp: ArrayLibrary, parameters: list[Array]) -> Array:
        """Return scale · Σ |θ|."""
        return _added([xp.sum(xp.abs(p)) for p in parameters]) * self.scale


def regularize(regularizer: AbstractRegularizer, passed: Tree | None) -> Array:
    """Return a regularizer's amount on its own parameters, or on those passed.

    Raises:
        MatchError: If there are none.
    """
    found = parameters_of(regularizer, passed)
    if not found:
        raise MatchError(
            f"Regularizer `{regularizer.name}` needs parameters",
            "Found none",
            "It was built without parameters=, and the call passed none",
            "Pass parameters=model.parameters to it, or parameters=params to the objective",
        )
    xp = library_of(*found)
    return regularizer.amount(xp, [_wide_enough(xp, regularizer.name, p) for p in found])


def parameters_of(regularizer: AbstractRegularizer, passed: Tree | None = None) -> list[Array]:
    """Return the arrays that a regularizer reads: its own, or those passed."""
    source = regularizer.parameters if regularizer.parameters is not None else passed
    source = source if is_array(source) else getattr(source, "parameters", source)
    return leaves(source() if callable(source) and not is_array(source) else source)


def leaves(tree: Tree) -> list[Array]:
    """Return the arrays of nested dicts, lists, tuples, iterators and (name, array) pairs."""
    if tree is None or isinstance(tree, str):
        return []
    if is_array(tree):
        return [tree]
    parts = tree.values() if isinstance(tree, Mapping) else tree
    return [leaf for part in parts for leaf in leaves(part)]


def _wide_enough(xp: ArrayLibrary, name: str, parameter: Array) -> Array:
    """Return a parameter in at least 32 bits, in which its squares can be summed."""
    if not xp.is_float(parameter):
        raise DomainError(
            f"Regularizer `{name}` needs parameters of a floating dtype",
            f"Found {xp.dtype(parameter)}",
            "A quantized weight, a counter or an index was passed with the parameters",
            "Pass the parameters that are trained",
        )
    double = xp.dtype(parameter) in ("float64", "longdouble", "float128", "float96")
    return parameter if double else xp.astype(parameter, "float32")


def _kept(parameters: Parameters | None) -> Parameters | None:
    """Return parameters that can be read at every step: an iterator gives them only once."""
    return tuple(parameters) if isinstance(parameters, Iterator) else parameters


def _added(parts: list[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
