# SPDX-License-Identifier: Apache-2.0
"""What is known of each optimizer: its settings, their defaults, and what its step does.

Source: the signatures of torch 2.13, optax 0.2.8 and Keras 3.15; tests compare them.
"""

from dataclasses import dataclass, field
from typing import Literal

from lossledger._errors import MatchError
from lossledger._typing import Mapping

Step = Literal["proportional", "normalized", "sign"]
LIBRARIES = ("torch", "optax", "keras")
BOTH = frozenset({"optax", "keras"})


@dataclass(frozen=True)
class Kind:
    """One optimizer.

    Attributes:
        title: Its name in a sentence.
        step: What it does with the gradient's size: "proportional" to it, "normalized" by
            it, or reading the "sign" alone.
        names: What each library calls it; a library that is missing has none.
        takes: Settings besides lr, clipping and penalties.
        defaults: Value of each of them, one for all libraries or one for each.
        inside: Libraries that add eps to the squares, under the root.
        decoupled: Whether weight_decay is taken from the parameters and not added to the
            gradient.
    """

    title: str
    step: Step
    names: Mapping[str, str]
    takes: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)
    inside: frozenset[str] = frozenset()
    decoupled: bool = False

    def default(self, setting: str, library: str) -> object:
        """Return a setting's default in a library."""
        value = self.defaults[setting]
        return value[library] if isinstance(value, Mapping) else value


def _each(torch: float, optax: float, keras: float) -> dict[str, float]:
    return {"torch": torch, "optax": optax, "keras": keras}


def _called(torch: str = "", optax: str = "", keras: str = "") -> dict[str, str]:
    names = {"torch": torch, "optax": optax, "keras": keras}
    return {library: name for library, name in names.items() if name}


ADAM = {"betas": (0.9, 0.999), "eps": _each(1e-8, 1e-8, 1e-7), "weight_decay": 0.0}

KINDS: Mapping[str, Kind] = {
    "sgd": Kind(
        "SGD",
        "proportional",
        _called("SGD", "sgd", "SGD"),
        ("momentum", "nesterov", "dampening", "weight_decay"),
        {"weight_decay": 0.0},
    ),
    "adam": Kind(
        "Adam",
        "normalized",
        _called("Adam", "adam", "Adam"),
        ("betas", "eps", "amsgrad", "weight_decay"),
        ADAM,
    ),
    "adamw": Kind(
        "AdamW",
        "normalized",
        _called("AdamW", "adamw", "AdamW"),
        ("betas", "eps", "amsgrad", "weight_decay"),
        ADAM | {"weight_decay": _each(1e-2, 1e-4, 4e-3)},
        decoupled=True,
    ),
    "nadam": Kind(
        "NAdam",
        "normalized",
        _called("NAdam", "nadam", "Nadam"),
        ("betas", "eps", "weight_decay"),
        ADAM,
    ),
    "adamax": Kind(
        "Adamax",
        "normalized",
        _called("Adamax", "adamax", "Adamax"),
        ("betas", "eps", "weight_decay"),
        ADAM,
    ),
    "rmsprop": Kind(
        "RMSprop",
        "normalized",
        _called("RMSprop", "rmsprop", "RMSprop"),
        ("alpha", "eps", "momentum", "centered", "weight_decay"),
        {"alpha": _each(0.99, 0.9, 0.9), "eps": _each(1e-8, 1e-8, 1e-7), "weight_decay": 0.0},
        inside=BOTH,
    ),
    "adagrad": Kind(
        "Adagrad",
        "normalized",
        _called("Adagrad", "adagrad", "Adagrad"),
        ("eps", "initial_accumulator", "weight_decay"),
        {
            "eps": _each(1e-10, 1e-7, 1e-7),
            "initial_accumulator": _each(0.0, 0.1, 0.1),
            "weight_decay": 0.0,
        },
        inside=BOTH,
    ),
    "lion": Kind(
        "Lion",
        "sign",
        _called(optax="lion", keras="Lion"),
        ("betas", "weight_decay"),
        {"betas": (0.9, 0.99), "weight_decay": _each(0.0, 1e-3, 0.0)},
        decoupled=True,
    ),
    "sign_sgd": Kind(
        "sign SGD",
        "sign",
        _called(optax="sign_sgd"),
        ("weight_decay",),
        {"weight_decay": 0.0},
    ),
    "rprop": Kind("Rprop", "sign", _called("Rprop", "rprop")),
}

# Optimizers whose steps no change of settings restores, and why.
REFUSED: Mapping[str, str] = {
    "adadelta": (
        "one eps stands beside the squared gradients and beside the squared steps; the first "
        "grow with the loss and the second do not, so no eps suits both"
    ),
    "radam": (
        "its first steps are proportional to the gradient and the later ones are divided by "
        "its size, so no lr suits both"
    ),
}


def kind_of(optimizer: str) -> Kind:
    """Return what is known of an optimizer.

    Raises:
        MatchError: If it is unknown, or cannot be converted.
    """
    if optimizer in KINDS:
        return KINDS[optimizer]
    known = ", ".join(KINDS)
    if optimizer in REFUSED:
        raise MatchError(
            "The optimizer must have settings that undo a factor in the loss",
            f"Found {optimizer!r}: {REFUSED[optimizer]}",
            "It does not keep apart what scales with the gradient from what does not",
            "Leave the optimizer and multiply the loss: a mean times its divisor is the sum",
        )
    raise MatchError(
        f"`optimizer` must be one of {known}",
        f"Found {optimizer!r}",
        "It is spelled otherwise, or its step is not known here",
        "Use a known one, or leave the optimizer and multiply the loss by the divisor of its mean",
    )
