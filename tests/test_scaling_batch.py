# SPDX-License-Identifier: Apache-2.0
"""Another batch size: heuristics that say so, warm-up, and momentum when lr changes."""

import numpy as np
import pytest
from scaling_runs import of_keras

import lossledger as ll
from lossledger.scaling import Settings, convert, linear, momentum_correction, sqrt, warmup

K = 4
ADAM = Settings("adam", lr=0.001, eps=1e-8)


def test_linear_rule_by_hand():
    """SGD on 4 times the batch: lr × 4, and nothing else."""
    sgd = Settings("sgd", lr=0.1, momentum=0.9, weight_decay=1e-4, l2=0.01, clip_norm=1.0)
    found = convert(sgd, batch=64, to_batch=256)
    assert [(c.name, c.old, c.new) for c in found.changed] == [("lr", 0.1, 0.4)]
    kept = {c.name for c in found.kept}
    assert kept == {"momentum", "weight_decay", "l2", "clip_norm"}
    assert linear(0.1, 4) == 0.4


def test_square_root_rule_by_hand():
    """Adam on 4 times the batch: lr × 2, 1 − β × 4, eps / 2."""
    found = convert(ADAM, batch=64, to_batch=256).settings
    assert found.lr == pytest.approx(0.002, rel=1e-12)
    assert found.betas == pytest.approx((0.6, 0.996), rel=1e-12)
    assert found.eps == pytest.approx(5e-9, rel=1e-12)
    assert sqrt(0.001, 4) == found.lr


def test_square_root_rule_under_the_root():
    """An eps under the root, beside squares that shrink as 1 / k, is divided by k."""
    keras = Settings("rmsprop", lr=0.001, library="keras", eps=1e-7, alpha=0.99)
    found = convert(keras, batch=64, to_batch=256).settings
    assert (found.eps, found.alpha) == pytest.approx((2.5e-8, 0.96), rel=1e-12)


def test_no_average_stays_none():
    """A β of 0 is no average, so Adam without β₁ follows RMSprop's rule."""
    adam = Settings("adam", lr=0.001, betas=(0.0, 0.99))
    assert convert(adam, batch=64, to_batch=256).settings.betas == pytest.approx((0.0, 0.96))


def test_decoupled_decay_by_hand():
    """AdamW's lr × λ grows by k under either rule, so that an epoch decays as much."""
    adamw = Settings("adamw", lr=0.001, weight_decay=0.1)
    found = convert(adamw, batch=64, to_batch=256)
    after = found.settings
    assert after.lr * after.weight_decay == pytest.approx(K * 0.001 * 0.1, rel=1e-12)
    assert any("2500 steps; it was 1e+04" in caveat for caveat in found.caveats)
    by_hand = convert(adamw, batch=64, to_batch=256, rule="linear").settings
    assert by_hand.lr * by_hand.weight_decay == pytest.approx(K * 0.001 * 0.1, rel=1e-12)


@pytest.mark.parametrize("rule", ["linear", "sqrt"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad", "lion"])
def test_says_that_it_is_a_heuristic(optimizer, rule):
    """Every change of the batch size is called a heuristic and is not exact."""
    found = convert(Settings(optimizer, lr=0.1), batch=64, to_batch=128, rule=rule)
    assert not found.exact
    assert found.caveats[0].startswith("A heuristic.")
    assert "Not exactly the same path" in str(found)


def test_sum_grows_by_itself():
    """A sum over 4 times the batch has 4 times the gradient: SGD's lr stays."""
    sgd = Settings("sgd", lr=0.1, l2=0.01)
    found = convert(sgd, from_="sum", to="sum", batch=48, to_batch=192)
    assert found.settings.lr == 0.1
    assert found.settings.l2 == pytest.approx(0.04, rel=1e-12)
    assert "the two cancel" in str(found)


@pytest.mark.parametrize("settings", [ADAM, Settings("sgd", lr=0.1, l2=0.1, clip_norm=2.0)])
def test_conversions_compose(settings):
    """Reduction and batch size in one call are the same as one after the other."""
    once = convert(settings, from_="mean", to="sum", batch=48, to_batch=144).settings
    larger = convert(settings, batch=48, to_batch=144).settings
    twice = convert(larger, from_="mean", to="sum", batch=144).settings
    other = convert(settings, from_="mean", to="sum", batch=48).settings
    other = convert(other, from_="sum", to="sum", batch=48, to_batch=144).settings
    for name in ("lr", "eps", "betas", "l2", "clip_norm"):
        for found in (twice, other):
            one, two = getattr(once, name), getattr(found, name)
            assert one == two or one == pytest.approx(two, rel=1e-12), name


def walk(settings: Settings, noise: float, steps: int) -> np.ndarray:
    """Return where torch's Adam takes many parameters whose gradient is mostly noise."""
    import torch

    draw = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(8_000, dtype=torch.float64))
    optimizer = torch.optim.Adam(
        [parameter], lr=settings.lr, betas=settings.betas, eps=settings.eps
    )
    for _ in range(steps):
        drawn = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        parameter.grad = 0.02 + noise * drawn
        optimizer.step()
    return parameter.detach().numpy()


def test_square_root_rule_keeps_drift_and_spread():
    """Where noise dominates, Adam drifts and spreads as far in 1/4 of the steps; unscaled, not."""
    adam = Settings("adam", lr=0.001, betas=(0.95, 0.995), eps=1e-3)
    rule = convert(adam, batch=64, to_batch=256).settings
    one = walk(adam, 1.0, 1200)
    for name, other, close in (
        ("square root", rule, True),
        ("unscaled", adam, False),
        ("linear", convert(adam, batch=64, to_batch=256, rule="linear").settings, False),
    ):
        path = walk(other, 0.5, 1200 // K)
        drift, spread = path.mean() / one.mean(), path.std() / one.std()
        print(f"{name}: drift × {drift:.3f}, spread × {spread:.3f}")
        near = abs(drift - 1) < 0.05 and abs(spread - 1) < 0.05
        assert near == close


def test_linear_rule_where_gradients_stay():
    """Where the gradient is constant, one step of SGD at k × lr is k steps at lr."""
    small, large = Settings("sgd", lr=0.1), Settings("sgd", lr=linear(0.1, K))
    slope, one, other = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for _ in range(K):
        one -= small.lr * slope
    other -= large.lr * slope
    np.testing.assert_allclose(one, other, rtol=1e-14)


def test_warmup():
    """Warm-up is optax' linear schedule, step by step."""
    optax = pytest.importorskip("optax")
    ours, theirs = warmup(0.1, 0.8, 25), optax.linear_schedule(0.1, 0.8, 25)
    assert [ours(s) for s in range(40)] == pytest.approx(
        [float(theirs(s)) for s in range(40)], rel=1e-6
    )
    assert (ours(0), ours(25), ours(1000)) == (0.1, 0.8, 0.8)


def momentum_paths(corrected: bool) -> float:
    """Return how far Keras' SGD ends from torch's when lr grows tenfold at step 30 of 60."""
    import keras
    import torch

    slopes = np.random.default_rng(0).normal(size=(60, 8))
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        variable = keras.Variable(np.zeros(8), dtype="float64")
        theirs = keras.optimizers.SGD(learning_rate=0.01, momentum=0.9)
        parameter = torch.nn.Parameter(torch.zeros(8, dtype=torch.float64))
        ours = torch.optim.SGD([parameter], lr=0.01, momentum=0.9)
        for step, slope in enumerate(slopes):
            if step == 30:
                ours.param_groups[0]["lr"] = theirs.learning_rate = 0.1
                for velocity in theirs.momentums if corrected else ():
                    velocity.assign(velocity * momentum_correction(0.01, 0.1))
            parameter.grad = torch.from_numpy(slope)
            ours.step()
            theirs.apply([keras.ops.convert_to_tensor(slope)], [variable])
        off = of_keras(variable) - parameter.detach().numpy()
    finally:
        keras.config.set_floatx(before)
    return float(abs(off).max())


def test_momentum_correction():
    """Keras' momentum contains lr: corrected, it is torch's; left alone, it is not."""
    pytest.importorskip("keras")
    with_it, without = momentum_paths(corrected=True), momentum_paths(corrected=False)
    print(f"lr × 10 halfway: {with_it:.1e} apart with the correction, {without:.1e} without")
    assert with_it < 1e-10
    assert without > 1e-2


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: convert(ADAM, batch=64, to_batch=640), r"less than 10, or start"),
        (lambda: convert(ADAM, batch=64), "on both sides"),
        (lambda: convert(ADAM, batch=0, to="sum"), "`batch` must be"),
        (lambda: convert(ADAM, batch=64, to_batch=-1), "`to_batch` must be"),
        (lambda: convert(ADAM, batch=64, to="median"), "'median'"),
        (lambda: convert(ADAM, batch=64, to_batch=128, rule="cube"), "'cube'"),
        (lambda: convert(Settings("lion", lr=1.0), batch=64, to_batch=128), "No source"),
        (lambda: convert(Settings("rprop", lr=1.0), batch=1, to_batch=2), "Rprop"),
        (lambda: convert(ADAM, batch=64, to="sum", rule="sqrt"), "for another batch size"),
        (lambda: convert(ADAM, batch="64", to="sum"), "Found '64'"),
        (lambda: Settings("adam", lr="0.1"), "`lr` must be a number. Found '0.1'"),
        (lambda: Settings("adam", lr=None), "`lr` must be a number. Found None"),
        (lambda: Settings("adam", lr=lambda step: 0.1), "A schedule"),
        (lambda: Settings("adam", lr=0.1, betas=0.9), "must be two numbers"),
        (lambda: Settings("adam", lr=0.1, betas=(0.9, None)), r"`betas` must be a number"),
        (lambda: linear(0.1, 0), "new batch size over the old"),
        (lambda: sqrt(0.1, -64), "Found -64"),
        (lambda: warmup(0.1, 0.8, 0), "steps ≥ 1"),
        (lambda: momentum_correction(0.0, 0.1), "Warm-up from 0"),
    ],
)
def test_bad_input(call, found):
    """What cannot be converted is refused, with the number that was found."""
    with pytest.raises(ll.LossLedgerError, match=found):
        call()
