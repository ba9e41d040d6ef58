# SPDX-License-Identifier: Apache-2.0
"""Checks of a loss's own settings."""

from dataclasses import fields
from typing import Any, NoReturn

from lossledger._errors import DomainError
from lossledger._typing import Sequence


def check_settings(loss: Any) -> None:
    """Raise unless the settings that several losses share are of their kind.

    Flags are True or False; `ignore_index` is an integer; `pos_weight` and `z_loss` are
    finite and not negative.
    """
    for setting in fields(loss):
        name, value = setting.name, getattr(loss, setting.name)
        # "stirling" is a third form of the constant of `PoissonNLL`.
        flag = isinstance(value, bool) or value == "stirling"
        if isinstance(setting.default, bool) and not flag:
            _refuse(name, "True or False", value)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name == "ignore_index" and value is not None and not whole:
            _refuse(name, "an integer or None", value)
        if name in ("pos_weight", "z_loss") and value is not None and not hasattr(value, "shape"):
            numbers = value if isinstance(value, Sequence) else (value,)
            for number in numbers:
                if not isinstance(number, int | float) or not 0 <= number < float("inf"):
                    _refuse(name, "finite and not negative", value)


def _refuse(name: str, kind: str, value: object) -> NoReturn:
    raise DomainError(
        f"`{name}` must be {kind}",
        f"Found {value!r}",
        "Another setting's value was given, or a number was read as text",
        f"Pass {name} as {kind}",
    )


def check_probability(name: str, value: float) -> None:
    """Raise unless a setting lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise DomainError(
            f"`{name}` must lie in [0, 1]",
            f"Found {value!r}",
            "A percentage or an unbounded weight was given",
            f"Pass {name} as a share, e.g. 0.1",
        )


def check_positive(name: str, value: float) -> None:
    """Raise unless a setting is positive and finite."""
    if not 0 < value < float("inf"):
        raise DomainError(
            f"`{name}` must be positive and finite",
            f"Found {value!r}",
            "The limit at 0 is another loss, or a sign is wrong",
            f"Pass {name} > 0",
        )


def check_nonnegative(name: str, value: float) -> None:
    """Raise unless a setting is at least 0 and finite."""
    if not 0 <= value < float("inf"):
        raise DomainError(
            f"`{name}` must be at least 0 and finite",
            f"Found {value!r}",
            "A sign is wrong",
            f"Pass {name} >= 0",
        )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless a setting is one of the names."""
    if value not in choices:
        raise DomainError(
            f"`{name}` must be one of " + ", ".join(choices),
            f"Found {value!r}",
            "The name is misspelled or belongs to another loss",
            f"Pass {name}={choices[0]!r}",
        )


def check_finite(name: str, value: float) -> None:
    """Raise unless a setting is a finite number."""
    if not -float("inf") < value < float("inf"):
        raise DomainError(
            f"`{name}` must be finite",
            f"Found {value!r}",
            "A division by 0 made it",
            f"Pass a finite {name}",
        )


def check_between(name: str, value: float, low: float, below: float) -> None:
    """Raise unless low ≤ value < below."""
    if not low <= value < below:
        raise DomainError(
            f"`{name}` must be at least {low:g} and below {below:g}",
            f"Found {value!r}",
            "A sign or a scale is wrong",
            f"Pass {name} in [{low:g}, {below:g})",
        )


def check_by_class(name: str, numbers: Sequence[float]) -> None:
    """Raise unless a setting has one positive, finite number a class."""
    if not numbers or not all(0 < n < float("inf") for n in numbers):
        raise DomainError(
            f"`{name}` must have one positive, finite number for each class",
            f"Found {list(numbers)!r}",
            "A class does not occur in the data that was counted",
            f"Leave the class out, or give it a small {name}, e.g. one count",
        )


def check_share(name: str, value: float) -> None:
    """Raise unless a setting lies in (0, 1]."""
    if not 0 < value <= 1:
        raise DomainError(
            f"`{name}` must be above 0 and at most 1",
            f"Found {value!r}",
            "The limit at 0 is another loss, or a percentage was given",
            f"Pass {name} in (0, 1]",
        )
