# SPDX-License-Identifier: Apache-2.0
"""A window of micro-batches on a leading axis, with the gradient and ledger of one batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from lossledger._array import library_of
from lossledger._errors import ReductionError, ShapeError
from lossledger._typing import Array, Mapping, Tree
from lossledger.jax._axis import all_reduce, part, summed, varying
from lossledger.jax._merge import merged, register_trees, resized
from lossledger.ledger import Ledger
from lossledger.objective import Objective
from lossledger.objective._matching import match
from lossledger.splitting import Whole

Apply = Callable[..., Tree]
Ran = tuple[tuple[Array, Ledger], Tree]
_WEIGHTS = ("mask", "sample_weight", "element_weight")


def accumulate(
    objective: Objective, apply: Apply, *, axis_name: str | None = None
) -> Callable[..., Ran]:
    """Return a function that differentiates a window of micro-batches as if it were one batch.

        run = ll.jax.accumulate(objective, apply)
        (total, ledger), grads = run(params, inputs, targets, mask=mask, rng=keys)

    Every array after `params` has a leading axis of micro-batches, over which `jax.lax.scan`
    runs; the axes of a `NamedArray` do not name it. Memory is that of one micro-batch. Terms of
    one pass are counted first, from targets, masks and weights; if any term needs more, a
    scan without gradient makes the statistics of the window first: the forward pass runs
    twice, which costs what `jax.checkpoint` would. Both passes get the same `rng`, so that
    dropout removes the same. Regularizers read `params`, and count once.

    Args:
        objective: What is minimised.
        apply: (params, inputs) -> outputs of one micro-batch, or (params, inputs, rng) where
            keys are passed. What it does beside that, such as running means, is lost.
        axis_name: Inside `jax.shard_map`, the mesh axis whose devices share the window;
            gradients are summed over it once, after the scan.

    Returns:
        A function of (params, inputs, targets=None, *, mask, sample_weight, element_weight,
        keys, rng) that returns ((total, ledger), grads), as `jax.value_and_grad` does with
        `has_aux=True`. Wrap it in `jax.jit`. Gradients of 16-bit parameters are summed in
        32 bits.

    Raises:
        ShapeError: When it runs, if leading axes differ in length.
        ReductionError: When it runs over a mesh axis, if a term compares samples.
    """
    register_trees()
    plan = _Plan(objective, apply, axis_name)

    def run(
        params: Tree,
        inputs: Tree,
        targets: Tree = None,
        *,
        mask: Any = None,
        sample_weight: Any = None,
        element_weight: Any = None,
        keys: Mapping[str, Array] | None = None,
        rng: Any = None,
    ) -> Ran:
        given = {
            "mask": mask, "sample_weight": sample_weight, "element_weight": element_weight,
            "keys": keys,
        }  # fmt: skip
        data = {"inputs": inputs, "targets": targets, "rng": rng, **given}
        return plan.run(params, data, _length(data))

    return run


@dataclass(frozen=True)
class _Plan:
    """How the terms of an objective run over a window."""

    objective: Objective
    apply: Apply
    axis_name: str | None

    def run(self, params: Tree, data: dict[str, Any], n: int) -> Ran:
        """Make the whole of a window, then the gradient of every part of it."""
        self._check()
        own = params if self.axis_name is None else varying(params, self.axis_name)
        whole = self._whole(own, data, n)

        def close(p: Tree, each: dict[str, Any], i: int | Array) -> tuple[Array, Ledger]:
            place = i if self.axis_name is None else part(self.axis_name, i, n)
            outputs = self._outputs(p, each)
            return self.objective(
                outputs, each["targets"], **_arguments(each), parameters=p, whole=whole, part=place
            )

        def step(carry: Any, given: Any) -> tuple[Any, Ledger]:
            (total, ledger), grads = jax.value_and_grad(close, has_aux=True)(own, *given)
            added = jax.tree.map(lambda s, x: s + x.astype(s.dtype), carry, (total, grads))
            return self._apart(added), ledger

        zeros = jax.tree.map(_zeros, (jnp.zeros(()), params))
        (total, sums), ledger = self._over(step, self._apart(zeros), data, n)
        if self.axis_name is not None:
            total, sums = summed((total, sums), self.axis_name)
            ledger = all_reduce(ledger, self.axis_name)
        return (total, ledger), jax.tree.map(lambda s, p: s.astype(p.dtype), sums, params)

    def _over(self, step: Any, carry: Any, data: dict[str, Any], n: int) -> tuple[Any, Ledger]:
        """Scan over the parts; where terms compare samples, unroll: their part is a number."""
        if not self._named("candidates"):
            carry, ledgers = jax.lax.scan(step, carry, (data, jnp.arange(n)))
            return carry, merged(ledgers, n)
        found = []
        for i in range(n):
            carry, ledger = step(carry, (_at(data, i), i))
            found.append(ledger)
        return carry, sum(found[1:], found[0])

    def _whole(self, params: Tree, data: dict[str, Any], n: int) -> Whole:
        """Merge what each micro-batch counts, or its statistics without gradient."""
        shapes = self._shapes(params, _at(data, 0)) if self._counts() else None
        parts: list[Whole] = []

        def one(each: dict[str, Any]) -> Whole:
            if shapes is None:
                outputs = self._outputs(params, each)
                found = self.objective.statistics(outputs, each["targets"], **_arguments(each))
            else:
                found = self.objective.count(each["targets"], **_arguments(each), shapes=shapes)
            parts.append(found)
            return found

        whole: Whole = merged(jax.lax.map(one, data), n)
        whole = resized(whole, parts[0], n)
        return whole if self.axis_name is None else all_reduce(whole, self.axis_name)

    def _outputs(self, params: Tree, each: dict[str, Any]) -> Tree:
        rng = () if each["rng"] is None else (each["rng"],)
        return self.apply(params, each["inputs"], *rng)

    def _shapes(self, params: Tree, each: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the outputs by name, without computing them."""

        def named(p: Tree, given: dict[str, Any]) -> dict[str, Array]:
            o, outputs = self.objective, self._outputs(p, given)
            weights = {kind: given[kind] for kind in _WEIGHTS}
            call = match(
                o.terms, o.skip, o.output_names, outputs, given["targets"], weights,
                given["keys"] or {},
            )  # fmt: skip
            return call.outputs

        found = jax.eval_shape(named, params, each)
        return {name: tuple(output.shape) for name, output in found.items()}

    def _counts(self) -> bool:
        """Whether every denominator follows from targets, masks and weights."""
        one = all(e.kind == "one_pass" for e in self.objective.exactness.values())
        return one and all(t.facts.accepts in ("same", "classes") for t in self.objective.terms)

    def _named(self, kind: str) -> list[str]:
        return [name for name, e in self.objective.exactness.items() if e.kind == kind]

    def _apart(self, tree: Any) -> Any:
        return tree if self.axis_name is None else varying(tree, self.axis_name)

    def _check(self) -> None:
        late = self._named("candidates")
        if late and self.axis_name is not None:
            raise ReductionError(
                "A term that compares samples needs those of all devices in one place",
                f"Found `{late[0]}` over the mesh axis {self.axis_name!r}",
                "Inside shard_map the place of a part is traced, and each device has its own",
                "Use jit with sharded arrays: accumulate(objective, apply) without axis_name",
            )


def _arguments(each: dict[str, Any]) -> dict[str, Any]:
    return {name: each[name] for name in (*_WEIGHTS, "keys")}


def _zeros(like: Any) -> Array:
    """Return what sums start from: at least 32 bits, and 64 for the total where they are on."""
    wide = jnp.float32 if like.ndim else library_of(like).wide(like)
    return jnp.zeros(like.shape, jnp.promote_types(like.dtype, wide))


def _at(data: dict[str, Any], i: int) -> dict[str, Any]:
    found: dict[str, Any] = jax.tree.map(lambda leaf: leaf[i], data)
    return found


def _length(data: dict[str, Any]) -> int:
    """Return the number of micro-batches.

    Raises:
        ShapeError: If arrays differ in it.
    """
    lengths = {
        jax.tree_util.keystr(path): leaf.shape[:1]
        for path, leaf in jax.tree_util.tree_leaves_with_path(data)
    }
    if len(set(lengths.values())) != 1 or () in lengths.values() or (0,) in lengths.values():
        raise ShapeError(
            "Every array of a window needs one leading axis of micro-batches, at least one long",
            f"Found {', '.join(f'{name}: {shape}' for name, shape in lengths.items())}",
            "A mask or weight is that of one batch, or the batch was not stacked",
            "Reshape to (micro-batches, batch, ...), or stack the micro-batches on axis 0",
        )
    (found,) = set(lengths.values())
    return int(found[0])
