# SPDX-License-Identifier: Apache-2.0
"""Sum and mean: with converted settings, real optimizers take the same path."""

from dataclasses import fields, replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from scaling_runs import (
    BATCH,
    CLOSE,
    STEPS,
    TELLING,
    apart,
    cases,
    executed,
    run,
    run_torch,
    torch_loss,
    torch_model,
    torch_parameters,
    torch_step,
)

import lossledger as ll
from lossledger.scaling import Settings, convert
from lossledger.scaling._caveats import clipping_bound
from lossledger.scaling._snippets import snippet

SOME = 20
"""Steps after which a forgotten setting shows."""
CASES = {
    f"{library}, {name}": settings
    for library in ("torch", "optax")
    for name, settings in cases(library).items()
}
KERAS = cases("keras")
CLIPPED_BY_TORCH = {n: s for n, s in CASES.items() if s.library == "torch" and s.clip_norm}
EXACT = {n: s for n, s in CASES.items() if n not in CLIPPED_BY_TORCH}


@cache
def mean_path(name: str) -> np.ndarray:
    """Return the path of the mean, which several tests compare with."""
    return run(CASES[name], snippet(CASES[name]), "mean")


def to_sum(settings: Settings) -> ll.scaling.Conversion:
    """Return the conversion of a case."""
    return convert(settings, from_="mean", to="sum", batch=BATCH)


def changes_to_leave(found: ll.scaling.Conversion) -> list[ll.scaling.Change]:
    """Return the changes of the penalty or clipping; without these, all: one case has each."""
    extra = [c for c in found.changed if c.name in ("l2", "clip_norm", "clip_value")]
    return extra or list(found.changed)


@pytest.mark.parametrize("name", EXACT)
def test_same_path(name):
    """The sum with converted settings takes the mean's path, by the snippet that is printed."""
    found = to_sum(CASES[name])
    assert found.exact
    off = apart(mean_path(name), run(found.settings, found.snippet(), "sum"))
    print(f"{name}: {off:.1e} over {STEPS} steps")
    assert off < CLOSE


@pytest.mark.parametrize("name", EXACT)
def test_every_change_is_needed(name):
    """Leaving any one converted setting as it was leads elsewhere."""
    found = to_sum(CASES[name])
    for change in changes_to_leave(found):
        broken = replace(found.settings, **{change.name: change.old})
        path = run(broken, snippet(broken), "sum", steps=SOME)
        off = apart(mean_path(name)[:SOME], path)
        print(f"{name}, {change.name} left: {off:.1e}")
        # A clipped gradient has the sign that it had, and Lion's average nearly always.
        clipped_sign = CASES[name].kind.step == "sign" and change.name.startswith("clip")
        assert off > TELLING or clipped_sign, change.name


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    """From mean to sum and back are the same settings, up to rounding."""
    there = to_sum(CASES[name])
    back = convert(there.settings, from_="sum", to="mean", batch=BATCH).settings
    for setting in (f.name for f in fields(Settings)):
        one, other = getattr(CASES[name], setting), getattr(back, setting)
        assert one == other or one == pytest.approx(other, rel=1e-14), setting


@pytest.mark.parametrize("name", [n for n in EXACT if n.startswith("torch") and "plain" in n])
def test_from_sum_to_mean(name):
    """The other direction holds on its own: settings of a sum, converted for the mean."""
    summed = to_sum(CASES[name]).settings
    found = convert(summed, from_="sum", to="mean", batch=BATCH)
    one = run(summed, snippet(summed), "sum")
    assert apart(one, run(found.settings, found.snippet(), "mean")) < CLOSE


# Keras' own NAdam on torch warns about how it reads its step count.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", KERAS)
def test_same_path_in_keras(name):
    """The same in Keras, whose clipping by norm takes a constant in 32 bits."""
    settings, found = KERAS[name], to_sum(KERAS[name])
    one = run(settings, snippet(settings), "mean")
    off = apart(one, run(found.settings, found.snippet(), "sum"))
    print(f"keras, {name}: {off:.1e} over {STEPS} steps")
    assert off < (1e-6 if settings.clip_norm else CLOSE)
    for change in changes_to_leave(found):
        broken = replace(found.settings, **{change.name: change.old})
        left = apart(one[:SOME], run(broken, snippet(broken), "sum", steps=SOME))
        assert left > TELLING or (settings.optimizer == "lion" and "clip" in change.name)


@pytest.mark.parametrize("name", CLIPPED_BY_TORCH)
def test_clipping_in_torch(name, monkeypatch):
    """Torch's clipping adds 1e-6, which is no setting: measured, and exact without it."""
    import torch

    found = to_sum(CASES[name])
    assert not found.exact
    assert any("clip_grad_norm_" in caveat for caveat in found.caveats)
    off = apart(mean_path(name), run(found.settings, found.snippet(), "sum"))
    print(f"{name}: {off:.1e} over {STEPS} steps")
    assert off < 1e-3

    def clip(parameters, most):
        slopes = [p.grad for p in parameters]
        norm = float(torch.cat([g.ravel() for g in slopes]).norm())
        for slope in slopes:
            slope.mul_(min(1.0, most / norm))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    without = run(CASES[name], snippet(CASES[name]), "mean")
    assert apart(without, run(found.settings, found.snippet(), "sum")) < CLOSE
    broken = replace(found.settings, clip_norm=CASES[name].clip_norm)
    left = apart(without, run(broken, snippet(broken), "sum"))
    # Clipped or not, a sign is a sign; only Lion mixes two gradients before it takes it.
    assert left > TELLING or "rprop" in name


@pytest.mark.parametrize(("scale", "norm"), list(product((64, 1 / 64, 4096), (0.2, 0.201, 3.0))))
def test_clipping_bound(scale, norm):
    """A gradient clipped by torch is off by at most the bound that the caveat states."""
    import torch

    def clipped(times):
        parameter = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
        parameter.grad = torch.tensor([norm, 0.0, 0.0, 0.0], dtype=torch.float64) * times
        torch.nn.utils.clip_grad_norm_([parameter], 0.2 * times)
        return float(parameter.grad[0]) / times

    off, bound = abs(clipped(scale) / clipped(1.0) - 1), clipping_bound(0.2, 0.2 * scale)
    print(f"loss × {scale:g}, norm {norm}: off by {off:.2e}, bound {bound:.2e}")
    assert 0 < off <= bound * (1 + 1e-6)


FIRST, SQUARES = f"averages of gradients by {BATCH}", f"squares by ({BATCH})²"


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("sgd, decoupled", f"momentum by {BATCH}."),
        ("adamw", f"{FIRST}, {SQUARES}."),
        ("amsgrad", f"{FIRST}, {SQUARES}."),
        ("adamax", f"{FIRST}, the largest gradients by {BATCH}."),
        ("rmsprop, momentum", f"{SQUARES}, momentum, which holds steps, by 1."),
        ("rmsprop, centered", f"{FIRST}, {SQUARES}."),
        ("adagrad", f"{SQUARES}."),
    ],
)
def test_in_the_middle_of_training(name, state):
    """With its state multiplied as the caveat says, a run goes on where it was."""
    import torch

    settings = CASES[f"torch, {name}, plain"]
    found, model = to_sum(settings), torch_model()
    (told,) = [c for c in found.caveats if "In the middle" in c]
    assert told.split(": ")[1] == state
    powers = {"exp_avg": 1, "grad_avg": 1, "exp_inf": 1, "exp_avg_sq": 2, "square_avg": 2, "sum": 2}
    powers |= {"max_exp_avg_sq": 2, "momentum_buffer": 0 if "rmsprop" in name else 1}
    names = executed(snippet(settings), model=model)
    for at in range(STEPS // 2):
        torch_step(names, torch_loss(model, at, "mean", 0.0))
    before = names["optimizer"].state
    names = executed(found.snippet(), model=model)
    for parameter, kept in before.items():
        names["optimizer"].state[parameter] = {
            key: value * BATCH ** powers.get(key, 0) if torch.is_tensor(value) else value
            for key, value in kept.items()
        }
    for at in range(STEPS // 2, STEPS):
        torch_step(names, torch_loss(model, at, "sum", 0.0))
    assert apart(mean_path(f"torch, {name}, plain")[-1], torch_parameters(model)) < CLOSE


@pytest.mark.parametrize(
    ("optimizer", "reason"), [("adadelta", "no eps suits both"), ("radam", "no lr suits both")]
)
def test_refused(optimizer, reason):
    """What no setting undoes is refused, and the reason is given."""
    with pytest.raises(ll.MatchError, match=reason):
        Settings(optimizer, lr=1.0)


@pytest.mark.parametrize(
    ("made", "factors"),
    [
        ("Adadelta(model.parameters(), lr=1.0, eps={})", (1, 48, 48**2)),
        ("RAdam(model.parameters(), lr={}, eps=1e-8)", (1, 1 / 48)),
    ],
    ids=["adadelta", "radam"],
)
def test_refusal_is_right(made, factors):
    """No factor for the one setting that there is gives Adadelta's or RAdam's path again."""
    base = 1e-2 if "lr={}" in made else 1e-3
    settings = Settings("sgd", lr=1.0)

    def path(value, reduction):
        code = f"import torch\noptimizer = torch.optim.{made.format(value)}"
        return run_torch(settings, code, reduction)

    for factor in factors:
        off = apart(path(base, "mean"), path(base * factor, "sum"))
        print(f"{made.split('(')[0]}, setting times {factor:g}: {off:.1e}")
        assert off > 1e-3


def test_one_term_of_two():
    """If one term alone is summed, settings stay and its loss weight carries the factor."""
    rng = np.random.default_rng(1)
    outputs, targets = rng.normal(size=(BATCH, 3)), rng.normal(size=(BATCH, 3))

    def total(reduction, weight):
        one, two = (
            ll.Term("y", loss, "batch x", name=name, reduction=how, loss_weight=by)
            for name, loss, how, by in (
                ("a", ll.losses.SquaredError(), reduction, weight),
                ("b", ll.losses.AbsoluteError(), ll.Mean(), 1.0),
            )
        )
        return float(ll.Objective(one, two)(outputs, targets)[0])

    assert total(ll.Sum(), 1 / (3 * BATCH)) == pytest.approx(total(ll.Mean(), 1.0), rel=1e-12)
    assert total(ll.Sum(), 1 / BATCH) != pytest.approx(total(ll.Mean(), 1.0), rel=1e-3)


def test_varying_batch():
    """A divisor that varies is not converted, and the caveat says so."""
    found = to_sum(CASES["torch, sgd, plain"])
    assert any("no constant converts" in caveat for caveat in found.caveats)
    rng = np.random.default_rng(2)
    slopes = rng.normal(size=(20, BATCH))
    sizes = rng.integers(BATCH // 2, BATCH, 20)
    lr = found.source.lr
    mean = sum(lr * s[:n].mean() for s, n in zip(slopes, sizes, strict=True))
    total = sum(lr / BATCH * s[:n].sum() for s, n in zip(slopes, sizes, strict=True))
    assert abs(mean - total) > 1e-3
