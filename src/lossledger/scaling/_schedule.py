# SPDX-License-Identifier: Apache-2.0
"""A learning rate that changes: gradual warm-up, and the momentum when it does."""

import math
from dataclasses import dataclass

from lossledger._errors import DomainError


@dataclass(frozen=True)
class Warmup:
    """A learning rate that rises linearly and then stays; call it with the step.

    Attributes:
        start: Learning rate of step 0.
        end: Learning rate from step `steps` on.
        steps: Number of steps in between, ≥ 1.
    """

    start: float
    end: float
    steps: int

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step, counted from 0."""
        share = min(max(step / self.steps, 0.0), 1.0)
        return (1 - share) * self.start + share * self.end


def warmup(lr_start: float, lr_end: float, steps: int) -> Warmup:
    """Return gradual warm-up: lr as a function of the step, linear and then constant.

    Args:
        lr_start: Learning rate of step 0, ≥ 0: that of the smaller batch.
        lr_end: Learning rate from step `steps` on, > 0: that of the larger batch.
        steps: Steps that it takes, ≥ 1; 5 epochs in the source.

    Raises:
        DomainError: If a number lies outside its domain.

    Example:
        >>> lr = warmup(0.1, 0.8, steps=700)
        >>> lr(0), lr(350), lr(700), lr(1000)
        (0.1, 0.45, 0.8, 0.8)

    Source: Goyal et al. 2017, section 2.2; optax.linear_schedule gives the same numbers.
    """
    if not (0 <= lr_start < math.inf and 0 < lr_end < math.inf and 1 <= steps < math.inf):
        raise DomainError(
            "`warmup` needs lr_start ≥ 0, lr_end > 0 and steps ≥ 1",
            f"Found {lr_start!r}, {lr_end!r} and {steps!r}",
            "The arguments are in another order, or steps were given in epochs",
            "Pass warmup(lr_start, lr_end, steps)",
        )
    return Warmup(lr_start, lr_end, steps)


def momentum_correction(lr_old: float, lr_new: float) -> float:
    """Return what a velocity that contains lr is multiplied by when lr changes: new / old.

    u ← m·u + g, θ ← θ − lr·u (torch, optax.sgd) needs no correction. v ← m·v + lr·g, θ ← θ − v
    (Keras, and the momentum of optax' RMSprop) keeps the old lr in v; v · new/old before the next
    step makes both forms the same.

    Args:
        lr_old: Learning rate of the steps so far, > 0.
        lr_new: Learning rate of the next step, > 0.

    Raises:
        DomainError: If one of them is not > 0.

    Example:
        >>> momentum_correction(0.5, 0.125)
        0.25

    Source: Goyal et al. 2017, remark 2.
    """
    if not (0 < lr_old < math.inf and 0 < lr_new < math.inf):
        raise DomainError(
            "Learning rates must be > 0 for a momentum correction",
            f"Found {lr_old!r} and {lr_new!r}",
            "Warm-up from 0: a velocity of steps of length 0 holds no gradients to correct",
            "Start from a positive learning rate, or leave the velocity alone at 0",
        )
    return lr_new / lr_old
