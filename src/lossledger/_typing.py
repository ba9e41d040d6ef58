# SPDX-License-Identifier: Apache-2.0
"""Array and the shape vocabulary: every annotation in the package is spelled from here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from jaxtyping import Bool, Float, Int, Shaped

# Arrays of five libraries share no base class, so the static type is open; the
# shape and the kind of number live in the jaxtyping annotation around it.
Array: TypeAlias = Any

Axes: TypeAlias = tuple[str, ...]
Names: TypeAlias = str | Sequence[str]
Tree: TypeAlias = Any
"""A container of arrays: one array, or a tuple, list or dict of them."""

__all__ = [
    "Array",
    "Axes",
    "Bool",
    "Callable",
    "Float",
    "Int",
    "Mapping",
    "Names",
    "Sequence",
    "Shaped",
    "Tree",
]
