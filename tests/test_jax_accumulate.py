# SPDX-License-Identifier: Apache-2.0
"""Micro-batches in a scan, and optimizers that step once a whole: exact, and compiled once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lossledger as ll
from properties import close, rows_close

N, PARTS = 24, 4
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 5)), RNG.integers(0, 3, N)
KEPT = RNG.random(N) < np.repeat([0.2, 1.0, 0.6, 0.3], N // PARTS)  # parts weigh differently
HEAVY = RNG.uniform(0.5, 2.0, N)
MATRIX = RNG.normal(size=(5, 3))
NARROW_RTOL = 1e-5  # float32, against float64
CE = ll.losses.CrossEntropy()
TERMS = {
    "weights": ll.Term("y", CE, "batch class", classes=3, class_weight=[1.0, 2.0, 5.0]),
    "macro": ll.Term("y", CE, "batch class", classes=3, reduction=ll.Macro("class")),
    "sum": ll.Term("y", CE, "batch class", reduction=ll.Sum()),
    "dice": ll.Term("y", ll.losses.Dice(over="batch", kind="softmax"), "batch class"),
    "tilted": ll.Term("y", CE, "batch class", reduction=ll.LogMeanExp(2.0)),
    "top": ll.Term("y", CE, "batch class", reduction=ll.TopMean(0.3)),
}


def apply(params: Any, inputs: Any) -> Any:
    """Return logits."""
    return inputs @ params["w"]


def with_dropout(params: Any, inputs: Any, rng: Any) -> Any:
    """Drop half of the inputs."""
    return jnp.where(jax.random.bernoulli(rng, 0.5, inputs.shape), inputs, 0) @ params["w"]


def cut(array: Any, n: int = PARTS) -> Any:
    """Stack micro-batches."""
    return array.reshape(n, -1, *array.shape[1:])


def objective_of(name: str) -> ll.Objective:
    """Return a term with a regularizer."""
    return ll.Objective(TERMS[name], ll.L2(0.1, half=True))


def expected_of(objective: ll.Objective) -> Any:
    """Return ((total, ledger), gradient) of one batch in float64."""

    def loss(params: Any) -> Any:
        return objective(
            apply(params, jnp.asarray(X)), Y, mask=KEPT, sample_weight=HEAVY, parameters=params
        )

    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (total, ledger), grads = step({"w": jnp.asarray(MATRIX)})
        return (float(total), ledger), np.asarray(grads["w"])


def run_window(objective: ll.Objective, dtype: str, n: int = PARTS) -> Any:
    """Accumulate over a window."""
    run = jax.jit(ll.jax.accumulate(objective, apply))
    params = {"w": jnp.asarray(MATRIX, dtype)}
    return run(
        params, jnp.asarray(cut(X, n), dtype), cut(Y, n), mask=cut(KEPT, n),
        sample_weight=jnp.asarray(cut(HEAVY, n), dtype),
    )  # fmt: skip


@pytest.mark.parametrize("name", TERMS)
def test_window_is_one_batch(name: str) -> None:
    """Total, gradient and rows of a window are those of one batch; in float32 to its rounding."""
    objective = objective_of(name)
    (total, ledger), slopes = expected_of(objective)
    with jax.enable_x64(True):
        (found, rows), grads = run_window(objective, "float64")
        close(found, total, 1e-12, "total")
        close(grads["w"], slopes, 1e-12, "gradient")
        rows_close(rows, ledger, 1e-12, "rows")
        assert rows.wholes == pytest.approx(1, abs=1e-12)
        mean = jax.tree.map(lambda *g: sum(g) / PARTS, *_means(objective))
    print(f"{name}: mean of means deviates by {_deviation(mean, slopes):.2f}")
    assert _deviation(mean, slopes) > 0.05
    (found, rows), grads = run_window(objective, "float32")
    assert grads["w"].dtype == jnp.float32
    close(found, total, NARROW_RTOL, "total in float32")
    close(grads["w"], slopes, NARROW_RTOL, "gradient in float32")
    rows_close(rows, ledger, NARROW_RTOL, "rows in float32")


def _means(objective: ll.Objective) -> list[Any]:
    """Return the gradient of each micro-batch by itself: the broken twin."""

    def loss(matrix: Any, x: Any, y: Any, mask: Any, heavy: Any) -> Any:
        return objective.loss(x @ matrix, y, mask=mask, sample_weight=heavy, parameters=matrix)

    slope, every = jax.jit(jax.grad(loss)), (cut(X), cut(Y), cut(KEPT), cut(HEAVY))
    return [np.asarray(slope(jnp.asarray(MATRIX), *(a[i] for a in every))) for i in range(PARTS)]


def _deviation(found: Any, true: Any) -> float:
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


@pytest.mark.parametrize("n", [1, 3, 24])
def test_any_number_of_micro_batches(n: int) -> None:
    """From one micro-batch to one sample in each; an odd number merges in order too."""
    objective = ll.Objective(ll.Term("y", CE, "batch class", reduction=ll.Max(), name="max"))
    (_, _), slopes = expected_of(objective)
    with jax.enable_x64(True):
        _, grads = run_window(objective, "float64", n)
        close(grads["w"], slopes, 1e-12)


def test_pairs_are_unrolled() -> None:
    """A loss that compares samples gets a part that is a number."""
    objective = ll.Objective(ll.Term(("q", "k"), ll.losses.InfoNCE(0.5), "batch feature"))

    def both(params: Any, inputs: Any) -> Any:
        return inputs @ params["w"], inputs

    with jax.enable_x64(True):
        params, inputs = {"w": jnp.asarray(RNG.normal(size=(5, 5)))}, jnp.asarray(X)
        slopes = jax.grad(lambda p: objective.loss(both(p, inputs)))(params)
        (_, ledger), grads = ll.jax.accumulate(objective, both)(params, cut(inputs))
        close(grads["w"], slopes["w"], 1e-12)
    assert sum(row.count for row in ledger.rows) == N


def test_compiles_once() -> None:
    """Another window of the same shape does not trace the model again."""
    traces = []

    def counted(params: Any, inputs: Any) -> Any:
        traces.append(1)
        return apply(params, inputs)

    for name, most in (("weights", 2), ("dice", 2)):
        traces.clear()
        run = jax.jit(ll.jax.accumulate(ll.Objective(TERMS[name]), counted))
        for i in range(3):
            (total, _), _ = run({"w": MATRIX * i}, cut(X), cut(Y), mask=cut(KEPT))
        assert np.isfinite(total)
        assert len(traces) <= most


def test_dropout_is_drawn_again() -> None:
    """Both passes drop the same: the gradient is that of one batch with these keys.

    The twin draws new numbers for the second pass.
    """
    objective = ll.Objective(TERMS["dice"])
    keys, others = (jax.random.split(jax.random.key(i), PARTS) for i in (1, 2))
    with jax.enable_x64(True):
        params, inputs = {"w": jnp.asarray(MATRIX)}, cut(jnp.asarray(X))

        def loss(p: Any) -> Any:
            outputs = jnp.concatenate([with_dropout(p, inputs[i], keys[i]) for i in range(PARTS)])
            return objective.loss(outputs, Y)

        slopes = np.asarray(jax.grad(loss)(params)["w"])
        _, grads = jax.jit(ll.jax.accumulate(objective, with_dropout))(
            params, inputs, cut(Y), rng=keys
        )
        close(grads["w"], slopes, 1e-12)
        parts = [
            objective.statistics(with_dropout(params, x, k), y)
            for x, y, k in zip(inputs, cut(Y), others, strict=True)
        ]

        def part(p: Any, i: int) -> Any:
            outputs = with_dropout(p, inputs[i], keys[i])
            return objective.loss(outputs, cut(Y)[i], whole=sum(parts), part=i)

        twin = sum(np.asarray(jax.grad(part)(params, i)["w"]) for i in range(PARTS))
    print(f"new numbers in the second pass: {_deviation(twin, slopes):.2f}")
    assert _deviation(twin, slopes) > 0.01


def test_checkpointed_scan() -> None:
    """A scan of one's own, with jax.checkpoint, is differentiated from outside."""
    objective = ll.Objective(TERMS["dice"])
    with jax.enable_x64(True):
        params = {"w": jnp.asarray(MATRIX)}
        data = (cut(jnp.asarray(X)), cut(jnp.asarray(Y)), cut(jnp.asarray(KEPT)))

        def total(p: Any) -> Any:
            parts = [
                objective.statistics(apply(p, x), y, mask=m) for x, y, m in zip(*data, strict=True)
            ]
            whole = sum(parts)

            @jax.checkpoint
            def one(q: Any, x: Any, y: Any, m: Any, i: Any) -> Any:
                return objective.loss(apply(q, x), y, mask=m, whole=whole, part=i)

            def body(carry: Any, each: Any) -> Any:
                return carry + one(p, *each), None

            return jax.lax.scan(body, jnp.zeros(()), (*data, jnp.arange(PARTS)))[0]

        def direct(p: Any) -> Any:
            return objective.loss(apply(p, jnp.asarray(X)), Y, mask=KEPT)

        found, grads = jax.jit(jax.value_and_grad(total))(params)
        expected, slopes = jax.value_and_grad(direct)(params)
        close(found, expected, 1e-12)
        close(grads["w"], slopes["w"], 1e-12)


def test_low_precision_is_summed_in_32_bits() -> None:
    """Gradients of bfloat16 parameters are summed in float32, and come back in bfloat16."""
    objective = ll.Objective(TERMS["weights"])
    run = jax.jit(ll.jax.accumulate(objective, lambda p, x: x.astype(p["w"].dtype) @ p["w"]))
    (total, _), grads = run({"w": jnp.asarray(MATRIX, jnp.bfloat16)}, cut(X), cut(Y))
    assert grads["w"].dtype == jnp.bfloat16
    assert total.dtype == jnp.float32


def test_named_weights() -> None:
    """The axes of a NamedArray do not name the micro-batches."""
    objective = ll.Objective(ll.Term("y", ll.losses.SquaredError(), "batch class"))
    mask = RNG.random((3, N)) < 0.5
    goal = RNG.normal(size=(N, 3))
    named = ll.NamedArray(np.stack(np.split(mask, PARTS, 1)), ("class", "batch"))
    with jax.enable_x64(True):
        run = jax.jit(ll.jax.accumulate(objective, apply))
        (total, _), _ = run({"w": MATRIX}, cut(jnp.asarray(X)), cut(goal), mask=named)
        expected, _ = objective(X @ MATRIX, goal, mask=ll.NamedArray(mask, ("class", "batch")))
        close(total, expected, 1e-12)


def test_leading_axes_must_agree() -> None:
    """A mask of one batch is refused, with the shapes that were found."""
    run = ll.jax.accumulate(ll.Objective(TERMS["sum"]), apply)
    with pytest.raises(ll.ShapeError, match=r"\['mask'\]: \(24,\)"):
        run({"w": MATRIX}, cut(X), cut(Y), mask=KEPT)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "multi-transform"])
def test_sum_parts_is_the_full_batch(optimizer: str) -> None:
    """Windows of parts, the last one short, step as full batches do; MultiSteps does not."""
    objective = ll.Objective(TERMS["weights"])
    inner = {
        "sgd": optax.sgd(0.1, momentum=0.9),
        "adam": optax.adamw(0.1),
        "multi-transform": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
    }[optimizer]
    windows = [range(4), range(3)]
    with jax.enable_x64(True):
        start = {"w": jnp.asarray(MATRIX)}
        exact = _trained(objective, inner, windows, start)
        found = _stepped(objective, ll.jax.sum_parts(inner), windows, start)
        multi = _multi(objective, optax.MultiSteps(inner, 4), windows, start)
        change = np.linalg.norm(exact - MATRIX)
        print(f"{optimizer}: {np.linalg.norm(found - exact) / change:.1e}")
        print(f"optax.MultiSteps: {np.linalg.norm(multi - exact) / change:.2f}")
        close(found, exact, 1e-12)
    assert np.linalg.norm(multi - exact) / change > 0.1


def _part(i: int) -> Any:
    return cut(jnp.asarray(X))[i], cut(jnp.asarray(Y))[i], cut(jnp.asarray(KEPT))[i]


def _gradient(objective: Any) -> Any:
    return jax.jit(jax.grad(lambda p, x, y, m: objective.loss(apply(p, x), y, mask=m)))


def _trained(objective: Any, optimizer: Any, windows: Any, params: Any) -> Any:
    """Step once on each window, as one batch."""
    state, gradient = optimizer.init(params), _gradient(objective)
    for window in windows:
        batch = (jnp.concatenate(each) for each in zip(*(_part(i) for i in window), strict=True))
        grads = gradient(params, *batch)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["w"])


def _stepped(objective: Any, optimizer: Any, windows: Any, params: Any) -> Any:
    """Update after each part, with its share."""

    @jax.jit
    def step(params: Any, state: Any, data: Any, whole: ll.Whole, i: Any) -> Any:
        x, y, m = data

        def loss(p: Any) -> Any:
            return objective(apply(p, x), y, mask=m, whole=whole, part=i)

        grads, ledger = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state, params, share=ledger.wholes)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for window in windows:
        whole = sum(objective.count(y, mask=m) for _, y, m in map(_part, window))
        for place, i in enumerate(window):
            params, state = step(params, state, _part(i), whole, place)
        assert float(sum(state.share)) == 0
    return np.asarray(params["w"])


def _multi(objective: Any, optimizer: Any, windows: Any, params: Any) -> Any:
    """Update after each part with the gradient of its own mean: the broken twin."""
    state, gradient = optimizer.init(params), _gradient(objective)
    for window in windows:
        for i in window:
            grads = gradient(params, *_part(i))
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
    return np.asarray(params["w"])


def test_mixed_windows_are_refused() -> None:
    """Shares beyond 1 raise where they can be read, and are NaN under jit."""
    optimizer = ll.jax.sum_parts(optax.sgd(0.1))
    params = {"w": jnp.ones(2)}
    _, state = optimizer.update(params, optimizer.init(params), params, share=0.7)
    with pytest.raises(ll.MatchError, match=r"add up to 1\. Found 1\.4"):
        optimizer.update(params, state, params, share=0.7)
    updates, _ = jax.jit(lambda s: optimizer.update(params, s, params, share=0.7))(state)
    assert np.isnan(updates["w"]).all()
    with pytest.raises(ll.MatchError, match="Found no share="):
        optimizer.update(params, state, params)


def test_thousands_of_shares_add_up() -> None:
    """Ten thousand shares make one step, at the last of them."""
    optimizer = ll.jax.sum_parts(optax.sgd(1.0))
    params, n = {"w": jnp.zeros(())}, 10_000

    def body(carry: Any, _: Any) -> Any:
        updates, state = optimizer.update({"w": jnp.ones(())}, carry, params, share=1 / n)
        return state, updates["w"]

    state, updates = jax.lax.scan(body, optimizer.init(params), None, length=n)
    assert np.flatnonzero(updates).tolist() == [n - 1]
    assert float(updates[-1]) == -n
    assert float(sum(state.share)) == 0


def test_jax_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without JAX the error says which command installs it."""
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "optax", None)
    for name in [n for n in sys.modules if n.startswith("lossledger.jax")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ll.MissingExtraError, match=r"pip install 'lossledger\[jax\]'"):
        importlib.import_module("lossledger.jax")
