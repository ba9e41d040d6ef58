# SPDX-License-Identifier: Apache-2.0
"""Steps from probabilities back to logits."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.losses._base import Inputs
from lossledger.losses.steps import AbstractStep


@dataclass(frozen=True)
class Logit(AbstractStep):
    """log(p/(1 − p)), the inverse of the sigmoid."""

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return log p − log(1 − p)."""
        return xp.log(x) - xp.log1p(-x)

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return slope/(p·(1 − p))."""
        return slope / (x * (1 - x))


@dataclass(frozen=True)
class Log(AbstractStep):
    """log p."""

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return log p."""
        return xp.log(x)

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return slope/p."""
        return slope / x
