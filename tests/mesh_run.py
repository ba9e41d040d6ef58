# SPDX-License-Identifier: Apache-2.0
"""What `test_jax_mesh.py` measures, in a process of its own: JAX counts its devices once.

As a command: `python tests/mesh_run.py WAY` prints, as JSON, the deviation of each term's
gradient and rows from those of one device, and those of ways that are known to be wrong.
"""

import json
import os
import sys

# Most of the time goes into compiling programs that run once.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import lossledger as ll
from lossledger._array import library_of

jax.config.update("jax_enable_x64", True)
MESH = Mesh(np.array(jax.devices()), ("data",))
SPECS = (P(), P("data"), P("data"), P("data"))
CE = ll.losses.CrossEntropy()
CHOICES = {
    "mean": {"class_weight": [1.0, 2.0, 5.0]},
    "macro": {"reduction": ll.Macro("class")},
    "tilted": {"reduction": ll.LogMeanExp(2.0)},
    "max": {"reduction": ll.Max()},
    "top-fraction": {"reduction": ll.TopMean(0.3)},
    "top-count": {"reduction": ll.TopMean(count=3)},
}
TERMS = [
    ll.Term(n, CE, "batch class", target="labels", classes=3, name=n, **more)
    for n, more in CHOICES.items()
]
TERMS += [
    ll.Term(
        "dice", ll.losses.Dice(over="batch", kind="softmax"), "batch class", target="labels",
        name="dice",
    ),
    ll.Term("experts", ll.losses.LoadBalance("batch"), "batch class", name="experts"),
]  # fmt: skip
PAIRS = ll.Term(("queries", "keys"), ll.losses.InfoNCE(0.5), "batch feature", name="pairs")
LOCAL = ll.Objective(*TERMS, ll.L2(0.1, half=True))
GLOBAL = ll.Objective(*TERMS, PAIRS, ll.L2(0.1, half=True))
RNG = np.random.default_rng(0)
N = 32


def params_of(objective):
    """Return one matrix for each output, so that gradients of terms stay apart."""
    names = [n for t in objective.terms for n in t.outputs]
    return {n: jnp.asarray(RNG.normal(size=(5, 3))) for n in names}


def batch():
    """Return inputs, labels and a mask that removes nearly all of one device's samples."""
    kept = np.arange(N) % 4 != 0
    kept[N // 4 : N // 2 - 1] = False
    inputs, labels = RNG.normal(size=(N, 5)), RNG.integers(0, 3, N)
    labels[: N // 4] = 0
    return jnp.asarray(inputs), jnp.asarray(labels), jnp.asarray(kept)


def apply(params, inputs):
    """Return every output."""
    return {name: inputs @ matrix for name, matrix in params.items()}


def loss_of(objective):
    """Return f(params, inputs, labels, mask, ...) -> (total, ledger)."""

    def loss(params, inputs, labels, mask, **more):
        outputs = apply(params, inputs)
        return objective(outputs, {"labels": labels}, mask=mask, parameters=params, **more)

    return loss


def stacked(arrays, n):
    """Cut a batch into n micro-batches."""
    return [a.reshape(n, -1, *a.shape[1:]) for a in arrays]


def accumulated(objective, n, **settings):
    """Return a function of a batch that accumulates over n micro-batches."""
    run = ll.jax.accumulate(objective, apply, **settings)

    def step(params, *arrays):
        inputs, labels, mask = stacked(arrays, n)
        return run(params, inputs, {"labels": labels}, mask=mask)

    return step


def mapped(function, **settings):
    """Return a function over the mesh, compiled."""
    return jax.jit(jax.shard_map(function, mesh=MESH, in_specs=SPECS, out_specs=P(), **settings))


def closed(params, *arrays):
    """Return a part's total and ledger, inside shard_map."""
    inputs, labels, mask = arrays
    own = LOCAL.statistics(apply(params, inputs), {"labels": labels}, mask=mask)
    whole = ll.jax.all_reduce(own, "data")
    return loss_of(LOCAL)(params, *arrays, whole=whole, part=ll.jax.part("data"))


def grad_inside(params, *arrays):
    """Differentiate inside shard_map: gradients of replicated parameters come out summed."""
    (total, ledger), grads = jax.value_and_grad(closed, has_aux=True)(params, *arrays)
    return (jax.lax.psum(total, "data"), ll.jax.all_reduce(ledger, "data")), grads


def total_inside(params, *arrays):
    """Sum the parts' totals inside shard_map, to be differentiated outside."""
    total, ledger = closed(params, *arrays)
    return jax.lax.psum(total, "data"), ll.jax.all_reduce(ledger, "data")


def mean_of_means(params, *arrays):
    """Wrong: every device divides by its own sums."""
    grads = jax.grad(loss_of(LOCAL), has_aux=True)(params, *arrays)[0]
    return jax.tree.map(lambda g: g / 4, grads)  # already summed


def unchecked(params, *arrays):
    """Wrong: with check_vma=False a device's own gradient comes out as that of all."""
    return jax.grad(loss_of(LOCAL), has_aux=True)(params, *arrays)[0]


def global_view():
    """Measure jit over sharded arrays, with and without micro-batches."""
    objective, params, arrays = GLOBAL, params_of(GLOBAL), batch()
    expected = on_one(objective, params, arrays)
    spread = [jax.device_put(a, NamedSharding(MESH, P("data"))) for a in arrays]
    step = jax.jit(jax.value_and_grad(loss_of(objective), has_aux=True))
    sharded = step.lower(params, *spread).compile()
    assert len(spread[0].sharding.device_set) == 4
    assert "all-reduce" in sharded.as_text()
    ways = {"sharded": sharded, "accumulated": jax.jit(accumulated(objective, 4))}
    report = {name: deviations(way(params, *spread), expected) for name, way in ways.items()}
    explicit = jax.make_mesh((4,), ("data",))
    with jax.set_mesh(explicit):
        wrapped = jax.sharding.auto_axes(loss_of(LOCAL), out_sharding=P())
        grad = jax.jit(jax.value_and_grad(wrapped, has_aux=True))
        own = {n: params[n] for t in LOCAL.terms for n in t.outputs}
        placed = [jax.device_put(a, NamedSharding(explicit, P("data"))) for a in arrays]
        found = grad(own, *placed)
    report["explicit mesh"] = deviations(found, on_one(LOCAL, own, arrays))
    return report


def on_one(objective, params, arrays):
    """Return ((total, ledger), gradients) of the whole batch on one device."""
    return jax.jit(jax.value_and_grad(loss_of(objective), has_aux=True))(params, *arrays)


def shard_map_view():
    """Measure shard_map with the gradient inside, outside and accumulated; and the twins."""
    params, arrays = params_of(LOCAL), batch()
    expected = on_one(LOCAL, params, arrays)
    outside = jax.shard_map(total_inside, mesh=MESH, in_specs=SPECS, out_specs=P())
    ways = {
        "inside": mapped(grad_inside),
        "outside": jax.jit(jax.value_and_grad(outside, has_aux=True)),
        "accumulated": mapped(accumulated(LOCAL, 2, axis_name="data")),
    }
    report = {name: deviations(way(params, *arrays), expected) for name, way in ways.items()}
    twins = {"mean of means": (mean_of_means, {}), "unchecked": (unchecked, {"check_vma": False})}
    for name, (way, settings) in twins.items():
        grads = mapped(way, **settings)(params, *arrays)
        report[name] = {n: relative(g, expected[1][n]) for n, g in grads.items()}
    report["gathered by a sum"] = deviations(older(grad_inside)(params, *arrays), expected)
    return report | {"refused": refusals(params, arrays)}


def older(function):
    """Return a function over the mesh as on a JAX whose gathers always count as varying."""
    gather = jax.lax.all_gather

    def refuse(x, axis_name, *, to=None):
        if to is not None:
            raise TypeError(to)
        return gather(x, axis_name)

    def traced(*arguments):
        jax.lax.all_gather = refuse
        try:
            return function(*arguments)
        finally:
            jax.lax.all_gather = gather

    return mapped(traced)


def refusals(params, arrays):
    """Return the messages of what is refused."""
    ways = {
        "check_vma": lambda: mapped(grad_inside, check_vma=False)(params, *arrays),
        "outside": lambda: grad_inside(params, *arrays),
        "name": lambda: mapped(lambda p, *a: ll.jax.part("model") + p["max"])(params, *arrays),
        "candidates": lambda: mapped(accumulated(GLOBAL, 2, axis_name="data"))(
            params_of(GLOBAL), *arrays
        ),
    }
    found = {}
    for name, way in ways.items():
        try:
            way()
        except ll.LossLedgerError as error:
            found[name] = str(error)
    return found


def deviations(found, expected):
    """Return the relative deviation of total, gradients by output, and rows by term."""
    (total, ledger), grads = found
    (true_total, true_ledger), true = expected
    report = {n: relative(g, true[n]) for n, g in grads.items()}
    report["total"] = relative(total, true_total)
    for (name, mine), (_, theirs) in zip(rows(ledger), rows(true_ledger), strict=True):
        report[f"rows of {name}"] = relative(mine, theirs)
    report["steps"] = abs(float(ledger.wholes) - 1)
    books = zip(ledger.books, true_ledger.books, strict=True)
    report["pooled"] = max(pooled(mine, theirs) for mine, theirs in books)
    return report


def pooled(mine, theirs):
    """Return the deviation of a term's pooled value; a part keeps none where pairs are compared."""
    if mine.pool is None or theirs.pool is None:
        return 0.0
    return relative(mine.pool.value(_XP), theirs.pool.value(_XP))


_XP = library_of(jnp.zeros(1))


def rows(ledger):
    """Return the contributions, counts and denominators of each term."""
    found = {}
    for row in ledger.rows:
        numbers = (row.contribution, row.count or 0, row.denominator or 0.0)
        found.setdefault(row.term, []).append(numbers)
    return list(found.items())


def relative(found, true):
    """Return the largest deviation, relative to the largest number."""
    found, true = np.asarray(found, float), np.asarray(true, float)
    return float(np.max(np.abs(found - true)) / np.max(np.abs(true)))


if __name__ == "__main__":
    ways = {"global": global_view, "shard_map": shard_map_view}
    print(json.dumps(ways[sys.argv[1]]()))
