# SPDX-License-Identifier: Apache-2.0
"""A window of micro-batches has the gradient and the ledger of one batch: one process."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from ranks.models import IGNORED, OBJECTIVES, cut, data, tagger
from torch import nn

import lossledger as ll
from lossledger.torch import Accumulator, MicroBatch
from properties import close, rows_close

EDGES = [0, 2, 4, 5, 11, 16]  # samples 2 and 3 are padding alone: a part that adds nothing
MODES = ("replay", "cached", "checkpoint", "retain")
by_objective = pytest.mark.parametrize("name", OBJECTIVES)


def gradient(model: nn.Module) -> torch.Tensor:
    """Take the gradients of a model."""
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    joined = torch.cat([g.reshape(-1).detach().clone() for g in found])
    model.zero_grad(set_to_none=True)
    return joined


def at_once(objective: ll.Objective, model: nn.Module, batch: MicroBatch) -> Any:
    """Return (gradient, total, ledger) of one batch."""
    total, ledger = objective(model(batch.inputs), batch.targets, **batch.arguments())
    total.backward()
    return gradient(model), float(total.detach()), ledger


@by_objective
@pytest.mark.parametrize("mode", MODES)
def test_a_window_is_one_batch(name: str, mode: str) -> None:
    """Gradient, total and rows, for every class of exactness and every way to run two passes."""
    model = tagger()
    objective = OBJECTIVES[name](model)
    batch = data(objective)
    expected, total, ledger = at_once(objective, model, batch)
    found, merged = Accumulator(objective, model, mode=mode).backward(cut(batch, EDGES))
    close(gradient(model), expected, what="gradient")
    close(float(found), total, what="total")
    close(merged.total, total, what="ledger.total")
    rows_close(merged, ledger)


def test_the_plain_way_is_not() -> None:
    """The broken twin: the mean of the micro-batches' means is another number."""
    model = tagger()
    objective = OBJECTIVES["token mean"](model)
    batch = data(objective)
    expected, _, _ = at_once(objective, model, batch)
    window = cut(batch, EDGES)
    for part in window:
        total = objective(model(part.inputs), part.targets, **part.arguments())[0]
        (total / len(window)).backward()
    error = float((gradient(model) - expected).norm() / expected.norm())
    print(f"mean of means: relative error of the gradient {error:.2g}")
    assert error > 0.1


@pytest.mark.parametrize("mode", MODES)
def test_dropout_draws_the_same_twice(mode: str) -> None:
    """The second pass drops what the first dropped, and what is drawn later is as ever."""
    model = tagger(dropout=0.5)
    objective = OBJECTIVES["batch Dice"](model)
    window = cut(data(objective), EDGES)
    torch.manual_seed(7)
    outputs = [model(part.inputs) for part in window]
    after = torch.rand(1)
    joined = {n: torch.cat([o[n] for o in outputs]) for n in outputs[0]}
    batch = data(objective)
    objective(joined, batch.targets, **batch.arguments())[0].backward()
    expected = gradient(model)
    torch.manual_seed(7)
    Accumulator(objective, model, mode=mode).backward(window)
    close(gradient(model), expected)
    assert torch.rand(1) == after


def test_dropout_twin() -> None:
    """Without drawing again the gradient is another one, so the test above can fail."""
    model = tagger(dropout=0.5)
    objective = OBJECTIVES["batch Dice"](model)
    window = cut(data(objective), EDGES)
    accumulator = Accumulator(objective, model)
    torch.manual_seed(7)
    accumulator.backward(window)
    expected = gradient(model)
    torch.manual_seed(7)
    with torch.no_grad():
        wholes = [_statistics(objective, model, part) for part in window]
    whole = sum(wholes[1:], wholes[0])
    for i, part in enumerate(window):
        outputs = model(part.inputs)
        objective(outputs, part.targets, **part.arguments(), whole=whole, part=i)[0].backward()
    error = float((gradient(model) - expected).norm() / expected.norm())
    assert error > 0.1, error


def _statistics(objective: ll.Objective, model: nn.Module, part: MicroBatch) -> ll.Whole:
    return objective.statistics(model(part.inputs), part.targets, **part.arguments())


def plain_net() -> nn.Sequential:
    """Return a small classifier in float64."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def plain_objective(**settings: Any) -> ll.Objective:
    """Return a cross entropy of rows."""
    loss = ll.losses.CrossEntropy(ignore_index=IGNORED)
    return ll.Objective(ll.Term("y", loss, axes="batch class", **settings))


def rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw rows and labels."""
    make = torch.Generator().manual_seed(5)
    return (
        torch.randn(n, 5, generator=make, dtype=torch.float64),
        torch.randint(0, 3, (n,), generator=make),
    )


def loader(n: int, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return micro-batches of (inputs, targets), the last one shorter."""
    x, y = rows(n)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, n, size)]


@pytest.mark.parametrize(
    ("last", "sizes"), [("step", [3, 3, 1]), ("drop", [3, 3]), ("carry", [3, 3])]
)
def test_last_window(last: Any, sizes: list[int]) -> None:
    """Seven micro-batches in windows of three."""
    accumulator = Accumulator(plain_objective(), plain_net(), micro_batches=3, last=last)
    assert [len(w) for w in accumulator.windows(loader(28, 4))] == sizes
    again = [len(w) for w in accumulator.windows(loader(28, 4))]
    assert again == ([3, 3] if last == "carry" else sizes)  # 1 + 7 = 3 + 3 + 2 carried
    if last == "carry":
        assert [len(w) for w in accumulator.windows(loader(4, 4))] == [3]


def test_a_last_window_is_exact() -> None:
    """A window of one micro-batch, shorter than the others, is the mean of its own rows."""
    model, objective = plain_net(), plain_objective()
    accumulator = Accumulator(objective, model, micro_batches=3)
    *_, window = accumulator.windows(loader(26, 4))
    assert [len(part.targets) for part in window] == [2]
    accumulator.backward(window)
    found = gradient(model)
    x, y = rows(26)
    objective(model(x[24:]), y[24:])[0].backward()
    close(found, gradient(model))


def test_nothing_in_a_window() -> None:
    """A window in which every label is ignored gives 0 and a gradient of 0."""
    model = plain_net()
    x, y = rows(8)
    window = [(x[:4], y[:4] * 0 + IGNORED), (x[4:], y[4:] * 0 + IGNORED)]
    total, ledger = Accumulator(plain_objective(), model).backward(window)
    assert float(total) == 0 == ledger.total
    assert not gradient(model).any()


def test_step_is_the_step_of_one_batch() -> None:
    """Momentum, clipping of the window's gradient and L2: parameters after four steps."""
    ends = []
    for parts in (1, 3):
        model = plain_net()
        objective = ll.Objective(
            *plain_objective().terms, ll.L2(1e-2, parameters=model.parameters, half=True)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
        accumulator = Accumulator(objective, model, optimizer, micro_batches=parts, clip_norm=0.1)
        for window in accumulator.windows(loader(48, 12 // parts)):
            accumulator.step(window)
        assert accumulator.steps == 4
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    close(ends[1], ends[0])


def test_scaler_scales_every_part_alike() -> None:
    """Gradients are scaled by one factor through the window, and unscaled before clipping."""
    ends = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)):
        model, objective = plain_net(), plain_objective()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        accumulator = Accumulator(
            objective, model, optimizer, micro_batches=3, scaler=scaler, clip_norm=0.1
        )
        for window in accumulator.windows(loader(48, 4)):
            total, ledger = accumulator.step(window)
            close(float(total), ledger.total)
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    close(ends[1], ends[0])


def test_one_infinite_part_voids_the_window() -> None:
    """The scaler skips the step, and halves its factor once."""
    model, objective = plain_net(), plain_objective()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    accumulator = Accumulator(objective, model, optimizer, scaler=scaler)
    before = [p.detach().clone() for p in model.parameters()]
    x, y = rows(8)
    infinite = x.clone()
    infinite[0] = torch.inf
    accumulator.step([(x[:4], y[:4]), (infinite[4:] * infinite[:4], y[4:])])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert scaler.get_scale() == 512.0


def test_autocast_runs_the_forward_pass_alone() -> None:
    """Outputs come in bfloat16, the loss is made of them in float32: parts equal the whole."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    seen: list[torch.dtype] = []
    model.register_forward_hook(lambda _m, _a, out: seen.append(out.dtype))
    x, y = rows(16)
    x = x.float()
    half = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731 - as its users write it
    objective = plain_objective()
    with half():
        outputs = model(x)
    total, _ = objective(outputs, y)
    total.backward()
    expected = gradient(model)
    found, _ = Accumulator(objective, model, autocast=half).backward(
        [(x[:3], y[:3]), (x[3:], y[3:])]
    )
    assert set(seen) == {torch.bfloat16}
    # Gradients pass through bfloat16, whose unit is 2⁻⁸, in another order of sums.
    close(gradient(model), expected, 2.0**-8)
    close(float(found), float(total.detach()), 1e-6)


def test_plan_says_what_happens() -> None:
    """Classes of exactness with reasons, regularizers, passes, and batch normalization."""
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    terms = plain_objective().terms
    tilted = ll.Term(
        "y", ll.losses.CrossEntropy(), axes="batch class", name="t", reduction=ll.LogMeanExp(1.0)
    )
    l2 = ll.L2(1e-2, parameters=model.parameters, half=True)
    plan = str(Accumulator(ll.Objective(*terms, l2), model))
    assert "denominators are counted first" in plan
    assert "cross_entropy: one_pass (denominators depend on" in plan
    assert "l2: once a window" in plan
    assert "limit: 1: batch normalization takes mean and variance of each micro-batch" in plan
    plan = str(Accumulator(ll.Objective(*terms, tilted), model.eval(), mode="cached"))
    assert "the last 2 micro-batches run once, unless forward passes write buffers" in plan
    assert "t: two_pass (LogMeanExp(tilt=1.0) is not linear" in plan
    assert "limit" not in plan
    plan = str(Accumulator(ll.Objective(tilted), plain_net()))
    assert "two forward passes, one backward; the last micro-batch runs once\n" in plan


def test_batch_norm_runs_its_averages_once() -> None:
    """The first of two passes leaves no trace in running means."""
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    term = ll.Term(
        "y", ll.losses.SquaredError(), axes="batch feature", reduction=ll.LogMeanExp(1.0)
    )
    x, _ = rows(12)
    goal = torch.zeros(12, 4, dtype=torch.float64)
    window = [(x[a:b], goal[a:b]) for a, b in pairwise([0, 5, 12])]
    for inputs, _ in window:
        models[0](inputs)
    Accumulator(ll.Objective(term), models[1]).backward(window)
    for one, two in zip(models[0].buffers(), models[1].buffers(), strict=True):
        assert torch.equal(one, two)


def test_an_interrupted_window_leaves_no_gradient() -> None:
    """A fault in the third micro-batch clears what the first two left."""
    model = plain_net()
    x, y = rows(12)
    bad = y[8:].clone()
    bad[0] = 17
    with pytest.raises(ll.DomainError) as caught:
        Accumulator(plain_objective(), model).backward([(x[:8], y[:8]), (x[8:], bad)])
    assert "its gradients were cleared" in "".join(caught.value.__notes__)
    assert all(p.grad is None for p in model.parameters())


def test_learned_loss_weights_get_their_gradient() -> None:
    """The derivative for a term's weight is the term's value on the whole window."""
    model = plain_net()
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    objective = plain_objective(loss_weight=weight)
    x, y = rows(12)
    Accumulator(objective, model).backward([(x[:5], y[:5]), (x[5:], y[5:])])
    value = float(plain_objective()(model(x), y)[0].detach())
    close(float(weight.grad), value)


BAD: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "mode": (lambda m: Accumulator(plain_objective(), m, mode="twice"), "mode='twice'"),
    "last": (lambda m: Accumulator(plain_objective(), m, last="skip"), "last='skip'"),
    "live": (lambda m: Accumulator(plain_objective(), m, live=0), "live=0 with mode='replay'"),
    "flag": (lambda m: Accumulator(plain_objective(), m, live=True), "live=True"),
    "half": (lambda m: Accumulator(plain_objective(), m, mode="cached", live=1.5), "live=1.5"),
    "retain": (
        lambda m: Accumulator(plain_objective(), m, mode="retain", live=2),
        "live=2 with mode='retain'",
    ),
    "micro": (lambda m: Accumulator(plain_objective(), m, micro_batches=0), "micro_batches=0"),
    "empty": (lambda m: Accumulator(plain_objective(), m).backward([]), "Found none"),
    "dict": (
        lambda m: Accumulator(plain_objective(), m).backward([{"x": 1}]),
        "Found dict",
    ),
    "optimizer": (
        lambda m: Accumulator(plain_objective(), m).step(loader(4, 2)),
        "needs an optimizer",
    ),
}


@pytest.mark.parametrize(("call", "says"), BAD.values(), ids=BAD)
def test_bad_input(call: Callable[[nn.Module], Any], says: str) -> None:
    """Each says what was found."""
    with pytest.raises(ll.MatchError, match=says):
        call(plain_net())
