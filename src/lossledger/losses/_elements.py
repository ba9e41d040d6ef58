# SPDX-License-Identifier: Apache-2.0
"""Independent yes/no elements: y·h(z) + (1 − y)·h(−z) for a target y in [0, 1].

A loss of hard labels becomes one of soft labels by its mean over a label drawn with
probability y, as in cross entropy.
"""

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import Facts
from lossledger.losses._rows import Link


def element_facts(source: str) -> Facts:
    """Return the facts of a loss of yes/no elements with logits."""
    return Facts(
        accepts="same",
        outputs="logits",
        targets="probabilities",
        scores="sigmoid",
        labels=True,
        source=source,
    )


def smooth(targets: Array, smoothing: float) -> Array:
    """Return targets moved by `smoothing` toward 1/2."""
    return targets * (1 - smoothing) + smoothing / 2 if smoothing else targets


def both(z: Array, parts: tuple[Array, Array], h: Link) -> Array:
    """Return y·h(z) + (1 − y)·h(−z) for parts (y, 1 − y), weighted or not."""
    return parts[0] * h(z) + parts[1] * h(-z)


def both_slope(z: Array, parts: tuple[Array, Array], slope: Link) -> Array:
    """Return the derivative y·h'(z) − (1 − y)·h'(−z)."""
    return parts[0] * slope(z) - parts[1] * slope(-z)


def focal(xp: ArrayLibrary, m: Array, gamma: float) -> Array:
    """Return (1 − q)^γ·(−log q) with q = σ(m), from logs: right where 1 − q is 0 or tiny."""
    return xp.exp(-gamma * xp.softplus(m)) * xp.softplus(-m)


def focal_slope(xp: ArrayLibrary, m: Array, gamma: float) -> Array:
    """Return the derivative (1 − q)^γ·(γ·q·log q − (1 − q)) for m."""
    inner = gamma * xp.sigmoid(m) * xp.softplus(-m) + xp.sigmoid(-m)
    return -xp.exp(-gamma * xp.softplus(m)) * inner
