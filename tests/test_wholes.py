# SPDX-License-Identifier: Apache-2.0
"""A part that does not belong to its whole is refused, and the refusal names the way out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lossledger as ll

RNG = np.random.default_rng(0)
Z, Y = RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)
HALF = np.array([1.0, 0.0] * 4)


def one(**settings: Any) -> ll.Objective:
    """Return a cross entropy of rows."""
    return ll.Objective(
        ll.Term("y", ll.losses.CrossEntropy(), axes="batch class", name="ce", **settings)
    )


def worst() -> ll.Objective:
    """Return the worst row's."""
    return one(reduction=ll.Max())


def tilted() -> ll.Objective:
    """Return a mean between the mean and the worst."""
    return one(reduction=ll.LogMeanExp(1.0))


def contrast() -> ll.Objective:
    """Return a loss that compares samples."""
    return ll.Objective(ll.Term("y", ll.losses.NTXent(), axes="batch feature", name="pairs"))


def merged(objective: ll.Objective, **options: Any) -> ll.Whole:
    """Return the whole of two halves."""
    halves = (slice(0, 4), slice(4, 8))
    cut = lambda s: {n: a[s] for n, a in options.items()}  # noqa: E731 - one line
    return sum(objective.statistics(Z[s], Y[s], **cut(s)) for s in halves)


# What is called, the error, and what it says.
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "part without whole": (
        lambda: one()(Z[:4], Y[:4], part=0), ll.ReductionError, "part=0 without whole=",
    ),
    "other terms": (
        lambda: one()(Z[:4], Y[:4], whole=merged(contrast()), part=0),
        ll.MatchError, "Found pairs and ce",
    ),
    "other reduction": (
        lambda: one()(Z[:4], Y[:4], whole=merged(tilted()), part=0),
        ll.MatchError, "another term of the name `ce`",
    ),
    "other class weights": (
        lambda: one(class_weight=[1, 2, 3])(Z[:4], Y[:4], whole=merged(one()), part=0),
        ll.MatchError, "another term of the name `ce`",
    ),
    "other dtype": (
        lambda: one()(Z[:4].astype(np.float32), Y[:4], whole=merged(one()), part=0),
        ll.MatchError, "float32 and float64",
    ),
    "counted with another mask": (
        lambda: one()(Z[:4], Y[:4], mask=HALF[:4], whole=merged(one()), part=0),
        ll.MatchError, "weighs something else",
    ),
    "counted without its mask": (
        lambda: one()(
            Z[:4], Y[:4],
            whole=sum(one().count(Y[s], mask=HALF[s]) for s in (slice(4), slice(4, 8))), part=0,
        ),
        ll.MatchError, "weighs something else",
    ),
    "another part": (
        lambda: tilted()(
            Z[:3], Y[:3],
            whole=tilted().statistics(Z[:3], Y[:3]) + tilted().statistics(Z[3:], Y[3:]), part=1,
        ),
        ll.MatchError, "weighs something else",
    ),
    "part from 1": (
        lambda: one()(Z[4:], Y[4:], whole=merged(one()), part=2),
        ll.MatchError, "part=2 and a whole of 2 parts",
    ),
    "worst without part": (
        lambda: worst()(Z[:4], Y[:4], whole=merged(worst())), ll.ReductionError, "no part=",
    ),
    "pairs without part": (
        lambda: contrast()(Z[:4], Y[:4], whole=merged(contrast())), ll.ReductionError, "no part=",
    ),
    "pairs of another length": (
        lambda: contrast()(Z[:3], Y[:3], whole=merged(contrast()), part=0),
        ll.MatchError, "weighs something else",
    ),
    "counting two passes": (
        lambda: tilted().count(Y), ll.ReductionError, "Found `ce`, which is `two_pass`",
    ),
    "counting the worst": (
        lambda: worst().count(Y), ll.ReductionError, "which is `threshold`",
    ),
    "counting pairs": (
        lambda: contrast().count(Y), ll.ReductionError, "which is `candidates`",
    ),
    "counts for two passes": (
        lambda: tilted()(Z[:4], Y[:4], whole=one().count(Y), part=0),
        ll.ReductionError, "lossledger.torch.Accumulator and lossledger.jax.accumulate do both",
    ),
    "value of counts": (lambda: one().count(Y).total(), ll.ReductionError, "Found counts"),
    "counts and statistics": (
        lambda: one().count(Y[:4]) + one().statistics(Z[4:], Y[4:]),
        ll.MatchError, "one of them counted",
    ),
    "classes unknown": (
        lambda: one(reduction=ll.Macro("class")).count(Y), ll.ReductionError, "without classes=",
    ),
    "shape unknown": (
        lambda: ll.Objective(
            ll.Term("y", lambda z, t: (z - t) ** 2, axes="batch class")
        ).count(Z),
        ll.MatchError, "needs their shape",
    ),
    "nothing to count": (lambda: one().count(), ll.MatchError, "Found NoneType"),
    "mask in one part alone": (
        lambda: contrast().statistics(Z[:4], Y[:4])
        + contrast().statistics(Z[4:], Y[4:], mask=HALF[4:]),
        ll.MatchError, "must all have the same masks",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "says"), BAD.values(), ids=BAD)
def test_bad_wholes(call: Callable[[], Any], error: type[Exception], says: str) -> None:
    """Each refusal names what was found."""
    with pytest.raises(error) as caught:
        call()
    assert says in str(caught.value)


def test_a_compiled_part_of_another_whole_is_nan() -> None:
    """Where nothing can be read the total is NaN, and the ledger explains itself."""
    jax = pytest.importorskip("jax")
    whole = sum(one().count(Y[s]) for s in (slice(4), slice(4, 8)))
    call = jax.jit(lambda z, y, m: one()(z, y, mask=m, whole=whole, part=0))
    total, ledger = call(Z[:4].astype(np.float32), Y[:4], HALF[:4])
    assert np.isnan(float(total))
    with pytest.raises(ll.DomainError, match="A part must be one of those"):
        _ = ledger.rows


def test_terms_of_one_pass_need_no_part() -> None:
    """The check against the whole takes any of its parts."""
    whole = merged(one())
    parts = [one()(Z[s], Y[s], whole=whole)[0] for s in (slice(4), slice(4, 8))]
    assert sum(parts) == pytest.approx(float(one()(Z, Y)[0]), rel=1e-12)


def test_counts_of_the_loader_serve_the_device() -> None:
    """NumPy counts with torch parts, and float64 counts with float32 outputs."""
    z, y = torch.tensor(Z, dtype=torch.float32, requires_grad=True), torch.tensor(Y)
    whole = sum(one().count(Y[s]) for s in (slice(4), slice(4, 8)))
    parts = [one()(z[s], y[s], whole=whole, part=i) for i, s in enumerate((slice(4), slice(4, 8)))]
    total = parts[0][0] + parts[1][0]
    assert total.dtype == torch.float32
    assert float(total.detach()) == pytest.approx(float(one()(Z, Y)[0]), rel=1e-6)


def test_winners_are_known_by_position() -> None:
    """Values that change in their last bits between two passes move no winner."""
    objective = one(reduction=ll.TopMean(count=3))
    z = np.repeat(Z[:1], 8, 0)  # all values are the same
    y = np.repeat(Y[:1], 8)
    halves = (slice(0, 4), slice(4, 8))
    whole = sum(objective.statistics(z[s], y[s]) for s in halves)
    moved = z * (1 + 1e-12 * RNG.normal(size=z.shape))
    parts = [
        objective.value_and_grad(moved[s], y[s], whole=whole, part=i) for i, s in enumerate(halves)
    ]
    chosen = [np.any(slope != 0, axis=1).tolist() for _, _, slope in parts]
    assert chosen == [[True, True, True, False], [False] * 4]
    assert sum(total for total, *_ in parts) == pytest.approx(float(objective(z, y)[0]), rel=1e-9)
