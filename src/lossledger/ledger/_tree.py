# SPDX-License-Identifier: Apache-2.0
"""Ledgers and statistics as pytrees: numbers are leaves, everything else is structure."""

from dataclasses import fields
from typing import Any

import numpy as np

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._typing import Mapping
from lossledger.engines import Account, Candidates, Limbs, Pool
from lossledger.frames import NamedArray
from lossledger.reductions import Following
from lossledger.statistics import AbstractStatistic
from lossledger.weighting import Masses

_NODES = (Account, Candidates, Limbs, NamedArray, Pool, Following, AbstractStatistic, Masses)
_NODES_ABOVE = ("Book", "Ledger", "Whole")  # of modules that import this one
# Fields that are structure: names, and sizes that decide the shapes of arrays.
_STRUCTURE = (
    "note",
    "cells",
    "term",
    "frame",
    "at",
    "keep",
    "names",
    "axes",
    "lengths",
    "counted",
    "work",
)
_LEAF = "leaf"


def flatten(node: Any, leaves: list[Any]) -> Any:
    """Append a node's numbers to `leaves`; return its structure, comparable and hashable.

    Counts that are Python numbers are leaves too: as structure they would be compiled in.
    """
    if node is None or isinstance(node, str):
        return None, node
    if isinstance(node, tuple):
        return tuple, tuple(flatten(part, leaves) for part in node)
    if isinstance(node, Mapping):
        parts = tuple(flatten(part, leaves) for part in node.values())
        return dict, (tuple(node), parts)
    if _is_node(node):
        return type(node), tuple(
            (None, part) if name in _STRUCTURE else flatten(part, leaves)
            for name, part in _fields(node)
        )
    leaves.append(node)
    return _LEAF


def rebuild(structure: Any, leaves: list[Any]) -> Any:
    """Undo `flatten`, taking arrays from the front of `leaves`."""
    if structure == _LEAF:
        return leaves.pop(0)
    kind, parts = structure
    if kind is None:
        return parts
    if kind is dict:
        return dict(zip(parts[0], (rebuild(part, leaves) for part in parts[1]), strict=True))
    built = [rebuild(part, leaves) for part in parts]
    return tuple(built) if kind is tuple else kind(*built)


def register(xp: ArrayLibrary, cls: type) -> None:
    """Make a dataclass of arrays a pytree of the library, once."""
    if (xp.name, cls) in _REGISTERED:
        return
    _REGISTERED.add((xp.name, cls))

    def down(tree: Any) -> tuple[list[Any], Any]:
        leaves: list[Any] = []
        structure = flatten(tree, leaves)
        return _arrays(xp, leaves), structure

    xp.register(cls, down, lambda leaves, structure: rebuild(structure, list(leaves)))


_REGISTERED: set[tuple[str, type]] = set()


def _arrays(xp: ArrayLibrary, leaves: list[Any]) -> list[Any]:
    """Make tensors of numbers for torch, whose vmap refuses others; JAX takes them."""
    like = next((leaf for leaf in leaves if is_array(leaf)), None)
    if xp.name != "torch" or like is None:
        return leaves
    return [xp.asarray(x, None, like) if isinstance(x, int | float) else x for x in leaves]


def on_host(node: Any) -> Any:
    """Return a number, an array, or a dataclass of them, with every array as NumPy's."""
    if node is None or isinstance(node, str | int | float):
        return node
    if isinstance(node, tuple):
        return tuple(on_host(part) for part in node)
    if isinstance(node, Limbs):
        return node.on_host(library_of(node.high).to_numpy)
    if isinstance(node, Mapping):
        return {name: on_host(part) for name, part in node.items()}
    if _is_node(node):
        return type(node)(
            *(part if name in _STRUCTURE else on_host(part) for name, part in _fields(node))
        )
    return np.asarray(library_of(node).to_numpy(node))


def _is_node(node: Any) -> bool:
    return isinstance(node, _NODES) or type(node).__name__ in _NODES_ABOVE


def _fields(node: Any) -> list[tuple[str, Any]]:
    return [(field.name, getattr(node, field.name)) for field in fields(node)]
