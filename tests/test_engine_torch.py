# SPDX-License-Identifier: Apache-2.0
"""PyTorch: dtypes, compiled functions with the ledger returned, functional transforms."""

from typing import Any

import numpy as np
import pytest
import torch
from batches import Batch
from options import REDUCTIONS, Combination, combinations

import lossledger as ll
from cases import LOSSES
from properties import close, rows_close

# Outputs that are rounded to a dtype move by half a unit of their last place; the work is
# done in float32 then, so the total agrees with that of the rounded outputs to float32's.
DTYPES = {
    torch.float64: (torch.float64, 1e-12),
    torch.float32: (torch.float32, 1e-5),
    torch.float16: (torch.float32, 1e-5),
    torch.bfloat16: (torch.float32, 1e-5),
}
# Gradients come back in the outputs' dtype: rounded once, relative to the largest.
GRADIENT_RTOL = {
    torch.float64: 1e-11,
    torch.float32: 1e-4,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
}
KINDS = ("ce-index", "ce-soft", "bce", "bce-pos-weight", "squared", "huber", "dice-batch", "focal")


def combination(case: str, option: str) -> Combination:
    """Return a case with a reduction, a mask and weights."""
    (found,) = [c for c in LOSSES if c.id == case]
    return Combination(found, next(r for r in REDUCTIONS if r.id == option), "mixed", "default")


def tensors(batch: Batch, dtype: torch.dtype = torch.float64) -> Batch:
    """Return the batch in PyTorch, its outputs in a dtype and with a gradient."""
    moved = batch.map(lambda a: torch.from_numpy(np.ascontiguousarray(a)))
    return moved.with_outputs(lambda t: t.to(dtype).requires_grad_())


def backward(total: Any, batch: Batch) -> list[Any]:
    """Return the gradient of the total for each output."""
    return list(torch.autograd.grad(total, list(batch.outputs.values())))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [c for c in LOSSES if c.id in KINDS], ids=lambda c: c.id)
def test_dtypes(case: Any, dtype: torch.dtype) -> None:
    """Low precision is upcast to float32, and the gradient comes back in its own dtype."""
    work, rtol = DTYPES[dtype]
    for c in list(combinations(case))[::3]:
        objective, batch = c.objective(), c.batch()
        rounded = batch.with_outputs(lambda a: torch.tensor(a).to(dtype).double().numpy())
        expected, _, slopes = rounded.slopes(objective)
        moved = tensors(rounded, dtype)
        total, ledger = moved.call(objective)
        assert total.dtype == work
        close(total.detach(), expected, rtol, f"total of {c}")
        close(ledger.total, expected, rtol, f"ledger of {c}")
        close(sum(r.contribution for r in ledger.rows), ledger.total, rtol, f"rows of {c}")
        for name, slope in zip(batch.outputs, backward(total, moved), strict=True):
            assert slope.dtype == dtype
            close(slope.double(), slopes[name], GRADIENT_RTOL[dtype], f"gradient of {c}")


def test_float16_sums_do_not_overflow() -> None:
    """A sum of a hundred thousand float16 values is beyond float16's 65504, and right."""
    outputs = torch.full((100_000,), 2.0, dtype=torch.float16)
    term = ll.Term("y", ll.losses.SquaredError(), axes="batch", reduction="sum")
    total, ledger = ll.Objective(term)(outputs, torch.zeros(100_000))
    assert float(total) == 400_000
    assert ledger.rows[0].numerator == 400_000


def test_counts_beyond_float32() -> None:
    """2^24 + 2 elements are counted to the last one."""
    n = (1 << 24) + 2
    term = ll.Term(
        "y",
        lambda o, t: o,
        axes="batch",
        reduction=ll.Mean(by="group").then(ll.Sum()),
        keys={"group": 2},
    )
    group = torch.zeros(n, dtype=torch.int64)
    total, ledger = ll.Objective(term)(torch.ones(n), torch.zeros(n), keys={"group": group})
    assert ledger.rows[0].count == n
    assert float(total) == 1.0


COMPILED = [
    ("ce-index", "mean-weights"),
    ("ce-smooth", "macro"),
    ("bce", "max-inner-mean"),
    ("dice-batch", "max"),
    ("dice-sample", "tilted"),
    ("squared", "top-fraction"),
    ("gaussian", "worst-group"),
]


@pytest.mark.parametrize(("case", "option"), COMPILED)
def test_compile_has_no_graph_break(case: str, option: str) -> None:
    """torch.compile(fullgraph=True) traces all of it, and the ledger reads as in eager."""
    assert_compiles(combination(case, option), "aot_eager")


@pytest.mark.parametrize(
    ("case", "option"), [("ce-index", "macro"), ("dice-batch", "mean-weights")]
)
def test_inductor(case: str, option: str) -> None:
    """The generated code gives the same numbers."""
    assert_compiles(combination(case, option), "inductor")


def assert_compiles(c: Combination, backend: str) -> None:
    """A compiled step has the total, gradient and ledger of an eager one."""
    torch.compiler.reset()
    objective, batch = c.objective(), c.batch()
    expected, ledger, slopes = batch.slopes(objective)

    @torch.compile(fullgraph=True, backend=backend)
    def step(outputs: Any, targets: Any, options: Any) -> Any:
        total, own = objective(outputs, targets, **options)
        return total, own, own + own

    moved = tensors(batch)
    total, compiled, twice = step(moved.outputs, moved.targets, moved.options)
    close(total.detach(), expected, what="total")
    for name, slope in zip(slopes, backward(total, moved), strict=True):
        close(slope, slopes[name], 1e-10, f"gradient of {name}")
    rows_close(compiled, ledger, 1e-10, "rows")
    rows_close(compiled + compiled, ledger + ledger, 1e-10, "rows of two steps")
    rows_close(twice, ledger + ledger, 1e-10, "rows of two steps, added inside")
    assert compiled.total == pytest.approx(float(expected), rel=1e-12)


def test_broken_rule_in_a_compiled_step() -> None:
    """Labels out of range give a NaN total with a NaN gradient, and the ledger says why."""
    torch.compiler.reset()
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes="batch class"))
    step = torch.compile(objective, fullgraph=True, backend="aot_eager")
    outputs = torch.randn(4, 3, requires_grad=True)
    total, ledger = step(outputs, torch.tensor([0, 1, 2, 3]))
    assert torch.isnan(total)
    assert torch.isnan(backward(total, Batch({"y": outputs}, None))[0]).all()
    for read in (lambda: ledger.rows, lambda: ledger.pooled, lambda: str(ledger)):
        with pytest.raises(ll.DomainError, match="Labels must be class indices") as error:
            read()
        assert error.value.found
        assert error.value.remedy
    assert np.isnan(ledger.total)


def test_vmap() -> None:
    """torch.func.vmap runs an objective over a further axis, the ledger with it."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes="batch class"))
    outputs, labels = torch.randn(3, 5, 4), torch.randint(0, 4, (3, 5))
    totals, ledgers = torch.func.vmap(objective)(outputs, labels)
    slopes = torch.func.vmap(torch.func.grad(objective.loss))(outputs, labels)
    for i in range(3):
        single = outputs[i].clone().requires_grad_()
        total, ledger = objective(single, labels[i])
        close(totals[i], total.detach(), 1e-6)
        close(slopes[i], torch.autograd.grad(total, single)[0], 1e-6)
        close(ledgers.summed[i], ledger.total, 1e-6)


def test_grad_with_the_ledger_aside() -> None:
    """torch.func.grad(..., has_aux=True) carries the ledger out."""
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes="batch class"))
    outputs, labels = torch.randn(5, 4, dtype=torch.float64), torch.randint(0, 4, (5,))
    _, ledger = torch.func.grad(objective, has_aux=True)(outputs, labels)
    rows_close(ledger, objective(outputs, labels)[1], what="rows")


def test_second_derivatives() -> None:
    """Without a whole the total differentiates itself: Hessian-vector products are right."""
    for reduction in (ll.Mean(), ll.LogMeanExp(1.0), ll.RootMean()):
        term = ll.Term("y", ll.losses.CrossEntropy(), axes="batch class", reduction=reduction)
        objective = ll.Objective(term)
        labels = torch.tensor([0, 2, 1, 1, 0])
        outputs = torch.randn(5, 3, dtype=torch.float64, generator=torch.manual_seed(0))
        assert torch.autograd.gradgradcheck(
            lambda o, f=objective, y=labels: f(o, y)[0], outputs.requires_grad_()
        )


def test_ledger_holds_no_graph() -> None:
    """A ledger that is kept over an epoch keeps no activations."""
    for case in ("ce-index", "dice-batch", "squared"):
        c = combination(case, "max")
        _, ledger = tensors(c.batch()).call(c.objective())
        leaves, _ = torch.utils._pytree.tree_flatten(ledger)
        assert leaves
        assert not any(getattr(leaf, "requires_grad", False) for leaf in leaves)
