# SPDX-License-Identifier: Apache-2.0
"""By which power of a factor each setting changes, and why.

A loss times c has a gradient times c. Let θ be the parameters, g the gradient. A step is the
same as before if everything that stands beside g, or is held against it, is multiplied by c as
well, beside g² by c², and if a step proportional to g is divided by c:

- SGD, with or without momentum or Nesterov: lr·(g + λθ) → (lr/c)·(cg + cλθ); decoupled, lr·λ·θ
  stays if lr·λ does, so λ → cλ.
- Adam, AdamW, RMSprop, Adagrad: g/(√g² + ε) → cg/(√(c²g²) + cε); ε under the root is c²ε, and
  so is a sum of squares that does not start at 0. λθ in g: cλ. Decoupled: lr stays, so λ does.
- Lion, sign SGD, Rprop: sign(cg) = sign(g); λθ in g: cλ.
- Clipping g at τ: cg at cτ.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from lossledger._errors import DomainError, MatchError
from lossledger._typing import Mapping
from lossledger.scaling._settings import Settings

Rule = Literal["linear", "sqrt"]
RULES = ("linear", "sqrt")
DIFFUSION = ("adam", "adamw", "rmsprop")
"""Optimizers for which the square-root rule was derived."""

Reasons = Mapping[str, str]
NUMBERS = ("lr", "weight_decay", "l2", "clip_norm", "clip_value", "eps", "initial_accumulator")
"""Settings that a factor multiplies."""


@dataclass(frozen=True)
class Stage:
    """One change: the settings after it, and why each that changed did so."""

    settings: Settings
    reasons: Reasons


def powers(settings: Settings) -> dict[str, tuple[int, str]]:
    """Return the power of the loss's factor for each setting, and the reason; 0: it stays."""
    proportional = settings.kind.step == "proportional"
    found = {
        "lr": (-1, "the step is lr × gradient") if proportional else (0, _LR[settings.kind.step]),
        "l2": (
            1,
            "the penalty is not divided by the batch; so all of the objective has one factor",
        ),
        "clip_norm": (1, "is held against the norm of the gradient"),
        "clip_value": (1, "is held against the gradient"),
        "initial_accumulator": (2, "is a sum of squared gradients"),
        "eps": (1, "is added to the root of the squared gradients"),
    }
    if settings.eps_in_root:
        found["eps"] = (2, "is added to squared gradients, under the root")
    if not settings.decoupled:
        found["weight_decay"] = (1, "times the parameters, it is added to the gradient")
    elif proportional:
        found["weight_decay"] = (1, "is taken from the parameters times lr; lr × it has to stay")
    else:
        found["weight_decay"] = (0, "is taken from the parameters times lr, and lr stays")
    return found


_LR = {
    "normalized": "the gradient is divided by its own size, so a factor cancels",
    "sign": "only the gradient's sign is used",
}


def rescale(settings: Settings, times: float, over: float) -> Stage:
    """Return the settings for a loss times `times` / `over`, with the same steps."""
    changed: dict[str, float] = {}
    reasons = {}
    for name, (power, reason) in powers(settings).items():
        value = getattr(settings, name)
        if power and value:
            up, down = (times, over) if power > 0 else (over, times)
            changed[name] = value * up ** abs(power) / down ** abs(power)
            reasons[name] = reason
    return Stage(replace(settings, **changed), reasons)  # type: ignore[arg-type]


def rule_of(settings: Settings, rule: str | None) -> Rule:
    """Return the rule for another batch size: the one asked for, or the optimizer's own.

    Raises:
        MatchError: If the rule is unknown, or none was derived for the optimizer.
    """
    if rule is None and settings.optimizer in DIFFUSION:
        return "sqrt"
    if rule is None and settings.optimizer == "sgd":
        return "linear"
    if settings.optimizer == "rprop":
        raise MatchError(
            "Another batch size needs an optimizer made for batches",
            "Found Rprop",
            "It compares the signs of two steps, which takes the gradient of all data",
            "Use another optimizer, or convert between sum and mean alone",
        )
    for known in RULES:
        if rule == known:
            return known  # type: ignore[return-value]
    raise MatchError(
        "`rule` must be 'linear' or 'sqrt'",
        f"Found {rule!r} for {settings.kind.title}",
        "It is misspelled" if rule else "No source derives a rule for this optimizer",
        "Pass rule='linear' (lr × k) or rule='sqrt' (lr × √k), and try the result",
    )


def rebatch(settings: Settings, k: float, rule: Rule) -> Stage:
    """Return the settings for a mean over k times the batch; a heuristic.

    Raises:
        DomainError: If a moving average would have to be shorter than one step.
    """
    if rule == "linear":
        reason = f"one step stands for {k:.6g} of those before (linear rule)"
        return Stage(replace(settings, lr=linear(settings.lr, k)), {"lr": reason})
    reasons = {"lr": "the noise of a step grows as lr / √batch (square-root rule)"}
    if settings.optimizer not in DIFFUSION:
        return Stage(replace(settings, lr=sqrt(settings.lr, k)), reasons)
    average = "1 − β is multiplied by k: an average over as many samples as before"
    changed: dict[str, object] = {"lr": sqrt(settings.lr, k)}
    if settings.betas is not None:
        changed["betas"] = tuple(_shorter("betas", beta, k) for beta in settings.betas)
        reasons["betas"] = average
    if settings.alpha is not None:
        changed["alpha"] = _shorter("alpha", settings.alpha, k)
        reasons["alpha"] = average
    if settings.eps:
        changed["eps"] = settings.eps / (k if settings.eps_in_root else math.sqrt(k))
        reasons["eps"] = "a gradient that is mostly noise shrinks as 1 / √k"
    if settings.weight_decay and settings.decoupled:
        changed["weight_decay"] = settings.weight_decay * math.sqrt(k)
        reasons["weight_decay"] = "lr × it grows by k: the same decay in an epoch"
    return Stage(replace(settings, **changed), reasons)  # type: ignore[arg-type]


def _shorter(name: str, beta: float, k: float) -> float:
    """Return 1 − k(1 − β), rounded where floats would make 0 positive; no average stays none."""
    if beta == 0:
        return 0.0
    shorter = round(1 - k * (1 - beta), 15)
    if shorter <= 0:
        raise DomainError(
            f"The square-root rule needs k × (1 − {name}) < 1",
            f"Found {name} {beta:g} and k {k:g}: {k * (1 - beta):g}",
            "The average would have to be shorter than one of the larger steps",
            f"Grow the batch by less than {1 / (1 - beta):.6g}, or start from a larger {name}",
        )
    return shorter


def linear(lr: float, k: float) -> float:
    """Return lr × k, for SGD on k times the batch; a heuristic.

    Args:
        lr: Learning rate for the mean of a batch.
        k: New batch size over the old one, > 0.

    Raises:
        DomainError: If k is not > 0.

    Example:
        >>> linear(0.1, 4)
        0.4

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.1.
    """
    return lr * check_ratio(k)


def sqrt(lr: float, k: float) -> float:
    """Return lr × √k, for Adam and RMSprop on k times the batch; a heuristic.

    The rest of the rule (betas, eps) is in `convert`.

    Args:
        lr: Learning rate for the mean of a batch.
        k: New batch size over the old one, > 0.

    Raises:
        DomainError: If k is not > 0.

    Example:
        >>> sqrt(0.001, 4)
        0.002

    Source: Malladi et al. 2022, On the SDEs and Scaling Rules for Adaptive Gradient
    Algorithms; for SGD, Krizhevsky 2014.
    """
    return lr * math.sqrt(check_ratio(k))


def check_ratio(k: float) -> float:
    """Return k if it is a number > 0."""
    if not 0 < k < math.inf:
        raise DomainError(
            "`k`, the new batch size over the old one, must be a number > 0",
            f"Found {k!r}",
            "The two were subtracted, or one of them is 0",
            "Pass new / old",
        )
    return k
