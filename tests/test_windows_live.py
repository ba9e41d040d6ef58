# SPDX-License-Identifier: Apache-2.0
"""Several graphs that wait change what a window costs, and no number of it."""

import weakref
from typing import Any

import pytest
import torch
from test_windows_once import Counting, objective, window
from torch.autograd.graph import saved_tensors_hooks

import lossledger as ll
from lossledger.torch import Accumulator
from properties import close, rows_close

TWICE = ("replay", "cached")
by_mode = pytest.mark.parametrize("mode", TWICE)
PARTS = 4


def gradient(model: torch.nn.Module) -> torch.Tensor:
    """Join the gradients of a model."""
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


def plainly(model: Counting, batches: list[Any]) -> tuple[Any, ll.Ledger]:
    """Return total and ledger of all micro-batches in one graph."""
    torch.manual_seed(2)
    outputs = torch.cat([model(x) for x, _ in batches])
    total, ledger = objective()(outputs, torch.cat([y for _, y in batches]))
    total.backward()
    return total.detach(), ledger


def ran(accumulator: Accumulator, batches: list[Any]) -> tuple[Any, ll.Ledger]:
    """Run a window from the same random numbers."""
    torch.manual_seed(2)
    return accumulator.backward(batches)


@by_mode
@pytest.mark.parametrize("live", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_numbers_stay(mode: str, live: int, parts: int) -> None:
    """Total, rows, gradient and what is drawn next are those of one graph, dropout and all."""
    plain, model, batches = Counting(), Counting(), window(parts)
    total, ledger = plainly(plain, batches)
    after = torch.rand(1)
    found, own = ran(Accumulator(objective(), model, mode=mode, live=live), batches)
    assert torch.rand(1) == after
    close(found, total, what="total")
    close(gradient(model), gradient(plain), what="gradient")
    rows_close(own, ledger, what="rows")
    assert model.passes == 2 * parts - min(live, parts)


@by_mode
@pytest.mark.parametrize("live", [1, 2, 3])
def test_dropout_twin(mode: str, live: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin: without drawing again the gradient is another one."""
    plain, model, batches = Counting(), Counting(), window(PARTS)
    plainly(plain, batches)
    monkeypatch.setattr("lossledger.torch._two_passes.draw_again", lambda _: None)
    ran(Accumulator(objective(), model, mode=mode, live=live), batches)
    error = float((gradient(model) - gradient(plain)).norm() / gradient(plain).norm())
    assert error > 0.01


class Watched(Counting):
    """Knows of how many forward passes the saved activations are still there."""

    def __init__(self) -> None:
        """Nothing is saved yet."""
        super().__init__()
        self.saved: list[weakref.WeakSet[Any]] = []
        self.most = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Count the passes whose graphs hold something, this one included."""
        mine: weakref.WeakSet[Any] = weakref.WeakSet()

        def pack(tensor: torch.Tensor) -> Any:
            held = Held(tensor)
            mine.add(held)
            return held

        with saved_tensors_hooks(pack, lambda held: held.tensor):
            outputs = super().forward(x)
        self.saved.append(mine)
        self.most = max(self.most, sum(bool(len(each)) for each in self.saved))
        return outputs


class Held:
    """A saved tensor that can be watched."""

    def __init__(self, tensor: torch.Tensor) -> None:
        """Hold it."""
        self.tensor = tensor


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 1),
        ({"mode": "cached"}, 2),
        *(({"mode": mode, "live": live}, live) for mode in TWICE for live in (1, 2, 3, 4)),
        ({"mode": "retain"}, PARTS),  # what is counted is there to be counted
    ],
    ids=str,
)
def test_activations_in_memory(settings: dict[str, Any], most: int) -> None:
    """Activations of no more micro-batches are in memory at once than was asked for."""
    model = Watched()
    ran(Accumulator(objective(), model, **settings), window(PARTS))
    assert model.most == most


@by_mode
@pytest.mark.parametrize("live", [1, 2, PARTS])
def test_buffers_keep_their_order(mode: str, live: int) -> None:
    """Running means are those of one pass over the micro-batches, window after window."""
    model, plain = Counting(norm=True), Counting(norm=True)
    accumulator = Accumulator(objective(), model, mode=mode, live=live)
    for _ in range(2):
        model.zero_grad()
        plain.zero_grad()
        ran(accumulator, window(PARTS))
        plainly(plain, window(PARTS))
        close(gradient(model), gradient(plain), what="gradient")
    assert int(model.norm.num_batches_tracked) == 2 * PARTS
    close(model.norm.running_mean, plain.norm.running_mean, what="running mean")


@by_mode
def test_buffers_twin(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin: taken for a model that writes none, running means are in another order."""
    model, plain = Counting(norm=True), Counting(norm=True)
    plainly(plain, window(PARTS))
    monkeypatch.setattr("lossledger.torch._two_passes.written", lambda _: False)
    ran(Accumulator(objective(), model, mode=mode, live=2), window(PARTS))
    error = float((model.norm.running_mean - plain.norm.running_mean).abs().max())
    assert error > 1e-3


@by_mode
def test_buffers_that_are_written_later(mode: str) -> None:
    """A layer that is frozen in the first window, and trained from the second on."""
    model, plain = Counting(norm=True), Counting(norm=True)
    accumulator = Accumulator(objective(), model, mode=mode, live=2)
    for training in (False, True):
        model.norm.train(training)
        plain.norm.train(training)
        ran(accumulator, window(PARTS))
        plainly(plain, window(PARTS))
    assert model.passes == (2 * PARTS - 2) + 2 * PARTS
    assert int(model.norm.num_batches_tracked) == PARTS
    close(model.norm.running_mean, plain.norm.running_mean, what="running mean")


@by_mode
def test_buffers_that_are_read(mode: str) -> None:
    """Whether buffers are written takes one pass to find out; then a whole window may wait."""
    model = Counting(norm=True)
    model.norm.eval()
    accumulator = Accumulator(objective(), model, mode=mode, live=PARTS)
    for passes in (PARTS + 1, PARTS):
        model.passes = 0
        ran(accumulator, window(PARTS))
        assert model.passes == passes


class Failing(Counting):
    """Fails at one of its forward passes."""

    fails = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Fail, or go on."""
        if self.passes + 1 == self.fails:
            raise ValueError("no such pass")
        return super().forward(x)


@by_mode
@pytest.mark.parametrize("fails", range(1, 7))
def test_a_pass_that_fails(mode: str, fails: int) -> None:
    """First pass, graphs that wait or second pass: nothing is left, and another window is right."""
    plain, model, batches = Counting(), Failing(), window(PARTS)
    plainly(plain, batches)
    model.fails = fails
    accumulator = Accumulator(objective(), model, mode=mode, live=2)
    with pytest.raises(ValueError, match="no such pass") as caught:
        ran(accumulator, batches)
    assert "its gradients were cleared" in "".join(caught.value.__notes__)
    assert all(p.grad is None for p in model.parameters())
    model.fails = 0
    ran(accumulator, batches)
    close(gradient(model), gradient(plain), what="gradient")


@by_mode
@pytest.mark.parametrize("live", [1, 2, PARTS])
def test_scaled_gradients(mode: str, live: int) -> None:
    """Graphs that wait and those that are made again get one factor; a learned weight too."""
    plain, model, batches = Counting(), Counting(), window(PARTS)
    weights = [torch.tensor(0.5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    torch.manual_seed(2)
    outputs = torch.cat([plain(x) for x, _ in batches])
    weighted(weights[0])(outputs, torch.cat([y for _, y in batches]))[0].backward()
    ran(Accumulator(weighted(weights[1]), model, mode=mode, live=live, scaler=scaler), batches)
    close(gradient(model) / 1024, gradient(plain), what="gradient")
    close(weights[1].grad / 1024, weights[0].grad, what="gradient of the weight")


def weighted(weight: torch.Tensor) -> ll.Objective:
    """Return Dice of the batch under a learned weight."""
    dice = ll.losses.Dice(over="batch time", kind="softmax")
    return ll.Objective(ll.Term("y", dice, axes="batch class time", loss_weight=weight))
