# SPDX-License-Identifier: Apache-2.0
"""Statistics are commutative monoids, and any split of the elements gives the same number."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossledger as ll
from lossledger._array import library_of
from lossledger.frames import Frame, group
from lossledger.reductions import AbstractReduction
from lossledger.statistics import AbstractStatistic, ChannelStatistic
from lossledger.weighting import Masses
from properties import close

XP = library_of(np.zeros(1))
REDUCTIONS: dict[str, AbstractReduction] = {
    "sum": ll.Sum(),
    "mean": ll.Mean(),
    "mean-elements": ll.Mean(denominator="elements"),
    "mean-nonzero": ll.Mean(denominator="nonzero"),
    "root-mean": ll.RootMean(),
    "max": ll.Max(),
    "top-fraction": ll.TopMean(0.3),
    "top-count": ll.TopMean(count=2),
    "tilted": ll.LogMeanExp(1.5),
    "tilted-down": ll.LogMeanExp(-2.0),
}
by_reduction = pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS)
# Values and weights over five orders of magnitude, ties and zeros among them.
VALUES = st.one_of(st.sampled_from([0.0, 1.0, 2.5]), st.floats(0.0, 1e3, allow_subnormal=False))
WEIGHTS = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-2, 1e2))
ELEMENTS = st.lists(st.tuples(VALUES, WEIGHTS), min_size=2, max_size=12)
quickly = settings(deadline=None, max_examples=40, derandomize=True)


def summarize(reduction: AbstractReduction, values: Any, weights: Any) -> AbstractStatistic:
    """Return the statistic of weighted values along one axis."""
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    grouping = group(XP, Frame(("batch",), values.shape), {}, ())
    masses = Masses(weights, weights, None, None, len(values))
    return reduction.statistic(XP, values, masses, grouping)


def finalize(reduction: AbstractReduction, statistic: AbstractStatistic) -> float:
    """Return the number that a statistic stands for."""
    return float(reduction.finalize(XP, statistic).values)


def three_parts(reduction: AbstractReduction) -> list[AbstractStatistic]:
    """Return statistics of three parts, one of them with ties and weights of 0."""
    parts = [([3.0, 1.0], [1.0, 2.0]), ([2.0, 3.0, 9.0], [0.5, 1.0, 0.0]), ([2.5], [4.0])]
    return [summarize(reduction, *part) for part in parts]


@by_reduction
def test_merge_is_associative(reduction: AbstractReduction) -> None:
    """(a + b) + c = a + (b + c), array by array."""
    a, b, c = three_parts(reduction)
    left, right = a.merge(XP, b).merge(XP, c), a.merge(XP, b.merge(XP, c))
    for mine, theirs in zip(left.arrays(), right.arrays(), strict=True):
        finite = np.where(np.isfinite(mine), mine, -1.0)
        close(finite, np.where(np.isfinite(theirs), theirs, -1.0))
    close(finalize(reduction, left), finalize(reduction, right))


@by_reduction
def test_merge_is_commutative(reduction: AbstractReduction) -> None:
    """A + b and b + a stand for the same number."""
    a, b, _ = three_parts(reduction)
    close(finalize(reduction, a.merge(XP, b)), finalize(reduction, b.merge(XP, a)))


@by_reduction
def test_merge_has_an_identity(reduction: AbstractReduction) -> None:
    """Elements without weight add nothing, on either side."""
    if reduction == ll.Mean(denominator="elements"):
        return  # it counts elements, weight or no weight
    a, *_ = three_parts(reduction)
    nothing = summarize(reduction, [7.0, 8.0], [0.0, 0.0])
    expected = finalize(reduction, a)
    close(finalize(reduction, a.merge(XP, nothing)), expected)
    close(finalize(reduction, nothing.merge(XP, a)), expected)
    assert finalize(reduction, nothing.merge(XP, nothing)) == 0


@by_reduction
@quickly
@given(elements=ELEMENTS, data=st.data())
def test_any_split(reduction: AbstractReduction, elements: Any, data: Any) -> None:
    """However the elements are cut into parts and merged, the number is that of all of them."""
    cuts = data.draw(st.lists(st.integers(1, len(elements) - 1), unique=True, max_size=4))
    edges = [0, *sorted(cuts), len(elements)]
    values, weights = (np.array(column) for column in zip(*elements, strict=True))
    parts = [summarize(reduction, values[a:b], weights[a:b]) for a, b in itertools.pairwise(edges)]
    order = data.draw(st.permutations(range(len(parts))))
    while len(parts) > 1:  # merge neighbors in a drawn bracketing, then in a drawn order
        place = data.draw(st.integers(0, len(parts) - 2))
        parts[place : place + 2] = [parts[place].merge(XP, parts[place + 1])]
    shuffled = [
        summarize(reduction, values[edges[i] : edges[i + 1]], weights[edges[i] : edges[i + 1]])
        for i in order
    ]
    merged = shuffled[0]
    for part in shuffled[1:]:
        merged = merged.merge(XP, part)
    expected = finalize(reduction, summarize(reduction, values, weights))
    scale = max(abs(expected), float(values.max()), 1.0)
    for found in (finalize(reduction, parts[0]), finalize(reduction, merged)):
        assert abs(found - expected) <= 1e-12 * scale, (found, expected)


def test_channels_add_by_name() -> None:
    """Sums of a loss of sums add to their namesakes."""
    a = ChannelStatistic(("p", "q"), (np.array([1.0, 2.0]), np.array([3.0])))
    b = ChannelStatistic(("p", "q"), (np.array([10.0, 20.0]), np.array([30.0])))
    merged = a.merge(XP, b).by_name()
    assert merged["p"].tolist() == [11.0, 22.0]
    assert merged["q"].tolist() == [33.0]


def test_the_first_of_equals_wins_in_every_split() -> None:
    """A tie is broken by position in the whole, whichever parts the winners come from."""
    values = [1.0, 5.0, 2.0, 5.0, 5.0]
    ones = np.ones(5)
    for cut in (1, 2, 3, 4):
        first = summarize(ll.Max(), values[:cut], ones[:cut])
        second = summarize(ll.Max(), values[cut:], ones[cut:])
        merged = first.merge(XP, second)
        at = int(merged.position) + (cut if int(merged.part) else 0)
        assert at == 1


def test_top_lists_are_cut() -> None:
    """With a fixed number to keep, merging keeps no more, and the largest of them."""
    from lossledger.statistics import TopStatistic

    def part(values: list[float]) -> TopStatistic:
        row = np.array([values])
        return TopStatistic(row, np.ones_like(row), np.array(float(len(values))), 2)

    merged = part([1.0, 9.0]).merge(XP, part([5.0, 7.0])).merge(XP, part([8.0]))
    assert merged.values.tolist() == [[9.0, 8.0]]
    assert float(merged.denominator) == 5


def test_log_sum_exp_of_large_values() -> None:
    """Values of ±1e4 neither overflow nor vanish when parts are merged."""
    tilted = ll.LogMeanExp(1.0)
    far = summarize(tilted, [1e4, -1e4], [1.0, 1.0])
    near = summarize(tilted, [1e4], [2.0])
    close(finalize(tilted, far.merge(XP, near)), 1e4 + np.log(3 / 4))
    close(finalize(tilted, near.merge(XP, far)), 1e4 + np.log(3 / 4))
