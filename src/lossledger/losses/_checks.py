# SPDX-License-Identifier: Apache-2.0
"""Checks of a loss's own settings."""

from lossledger._errors import DomainError


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
