# SPDX-License-Identifier: Apache-2.0
"""The gradient noise scale: how large a batch is before its gradient is mostly signal.

Legend: G the gradient of the expected loss, Σ the covariance of one sample's gradient, g_B the
mean gradient of B samples. E‖g_B‖² = ‖G‖² + tr Σ / B for every B, so two sizes b < B give

    ‖G‖² ≈ (B·‖g_B‖² − b·‖g_b‖²) / (B − b),   tr Σ ≈ (‖g_b‖² − ‖g_B‖²) / (1/b − 1/B),

each without bias, and tr Σ / ‖G‖² is the noise scale. A ratio of unbiased numbers is biased, so
numerator and denominator are averaged over steps apart, and divided once.

Source: McCandlish et al. 2018, An Empirical Model of Large-Batch Training, appendix A.
"""

import math

import numpy as np

from lossledger._errors import DomainError, ReductionError, ShapeError
from lossledger._typing import Array, Float


class NoiseScale:
    """The noise scale, accumulated over steps.

    Args:
        decay: Weight of the past at each step, in (0, 1]; 1 averages all steps alike.

    Raises:
        DomainError: If decay lies outside its domain.

    Example:
        >>> noise = NoiseScale()
        >>> noise.update(small_sq_norm=3.0, big_sq_norm=1.5, small=1, big=4)
        >>> noise.value
        2.0
    """

    def __init__(self, decay: float = 1.0) -> None:
        """Start with nothing."""
        if not 0 < decay <= 1:
            raise DomainError(
                "`decay` must lie in (0, 1]",
                f"Found {decay!r}",
                "It is the weight of the past, not of the new step",
                "Pass 0.99, or 1.0 for the plain mean of all steps",
            )
        self.decay = decay
        self.steps = 0
        self._weight = self._signal = self._noise = 0.0

    def update(self, small_sq_norm: float, big_sq_norm: float, *, small: float, big: float) -> None:
        """Add a step.

        Args:
            small_sq_norm: ‖g_b‖², or its mean over several gradients of b samples.
            big_sq_norm: ‖g_B‖² at the same parameters.
            small: b, > 0; samples, or for a weighted mean `effective_size(weights)`.
            big: B, > b, in the same unit.

        Raises:
            DomainError: If the sizes are not 0 < b < B, or a norm is negative or not finite.
        """
        _check_sizes(small, big)
        for name, norm in (("small_sq_norm", small_sq_norm), ("big_sq_norm", big_sq_norm)):
            if not 0 <= norm < math.inf:
                raise DomainError(
                    f"`{name}` must be a finite number ≥ 0",
                    f"Found {norm!r}",
                    "A gradient overflowed; one such step would spoil all others",
                    "Leave the step out, as a loss scaler does",
                )
        signal = (big * big_sq_norm - small * small_sq_norm) / (big - small)
        noise = (small_sq_norm - big_sq_norm) / (1 / small - 1 / big)
        self._weight = self.decay * self._weight + 1
        self._signal = self.decay * self._signal + signal
        self._noise = self.decay * self._noise + noise
        self.steps += 1

    def update_from_ranks(
        self, sq_norms: Float[Array, " rank"], mean_sq_norm: float, *, each: float
    ) -> None:
        """Add a step from the gradients of ranks or micro-batches of one size.

        Args:
            sq_norms: Squared norm of each one's mean gradient, (rank,), rank ≥ 2.
            mean_sq_norm: Squared norm of the mean of those gradients.
            each: Samples of each, > 0.

        Raises:
            ShapeError: If there are fewer than two.
            DomainError: As in `update`.
        """
        norms = np.asarray(sq_norms, dtype=np.float64)
        if norms.ndim != 1 or norms.size < 2:
            raise ShapeError(
                "`sq_norms` must hold one squared norm for each of at least two ranks",
                f"Found shape {norms.shape}",
                "One rank alone has no second batch size to compare with",
                "Pass all ranks' norms, or those of micro-batches",
            )
        big = each * norms.size
        self.update(float(norms.mean()), float(mean_sq_norm), small=each, big=big)

    @property
    def gradient_sq_norm(self) -> float:
        """The estimate of ‖G‖²; may be negative while there are few steps."""
        return self._signal / self._counted()

    @property
    def variance(self) -> float:
        """The estimate of tr Σ, for one sample; may be negative while there are few steps."""
        return self._noise / self._counted()

    @property
    def value(self) -> float:
        """The noise scale tr Σ / ‖G‖², in samples.

        Raises:
            ReductionError: If there was no step.
            DomainError: If an estimate is not yet of the sign that it must have.
        """
        signal, noise = self.gradient_sq_norm, self.variance
        if signal <= 0 or noise < 0:
            raise DomainError(
                "The noise scale needs an estimate of ‖G‖² > 0 and of tr Σ ≥ 0",
                f"Found {signal:.4g} and {noise:.4g} after {self.steps} steps",
                "The gradient drowns in noise at these batch sizes, or the norms were swapped",
                "Add steps, or compare with a larger batch; do not average ratios instead",
            )
        return noise / signal

    def _counted(self) -> float:
        if not self.steps:
            raise ReductionError(
                "The noise scale needs at least one step",
                "Found none",
                "It was read before `update`",
                "Call update(...) in every step first",
            )
        return self._weight


def noise_scale(
    small_sq_norms: Float[Array, " step"],
    big_sq_norms: Float[Array, " step"],
    *,
    small: float,
    big: float,
) -> float:
    """Return the noise scale tr Σ / ‖G‖² of recorded steps, in samples.

    Args:
        small_sq_norms: Squared norms of gradients of `small` samples, (step,).
        big_sq_norms: Squared norms of gradients of `big` samples, (step,).
        small: Smaller batch size, > 0.
        big: Larger batch size.

    Raises:
        ShapeError: If the two differ in length.
        ReductionError: If there are no steps.
        DomainError: As in `NoiseScale`.

    Example:
        >>> noise_scale([3.0, 5.0], [1.5, 2.0], small=1, big=4)
        3.0
    """
    ours, theirs = (np.asarray(a, dtype=np.float64) for a in (small_sq_norms, big_sq_norms))
    if ours.ndim != 1 or ours.shape != theirs.shape:
        raise ShapeError(
            "`small_sq_norms` and `big_sq_norms` must have one number for each step",
            f"Found shapes {ours.shape} and {theirs.shape}",
            "One of them was recorded less often",
            "Record both in the same steps",
        )
    found = NoiseScale()
    for one, other in zip(ours.tolist(), theirs.tolist(), strict=True):
        found.update(one, other, small=small, big=big)
    return found.value


def effective_size(weights: Float[Array, "*elements"]) -> float:
    """Return (Σw)² / Σw², the number of equal weights whose mean is as noisy.

    Args:
        weights: Weights of a weighted mean, each ≥ 0, not all 0.

    Raises:
        DomainError: If a weight is negative or not finite, or all are 0.

    Example:
        >>> effective_size([1.0, 1.0, 2.0])
        2.6666666666666665

    Source: Kish 1965, Survey Sampling.
    """
    w = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
        raise DomainError(
            "`weights` must be finite numbers ≥ 0, and not all 0",
            f"Found a sum of {w.sum():.4g} and a smallest of {w.min(initial=0.0):.4g}",
            "Everything is masked, or a weight is a logarithm",
            "Pass the weights that the mean divides by the sum of",
        )
    w = w / w.max()
    return float(w.sum() ** 2 / (w * w).sum())


def _check_sizes(small: float, big: float) -> None:
    if not 0 < small < big < math.inf:
        raise DomainError(
            "The batch sizes must be 0 < small < big",
            f"Found {small!r} and {big!r}",
            "The two were swapped, or are the same batch",
            "Pass the smaller batch first",
        )
