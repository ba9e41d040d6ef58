# SPDX-License-Identifier: Apache-2.0
"""Statistics and ledgers that lie along a leading axis, merged in its order."""

from dataclasses import replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from lossledger._array import library_of
from lossledger.frames import NamedArray
from lossledger.ledger import Ledger
from lossledger.ledger._tree import register
from lossledger.splitting import Whole

Node = TypeVar("Node", Whole, Ledger)


def register_trees() -> None:
    """Make everything that passes through transforms a pytree of JAX."""
    xp = library_of(jnp.zeros(()))
    for cls in (Whole, Ledger, NamedArray):
        register(xp, cls)


def merged(stacked: Node, n: int) -> Node:
    """Merge n nodes whose leaves are stacked along their first axis, neighbours first.

    Merging is associative, so pairs merge at once: log₂ n merges are compiled, not n. The
    order of the parts stays, and with it the part that a winner is of.
    """
    tails: list[Node] = []
    while n > 1:
        if n % 2:
            tails.append(_at(stacked, n - 1))
        even, odd = _cut(stacked, slice(0, n - 1, 2)), _cut(stacked, slice(1, n, 2))
        stacked, n = jax.vmap(lambda a, b: a + b)(even, odd), n // 2
    node: Node = _at(stacked, 0)
    for tail in reversed(tails):
        node = node + tail
    return node


def resized(found: Any, one: Any, n: int) -> Any:
    """Write into n merged wholes the sizes that are known without a device.

    Shapes are the same in all of them, and 32 bits need not hold what they add up to.
    """
    if not isinstance(one, Whole) or not isinstance(one.samples, int):
        return found
    return replace(found, samples=one.samples * n, parts=one.parts * n)


def _cut(stacked: Any, where: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[where], stacked)


def _at(stacked: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], stacked)
