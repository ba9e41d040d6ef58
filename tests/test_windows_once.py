# SPDX-License-Identifier: Apache-2.0
"""Nothing of a window runs more often than it has to, and every mode gives one gradient."""

from typing import Any

import pytest
import torch

import lossledger as ll
from lossledger.torch import Accumulator
from properties import close, rows_close

MODES = ("replay", "cached", "checkpoint", "retain")
AXES = "batch class time"


def objective() -> ll.Objective:
    """Return cross entropy, Dice of the batch and the worst of its tokens."""
    over = "batch time"
    return ll.Objective(
        ll.Term("y", ll.losses.CrossEntropy(ignore_index=-1), axes=AXES, loss_weight=0.5),
        ll.Term("y", ll.losses.Dice(over=over, kind="softmax"), axes=AXES),
        ll.Term(
            "y", ll.losses.CrossEntropy(ignore_index=-1), axes=AXES, name="worst",
            reduction=ll.TopMean(0.3),
        ),
    )  # fmt: skip


class Counting(torch.nn.Module):
    """A small network with dropout that counts its forward passes.

    `norm` puts in a layer that writes buffers.
    """

    def __init__(self, *, norm: bool = False) -> None:
        """Make the layers."""
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)
        self.norm = torch.nn.BatchNorm1d(6) if norm else torch.nn.Identity()
        self.double()
        self.passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, class, time)."""
        self.passes += 1
        hidden = torch.nn.functional.dropout(torch.tanh(self.first(x)), 0.2)
        normed = self.norm(hidden.movedim(-1, 1))
        return self.last(normed.movedim(1, -1)).movedim(-1, 1)


def window(parts: int = 3) -> list[Any]:
    """Return micro-batches of unequal size, with another share of ignored labels in each."""
    torch.manual_seed(1)
    found = []
    for n in range(2, 2 + parts):
        labels = torch.randint(3, (n, 5))
        labels[torch.rand(labels.shape) < 0.2 * n / parts] = -1
        found.append((torch.randn(n, 5, 4, dtype=torch.float64), labels.clamp(min=0)))
    return found


def ran(model: Counting, batches: list[Any], mode: str) -> tuple[Any, ll.Ledger, torch.Tensor]:
    """Return total, ledger and gradient of a window."""
    torch.manual_seed(2)
    total, ledger = Accumulator(objective(), model, mode=mode).backward(batches)
    return total, ledger, torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_modes_agree(mode, parts):
    """Every mode draws the same dropout and gives the gradient and ledger of one graph."""
    model, batches = Counting(), window(parts)
    torch.manual_seed(2)
    outputs = torch.cat([model(x) for x, _ in batches])
    total, ledger = objective()(outputs, torch.cat([y for _, y in batches]))
    total.backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    found, own, gradient = ran(Counting(), batches, mode)
    close(found, total.detach(), what="total")
    close(gradient, expected, what="gradient")
    rows_close(own, ledger, what="rows")


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(("mode", "live"), [("replay", 1), ("cached", 2)])
def test_last_micro_batches_run_once(mode, live, parts):
    """Two passes cost two forwards for each micro-batch but those whose graphs wait."""
    model = Counting()
    ran(model, window(parts), mode)
    assert model.passes == 2 * parts - min(live, parts)


@pytest.mark.parametrize("mode", ["replay", "cached"])
def test_buffers_are_written_once_and_in_order(mode):
    """Running means are those of one pass over the micro-batches, so the last waits its turn."""
    model, plain = Counting(norm=True), Counting(norm=True)
    ran(model, window(), mode)
    assert model.passes == 6
    batches = window()
    torch.manual_seed(2)
    for inputs, _ in batches:
        plain(inputs)
    assert int(model.norm.num_batches_tracked) == 3
    close(model.norm.running_mean, plain.norm.running_mean, what="running mean")


def test_open_part_is_the_call():
    """An opened part, closed with the whole, is the call with that whole."""
    batches = window()
    outputs = [Counting()(x) for x, _ in batches]
    leaves = [o.detach().requires_grad_() for o in outputs]
    targets = [y for _, y in batches]
    parts = [objective().open(o, y) for o, y in zip(leaves, targets, strict=True)]
    whole = sum((part.whole for part in parts[1:]), parts[0].whole)
    for i, part in enumerate(parts):
        total, ledger = part.close(whole, i)
        (slope,) = torch.autograd.grad(total, leaves[i])
        again, rows = objective()(leaves[i], targets[i], whole=whole, part=i)
        (expected,) = torch.autograd.grad(again, leaves[i])
        close(total.detach(), again.detach(), 0.0, "total")
        close(slope, expected, 0.0, "gradient")
        rows_close(ledger, rows, 0.0, "rows")
