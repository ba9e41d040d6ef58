# SPDX-License-Identifier: Apache-2.0
"""JAX without 64-bit types: statistics and ledgers are right at 2^31 elements and beyond."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lossledger as ll
from properties import close

N = 8
X = jnp.ones((N, 3))
WEIGHTS = {"static": {}, "mask": {"mask": jnp.ones((N, 3))}}
REDUCTIONS = {
    "mean": ll.Mean(),
    "elements": ll.Mean(denominator="elements"),
    "max": ll.Max(),
    "tilted": ll.LogMeanExp(1.0),
    "by-class": ll.Mean("batch").then(ll.Mean()),
}
add = jax.jit(lambda a, b: a + b)


def objective_of(name: str) -> ll.Objective:
    """Return a term whose value is 1 on every batch."""
    reduction = REDUCTIONS[name]
    return ll.Objective(
        ll.Term("y", ll.losses.SquaredError(), "batch class", reduction=reduction, name="y")
    )


def doubled(node: Any, times: int) -> Any:
    """Merge a node with itself, compiled."""
    for _ in range(times):
        node = add(node, node)
    return node


def in_64_bits(number: Any) -> int:
    """Return what a statistic holds, on the host."""
    kept = number.on_host(np.asarray) if hasattr(number, "on_host") else np.asarray(number)
    return int(np.max(kept))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_statistics_beyond_32_bits(name: str, weights: str) -> None:
    """3·2^33 elements: counts and denominators hold them all, and the value is still 1."""
    assert not jax.config.jax_enable_x64
    _, ledger = objective_of(name)(X, 0 * X, **WEIGHTS[weights])
    grown = doubled(ledger, 30)
    statistic = grown.books[0].pool.statistic
    counted = statistic.count if name == "max" else statistic.denominator
    per_cell = N if name == "by-class" else 3 * N
    assert in_64_bits(counted) == per_cell * 2**30
    close(grown.pooled, 1.0, 1e-6)
    assert sum(row.count for row in grown.rows) == 3 * N * 2**30


@pytest.mark.parametrize("weights", WEIGHTS)
def test_small_parts_do_not_stall(weights: str) -> None:
    """Steps of 8 weigh something beside 2^31, where float32 stands 256 apart.

    The twin adds in float32 and stands still.
    """
    objective = ll.Objective(ll.Term("y", ll.losses.SquaredError(), "batch", name="y"))
    given = {k: v[:, 0] for k, v in WEIGHTS[weights].items()}
    _, one = objective(X[:, 0], 0 * X[:, 0], **given)
    large = doubled(one, 28)
    steps = 4000

    def body(carry: Any, _: Any) -> Any:
        return carry + one, None

    grown = jax.jit(lambda ledger: jax.lax.scan(body, ledger, None, length=steps)[0])(large)
    assert in_64_bits(grown.books[0].pool.statistic.denominator) == N * (2**28 + steps)
    twin = jax.lax.fori_loop(0, steps, lambda _, x: x + N, jnp.float32(2**31))
    print(f"float32 after {steps} steps of {N}: 2^31 + {float(twin) - 2**31:g}")
    assert float(twin) == 2**31


@pytest.mark.parametrize("kind", ["count", "statistics"])
def test_a_part_of_a_large_whole(kind: str) -> None:
    """A part of 2^31 + 24 elements bears its share of them: 24 of them, not of a wrapped count."""
    objective = objective_of("mean")
    part = objective.count(X, mask=1 + 0 * X) if kind == "count" else _statistics(objective)
    rest = part
    for _ in range(27):
        rest = rest + rest
        rest = replace(rest, members=part.members, parts=1)
    whole = part + rest
    total, ledger = jax.jit(
        lambda x, w: objective(x, 0 * x, mask=1 + 0 * x, whole=w, part=0)
    )(X, whole)  # fmt: skip
    close(total, 1 / (1 + 2**27), 1e-6)
    close(ledger.wholes, 1 / (1 + 2**27), 1e-6)


def _statistics(objective: ll.Objective) -> ll.Whole:
    return objective.statistics(X, 0 * X, mask=1 + 0 * X)


def test_a_count_known_without_a_device() -> None:
    """A number of elements beyond 31 bits that shapes give does not overflow."""
    from lossledger._array import library_of
    from lossledger.engines._limbs import counted, number

    xp = library_of(X)
    kept = counted(xp, 3 * 2**31 + 5, X)
    assert in_64_bits(kept) == 3 * 2**31 + 5
    close(number(xp, kept), 3 * 2**31 + 5, 1e-7)
