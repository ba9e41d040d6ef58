# SPDX-License-Identifier: Apache-2.0
"""The settings of an optimizer, checked, with its library's defaults filled in."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from lossledger._errors import DomainError, LossLedgerError, MatchError
from lossledger.scaling._kinds import LIBRARIES, Kind, kind_of

Library = Literal["torch", "optax", "keras"]


@dataclass(frozen=True)
class Settings:
    """An optimizer and its settings, under torch's names.

    What is None takes the library's default: eps, for example, is 1e-8 in torch's and optax'
    Adam and 1e-7 in Keras'.

    Attributes:
        optimizer: "sgd", "adam", "adamw", "nadam", "adamax", "rmsprop", "adagrad", "lion",
            "sign_sgd" or "rprop".
        lr: Learning rate, > 0.
        library: Whose defaults hold, and where its eps stands: "torch", "optax" or "keras".
        momentum: Of SGD and RMSprop, in [0, 1).
        nesterov: Whether SGD looks ahead.
        dampening: Of torch's SGD, in [0, 1].
        betas: Of Adam's family and Lion, each in [0, 1).
        alpha: Decay rate of RMSprop, in [0, 1). Keras calls it rho, optax decay.
        eps: Added to the denominator, ≥ 0.
        centered: Whether RMSprop subtracts the squared mean gradient.
        amsgrad: Whether Adam divides by the largest second moment so far.
        weight_decay: λ, ≥ 0.
        decoupled: Whether lr·λ·θ is taken from the parameters (True: AdamW, Lion, and
            everything in Keras), or λ·θ added to the gradient (False: the rest).
        l2: Factor of a penalty in the loss that no batch divides, ≥ 0: of Σθ² or Σθ²/2, and
            likewise of Σ|θ|.
        clip_norm: Largest norm of the whole gradient, > 0.
        clip_value: Largest absolute gradient of one parameter, > 0.
        initial_accumulator: Where Adagrad's sum of squares starts, ≥ 0.

    Raises:
        MatchError: If the optimizer is unknown or cannot be converted, or lacks a setting.
        DomainError: If a number lies outside its domain.

    Example:
        >>> Settings("adam", lr=1e-3).eps, Settings("adam", lr=1e-3, library="keras").eps
        (1e-08, 1e-07)
    """

    optimizer: str
    lr: float
    library: Library = "torch"
    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0
    betas: tuple[float, float] | None = None
    alpha: float | None = None
    eps: float | None = None
    centered: bool = False
    amsgrad: bool = False
    weight_decay: float | None = None
    decoupled: bool | None = None
    l2: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    initial_accumulator: float | None = None

    def __post_init__(self) -> None:
        """Fill in the defaults and check everything."""
        kind = kind_of(self.optimizer)
        if self.library not in LIBRARIES:
            raise MatchError(
                f"`library` must be one of {', '.join(LIBRARIES)}",
                f"Found {self.library!r}",
                "It is spelled otherwise, or its defaults are not known here",
                "Pass the library whose optimizer you use",
            )
        _check_taken(self, kind)
        for name in kind.defaults:
            if getattr(self, name) is None:
                object.__setattr__(self, name, kind.default(name, self.library))
        if "weight_decay" in kind.takes and self.decoupled is None:
            object.__setattr__(self, "decoupled", kind.decoupled or self.library == "keras")
        _check_types(self)
        _check_numbers(self)
        _check_together(self)
        for name in NUMBERS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(value))
        if self.betas is not None:
            object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))

    @property
    def kind(self) -> Kind:
        """What is known of the optimizer."""
        return kind_of(self.optimizer)

    @property
    def eps_in_root(self) -> bool:
        """Whether eps is added to the squares, under the root."""
        return self.library in self.kind.inside

    @property
    def velocity_has_lr(self) -> bool:
        """Whether the momentum holds steps, which contain lr, and not gradients."""
        form = {"sgd": ("keras",), "rmsprop": ("keras", "optax")}
        return self.momentum > 0 and self.library in form.get(self.optimizer, ())


NUMBERS = (
    *("lr", "momentum", "dampening", "alpha", "eps", "weight_decay", "l2"),
    *("clip_norm", "clip_value", "initial_accumulator"),
)
OPTIONAL = {
    "momentum": 0.0,
    "nesterov": False,
    "dampening": 0.0,
    "betas": None,
    "alpha": None,
    "eps": None,
    "centered": False,
    "amsgrad": False,
    "weight_decay": None,
    "initial_accumulator": None,
}
"""Settings that some optimizers have, and their value when they were not given."""


def _check_taken(settings: Settings, kind: Kind) -> None:
    """Require that nothing is set that the optimizer does not have."""
    for name, absent in OPTIONAL.items():
        if name not in kind.takes and getattr(settings, name) != absent:
            own = ", ".join(("lr", *kind.takes))
            raise MatchError(
                f"The settings of {kind.title} are {own}, l2 and clipping",
                f"Found {name}={getattr(settings, name)!r}",
                "The setting belongs to another optimizer",
                f"Leave {name} out, or choose the optimizer that has it",
            )


def _check_types(settings: Settings) -> None:
    """Require plain numbers, and two betas."""
    betas: Any = (0.0, 0.0) if settings.betas is None else settings.betas
    if not (isinstance(betas, tuple | list) and len(betas) == 2):
        raise _outside("`betas` must be two numbers", betas, "Pass (β₁, β₂)")
    given = [(name, getattr(settings, name)) for name in NUMBERS]
    needed = ("lr", "momentum", "dampening", "l2")
    pairs = [(name, value) for name, value in given if value is not None or name in needed]
    for name, value in (*pairs, *(("betas", beta) for beta in betas)):
        if not is_number(value):
            raise DomainError(
                f"`{name}` must be a number",
                f"Found {value!r}",
                "A schedule, an array or text was passed",
                "Pass one number; a schedule is multiplied by the same factor at every step",
            )


def _check_numbers(settings: Settings) -> None:
    """Require every number to lie in its domain."""
    shares = [("momentum", settings.momentum), ("alpha", settings.alpha)]
    shares += [("betas", beta) for beta in settings.betas or ()]
    for name, value in shares:
        if value is not None and not 0 <= value < 1:
            raise _outside(f"`{name}` must lie in [0, 1)", value, f"Pass {name} as a share")
    if not 0 <= settings.dampening <= 1:
        raise _outside("`dampening` must lie in [0, 1]", settings.dampening, "Pass a share")
    for name in ("lr", "clip_norm", "clip_value"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise _outside(f"`{name}` must be a number > 0", value, f"Pass a positive {name}")
    for name in ("eps", "weight_decay", "l2", "initial_accumulator"):
        value = getattr(settings, name)
        if value is not None and not 0 <= value < math.inf:
            raise _outside(f"`{name}` must be a number ≥ 0", value, f"Pass {name} ≥ 0")


def is_number(value: object) -> bool:
    """Whether a value is one plain number, Python's or NumPy's."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _outside(rule: str, value: object, remedy: str) -> LossLedgerError:
    cause = "The sign, a percentage, or the wrong setting"
    return DomainError(rule, f"Found {value!r}", cause, remedy)


def _check_together(settings: Settings) -> None:
    """Require that the settings go together, and that the library has them."""
    if settings.nesterov and (settings.momentum == 0 or settings.dampening):
        raise MatchError(
            "`nesterov` needs momentum > 0 and dampening 0",
            f"Found momentum {settings.momentum} and dampening {settings.dampening}",
            "Nesterov's step looks ahead along the momentum",
            "Pass momentum=0.9, or nesterov=False",
        )
    if settings.dampening and settings.library != "torch":
        raise MatchError(
            "`dampening` is a setting of torch's SGD",
            f"Found dampening {settings.dampening} in {settings.library}",
            "The settings were copied from torch",
            "Leave it out",
        )
    if settings.optimizer == "adamw" and not settings.decoupled:
        raise MatchError(
            "AdamW's `weight_decay` is decoupled",
            "Found decoupled=False",
            "With the decay in the gradient, AdamW is Adam",
            "Pass optimizer='adam'",
        )
    if settings.library != "keras":
        return
    if settings.weight_decay and settings.decoupled is False:
        raise MatchError(
            "In Keras `weight_decay` is decoupled, for every optimizer",
            "Found decoupled=False",
            "A regularizer of the layers was meant",
            "Pass its factor as l2=",
        )
    if settings.clip_norm is not None and settings.clip_value is not None:
        raise MatchError(
            "Keras clips by norm or by value",
            "Found both",
            "Its optimizers take one of global_clipnorm and clipvalue",
            "Leave one of them out",
        )
