# SPDX-License-Identifier: Apache-2.0
"""What was once wrong about windows and parts, each with the number that it gave."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lossledger as ll
from lossledger.torch import Accumulator
from properties import close

MODES = ("replay", "cached", "checkpoint", "retain")
RNG = np.random.default_rng(2)
Z, Y = RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)
HALVES = (slice(0, 4), slice(4, 8))


def objective(reduction: Any = "mean", **settings: Any) -> ll.Objective:
    """Return squared errors of rows."""
    term = ll.Term("y", ll.losses.SquaredError(), axes="batch", reduction=reduction, **settings)
    return ll.Objective(term)


class Counting(nn.Module):
    """A model that puts a new tensor in a buffer's place at every call."""

    def __init__(self) -> None:
        """Start from 1."""
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
        self.register_buffer("calls", torch.tensor(1.0, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale by the number of calls."""
        out = x * self.weight * self.calls
        self.calls = self.calls + 1
        return out


@pytest.mark.parametrize("mode", MODES)
def test_buffers_that_are_put_in_place(mode: str) -> None:
    """Two passes counted every call twice: the outputs of the second were others."""
    x = torch.linspace(-1, 1, 6, dtype=torch.float64)
    model = Counting()
    window = [(x[:3], x[:3] * 0), (x[3:], x[3:] * 0)]
    total, _ = Accumulator(objective(ll.LogMeanExp(1.0)), model, mode=mode).backward(window)
    assert float(model.calls) == 3.0
    plain = Counting()
    outputs = torch.cat([plain(x[:3]), plain(x[3:])])
    expected, _ = objective(ll.LogMeanExp(1.0))(outputs, x * 0)
    expected.backward()
    close(float(total), float(expected.detach()))
    close(float(model.weight.grad), float(plain.weight.grad))


@pytest.mark.parametrize("mode", MODES)
def test_batch_norm_in_every_mode(mode: str) -> None:
    """Under checkpointing the running averages were updated twice."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    term = ll.Term(
        "y", ll.losses.SquaredError(), axes="batch feature", reduction=ll.LogMeanExp(1.0)
    )
    goal = torch.zeros(8, 4, dtype=torch.float64)
    window = [(x[:3], goal[:3]), (x[3:], goal[3:])]
    Accumulator(ll.Objective(term), model, mode=mode).backward(window)
    assert int(model[1].num_batches_tracked) == 2


@pytest.mark.parametrize("place", [0, 1])
def test_nan_is_the_largest(place: int) -> None:
    """A NaN in the second part was lost: the merged maximum was finite."""
    z = Z[:, 0].copy()
    z[4 * place] = np.nan
    whole = sum(objective(ll.Max()).statistics(z[s], np.zeros(4)) for s in HALVES)
    assert np.isnan(float(whole.total()))


@pytest.mark.parametrize("reduction", [ll.Max(), ll.RootMean(), ll.LogMeanExp(1.0)])
def test_parts_in_another_order(reduction: Any) -> None:
    """Parts of equal weight were taken for each other: the maximum was 1.6 instead of 10.9."""
    z, goal = Z[:, 0], np.zeros(8)
    whole = sum(objective(reduction).statistics(z[s], goal[s]) for s in HALVES)
    with pytest.raises(ll.MatchError, match="not those of that part"):
        objective(reduction)(z[HALVES[1]], goal[HALVES[1]], whole=whole, part=0)


def test_pairs_with_other_targets() -> None:
    """The whole's own targets were used, and those that were passed ignored."""
    pairs = ll.Objective(ll.Term("y", ll.losses.NTXent(), axes="batch feature"))
    whole = sum(pairs.statistics(Z[s], Y[s]) for s in HALVES)
    pairs(Z[:4], Y[:4], whole=whole, part=0)
    with pytest.raises(ll.MatchError, match="not those of that part"):
        pairs(Z[4:], Y[4:], whole=whole, part=0)


@pytest.mark.parametrize("part", [np.int64(-1), torch.tensor(-1), np.int64(5), True, 1.0, "0"])
def test_part_numbers(part: Any) -> None:
    """Of numbers that were no Python ints, −1 gave a total of 0 in silence."""
    z, goal = Z[:, 0], np.zeros(8)
    whole = sum(objective(ll.Max()).statistics(z[s], goal[s]) for s in HALVES)
    with pytest.raises(ll.MatchError, match="must be the place of the part"):
        objective(ll.Max())(z[:4], goal[:4], whole=whole, part=part)


def test_traced_part_numbers() -> None:
    """A traced number outside the whole gave 0; now it gives NaN, and the ledger says why."""
    jax = pytest.importorskip("jax")
    z, goal = jax.numpy.asarray(Z[:4, 0], "float32"), np.zeros(4, np.float32)
    whole = objective(ll.Max()).statistics(z, goal)
    call = jax.jit(lambda i: objective(ll.Max())(z, goal, whole=whole, part=i))
    assert np.isfinite(float(call(0)[0]))
    for part in (-1, 1):
        assert np.isnan(float(call(part)[0]))


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), float("inf")])
def test_norms_to_clip_at(norm: float) -> None:
    """A negative norm turned descent into ascent."""
    with pytest.raises(ll.MatchError, match="clip_norm"):
        Accumulator(objective(), nn.Linear(1, 1), clip_norm=norm)


def test_clipping_sees_what_the_optimizer_trains() -> None:
    """Gradients of a frozen backbone that nothing clears grew the norm of every window."""
    torch.manual_seed(0)
    backbone, head = nn.Linear(3, 3).double(), nn.Linear(3, 1).double()
    model = nn.Sequential(backbone, head, nn.Flatten(0))
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    accumulator = Accumulator(objective(), model, optimizer, clip_norm=1e-3)
    x, goal = torch.randn(4, 3, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    for _ in range(3):
        before = [p.detach().clone() for p in head.parameters()]
        accumulator.step([(x, goal)])
        moved = [p.detach() - b for p, b in zip(head.parameters(), before, strict=True)]
        norm = float(torch.cat([m.reshape(-1) for m in moved]).norm())
        assert norm == pytest.approx(1e-3, rel=1e-2)  # torch adds 1e-6 to the norm


def test_loss_weights_that_are_computed() -> None:
    """exp(−s) failed in the second micro-batch with an error of autograd's."""
    s = torch.zeros((), requires_grad=True)
    with pytest.raises(ll.MatchError, match="must be a parameter itself"):
        Accumulator(objective(loss_weight=torch.exp(-s)), nn.Linear(1, 1))


def test_classes_that_are_not_given() -> None:
    """Counting by class needs their number; the window runs in two passes instead."""
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    term = ll.Term("y", ll.losses.CrossEntropy(), axes="batch class", reduction=ll.Macro("class"))
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 0, 1, 2])
    total, _ = Accumulator(ll.Objective(term), model).backward([(x[:3], y[:3]), (x[3:], y[3:])])
    close(float(total), float(ll.Objective(term)(model(x), y)[0].detach()))
