# SPDX-License-Identifier: Apache-2.0
"""Conversions: what changes, what stays, why, and where it stops being the same."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from lossledger._errors import DomainError, MatchError
from lossledger.scaling._caveats import caveats, clips_in_torch
from lossledger.scaling._rules import (
    NUMBERS,
    Stage,
    check_ratio,
    powers,
    rebatch,
    rescale,
    rule_of,
)
from lossledger.scaling._settings import Settings, is_number
from lossledger.scaling._snippets import snippet

REDUCTIONS = ("sum", "mean")
SHOWN: tuple[str, ...] = (
    *("lr", "momentum", "dampening", "betas", "alpha", "eps", "weight_decay", "l2"),
    *("clip_norm", "clip_value", "initial_accumulator"),
)
"""Settings in the order in which they are listed."""
PASSES = "weighs gradients against each other, and all have one factor"
BESIDE = "stands beside a mean, whose size does not depend on the batch"
CLIPS = "the rule leaves it, though a mean over more samples is less noisy and clipped less"
LEFT = {"l2": BESIDE, "weight_decay": BESIDE, "clip_norm": CLIPS, "clip_value": CLIPS}


@dataclass(frozen=True)
class Change:
    """One setting before and after.

    Attributes:
        name: The setting.
        old: Its value before.
        new: Its value after; the same if it stays.
        reason: Why it changes or stays.
    """

    name: str
    old: Any
    new: Any
    reason: str


@dataclass(frozen=True)
class Conversion:
    """The settings for another reduction or another batch size.

    Attributes:
        source: The settings before.
        settings: The settings after.
        title: What was converted into what.
        changed: What changes, with reasons.
        kept: What stays, with reasons.
        exact: Whether training takes the same path, up to rounding.
        caveats: Where that ends, and what has to change besides.
    """

    source: Settings
    settings: Settings
    title: str
    changed: tuple[Change, ...]
    kept: tuple[Change, ...]
    exact: bool
    caveats: tuple[str, ...]

    def snippet(self) -> str:
        """Return Python code that makes the optimizer, for the settings' own library.

        It uses `model` (torch) or `params` (optax) from around it. For an optimizer that the
        library does not have, it holds the settings alone.
        """
        return snippet(self.settings)

    def __str__(self) -> str:
        """Write what changes, what stays, and the caveats."""
        lines = [self.title, ""]
        names = [len(c.name) for c in (*self.changed, *self.kept)]
        moves = [f"{_text(c.old)} → {_text(c.new)}" for c in self.changed]
        values = [_text(c.new) for c in self.kept]
        wide, long = max(names, default=0), max(map(len, (*moves, *values)), default=0)
        for heading, changes, texts in (
            ("changes", self.changed, moves),
            ("stays", self.kept, values),
        ):
            lines.append(heading if changes else f"{heading}: nothing")
            for change, text in zip(changes, texts, strict=True):
                lines.append(f"  {change.name:<{wide}}  {text:<{long}}  {change.reason}")
        same = "The same path, up to rounding." if self.exact else "Not exactly the same path:"
        return "\n".join([*lines, "", same, *(f"- {caveat}" for caveat in self.caveats)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain strings, numbers and lists."""
        return {
            "title": self.title,
            "settings": _plain(self.settings),
            "source": _plain(self.source),
            "changed": [_plain(c) for c in self.changed],
            "kept": [_plain(c) for c in self.kept],
            "exact": self.exact,
            "caveats": list(self.caveats),
        }


def convert(
    settings: Settings,
    *,
    from_: str = "mean",
    to: str | None = None,
    batch: float,
    to_batch: float | None = None,
    rule: str | None = None,
) -> Conversion:
    """Return the settings for another reduction, another batch size, or both.

    A mean is a sum divided by `batch`, so its gradient is the sum's over `batch`. Settings that
    undo this factor exist for every optimizer here, and the path of training is then the same,
    up to rounding. Another batch size is another matter: its rules are heuristics. They are
    stated for means; a sum is converted to a mean, to the new batch, and back.

    Args:
        settings: The optimizer as it is.
        from_: What the loss is now: "sum" or "mean".
        to: What it is to be; None leaves it.
        batch: What the mean divides by in each step, > 0: elements, tokens or the sum of weights,
            which is the number of samples only where each has one value and no weight.
        to_batch: The same for the new batch size; None leaves the batch.
        rule: "linear" or "sqrt"; None takes the optimizer's own.

    Returns:
        A `Conversion`.

    Raises:
        MatchError: If a name is unknown, or no rule is known for the optimizer.
        DomainError: If a size is not > 0, nothing is to be converted, or the rule does not hold
            that far.

    Example:
        >>> sgd = Settings("sgd", lr=0.125, momentum=0.9, weight_decay=0.01)
        >>> found = convert(sgd, from_="mean", to="sum", batch=64)
        >>> found.settings.lr, found.settings.weight_decay, found.settings.momentum
        (0.001953125, 0.64, 0.9)

    Source: powers of the factor by algebra (see `_rules`); linear rule, Goyal et al. 2017;
    square-root rule, Malladi et al. 2022.
    """
    to = from_ if to is None else to
    after = batch if to_batch is None else to_batch
    _check(from_, to, batch, after, rule)
    k = check_ratio(after / batch)
    chosen = rule_of(settings, rule) if k != 1 else None
    stages: list[Stage] = []
    if from_ == "sum":
        stages.append(rescale(settings, 1.0, batch))
    if chosen is not None:
        stages.append(rebatch(_last(stages, settings), k, chosen))
    if to == "sum":
        stages.append(rescale(_last(stages, settings), after, 1.0))
    now = _settled(settings, _last(stages, settings))
    changed, kept = _compared(settings, now, stages, reduced=from_ != to)
    return Conversion(
        settings,
        now,
        f"{settings.kind.title} ({settings.library}): "
        f"{from_} over {batch:.6g} → {to} over {after:.6g}",
        changed,
        kept,
        exact=chosen is None and not clips_in_torch(settings),
        caveats=tuple(caveats(settings, now, (from_, to), (batch, after), chosen)),
    )


def _check(from_: str, to: str, batch: float, after: float, rule: str | None) -> None:
    """Require known reductions, sizes > 0, and something to convert."""
    for name, value in (("from_", from_), ("to", to)):
        if value not in REDUCTIONS:
            raise MatchError(
                f"`{name}` must be 'sum' or 'mean'",
                f"Found {value!r}",
                "Other reductions are not a sum times a constant, so no setting converts them",
                "Pass 'sum' or 'mean'",
            )
    for name, size in (("batch", batch), ("to_batch", after)):
        if not (is_number(size) and 0 < size < math.inf):
            raise DomainError(
                f"`{name}` must be a number > 0",
                f"Found {size!r}",
                "It is what a mean divides by",
                "Pass the number of elements, tokens or the sum of weights in a step",
            )
    if rule is not None and batch == after:
        raise MatchError(
            "`rule` is for another batch size",
            f"Found rule={rule!r} and batch {batch:g} on both sides",
            "Between sum and mean there is nothing to choose",
            "Pass to_batch=, or leave the rule out",
        )
    if from_ == to and batch == after:
        raise DomainError(
            "Something must be converted: the reduction, the batch size, or both",
            f"Found {from_} over {batch:g} on both sides",
            "`to` or `to_batch` was left out",
            "Pass to='mean', to='sum' or to_batch=",
        )


def _last(stages: list[Stage], settings: Settings) -> Settings:
    return stages[-1].settings if stages else settings


def _settled(old: Settings, new: Settings) -> Settings:
    """Return the new settings, with the old number where they differ by rounding alone."""
    same = {}
    for name in NUMBERS:
        before, after = getattr(old, name), getattr(new, name)
        if before and math.isclose(before, after, rel_tol=1e-12):
            same[name] = before
    return replace(new, **same)


def _compared(
    old: Settings, new: Settings, stages: list[Stage], *, reduced: bool
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Return what changed and what stayed, each with its reasons."""
    changed, kept = [], []
    for name in SHOWN:
        before, after = getattr(old, name), getattr(new, name)
        if not before:
            continue
        reasons = list(dict.fromkeys(s.reasons[name] for s in stages if name in s.reasons))
        if before != after:
            changed.append(Change(name, before, after, "; ".join(reasons)))
        elif reasons:
            kept.append(Change(name, before, after, "; ".join([*reasons, "the two cancel"])))
        else:
            kept.append(Change(name, before, after, _stays(old, name, reduced=reduced)))
    return tuple(changed), tuple(kept)


def _stays(settings: Settings, name: str, *, reduced: bool) -> str:
    """Return why a setting stays that no stage touched."""
    if reduced:
        return powers(settings)[name][1] if name in NUMBERS else PASSES
    if name == "weight_decay" and settings.decoupled:
        return "lr × it grows with lr"
    return LEFT.get(name, "the rule leaves it")


def _text(value: Any) -> str:
    """Write a number, or a pair of numbers."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_text, value)) + ")"
    return f"{value:.10g}"


def _plain(data: Any) -> dict[str, Any]:
    """Return a dataclass as plain values."""
    found = {f.name: getattr(data, f.name) for f in fields(data)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}
