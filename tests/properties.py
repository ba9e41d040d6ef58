# SPDX-License-Identifier: Apache-2.0
"""The laws, by name. Each raises AssertionError with numbers when it does not hold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from batches import Batch
from libraries import SLOPE_RTOL, VALUE_RTOL, Library

import lossledger as ll

RTOL = 1e-12
# Central differences with a step of 1e-6 in float64: truncation 1e-12, rounding 1e-10.
STEP = 1e-6
DIFFERENCE_RTOL = 2e-7


def close(found: Any, expected: Any, rtol: float = RTOL, what: str = "") -> None:
    """Assert equality up to summation rounding, relative to the largest number."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    assert found.shape == expected.shape, f"{what}: shapes {found.shape} and {expected.shape}"
    assert np.isfinite(found).all(), f"{what}: not finite"
    scale = max(float(np.max(np.abs(expected), initial=0.0)), 1e-12)
    error = float(np.max(np.abs(found - expected), initial=0.0)) / scale
    assert error <= rtol, f"{what}: relative deviation {error:.3g} > {rtol:.3g}"


def rows_close(
    found: ll.Ledger, expected: ll.Ledger, rtol: float = RTOL, what: str = "", times: float = 1
) -> None:
    """Assert that two ledgers have the same rows; contributions up to rounding of the total."""
    # A curvature that is 0 in exact arithmetic has a row only where rounding leaves something.
    least = rtol * abs(float(expected.total))
    mine, theirs = (
        [r for r in ledger.rows if r.kind != "curvature" or abs(r.contribution) > least]
        for ledger in (found, expected)
    )
    names = [[(r.term, r.cls, r.label, r.cell, r.kind) for r in rows] for rows in (mine, theirs)]
    assert names[0] == names[1], f"{what}: rows {names}"
    for field, factor in (("count", times), ("support", times), ("iou", 1), ("accuracy", 1)):
        pairs = [[getattr(r, field) for r in rows] for rows in (mine, theirs)]
        counts = [None if n is None else n * factor for n in pairs[1]]
        assert pairs[0] == counts, f"{what}: {field} {pairs}"
    for field, factor in (("contribution", 1), ("numerator", times), ("denominator", times)):
        pairs = [[getattr(r, field) or 0.0 for r in rows] for rows in (mine, theirs)]
        close(pairs[0], np.asarray(pairs[1]) * factor, rtol, f"{what}: {field}")


def assert_gradient_matches_differences(
    objective: ll.Objective, batch: Batch, directions: int | None = None
) -> None:
    """Closed-form derivatives equal central differences of the total.

    By every element, or along random directions where their number is given.
    """
    total, _, slopes = batch.slopes(objective)
    assert np.isfinite(total), "the total is not finite"
    # The difference rounds by 1e-16 of the total, over a step of 1e-6.
    scale = max(*(float(np.abs(s).max()) for s in slopes.values()), 1e-2 * abs(total), 1e-3)
    for name, slope in slopes.items():
        output = batch.outputs[name]
        for direction in _directions(output.shape, directions):
            sides = []
            for sign in (1, -1):
                moved = batch.outputs | {name: output + sign * STEP * direction}
                sides.append(replace(batch, outputs=moved).total(objective))
            expected = (sides[0] - sides[1]) / (2 * STEP)
            error = abs(float(np.sum(slope * direction)) - expected) / scale
            assert error <= DIFFERENCE_RTOL, f"gradient of {name}: deviation {error:.3g}"


def _directions(shape: tuple[int, ...], number: int | None) -> Any:
    if number is None:
        size = int(np.prod(shape))
        return np.eye(size).reshape(size, *shape)
    rng = np.random.default_rng(5)
    steps = rng.normal(size=(number, int(np.prod(shape))))
    return (steps / np.linalg.norm(steps, axis=1, keepdims=True)).reshape(number, *shape)


def assert_ledger_sums_to_total(objective: ll.Objective, batch: Batch) -> None:
    """Rows add up to the total, and to each term's own value."""
    total, ledger = batch.call(objective)
    close(sum(row.contribution for row in ledger.rows), float(total), what="Σ rows")
    close(ledger.total, float(total), what="ledger.total")
    close(ledger.deviation, 0.0, RTOL, "deviation") if total == 0 else None
    shares = [row.share for row in ledger.rows if row.share is not None]
    if shares:
        close(sum(shares), 1.0, what="Σ shares")


def assert_split_invariant(objective: ll.Objective, batch: Batch, cuts: tuple[int, ...]) -> None:
    """Statistics of parts merge to the statistics of the whole, in any order and bracketing."""
    expected = batch.total(objective)
    close(batch.statistics(objective).total(), expected, what="statistics of the whole")
    parts = [part.statistics(objective) for part in batch.parts(cuts)]
    close(sum(parts).total(), expected, what="merged in order")
    close(sum(parts[::-1]).total(), expected, what="merged in reverse")
    if len(parts) >= 3:
        right = parts[0] + (parts[1] + parts[2])
        left = (parts[0] + parts[1]) + parts[2]
        close(sum(parts[3:], right).total(), expected, what="bracketed to the right")
        close(sum(parts[3:], left).total(), expected, what="bracketed to the left")
    assert sum(parts).samples == batch.length, "samples add up"


def assert_ledgers_add(objective: ll.Objective, batch: Batch, cuts: tuple[int, ...]) -> None:
    """The sum of steps' ledgers has the steps' mean total, and the pooled value of the whole."""
    expected, whole = batch.call(objective)
    steps = [part.call(objective) for part in batch.parts(cuts)]
    merged = sum(ledger for _, ledger in steps)
    mean = np.mean([float(total) for total, _ in steps])
    close(merged.step_mean, mean, what="step_mean")
    close(sum(row.contribution for row in merged.rows), mean, what="Σ rows of the sum")
    for field in ("numerator", "denominator", "count"):
        sums = [sum(getattr(r, field) or 0 for r in one.rows) for one in (merged, whole)]
        close(*sums, what=f"{field} of the sum")
    try:
        pooled = merged.pooled
    except ll.ReductionError:
        return  # every element would have to be kept
    close(pooled, float(expected), what="pooled")


def assert_parts_make_the_whole(
    objective: ll.Objective, batch: Batch, cuts: tuple[int, ...], *, count: bool = False
) -> None:
    """Totals, gradients and ledgers of parts add up to those of the whole batch.

    With `count` the whole is made of denominators alone, before there are outputs.
    """
    expected, ledger, slopes = batch.slopes(objective)
    parts = batch.parts(cuts)
    whole = sum(part.count(objective) if count else part.statistics(objective) for part in parts)
    found = [part.slopes(objective, whole=whole, part=i) for i, part in enumerate(parts)]
    close(sum(total for total, _, _ in found), expected, what="sum of the parts' totals")
    for name, slope in slopes.items():
        joined = np.concatenate([each[name] for _, _, each in found])
        close(joined, slope, what=f"gradient of {name}, part by part")
    merged = sum(each for _, each, _ in found)
    close(merged.total, expected, what="total of the parts' ledgers")
    rows_close(merged, ledger, what="rows of the parts' ledgers")


def assert_permutation_invariant(objective: ll.Objective, batch: Batch) -> None:
    """The order of the samples changes neither the total nor the rows; gradients move along."""
    total, ledger, slopes = batch.slopes(objective)
    order = np.random.default_rng(3).permutation(batch.length)
    moved, moved_ledger, moved_slopes = batch.at(order).slopes(objective)
    close(moved, total, what="total")
    for name, slope in slopes.items():
        close(moved_slopes[name], slope[order], what=f"gradient of {name}")
    if any("batch" in dict(row.cell) for row in ledger.rows):
        by_sample = [sorted(r.contribution for r in one.rows) for one in (ledger, moved_ledger)]
        close(by_sample[1], by_sample[0], what="contributions of samples")
    else:
        rows_close(moved_ledger, ledger, what="rows")


def assert_zero_weight_is_removal(
    objective: ll.Objective, batch: Batch, gone: Sequence[int], by: str = "sample_weight"
) -> None:
    """Samples of weight 0 count for nothing, as if they were not there."""
    left = [i for i in range(batch.length) if i not in gone]
    factor = np.array([float(i in left) for i in range(batch.length)])
    total, ledger, slopes = _weighted(batch, by, factor).slopes(objective)
    fewer = _weighted(batch.at(left), by, factor[left])
    expected, fewer_ledger, fewer_slopes = fewer.slopes(objective)
    close(total, expected, what="total")
    for name, slope in slopes.items():
        close(slope[left], fewer_slopes[name], what=f"gradient of {name}")
        close(slope[list(gone)], 0 * slope[list(gone)], what=f"gradient of {name} at weight 0")
    if not any("batch" in dict(row.cell) for row in ledger.rows):
        rows_close(ledger, fewer_ledger, what="rows")


def _weighted(batch: Batch, by: str, factor: Any) -> Batch:
    own = batch.options.get(by)
    if own is None:
        return batch.having(**{by: ll.NamedArray(factor, ("batch",))})
    shaped = factor.reshape(-1, *(1,) * (own.array.ndim - 1))
    return batch.having(**{by: ll.NamedArray(own.array * shaped, own.axes)})


def assert_garbage_is_harmless(
    objective: ll.Objective, batch: Batch, dead: Any, by: str = "mask", fill: float = np.nan
) -> None:
    """What stands where the weight is 0 changes neither total, nor gradient, nor rows.

    Args:
        objective: One term whose outputs have the leading axes of `dead`.
        batch: Its batch, without `by`.
        dead: Where nothing counts: booleans over leading axes of outputs and targets.
        by: "mask" or a weight.
        fill: What is written there.
    """
    axes = objective.terms[0].axes[: dead.ndim]
    batch = batch.having(**{by: ll.NamedArray((~dead).astype(float), axes)})
    spoiled = replace(
        batch,
        outputs={n: _spoil(o, dead, fill) for n, o in batch.outputs.items()},
        targets={n: _spoil(t, dead, fill) for n, t in (batch.targets or {}).items()} or None,
    )
    total, ledger, slopes = batch.slopes(objective)
    found, found_ledger, found_slopes = spoiled.slopes(objective)
    close(found, total, 0.0, "total")
    for name, slope in slopes.items():
        close(found_slopes[name], slope, 0.0, f"gradient of {name}")
        assert not slope[dead].any(), f"gradient of {name} where nothing counts"
    rows_close(found_ledger, ledger, 0.0, "rows")


def _spoil(array: Any, dead: Any, fill: float) -> Any:
    spoiled = array.copy()
    dead = dead.all(axis=tuple(range(array.ndim, dead.ndim)))
    spoiled[dead] = fill if array.dtype.kind == "f" else -7
    return spoiled


def assert_copies_scale(objective: ll.Objective, batch: Batch, copies: int, factor: float) -> None:
    """A batch written several times has the same mean, or a sum that many times as large."""
    total, ledger, slopes = batch.slopes(objective)
    many = batch.at(np.tile(np.arange(batch.length), copies))
    found, found_ledger, found_slopes = many.slopes(objective)
    close(found, factor * total, what="total")
    for name, slope in slopes.items():
        sums = found_slopes[name].reshape(copies, *slope.shape).sum(0)
        close(sums, factor * slope, what=f"gradient of {name}")
    if factor == 1 and not any("batch" in dict(row.cell) for row in ledger.rows):
        rows_close(found_ledger, ledger, what="rows", times=copies)


def assert_coefficients_are_derivatives(objective: ll.Objective, batch: Batch) -> None:
    """For the identity as loss, coefficients are derivatives for the values.

    What a sample contributes is the stages' attribution · Σ coefficient · value.
    """
    assert_gradient_matches_differences(objective, batch)
    term = objective.terms[0]
    scale = float(np.prod([stage.attribution for stage in term.reduction.stages]))
    _, ledger, slopes = batch.slopes(objective)
    values, slope = batch.outputs[term.outputs[0]], slopes[term.outputs[0]]
    by_sample = (scale * slope * values).reshape(batch.length, -1).sum(1)
    found = {dict(r.cell)["batch"]: r.contribution for r in ledger.rows if r.kind == "values"}
    close([found[str(i)] for i in range(batch.length)], by_sample, what="contributions")


def assert_library_agrees(objective: ll.Objective, batch: Batch, library: Library) -> None:
    """Total, gradient and rows are the same in another library as in NumPy."""
    total, ledger, slopes = batch.slopes(objective)
    found, found_ledger, found_slopes = library.differentiate(objective, batch)
    close(found, total, VALUE_RTOL, "total")
    for name, slope in slopes.items():
        close(found_slopes[name], slope, SLOPE_RTOL, f"gradient of {name}")
    rows_close(found_ledger, ledger, SLOPE_RTOL, "rows")
    close(found_ledger.total, total, VALUE_RTOL, "ledger.total")
