# SPDX-License-Identifier: Apache-2.0
"""The laws, by name. Each raises AssertionError with numbers when it does not hold."""

from typing import Any

import numpy as np

import lossledger as ll

RTOL = 1e-12
# Central differences with a step of 1e-6 in float64: truncation 1e-12, rounding 1e-10.
DIFFERENCE_RTOL = 2e-7


def close(found: Any, expected: Any, rtol: float = RTOL, what: str = "") -> None:
    """Assert equality up to summation rounding, relative to the largest number."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    assert found.shape == expected.shape, f"{what}: shapes {found.shape} and {expected.shape}"
    scale = max(float(np.max(np.abs(expected), initial=0.0)), 1e-12)
    error = float(np.max(np.abs(found - expected), initial=0.0)) / scale
    assert error <= rtol, f"{what}: relative deviation {error:.3g} > {rtol:.3g}"


def named(term: ll.Term, outputs: tuple[Any, ...], targets: Any) -> tuple[Any, Any]:
    """Return outputs and targets by the names of a term."""
    by_target = None if targets is None else {term.target: targets}
    return dict(zip(term.outputs, outputs, strict=True)), by_target


def assert_gradient_matches_differences(term: ll.Term, outputs: Any, targets: Any, **w: Any) -> None:
    """Closed-form derivatives equal central differences of the total."""
    objective = ll.Objective(term)
    total, _, slopes = objective.value_and_grad(*named(term, outputs, targets), **w)
    assert np.isfinite(total)
    for place, name in enumerate(term.outputs):
        expected = np.zeros_like(outputs[place])
        for i in np.ndindex(outputs[place].shape):
            sides = []
            for sign in (1, -1):
                moved = [o.copy() for o in outputs]
                moved[place][i] += sign * 1e-6
                sides.append(float(objective.loss(*named(term, tuple(moved), targets), **w)))
            expected[i] = (sides[0] - sides[1]) / 2e-6
        scale = max(np.abs(expected).max(), 1e-3)
        error = np.abs(slopes[name] - expected).max() / scale
        assert error <= DIFFERENCE_RTOL, f"gradient of {name}: deviation {error:.3g}"


def assert_ledger_sums_to_total(term: ll.Term, outputs: Any, targets: Any, **w: Any) -> None:
    """Rows add up to the total."""
    total, ledger = ll.Objective(term)(*named(term, outputs, targets), **w)
    close(sum(row.contribution for row in ledger.rows), float(total), what="Σ rows")


def assert_statistics_are_split_invariant(
    term: ll.Term, outputs: Any, targets: Any, cuts: tuple[int, ...]
) -> None:
    """Statistics of parts merge to the statistics of the whole, in any order."""
    objective = ll.Objective(term)
    whole = objective.statistics(*named(term, outputs, targets))
    edges = (0, *cuts, outputs[0].shape[0])
    parts = []
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        cut = tuple(o[start:stop] for o in outputs)
        goal = None if targets is None else targets[start:stop]
        parts.append(objective.statistics(*named(term, cut, goal)))
    expected = float(objective.loss(*named(term, outputs, targets)))
    close(whole.total(), expected, what="statistics of the whole")
    close(sum(parts).total(), expected, what="merged in order")
    close(sum(parts[::-1]).total(), expected, what="merged in reverse")
    if len(parts) >= 3:
        right = parts[0] + (parts[1] + parts[2])
        left = (parts[0] + parts[1]) + parts[2]
        close(right.total(), left.total(), what="associativity")
