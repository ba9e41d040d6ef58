# SPDX-License-Identifier: Apache-2.0
"""Statistics and ledgers over the devices of a mesh axis, inside `shard_map`."""

from typing import Any

import jax
import jax.numpy as jnp

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array
from lossledger.jax._merge import Node, merged, register_trees, resized

_FROM = "varying"


def all_reduce(node: Node, axis_name: str) -> Node:
    """Merge statistics or ledgers over a mesh axis, in the order of its index.

    Everything travels in one gather for each dtype, whatever the number of terms: sums,
    winners and samples to compare merge in the same order on every device, so that the result
    is the same on every device, to the bit.

    Args:
        node: What this device has: of `objective.count`, `objective.statistics`, or a ledger.
        axis_name: An axis of the mesh, inside `jax.shard_map`.

    Returns:
        The whole, known to be equal on all devices: out_specs=P() takes it.

    Raises:
        MatchError: If `axis_name` is no axis of a mesh here.
        LossLedgerError: If `shard_map` was told not to check what varies, so that gradients
            would be wrong.
    """
    register_trees()
    size = _size(axis_name)
    found: Node = resized(merged(_gathered(node, axis_name), size), node, size)
    return found


def part(axis_name: str, i: int | Array = 0, parts: int = 1) -> Array:
    """Return the place of this device's i-th part in `all_reduce(whole, axis_name)`.

    Args:
        axis_name: An axis of the mesh, inside `jax.shard_map`.
        i: Place of the part in this device's own sum.
        parts: How many parts each device has.

    Raises:
        MatchError: If `axis_name` is no axis of a mesh here.
        LossLedgerError: As for `all_reduce`.
    """
    _size(axis_name)
    return jax.lax.axis_index(axis_name) * parts + i


def varying(tree: Any, axis_name: str) -> Any:
    """Return arrays as each device's own, so that gradients stay apart until they are summed."""
    return jax.tree.map(lambda x: _cast(x, axis_name), tree)


def summed(tree: Any, axis_name: str) -> Any:
    """Add arrays up over an axis."""
    return jax.tree.map(lambda x: _psum(_cast(x, axis_name), axis_name), tree)


def _size(axis_name: str) -> int:
    """Return the number of devices along an axis, once gradients are known to come out right."""
    try:
        index = jax.lax.axis_index(axis_name)
    except NameError as missing:
        raise MatchError(
            "`axis_name` must be an axis of the mesh that shard_map splits over",
            f"Found {axis_name!r}, which is no axis here",
            "The call stands outside of shard_map, or the axis has another name",
            "Call it inside shard_map with the name of the mesh axis; under jit with sharded "
            "arrays the objective needs no merge at all",
        ) from missing
    if axis_name not in _varies_over(index):
        raise LossLedgerError(
            "Gradients over a mesh axis need shard_map to check what varies",
            f"Found that shard_map does not know what differs along {axis_name!r}: "
            "check_vma=False, or vmap or pmap in its place",
            "The check was turned off; then the gradient of replicated parameters is each "
            "device's own, and out_specs=P() takes one of them without a word",
            "Leave check_vma=True (the default) in jax.shard_map, or use jit with sharded arrays",
        )
    size: int = jax.lax.axis_size(axis_name)
    return size


def _varies_over(x: Array) -> frozenset[str]:
    """Return the mesh axes along which an array may differ; its place moved in JAX 0.10."""
    aval = jax.typeof(x)
    kinds = getattr(aval, "manual_axis_type", None)
    found: frozenset[str] = getattr(aval, "vma", frozenset()) if kinds is None else kinds.varying
    return found


def _cast(x: Any, axis_name: str) -> Array:
    """Mark an array as one that differs along an axis."""
    x = jnp.asarray(x)
    if axis_name in _varies_over(x):
        return x
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(x, axis_name, to=_FROM)
    return jax.lax.pvary(x, axis_name)  # type: ignore[attr-defined]  # before JAX 0.9


def _gathered(node: Node, axis_name: str) -> Node:
    """Stack a node's leaves over the devices: one gather of all that have one dtype."""
    leaves, structure = jax.tree.flatten(node)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    found: list[Any] = [None] * len(arrays)
    for dtype in dict.fromkeys(a.dtype for a in arrays):
        places = [i for i, a in enumerate(arrays) if a.dtype == dtype]
        packed = jnp.concatenate([arrays[i].ravel() for i in places])
        rows = _rows(_cast(packed, axis_name), axis_name)
        edge = 0
        for i in places:
            shape, length = arrays[i].shape, arrays[i].size
            found[i] = rows[:, edge : edge + length].reshape(rows.shape[0], *shape)
            edge += length
    stacked: Node = jax.tree.unflatten(structure, found)
    return stacked


def _rows(packed: Array, axis_name: str) -> Array:
    """Gather one row from each device, known to be the same on all of them."""
    try:
        return jax.lax.all_gather(packed, axis_name, to="invarying")
    except TypeError:  # before JAX 0.9 a gather's result counts as varying; a sum's does not
        size, here = jax.lax.axis_size(axis_name), jax.lax.axis_index(axis_name)
        rows = jnp.zeros((size, *packed.shape), packed.dtype).at[here].set(packed)
        return _psum(rows, axis_name)


def _psum(x: Array, axis_name: str) -> Array:
    return jax.lax.psum(x, axis_name)  # type: ignore[no-untyped-call]
