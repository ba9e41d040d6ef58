# SPDX-License-Identifier: Apache-2.0
"""What the losses of overlap share: channels, one ratio of sums, and what is made of it.

I = Σwpy, P = Σwp, Y = Σwy; FP = P − I is what is predicted and wrong, FN = Y − I what is missed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError
from lossledger._typing import Array, Mapping
from lossledger.losses._base import Facts
from lossledger.losses._checks import check_choice, check_nonnegative

Kind = Literal["sigmoid", "softmax"]
Empty = Literal["keep", "zero", "skip", "raise", "agree"]
Sums = Mapping[str, Array]


@runtime_checkable
class Settings(Protocol):
    """Settings that every loss of overlap has."""

    @property
    def smooth(self) -> float:
        """Smoothing of the numerator."""

    @property
    def smooth_denominator(self) -> float | None:
        """Smoothing of the denominator; None: s."""

    @property
    def kind(self) -> Kind:
        """How logits become probabilities."""

    @property
    def from_logits(self) -> bool:
        """Whether outputs are logits."""

    @property
    def empty(self) -> Empty:
        """What a cell does whose targets sum to 0."""

    @property
    def soft_labels(self) -> bool:
        """Whether I is half of P + Y − Σ|p − y|."""


def check_overlap(loss: Settings, squared: bool = False) -> None:
    """Raise unless the settings are in their range and fit each other."""
    check_nonnegative("smooth", loss.smooth)
    check_choice("kind", loss.kind, ("sigmoid", "softmax"))
    check_choice("empty", loss.empty, ("keep", "zero", "skip", "raise", "agree"))
    below = smoothing(loss)
    check_nonnegative("smooth_denominator", below)
    if below == 0 < loss.smooth:
        raise DomainError(
            "`smooth_denominator` must be positive where `smooth` is",
            f"Found smooth={loss.smooth!r} and smooth_denominator=0",
            "The two were swapped; the score of an empty cell would be infinite",
            "Give both, or leave smooth_denominator out to use `smooth` for both",
        )
    if squared and loss.soft_labels:
        raise DomainError(
            "`squared` and `soft_labels` exclude each other",
            "Found both",
            "Σp² + Σy² − 2I is negative for soft labels where p = y",
            "Leave `squared` out; soft_labels has its minimum, 0, at p = y",
        )


def smoothing(loss: Settings) -> float:
    """Return the smoothing of the denominator."""
    return loss.smooth if loss.smooth_denominator is None else loss.smooth_denominator


def overlap_facts(loss: Settings, source: str) -> Facts:
    """Return the facts that all losses of overlap share."""
    return Facts(
        accepts="classes" if loss.kind == "softmax" else "same",
        outputs="logits" if loss.from_logits else "probabilities",
        targets="distribution" if loss.kind == "softmax" else "probabilities",
        scores=loss.kind,
        labels=True,
        source=source,
    )


def overlap_channels(
    xp: ArrayLibrary, p: Array, y: Array, soft_labels: bool, squared: bool = False
) -> dict[str, Array]:
    """Return what is summed to I, P and Y."""
    both = (p + y - xp.abs(p - y)) * 0.5 if soft_labels else p * y
    if squared:
        return {"intersection": both, "outputs": p * p, "targets": y * y}
    return {"intersection": both, "outputs": p, "targets": y}


def overlap_slopes(
    xp: ArrayLibrary, p: Array, y: Array, soft_labels: bool, squared: bool = False
) -> tuple[dict[str, Array]]:
    """Return the channels' derivatives for p."""
    both = (1 - xp.sign(p - y)) * 0.5 if soft_labels else y
    one = 2 * p if squared else xp.full_like(p, 1.0)
    return ({"intersection": both, "outputs": one, "targets": xp.full_like(p, 0.0)},)


@dataclass(frozen=True)
class Ratio:
    """r = 1 − (2I + s)/B with B = 2I + 2α·FP + 2β·FN + t: one minus a score.

    α = β = 1/2 is Dice, with B = P + Y + t; α = β = 1 is Jaccard, with half of B the union.
    With N = B − 2I − s, r = N/B and ∂r = (∂N − r·∂B)/B.
    """

    alpha: float
    beta: float
    smooth: float
    below: float

    def parts(self, xp: ArrayLibrary, sums: Sums) -> tuple[Array, Array, Array]:
        """Return N, 2I + s and B; B is 1 in place of 0, where N is 0 too."""
        both = sums["intersection"]
        top = 2 * self.alpha * (sums["outputs"] - both) + 2 * self.beta * (sums["targets"] - both)
        top = top + (self.below - self.smooth)
        score = 2 * both + self.smooth
        bottom = score + top
        return top, score, xp.where(bottom == 0, xp.full_like(bottom, 1.0), bottom)

    def numerator(self) -> dict[str, float]:
        """Return ∂N for each sum."""
        wrong, missed = 2 * self.alpha, 2 * self.beta
        return {"intersection": -wrong - missed, "outputs": wrong, "targets": missed}

    def denominator(self) -> dict[str, float]:
        """Return ∂B for each sum."""
        found = self.numerator()
        return found | {"intersection": 2 + found["intersection"]}

    def own(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the factors of N and of B, without smoothing."""
        below = {name: factor for name, factor in self.denominator().items() if factor}
        return self.numerator(), below


class AbstractLink(ABC):
    """A function h of r = 1 − score with h(0) = 0."""

    @abstractmethod
    def value(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return h(r)."""

    @abstractmethod
    def slope(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return h'(r)."""

    @abstractmethod
    def chord(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return h(r)/r, or its limit: what one unit of r is charged."""


@dataclass(frozen=True)
class Plain(AbstractLink):
    """r itself."""

    def value(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return r."""
        return r

    def slope(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return 1."""
        return xp.full_like(r, 1.0)

    def chord(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return 1."""
        return xp.full_like(r, 1.0)


@dataclass(frozen=True)
class Power(AbstractLink):
    """r^γ, whose derivative at 0 is taken as 0 for γ < 1 (it is infinite)."""

    gamma: float

    def value(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return r^γ."""
        return self._raised(xp, r, self.gamma)

    def slope(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return γ·r^(γ − 1)."""
        return self._raised(xp, r, self.gamma - 1) * self.gamma

    def chord(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return r^(γ − 1)."""
        return self._raised(xp, r, self.gamma - 1)

    def _raised(self, xp: ArrayLibrary, r: Array, exponent: float) -> Array:
        if exponent in (0, 1):
            return r if exponent else xp.full_like(r, 1.0)
        some = xp.where(r > 0, r, xp.full_like(r, 1.0))
        return xp.where(r > 0, some**exponent, xp.full_like(r, 0.0))


@dataclass(frozen=True)
class MinusLog(AbstractLink):
    """−log(1 − r)."""

    def value(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return −log score."""
        return -xp.log(score)

    def slope(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return 1/score."""
        return 1 / score

    def chord(self, xp: ArrayLibrary, r: Array, score: Array) -> Array:
        """Return −log(score)/r, or 1 at r = 0."""
        one = xp.full_like(r, 1.0)
        return xp.where(r == 0, one, -xp.log(score) / xp.where(r == 0, one, r))


PLAIN = Plain()


def ratio_values(xp: ArrayLibrary, ratio: Ratio, sums: Sums, link: AbstractLink = PLAIN) -> Array:
    """Return h(r)."""
    top, score, bottom = ratio.parts(xp, sums)
    return link.value(xp, top / bottom, score / bottom)


def ratio_slopes(
    xp: ArrayLibrary, ratio: Ratio, sums: Sums, link: AbstractLink = PLAIN
) -> dict[str, Array]:
    """Return ∂h(r) for each sum."""
    top, score, bottom = ratio.parts(xp, sums)
    r = top / bottom
    outer = link.slope(xp, r, score / bottom) / bottom
    below = ratio.denominator()
    return {name: outer * (slope - r * below[name]) for name, slope in ratio.numerator().items()}


def ratio_attribution(
    xp: ArrayLibrary, ratio: Ratio, sums: Sums, link: AbstractLink = PLAIN
) -> tuple[dict[str, Array], Array]:
    """Return each sum's factor by its share of N, and what the smoothing adds."""
    top, score, bottom = ratio.parts(xp, sums)
    each = link.chord(xp, top / bottom, score / bottom) / bottom
    factors = {name: slope * each for name, slope in ratio.numerator().items()}
    return factors, (ratio.below - ratio.smooth) * each
