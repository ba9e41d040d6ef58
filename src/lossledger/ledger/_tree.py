# SPDX-License-Identifier: Apache-2.0
"""Ledgers as pytrees: arrays are leaves, everything else is structure."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._typing import Array
from lossledger.engines import Account, Pool
from lossledger.reductions import Following
from lossledger.statistics import AbstractStatistic
from lossledger.weighting import Masses

_NODES = (Account, Pool, Following, AbstractStatistic, Masses)
_BOOKS = ("Book",)


def flatten(node: Any, leaves: list[Array]) -> Any:
    """Append a node's arrays to `leaves`; return its structure, comparable and hashable."""
    if is_array(node):
        leaves.append(node)
        return _LEAF
    if isinstance(node, tuple):
        return tuple, tuple(flatten(part, leaves) for part in node)
    if is_dataclass(node) and (isinstance(node, _NODES) or type(node).__name__ in _BOOKS):
        parts = tuple(flatten(getattr(node, f.name), leaves) for f in fields(node))
        return type(node), parts
    return None, node


def rebuild(structure: Any, leaves: list[Array]) -> Any:
    """Undo `flatten`, taking arrays from the front of `leaves`."""
    if structure == _LEAF:
        return leaves.pop(0)
    kind, parts = structure
    if kind is None:
        return parts
    built = [rebuild(part, leaves) for part in parts]
    return tuple(built) if kind is tuple else kind(*built)


_LEAF = "array"
_REGISTERED: set[tuple[str, type]] = set()


def register(xp: ArrayLibrary, cls: type) -> None:
    """Make a dataclass of arrays a pytree of the library, once."""
    if (xp.name, cls) in _REGISTERED:
        return
    _REGISTERED.add((xp.name, cls))

    def down(tree: Any) -> tuple[list[Array], Any]:
        leaves: list[Array] = []
        parts = tuple(_down(getattr(tree, f.name), leaves) for f in fields(cls))
        return leaves, parts

    def up(leaves: Any, structure: Any) -> Any:
        rest = list(leaves)
        return cls(*(rebuild(part, rest) for part in structure))

    xp.register(cls, down, up)


def _down(node: Any, leaves: list[Array]) -> Any:
    return flatten(node, leaves)


def on_host(tree: Any) -> Any:
    """Return a dataclass of arrays with every array as NumPy's."""
    leaves: list[Array] = []
    parts = tuple(flatten(getattr(tree, f.name), leaves) for f in fields(tree))
    host = [np.asarray(library_of(leaf).to_numpy(leaf)) for leaf in leaves]
    return type(tree)(*(rebuild(part, host) for part in parts))
