# SPDX-License-Identifier: Apache-2.0
"""Compiled, mapped and in low precision: the same numbers within written bounds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from batches import Batch, draw, objective_of

import lossledger as ll
from cases import LOSSES
from properties import close, rows_close

CASES = {c.id: c for c in LOSSES}
SOME = ("ce-index", "ce-smooth", "bce-pos-weight", "dice-batch", "dice-softmax", "huber")


def compiled(objective: ll.Objective, batch: Batch, backend: str) -> tuple[Any, Any, Any]:
    """Return (total, ledger, gradients) of a step compiled without a graph break."""
    moved = batch.map(torch.as_tensor)
    leaves = {n: o.clone().requires_grad_() for n, o in moved.outputs.items()}
    axes = {n: o.axes for n, o in moved.options.items() if isinstance(o, ll.NamedArray)}
    bare = {n: o.array if n in axes else o for n, o in moved.options.items()}

    def step(outputs: Any, targets: Any, options: Any) -> Any:
        named = {n: ll.NamedArray(o, axes[n]) if n in axes else o for n, o in options.items()}
        return objective(outputs, targets, **named)

    torch._dynamo.reset()
    total, ledger = torch.compile(step, fullgraph=True, backend=backend)(
        leaves, moved.targets, bare
    )
    total.backward()
    return total, ledger, {n: leaf.grad.numpy() for n, leaf in leaves.items()}


def assert_compiled_agrees(objective: ll.Objective, batch: Batch, backend: str) -> Any:
    """The compiled step gives the closed form's total, gradient and rows."""
    expected, rows, slopes = batch.slopes(objective)
    total, ledger, found = compiled(objective, batch, backend)
    close(total.detach().numpy(), expected, what="total")
    for name, slope in slopes.items():
        close(found[name], slope, what=name)
    rows_close(ledger, rows)
    return ledger


@pytest.mark.parametrize("name", SOME)
def test_whole_graph_without_breaks(name: str) -> None:
    """torch.compile(fullgraph=True) traces forward, ledger and backward in one graph."""
    objective, batch = objective_of(CASES[name]), draw(CASES[name], "mixed")
    ledger = assert_compiled_agrees(objective, batch, "aot_eager")
    close((ledger + ledger).step_mean, ledger.total)


@pytest.mark.parametrize("name", ["ce-index", "dice-batch"])
def test_inductor(name: str) -> None:
    """The compiler that users get by default gives the same numbers."""
    assert_compiled_agrees(objective_of(CASES[name]), draw(CASES[name], "sample"), "inductor")


@pytest.mark.parametrize(
    "reduction",
    [ll.Max(), ll.TopMean(0.4), ll.LogMeanExp(1.5), ll.Macro(), ll.Mean(by="class").then(ll.Max())],
    ids=str,
)
def test_reductions_compile(reduction: Any) -> None:
    """Each kind of statistic traces without a break."""
    case = CASES["ce-index"]
    assert_compiled_agrees(objective_of(case, reduction=reduction), draw(case), "aot_eager")


# Outputs in low precision hold rounded numbers; from there on everything is float32, whose
# unit in the last place is 1.2e-7. Losses keep a few of them, sums of 200 elements a few more.
LOW = {torch.float16: 3e-6, torch.bfloat16: 3e-6, torch.float32: 3e-6, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("name", SOME)
def test_low_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    """Against float64 on the same rounded outputs; the gradient comes back in their dtype."""
    objective, batch = objective_of(CASES[name]), draw(CASES[name])
    low = {n: torch.as_tensor(o).to(dtype) for n, o in batch.outputs.items()}
    same = Batch({n: o.double().numpy() for n, o in low.items()}, batch.targets, batch.options)
    expected, _, slopes = same.slopes(objective)
    leaves = {n: o.requires_grad_() for n, o in low.items()}
    moved = batch.map(torch.as_tensor)
    total, ledger = objective(leaves, moved.targets, **moved.options)
    assert total.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close(total.detach().numpy(), expected, LOW[dtype], "total")
    close(ledger.total, float(total.detach()), 1e-7, "ledger")
    total.backward()
    for leaf_name, leaf in leaves.items():
        assert leaf.grad.dtype == dtype
        # The gradient itself is rounded to the outputs' dtype on its way out.
        bound = max(LOW[dtype], float(torch.finfo(dtype).eps))
        close(leaf.grad.double().numpy(), slopes[leaf_name], bound, leaf_name)


def test_sums_do_not_overflow_in_float16() -> None:
    """Half a million ones sum to half a million, where float16 ends at 65504."""
    ones = torch.full((2, 512, 512), 20.0, dtype=torch.float16)
    term = ll.Term("y", ll.losses.Dice(over="batch height width"), "batch height width")
    total, ledger = ll.Objective(term)(ones, torch.ones(2, 512, 512))
    assert sum(r.count for r in ledger.rows) == 2 * 512 * 512
    assert abs(float(total)) < 1e-6


def test_float32_bins_do_not_stop_growing() -> None:
    """17 million elements of one class are counted and summed, beyond float32's 2^24."""
    rows = (1 << 24) + (1 << 20)
    term = ll.Term("y", lambda o, _: o, "batch", keys={"site": 1}, rows="site")
    ones = torch.ones(rows)
    key = torch.zeros(rows, dtype=torch.int64)
    _, ledger = ll.Objective(term)(ones, ones, keys={"site": key})
    assert ledger.rows[0].count == rows
    close(ledger.rows[0].numerator, float(rows))


def test_jax_without_64_bit_types() -> None:
    """JAX's default: values in float32, rows that add up, counts beyond float32's."""
    case = CASES["bce"]
    objective, batch = objective_of(case), draw(case, "sample")
    moved = batch.map(lambda a: jnp.asarray(a, jnp.float32 if a.dtype.kind == "f" else jnp.int32))
    total, ledger = moved.call(objective)
    assert total.dtype == jnp.float32
    close(np.asarray(total), batch.total(objective), 3e-6)
    close(sum(r.contribution for r in ledger.rows), float(total), 3e-6)
    rows = (1 << 24) + 5
    term = ll.Term("y", lambda o, _: o, "batch", keys={"site": 1}, rows="site")
    ones = jnp.ones(rows, jnp.float32)
    _, large = ll.Objective(term)(ones, ones, keys={"site": jnp.zeros(rows, jnp.int32)})
    assert large.rows[0].count == rows
    close(large.rows[0].numerator, float(rows), 1e-7)


def test_jit_and_vmap_with_the_ledger() -> None:
    """value_and_grad(has_aux=True) under jit, and vmap over a stack of batches."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), "batch class"))
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 5)), jnp.float32)
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 5, (3, 8)))
    step = jax.jit(jax.value_and_grad(lambda z, t: objective(z, t), has_aux=True))
    (total, ledger), slope = step(logits[0], labels[0])
    assert slope.shape == (8, 5)
    close(ledger.total, float(total), 1e-6)
    many = jax.vmap(lambda z, t: objective.loss(z, t))(logits, labels)
    one_by_one = [float(objective.loss(z, t)) for z, t in zip(logits, labels, strict=True)]
    close(np.asarray(many), one_by_one, 1e-6)


def test_a_broken_rule_under_a_trace_is_told_when_read() -> None:
    """A label out of range gives NaN and a ledger that explains it; never a finite number."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), "batch class"))
    total, ledger = jax.jit(lambda z, t: objective(z, t))(jnp.zeros((2, 3)), jnp.array([0, 7]))
    assert np.isnan(float(total))
    with pytest.raises(ll.DomainError, match="Labels must be class indices"):
        _ = ledger.rows
    good, fine = jax.jit(lambda z, t: objective(z, t))(jnp.zeros((2, 3)), jnp.array([0, 2]))
    close(float(good), np.log(3), 1e-6)
    assert len(fine.rows) == 3


def test_the_comparison_can_fail() -> None:
    """A compiled step of another objective is seen."""
    case = CASES["huber"]
    batch = draw(case)
    expected, _, _ = batch.slopes(objective_of(case, reduction="sum"))
    total, _, _ = compiled(objective_of(case), batch, "aot_eager")
    with pytest.raises(AssertionError):
        close(total.detach().numpy(), expected)
