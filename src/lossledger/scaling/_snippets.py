# SPDX-License-Identifier: Apache-2.0
"""Python code that makes an optimizer in torch, optax or Keras."""

from lossledger._typing import Callable, Mapping
from lossledger.scaling._settings import Settings

WIDTH = 96


def snippet(settings: Settings) -> str:
    """Return code that makes the optimizer, and a step where the library needs one."""
    lines = WRITERS[settings.library](settings)
    if settings.l2:
        lines += ["", f"# in the loss: the factor of the penalty is {settings.l2!r}"]
    return "\n".join(lines) + "\n"


def _call(name: str, arguments: list[str], indent: str = "", prefix: str = "") -> list[str]:
    """Write a call on one line, or with one argument on each."""
    line = f"{indent}{prefix}{name}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return [line]
    inner = [f"{indent}    {argument}," for argument in arguments]
    return [f"{indent}{prefix}{name}(", *inner, f"{indent})"]


def _given(settings: Settings, names: Mapping[str, str]) -> list[str]:
    """Write the settings that the optimizer has, under a library's names, as arguments."""
    takes = settings.kind.takes
    found = []
    for ours, theirs in names.items():
        value = getattr(settings, ours)
        if ours in takes and (value or ours in ALWAYS):
            found.append(f"{theirs}={value!r}")
    return found


def _without(reason: str, given: list[str]) -> list[str]:
    """Write the settings alone."""
    return [
        f"# {reason}; these are for the one that you use",
        *_call("dict", given, prefix="settings = "),
    ]


ALWAYS = ("eps", "weight_decay", "initial_accumulator")
"""Written even when 0, because a library's default may not be."""


# ------------------------------------------------------------------------------------ torch


TORCH = {
    "momentum": "momentum",
    "dampening": "dampening",
    "nesterov": "nesterov",
    "betas": "betas",
    "alpha": "alpha",
    "eps": "eps",
    "centered": "centered",
    "amsgrad": "amsgrad",
    "initial_accumulator": "initial_accumulator_value",
}


def _torch(settings: Settings) -> list[str]:
    name = settings.kind.names.get("torch")
    given = [f"lr={settings.lr!r}", *_given(settings, TORCH)]
    decay = settings.weight_decay or 0.0
    own = settings.optimizer in ("adam", "adamw", "nadam") or not settings.decoupled
    if "weight_decay" in settings.kind.takes and (own or name is None):
        given.append(f"weight_decay={decay!r}")
    if name is None:
        return _without(f"torch.optim has no {settings.kind.title}", given)
    if settings.optimizer in ("adam", "nadam") and settings.decoupled:
        given.append("decoupled_weight_decay=True")
    made = ["import torch", ""]
    made += _call(f"torch.optim.{name}", ["model.parameters()", *given], prefix="optimizer = ")
    apart = 0.0 if own else decay
    if not (apart or settings.clip_norm or settings.clip_value):
        return made
    made += ["", "", "def step(loss):", "    optimizer.zero_grad()", "    loss.backward()"]
    clip = "    torch.nn.utils.clip_grad"
    if settings.clip_value is not None:
        made.append(f"{clip}_value_(model.parameters(), {settings.clip_value!r})")
    if settings.clip_norm is not None:
        made.append(f"{clip}_norm_(model.parameters(), {settings.clip_norm!r})")
    if apart:
        made += ["    with torch.no_grad():", "        for parameter in model.parameters():"]
        made.append(f"            parameter.mul_(1 - {settings.lr!r} * {apart!r})")
    return [*made, "    optimizer.step()"]


# ------------------------------------------------------------------------------------ optax


OPTAX = {
    "momentum": "momentum",
    "nesterov": "nesterov",
    "alpha": "decay",
    "eps": "eps",
    "centered": "centered",
    "initial_accumulator": "initial_accumulator_value",
}


def _optax(settings: Settings) -> list[str]:
    name = settings.kind.names["optax"]
    given = [repr(settings.lr)]
    if settings.betas is not None:
        given += [f"{b}={value!r}" for b, value in zip(("b1", "b2"), settings.betas, strict=True)]
    given += _given(settings, OPTAX)
    decay, own = settings.weight_decay or 0.0, settings.optimizer in ("adamw", "lion")
    if settings.amsgrad:
        name, own = "amsgrad", False
    elif own:
        given.append(f"weight_decay={decay if settings.decoupled else 0.0!r}")
    parts = []
    if settings.clip_value is not None:
        parts.append([f"    optax.clip({settings.clip_value!r}),"])
    if settings.clip_norm is not None:
        parts.append([f"    optax.clip_by_global_norm({settings.clip_norm!r}),"])
    if decay and not settings.decoupled:
        parts.append([f"    optax.add_decayed_weights({decay!r}),"])
    step = _call(f"optax.{name}", given, indent="    ")
    parts.append([*step[:-1], step[-1] + ","])
    if decay and settings.decoupled and not own:
        text = f"    optax.add_decayed_weights(-{settings.lr!r} * {decay!r}),  # decoupled"
        parts.append([text])
    if len(parts) == 1:
        made = _call(f"optax.{name}", given, prefix="optimizer = ")
    else:
        made = ["optimizer = optax.chain(", *(line for part in parts for line in part), ")"]
    return ["import optax", "", *made, "state = optimizer.init(params)"]


# ------------------------------------------------------------------------------------ Keras


KERAS = {
    "momentum": "momentum",
    "nesterov": "nesterov",
    "alpha": "rho",
    "eps": "epsilon",
    "centered": "centered",
    "amsgrad": "amsgrad",
    "initial_accumulator": "initial_accumulator_value",
    "weight_decay": "weight_decay",
    "clip_norm": "global_clipnorm",
    "clip_value": "clipvalue",
}


def _keras(settings: Settings) -> list[str]:
    name = settings.kind.names.get("keras")
    given = [f"learning_rate={settings.lr!r}"]
    if settings.betas is not None:
        pairs = zip(("beta_1", "beta_2"), settings.betas, strict=True)
        given += [f"{beta}={value!r}" for beta, value in pairs]
    given += _given(settings, KERAS)
    for ours in ("clip_norm", "clip_value"):
        if (value := getattr(settings, ours)) is not None:
            given.append(f"{KERAS[ours]}={value!r}")
    if name is None:
        return _without(f"keras.optimizers has no {settings.kind.title}", given)
    return ["import keras", "", *_call(f"keras.optimizers.{name}", given, prefix="optimizer = ")]


WRITERS: Mapping[str, Callable[[Settings], list[str]]] = {
    "torch": _torch,
    "optax": _optax,
    "keras": _keras,
}
