# SPDX-License-Identifier: Apache-2.0
"""Where a conversion ends, and what has to change besides the settings."""

from lossledger._typing import Sequence
from lossledger.scaling._settings import Settings

HEURISTIC = {
    "linear": (
        "A heuristic. The linear rule (Goyal et al. 2017) holds while gradients change little "
        "over k steps; raise lr gradually, there over the first 5 epochs."
    ),
    "sqrt": (
        "A heuristic. The square-root rule (Malladi et al. 2022) was derived for Adam and RMSprop "
        "where noise dominates the gradient."
    ),
}
OFFSET = 1e-6
"""What torch's clip_grad_norm_ adds to the norm that it divides by."""


def clips_in_torch(settings: Settings) -> bool:
    """Whether a constant that is no setting stands beside the gradient."""
    return settings.library == "torch" and settings.clip_norm is not None


def clipping_bound(before: float, after: float) -> float:
    """Return the largest relative deviation of a gradient that torch clips by norm.

    With norm n and threshold τ torch multiplies by τ/(n + δ), δ = 1e-6. Converted, this is
    cτ/(cn + δ). Their ratio is (n + δ)/(n + δ/c) for the gradient; it clips from n = τ on, so
    the ratio is off by at most δ·|1 − 1/c|/τ = δ·|1/τ − 1/(cτ)|.

    Args:
        before: τ, > 0.
        after: cτ, > 0.
    """
    return OFFSET * abs(1 / before - 1 / after)


def caveats(
    old: Settings,
    new: Settings,
    reductions: tuple[str, str],
    sizes: tuple[float, float],
    rule: str | None,
) -> list[str]:
    """Return the caveats, the most important first."""
    found = _of_batch(old, new, sizes[1] / sizes[0], rule) if rule is not None else []
    if clips_in_torch(old) and old.clip_norm != new.clip_norm:
        bound = clipping_bound(old.clip_norm or 1.0, new.clip_norm or 1.0)
        fixed = (
            f"torch's clip_grad_norm_ adds a fixed {OFFSET:g} to the norm, which is no setting: "
            f"each clipped gradient is off by up to {bound:.2g} of itself."
        )
        found.append(fixed)
    if reductions[0] != reductions[1]:
        found += _of_reduction(old, reductions, sizes)
    elif rule is not None and reductions[0] == "sum":
        found.append("The rules are stated for means; the sum was taken as a mean and back.")
    return found


def _of_reduction(
    settings: Settings, reductions: tuple[str, str], sizes: Sequence[float]
) -> list[str]:
    """Return what to know when a sum becomes a mean, or a mean a sum."""
    size = sizes[0] if reductions[0] == "sum" else sizes[1]
    down = reductions[1] == "mean"
    both = " and ".join(f"{each:.6g}" for each in dict.fromkeys(sizes))
    steady = (
        f"The divisor must be {both} in every step. Where it varies (a short last batch, "
        "tokens, masks, weights), no constant converts: a mean gives an element of a small batch "
        "more weight, a sum does not."
    )
    together = (
        "All terms of the loss must change together. If only one does, leave the settings and "
        f"{'multiply' if down else 'divide'} its loss weight by {size:.6g}."
    )
    found = [steady, together]
    parts = _state(settings, f"{'1/' if down else ''}{size:.6g}")
    if sizes[0] == sizes[1] and parts:
        state = f"In the middle of training, multiply the optimizer's state too: {parts}."
        found.append(state)
    return found


def _state(settings: Settings, factor: str) -> str:
    """Say what happens to momentum, averages of gradients and of their squares; "" for none."""
    first, squares = f"averages of gradients by {factor}", f"squares by ({factor})²"
    momentum = f"momentum by {factor}" if settings.momentum else ""
    if settings.velocity_has_lr or settings.optimizer == "rmsprop":
        momentum = "momentum, which holds steps, by 1" if settings.momentum else ""
    parts = {
        "sgd": [momentum],
        "adamax": [first, f"the largest gradients by {factor}"],
        "rmsprop": [first if settings.centered else "", squares, momentum],
        "adagrad": [squares],
        "lion": [first],
        "sign_sgd": [],
        "rprop": [],
    }.get(settings.optimizer, [first, squares])
    return ", ".join(part for part in parts if part)


def _of_batch(old: Settings, new: Settings, k: float, rule: str) -> list[str]:
    """Return what to know when the batch size changes."""
    schedules = (
        f"An epoch has {1 / k:.6g} times the steps. Schedules counted in epochs stay; counted in "
        f"steps, they are multiplied by {1 / k:.6g}."
    )
    found = [HEURISTIC[rule], schedules]
    if rule == "linear" and old.optimizer != "sgd":
        found.append(f"The linear rule was not derived for {old.kind.title}.")
    if rule == "sqrt" and old.momentum:
        found.append("The rule was derived without momentum.")
    if new.velocity_has_lr and old.lr != new.lr:
        found.append(
            "The velocity contains lr. Where lr changes during training, multiply the velocity "
            f"by momentum_correction(old, new), here {new.lr / old.lr:.6g}."
        )
    if new.decoupled and new.weight_decay and old.kind.step != "proportional":
        horizon = 1 / (new.lr * new.weight_decay)
        found.append(
            f"Decoupled decay forgets over 1 / (lr × weight_decay) = {horizon:.4g} steps; it was "
            f"{1 / (old.lr * (old.weight_decay or 1)):.4g} of the smaller batches."
        )
    return found
