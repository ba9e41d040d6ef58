# SPDX-License-Identifier: Apache-2.0
"""Losses, their steps and reductions in plain words, with the settings that they have."""

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

from lossledger._typing import Callable, Mapping
from lossledger.losses import Elementwise
from lossledger.reductions import AbstractReduction, LogMeanExp, Max, RootMean, TopMean

_T = "T = (I' + s/2)/max(I' + α·FP + β·FN + t/2, ε)"
_COS = "cos(output, target), the cosine of two vectors"

_ACTUAL: Mapping[str, Callable[[Any], str]] = {
    "SquaredError": lambda x: "e²/2, e the error" if x.half else "e², e the error",
    "CosineSimilarity": lambda x: {"distance": "1 − ", "similarity": "", "negative": "−"}[x.form]
    + _COS,
    "ClippedTversky": lambda x: {
        "complement": "1 − T", "negative": "−T", "log": "−log max(T, ε)",
    }[x.form] + f", {_T}",
    "LogDice": lambda x: f"−log of the {x.ratio.capitalize()} score",
    "NormalizedFocal": lambda x: "Σ a·u^γ·ℓ / max(Σ u^γ, ε)"
    + (", divided by the number of elements" if x.mean else ""),
    "PoissonNLL": lambda x: "exp(z) − y·z, z the log of a rate" if x.log_input
    else "r − y·log(r + ε), r a rate",
}  # fmt: skip
"""What a loss computes where its description leaves a choice: by the setting that it has."""

_FIXED: Mapping[str, str] = {
    "Dice": "1 − (2I + s)/(P + Y + t): one minus the soft Dice score",
    "FocalTversky": "(1 − T)^γ, T the Tversky score",
    "Jaccard": "1 − (2I + s)/(2U + t), the union U = P + Y − I",
    "MeanTverskyPower": "(Σ_c w_c·v_c / Σ_c w_c)^γ, v_c the Tversky loss of a class",
}
"""The same where its description speaks of other classes, or of defaults."""

_TOLD_ELSEWHERE = frozenset(
    {
        "over", "ignore_index", "label_smoothing", "smooth", "smooth_denominator", "half", "form",
        "log_input", "ratio", "mean", "include_background", "kink", "alone", "bystanders",
    }
)  # fmt: skip
"""Options that are in the formula, in a step of their own, or that move no number."""

_WORDS: Mapping[tuple[str, Any], str] = {
    ("from_logits", False): "outputs are probabilities",
    ("from_logits", True): "outputs are logits",
    ("kind", "softmax"): "after a softmax",
    ("kind", "sigmoid"): "after a sigmoid",
}

_STEPS: Mapping[str, str] = {
    "Affine": "times {scale:g}, plus {shift:g}",
    "Clip": "clipped to [{low:.9g}, {high:.9g}]",
    "Fill": "replaced by a number where they do not count",
    "Log": "as logs",
    "Logit": "as logits, log(p/(1 − p))",
    "Normalize": "divided by their sum over {axis}",
    "Sigmoid": "through a sigmoid",
    "Signs": "0 and 1 as −1 and 1",
    "Smooth": "moved by {amount:g} toward the uniform",
    "Softmax": "through a softmax over {axis}",
}
"""What is done to outputs or targets before the formula."""


def about(loss: Any) -> str:
    """Return what a loss computes, of the one inside it if it wraps one."""
    inner = bare(loss)
    if isinstance(inner, Elementwise):
        return getattr(inner.f, "__name__", "a function of yours")
    actual = _ACTUAL.get(type(inner).__name__)
    if actual is not None:
        return actual(inner)
    if type(inner).__name__ in _FIXED:
        return _FIXED[type(inner).__name__]
    doc = inspect.getdoc(type(inner)) or type(inner).__name__
    first = doc.split("\n\n", maxsplit=1)[0].replace("\n", " ").split("; ∂", maxsplit=1)[0]
    return first.removesuffix(".")


def bare(loss: Any) -> Any:
    """Return the loss behind steps and labels."""
    while hasattr(loss, "loss"):
        loss = loss.loss
    return loss


def options_of(loss: Any) -> str:
    """Return the options of a loss that are not at their defaults and not told elsewhere."""
    inner, said = bare(loss), []
    if is_dataclass(inner):
        for f in fields(inner):
            value = getattr(inner, f.name)
            plain = isinstance(value, bool | int | float | str)
            if plain and f.name not in _TOLD_ELSEWHERE and value != f.default:
                number = isinstance(value, float)
                shown = f"{f.name}={value:.6g}" if number else f"{f.name}={value!r}"
                said.append(_WORDS.get((f.name, value), shown))
    return f" ({', '.join(said)})" if said else ""


def steps_before(loss: Any, name: str) -> list[str]:
    """Return what is done to "outputs" or "targets" before the formula, in order."""
    found = []
    while hasattr(loss, "loss"):
        steps = getattr(loss, name, ())
        found += [_step(s) for s in steps] if isinstance(steps, tuple) else []
        loss = loss.loss
    return found


def settings_of(loss: Any) -> dict[str, Any]:
    """Return the options of a loss that are numbers or names, those of its wrappers too."""
    found: dict[str, Any] = {"loss": type(bare(loss)).__name__}
    while True:
        if is_dataclass(loss):
            named = {f.name: getattr(loss, f.name) for f in fields(loss)}
            found |= {n: v for n, v in named.items() if isinstance(v, bool | int | float | str)}
        if not hasattr(loss, "loss"):
            return found
        loss = loss.loss


def reduced(reduction: AbstractReduction, what: str) -> str:
    """Return what a reduction that is neither mean nor sum makes of some values."""
    if isinstance(reduction, Max):
        return f"the largest of the {what}"
    if isinstance(reduction, TopMean):
        share = reduction.fraction
        worst = f"largest {reduction.count}" if share is None else f"largest {share:.4g}"
        return f"mean of the {worst} of the {what}"
    if isinstance(reduction, LogMeanExp):
        return (
            f"log of the mean of exp({reduction.tilt:g}·v), over {reduction.tilt:g}, of the {what}"
        )
    if isinstance(reduction, RootMean):
        return f"root of the mean of the {what}"
    return f"mean of the {what}"


def divided(reduction: AbstractReduction) -> str:
    """Return by what such a reduction divides."""
    if isinstance(reduction, Max):
        return "none, the largest is the number"
    if isinstance(reduction, TopMean):
        return "the weight of those that are kept"
    if isinstance(reduction, LogMeanExp):
        return "Σ of the weights, inside the log"
    return "Σ of the weights, then a root"


def symbol(reduction: AbstractReduction, inside: str) -> str:
    """Return such a reduction in symbols."""
    if isinstance(reduction, Max):
        return f"max({inside})"
    if isinstance(reduction, TopMean):
        share = reduction.fraction
        return (
            f"mean_largest_{reduction.count if share is None else format(share, '.4g')}({inside})"
        )
    if isinstance(reduction, LogMeanExp):
        return f"log(mean(exp({reduction.tilt:g}·{inside}))) / {reduction.tilt:g}"
    return f"√(mean({inside}))"


def _step(step: Any) -> str:
    name = type(step).__name__
    if name == "Clip" and step.high == float("inf"):
        return f"at least {step.low:.9g}"
    return _STEPS[name].format(**vars(step)) if name in _STEPS else name.lower()
