# SPDX-License-Identifier: Apache-2.0
"""JAX: transforms, ledgers and statistics as pytrees, and numbers without 64-bit types."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import Batch, draw, objective_of
from libraries import functional
from options import REDUCTIONS, Combination, build

import lossledger as ll
from cases import LOSSES
from lossledger._array import library_of
from lossledger.engines import Limbs, growing
from properties import close, rows_close

OBJECTIVE = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), axes="batch class"))
RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(3, 6, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, (3, 6))
NARROW_RTOL = 2e-5  # float32 sums of a few hundred elements, against float64


def case_of(name: str) -> Any:
    """Return a case of the table."""
    return next(case for case in LOSSES if case.id == name)


@pytest.mark.parametrize(
    ("case", "option"),
    [
        ("ce-index", "macro"),
        ("ce-soft", "tilted"),
        ("bce", "max-inner-mean"),
        ("dice-batch", "top-fraction"),
        ("squared", "root-mean"),
    ],
)
def test_without_64_bit_types(case: str, option: str) -> None:
    """float32 throughout: total, gradient and rows agree with float64 to float32's rounding."""
    found = next(r for r in REDUCTIONS if r.id == option)
    c = Combination(case_of(case), found, "mixed", "default")
    objective, batch = c.objective(), c.batch()
    expected, ledger, slopes = batch.slopes(objective)
    assert not jax.config.jax_enable_x64
    function, arrays = functional(objective, batch.map(jnp.asarray))
    step = jax.jit(jax.value_and_grad(function, has_aux=True))
    (total, narrow), gradient = step(batch.outputs, batch.targets, arrays)
    assert total.dtype == jnp.float32
    close(total, expected, NARROW_RTOL, "total")
    for name, slope in slopes.items():
        assert gradient[name].dtype == jnp.float32
        close(gradient[name], slope, NARROW_RTOL, f"gradient of {name}")
    rows_close(narrow, ledger, NARROW_RTOL, "rows")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision(dtype: str) -> None:
    """Low precision is upcast; the gradient comes back in its own dtype."""
    outputs = jnp.asarray(OUTPUTS[0], dtype)
    (total, _), slope = jax.value_and_grad(OBJECTIVE, has_aux=True)(outputs, LABELS[0])
    expected, _, slopes = OBJECTIVE.value_and_grad(np.asarray(outputs, np.float64), LABELS[0])
    assert total.dtype == jnp.float32
    close(total, expected, 1e-6)
    assert slope.dtype == outputs.dtype
    close(np.asarray(slope, float), slopes, 8e-3)


def test_vmap() -> None:
    """Vmap over a further axis, of the objective and of its gradient."""
    totals, ledgers = jax.vmap(OBJECTIVE)(OUTPUTS, LABELS)
    slopes = jax.vmap(jax.grad(OBJECTIVE.loss))(OUTPUTS, LABELS)
    for i in range(3):
        total, ledger, slope = OBJECTIVE.value_and_grad(OUTPUTS[i], LABELS[i])
        close(totals[i], total, 1e-6)
        close(slopes[i], slope, 1e-5)
        rows_close(jax.tree.map(lambda leaf, i=i: leaf[i], ledgers), ledger, 1e-5)


def test_ledgers_in_a_scan() -> None:
    """A ledger is a carry: its structure does not change when steps are added."""
    _, first = OBJECTIVE(jnp.asarray(OUTPUTS[0]), jnp.asarray(LABELS[0]))

    def step(carry: ll.Ledger, data: Any) -> Any:
        total, ledger = OBJECTIVE(*data)
        return carry + ledger, total

    merged, totals = jax.lax.scan(step, first, (jnp.asarray(OUTPUTS[1:]), jnp.asarray(LABELS[1:])))
    expected = sum(OBJECTIVE(OUTPUTS[i].astype(float), LABELS[i])[1] for i in range(3))
    assert totals.shape == (2,)
    rows_close(merged, expected, 1e-5)
    close(merged.step_mean, expected.step_mean, 1e-6)
    close(merged.pooled, expected.pooled, 1e-6)


def test_adding_ledgers_compiles_once() -> None:
    """Numbers of a ledger are leaves: adding steps does not retrace."""
    add = jax.jit(lambda total, outputs, labels: total + OBJECTIVE(outputs, labels)[1])
    ledger = OBJECTIVE(jnp.asarray(OUTPUTS[0]), jnp.asarray(LABELS[0]))[1]
    ledger = add(ledger, OUTPUTS[0], LABELS[0])
    warm = add._cache_size()
    for i in range(3):
        ledger = add(ledger, OUTPUTS[i], LABELS[i])
    assert add._cache_size() <= warm + 1  # the first ledger was no output of jit
    assert float(ledger.wholes) == 5


@pytest.mark.parametrize("option", ["mean-weights", "max", "tilted", "top-count", "macro"])
def test_statistics_are_a_pytree(option: str) -> None:
    """Statistics come out of one compiled function and go into another."""
    case = case_of("ce-index")
    found = next(r for r in REDUCTIONS if r.id == option)
    objective = objective_of(case, reduction=build(case, found))
    batch = draw(case, "mixed", batch=6)
    statistics = jax.jit(_statistics(objective, batch))
    parts = [
        statistics(part.outputs, part.targets, functional(objective, part)[1])
        for part in batch.parts((3,))
    ]
    merged = jax.jit(lambda a, b: a + b)(*parts)
    close(jax.jit(lambda whole: whole.total())(merged), batch.total(objective), NARROW_RTOL)
    assert int(merged.samples) == 6


def _statistics(objective: ll.Objective, batch: Batch) -> Any:
    axes = {n: o.axes for n, o in batch.options.items() if isinstance(o, ll.NamedArray)}

    def function(outputs: Any, targets: Any, options: Any) -> ll.Whole:
        named = {n: ll.NamedArray(o, axes[n]) if n in axes else o for n, o in options.items()}
        return objective.statistics(outputs, targets, **named)

    return function


def test_shapes_without_numbers() -> None:
    """eval_shape and tree maps to other things than arrays keep the structure."""
    total, ledger = jax.eval_shape(OBJECTIVE, OUTPUTS[0], LABELS[0])
    assert total.shape == ()
    shapes = jax.tree.map(lambda leaf: leaf.shape, ledger)
    again = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), ledger)
    assert jax.tree.structure(again) == jax.tree.structure(ledger)
    assert shapes.status == ()


BROKEN = {
    "labels": (lambda o, y, w: OBJECTIVE(o, y + 3), "Labels must be class indices"),
    "weights": (lambda o, y, w: OBJECTIVE(o, y, sample_weight=w - 2), "Weights and masks must"),
    "empty": (
        lambda o, y, w: ll.Objective(
            ll.Term(
                "y", ll.losses.CrossEntropy(), axes="batch class", reduction=ll.Mean(empty="raise")
            )
        )(o, y, mask=w * 0),
        "Every cell needs some weight",
    ),
    "empty-dice": (
        lambda o, y, w: ll.Objective(
            ll.Term(
                "y", ll.losses.Dice(over="batch", kind="softmax", empty="raise"), axes="batch class"
            )
        )(o, y * 0),
        "Every cell needs some weight",
    ),
    "targets": (
        lambda o, y, w: ll.Objective(
            ll.Term("y", ll.losses.BinaryCrossEntropy(), axes="batch class")
        )(o, o * 9),
        "Targets must lie in the domain",
    ),
    "outputs": (
        lambda o, y, w: ll.Objective(
            ll.Term("y", ll.losses.CrossEntropy(from_logits=False), axes="batch class")
        )(o, y),
        "Outputs must lie in the domain",
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_rule_under_a_trace(rule: str) -> None:
    """What cannot be raised gives NaN, in the gradient too; the ledger says why, when read."""
    call, message = BROKEN[rule]
    step = jax.jit(jax.value_and_grad(call, has_aux=True))
    (total, ledger), slope = step(OUTPUTS[0], LABELS[0], np.ones(6, np.float32))
    assert np.isnan(total)
    assert np.isnan(slope).any() or rule == "empty"  # nothing depends on the outputs
    assert np.isnan(ledger.total)
    with pytest.raises(ll.DomainError, match=message) as error:
        _ = ledger.rows
    assert all((error.value.rule, error.value.found, error.value.cause, error.value.remedy))
    _, fine = OBJECTIVE(OUTPUTS[0], LABELS[0])
    assert len(fine.rows) == 4


def test_broken_rule_in_statistics_and_values() -> None:
    """Statistics and values of a batch that breaks a rule are NaN as well."""
    whole = jax.jit(OBJECTIVE.statistics)(OUTPUTS[0], LABELS[0] + 3)
    assert np.isnan(whole.total())
    values = jax.jit(OBJECTIVE.values)(OUTPUTS[0], LABELS[0] + 3)
    assert np.isnan(values["cross_entropy"]).all()


def test_gradient_of_a_loss_weight() -> None:
    """A 0-d array as loss weight passes its gradient: the term's own value."""

    def total(weight: Any) -> Any:
        term = ll.Term("y", ll.losses.CrossEntropy(), axes="batch class", loss_weight=weight)
        return ll.Objective(term)(jnp.asarray(OUTPUTS[0]), LABELS[0])[0]

    close(jax.grad(total)(jnp.float32(0.3)), OBJECTIVE(OUTPUTS[0], LABELS[0])[0], 1e-6)


def test_counts_do_not_wrap() -> None:
    """Without 64-bit integers counts go on beyond 2^31."""
    count = jnp.int32(2**31 - 5)
    grown = growing(library_of(count), count)
    for _ in range(3):
        grown = grown + grown
    assert int(grown.on_host(np.asarray)) == 8 * (2**31 - 5)


def test_sums_do_not_stall() -> None:
    """Without float64 a million steps of 0.1 add up to 1e-12 of the sum of their float32."""
    one = Limbs(jnp.float32(0.1), jnp.float32(0.0))
    start = Limbs(jnp.float32(0.0), jnp.float32(0.0))
    steps = 1_000_000

    def body(_: Any, pair: Any) -> Any:
        added = Limbs(*pair) + one
        return added.high, added.low

    pair = jax.jit(lambda p: jax.lax.fori_loop(0, steps, body, p))((start.high, start.low))
    close(Limbs(*pair).on_host(np.asarray), steps * float(np.float32(0.1)), 1e-12)
