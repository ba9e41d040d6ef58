# SPDX-License-Identifier: Apache-2.0
"""Settings of an accumulator that contradict each other, or the objective."""

import math
from typing import Any

import torch

from lossledger._errors import MatchError
from lossledger.objective import Objective

_LIVE = {"replay": 1, "cached": 2}


def check_settings(micro_batches: Any, last: str, mode: str, live: Any, clip_norm: Any) -> None:
    """Require settings that an accumulator has.

    Raises:
        MatchError: If one is not.
    """
    clips = clip_norm is None or (0 < clip_norm < math.inf)
    problems = {
        f"micro_batches={micro_batches!r}": _whole(micro_batches),
        f"last={last!r}": last in ("step", "carry", "drop"),
        f"mode={mode!r}": mode in ("replay", "cached", "checkpoint", "retain"),
        f"live={live!r} with mode={mode!r}": live is None or (_whole(live) and mode in _LIVE),
        f"clip_norm={clip_norm!r}": clips,
    }
    wrong = [setting for setting, good in problems.items() if not good]
    if wrong:
        raise MatchError(
            "Settings of an Accumulator must be ones that it has",
            f"Found {', '.join(wrong)}",
            "A name is misspelled, a number of micro-batches is no whole number above 0, a norm is "
            "not above 0, or the mode keeps another number of graphs",
            "Use micro_batches=8, last='step' | 'carry' | 'drop', "
            "mode='replay' | 'cached' | 'checkpoint' | 'retain', live=2 with 'replay' or 'cached', "
            "and clip_norm=1.0 or None",
        )


def live_of(mode: str, live: int | None) -> int:
    """Return how many graphs may wait: those who cache outputs have memory for two."""
    return _LIVE.get(mode, 1) if live is None else live


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def check_weights(objective: Objective) -> None:
    """Require loss weights that every micro-batch can be differentiated for.

    Raises:
        MatchError: If one is computed from other tensors.
    """
    for term in objective.terms:
        weight: Any = term.loss_weight
        if isinstance(weight, torch.Tensor) and weight.requires_grad and not weight.is_leaf:
            raise MatchError(
                "A learned loss weight must be a parameter itself",
                f"Found that of `{term.name}` computed from other tensors",
                "It was computed once, when the term was built: its graph is used up by the first "
                "micro-batch, and no step would change it",
                "Pass the parameter, and keep it positive after each step",
            )


def check_parameters(
    model: torch.nn.Module, objective: Objective, optimizer: Any, mode: str
) -> None:
    """Require, on several ranks, that what is trained is reduced.

    Raises:
        MatchError: If a parameter is not the model's, or a loss weight is learned in a mode in
            which a wrapper does not see it.
    """
    known = {id(p) for p in model.parameters()}
    groups = [] if optimizer is None else optimizer.param_groups
    strange = [tuple(p.shape) for g in groups for p in g["params"] if id(p) not in known]
    if strange:
        raise MatchError(
            "On several ranks the optimizer may train parameters of the model alone",
            f"Found {len(strange)} that are not, of shape {strange[0]}",
            "A head or a loss weight lives outside the module that is wrapped",
            "Make it a part of the module before wrapping it",
        )
    for term in objective.terms:
        weight: Any = term.loss_weight
        if not (isinstance(weight, torch.Tensor) and weight.requires_grad):
            continue
        if id(weight) not in known or mode not in ("replay", "retain"):
            raise MatchError(
                "A learned loss weight must be a parameter of the model that is trained on ranks",
                f"Found that of `{term.name}` "
                + ("outside it" if id(weight) not in known else f"under mode={mode!r}"),
                "Its gradient would stay on each rank, and the ranks would drift apart",
                "Register it: model.loss_weight = torch.nn.Parameter(...), before wrapping, and "
                "use mode='replay'",
            )
