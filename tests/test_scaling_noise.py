# SPDX-License-Identifier: Apache-2.0
"""The noise scale: right where the ratio is known, and averaged before it is divided."""

import numpy as np
import pytest

import lossledger as ll
from lossledger.scaling import NoiseScale, effective_size, noise_scale

SIZE, RANKS, EACH, STEPS = 20, 8, 4, 4000


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Return rank gradients (step, rank, parameter), their means, and the true noise scale."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=SIZE)
    spread = rng.uniform(1.0, 3.0, SIZE)
    noise = rng.normal(size=(STEPS, RANKS, SIZE)) * spread / np.sqrt(EACH)
    ranks = signal + noise
    return ranks, ranks.mean(axis=1), float((spread**2).sum() / (signal**2).sum())


def test_by_hand():
    """From b = 1, B = 4, norms² 3, 1.5: ‖G‖² = (4·1.5 − 3)/3 = 1, tr Σ = 1.5/(1 − 1/4) = 2."""
    noise = NoiseScale()
    noise.update(3.0, 1.5, small=1, big=4)
    assert (noise.gradient_sq_norm, noise.variance, noise.value) == (1.0, 2.0, 2.0)


def test_ratio_of_means_and_mean_of_ratios():
    """Averaged apart, the estimate is right; the mean of each step's ratio is not."""
    ranks, means, truth = drawn()
    noise, recent, ratios = NoiseScale(), NoiseScale(decay=0.999), []
    for local, mean in zip(ranks, means, strict=True):
        one = NoiseScale()
        for each in (noise, recent, one):
            each.update_from_ranks((local**2).sum(axis=1), (mean**2).sum(), each=EACH)
        ratios.append(one.variance / one.gradient_sq_norm)
    twin = float(np.mean(ratios))
    told = f"true {truth:.3f}, ratio of means {noise.value:.3f}, mean of ratios {twin:.3f}"
    print(f"{told}; with decay 0.999 {recent.value:.3f}")
    assert noise.value == pytest.approx(truth, rel=0.02)
    assert recent.value == pytest.approx(truth, rel=0.04)
    assert twin / truth - 1 > 0.04
    assert noise.steps == STEPS


def test_two_batch_sizes():
    """Recorded norms of two batch sizes give the same as ranks do."""
    ranks, means, truth = drawn(1)
    small, big = (ranks[:, 0] ** 2).sum(axis=1), (means**2).sum(axis=1)
    found = noise_scale(small, big, small=EACH, big=EACH * RANKS)
    assert found == pytest.approx(truth, rel=0.1)


def test_decay_forgets():
    """With a decay below 1 the value follows a noise scale that changes."""
    slow, fast = NoiseScale(), NoiseScale(0.9)
    for step in range(200):
        norm = 3.0 if step < 100 else 9.0
        for noise in (slow, fast):
            noise.update(norm, norm / 2, small=1, big=4)
    assert fast.variance == pytest.approx(6.0, rel=1e-4)
    assert slow.variance == pytest.approx(4.0, rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_effective_size(seed):
    """A weighted mean of noise is as noisy as a plain one of n_eff samples."""
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=30)
    samples = rng.normal(size=(40_000, 30))
    variance = ((samples @ weights) / weights.sum()).var()
    assert 1 / variance == pytest.approx(effective_size(weights), rel=0.03)
    assert effective_size(np.ones(7)) == pytest.approx(7.0, rel=1e-15)
    assert effective_size([5e300, 5e300, 0.0]) == pytest.approx(2.0, rel=1e-15)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: NoiseScale().value, "at least one step"),
        (lambda: NoiseScale(0.0), r"`decay` must lie in \(0, 1\]"),
        (lambda: noise_scale([3.0], [0.5], small=1, big=4), "drowns in noise"),
        (lambda: noise_scale([1.0], [2.0], small=1, big=4), "swapped"),
        (lambda: noise_scale([1.0, 2.0], [2.0], small=1, big=4), "one number for each step"),
        (lambda: noise_scale([], [], small=1, big=4), "needs at least one"),
        (lambda: noise_scale([3.0], [1.0], small=4, big=4), "0 < small < big"),
        (lambda: noise_scale([np.nan], [1.0], small=1, big=4), "finite number"),
        (lambda: NoiseScale().update_from_ranks([3.0], 3.0, each=4), "at least two ranks"),
        (lambda: effective_size([0.0, 0.0]), "Everything is masked"),
        (lambda: effective_size([]), "not all 0"),
        (lambda: effective_size([1.0, -1.0]), "is a logarithm"),
    ],
)
def test_bad_input(call, found):
    """What has no answer is refused, and no step of it is kept."""
    with pytest.raises(ll.LossLedgerError, match=found):
        call()
