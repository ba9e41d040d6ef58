# SPDX-License-Identifier: Apache-2.0
"""The losses of torch.nn and torch.nn.functional, recognized by what they are."""

import sys
from dataclasses import fields
from typing import Any

from lossledger._typing import Array, Mapping
from lossledger.explanation.criterion._known import Found, Known, Unknown, bound, build, spelling
from lossledger.presets import torch as presets

# Function of torch.nn.functional -> its preset.
FUNCTIONS: dict[str, str] = {
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "cosine_embedding_loss": "CosineEmbeddingLoss",
    "cross_entropy": "CrossEntropyLoss",
    "gaussian_nll_loss": "GaussianNLLLoss",
    "hinge_embedding_loss": "HingeEmbeddingLoss",
    "huber_loss": "HuberLoss",
    "kl_div": "KLDivLoss",
    "l1_loss": "L1Loss",
    "margin_ranking_loss": "MarginRankingLoss",
    "mse_loss": "MSELoss",
    "multi_margin_loss": "MultiMarginLoss",
    "multilabel_margin_loss": "MultiLabelMarginLoss",
    "multilabel_soft_margin_loss": "MultiLabelSoftMarginLoss",
    "nll_loss": "NLLLoss",
    "poisson_nll_loss": "PoissonNLLLoss",
    "smooth_l1_loss": "SmoothL1Loss",
    "soft_margin_loss": "SoftMarginLoss",
    "triplet_margin_loss": "TripletMarginLoss",
}
MODULES = tuple(sorted(set(FUNCTIONS.values())))
UNKNOWN: dict[str, str] = {
    "AdaptiveLogSoftmaxWithLoss": "it holds weights of its own and returns a named tuple",
    "CTCLoss": "it sums over alignments of two sequences and takes four arrays",
    "LinearCrossEntropyLoss": "it holds a linear layer: explain the cross entropy of its logits",
    "TripletMarginWithDistanceLoss": "its distance is a function of yours",
    "ctc_loss": "it sums over alignments of two sequences and takes four arrays",
    "linear_cross_entropy": "it holds a linear layer: explain the cross entropy of its logits",
    "triplet_margin_with_distance_loss": "its distance is a function of yours",
}
"""Losses of torch without a preset, and why."""

_LEGACY = ("size_average", "reduce")


def recognize(thing: Any) -> Found | None:
    """Return what a loss of torch is; None if it is none of torch's."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "nn"):
        return None
    if isinstance(thing, torch.nn.Module):
        return _module(torch, thing)
    unbound = bound(thing)
    return None if unbound is None else _function(torch, *unbound, thing)


def _module(torch: Any, thing: Any) -> Found | None:
    name = type(thing).__name__
    if getattr(torch.nn, name, None) is not type(thing):
        return None
    if name in UNKNOWN:
        return Unknown(f"torch.nn.{name} has no preset: {UNKNOWN[name]}")
    if name not in MODULES:
        return None
    kind = getattr(presets, name)
    options = {f.name: getattr(thing, f.name) for f in fields(kind) if hasattr(thing, f.name)}
    return _found(torch, kind, options, thing, thing)


def _function(torch: Any, function: Any, options: Mapping[str, Any], thing: Any) -> Found | None:
    name = getattr(function, "__name__", "")
    vision = sys.modules.get("torchvision")
    if vision is not None and getattr(vision.ops, "sigmoid_focal_loss", None) is function:
        return _found(vision, presets.sigmoid_focal_loss, options, thing, None)
    if getattr(torch.nn.functional, name, None) is not function:
        return None
    if name in UNKNOWN:
        return Unknown(f"torch.nn.functional.{name} has no preset: {UNKNOWN[name]}")
    if name not in FUNCTIONS:
        return None
    own = {n: v for n, v in options.items() if n not in _LEGACY}
    if name in ("huber_loss", "l1_loss", "mse_loss") and own.get("weight") is None:
        own.pop("weight", None)
    legacy = {n: options.get(n) for n in _LEGACY}
    if any(v is not None for v in legacy.values()):
        average = "sum" if legacy["size_average"] is False else "mean"
        own["reduction"] = "none" if legacy["reduce"] is False else average
    return _found(torch, getattr(presets, FUNCTIONS[name]), own, thing, None)


def _found(
    library: Any, kind: type[Any], options: Mapping[str, Any], thing: Any, module: Any
) -> Found:
    preset = build(kind, options)
    if isinstance(preset, str):
        return Unknown(preset)

    def call(outputs: tuple[Array, ...], targets: Array, *_: Any) -> Array:
        if kind is presets.GaussianNLLLoss:
            return thing(outputs[0], targets, outputs[1])
        return thing(*outputs, targets) if kind.takes_targets else thing(*outputs)

    name = "torchvision" if kind is presets.sigmoid_focal_loss else "torch"
    return Known(
        preset,
        spelling(preset),
        f"{name} {library.__version__.partition('+')[0]}",
        "torch",
        call,
        held(thing if module is None else module),
    )


def held(thing: Any) -> str | None:
    """Return the NumPy name of the floats that a criterion holds; None if it holds none."""
    unbound = bound(thing)
    options = {} if unbound is None else unbound[1]
    arrays = [v for v in options.values() if hasattr(v, "is_floating_point")]
    if hasattr(thing, "buffers"):
        arrays += [*thing.buffers(), *thing.parameters()]
    floats = [str(a.dtype) for a in arrays if a.is_floating_point()]
    return floats[0].removeprefix("torch.") if floats else None
