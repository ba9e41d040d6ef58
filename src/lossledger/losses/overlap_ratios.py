# SPDX-License-Identifier: Apache-2.0
"""Ratios of sums with a price for each kind of error, and functions of them.

I = Σwpy, P = Σwp, Y = Σwy over the axes in `over`; p are probabilities, y targets in [0, 1].
FP = P − I is what is predicted and wrong, FN = Y − I what is missed.
"""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_choice, check_nonnegative, check_positive
from lossledger.losses._ratio import (
    Empty,
    Kind,
    MinusLog,
    Power,
    Ratio,
    check_overlap,
    overlap_channels,
    overlap_facts,
    overlap_slopes,
    ratio_attribution,
    ratio_slopes,
    ratio_values,
    smoothing,
)


@dataclass(frozen=True)
class Tversky(AbstractOverlapLoss):
    """1 − (2I + s)/(2I + 2α·FP + 2β·FN + t): false and missed places at their own price.

    The same as 1 − (I + s/2)/(I + α·FP + β·FN + t/2): the smoothing is stated as for `Dice`,
    which α = β = 1/2 is; α = β = 1 is `Jaccard`. With D the denominator and r the value:
    ∂/∂I = −2(α + β + r·(1 − α − β))/D, ∂/∂P = 2α(1 − r)/D. Elements contribute
    2w·(α·p(1 − y) + β·(1 − p)y)/D; (t − s)/D is left where t ≠ s.

    Args:
        alpha: α, of false positives (some libraries call this one β).
        beta: β, of false negatives.

    The others as for `Dice`.

    Source: Salehi et al. 2017.
    """

    over: Names
    alpha: float = 0.3
    beta: float = 0.7
    smooth: float = 1.0
    smooth_denominator: float | None = None
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self)
        check_nonnegative("alpha", self.alpha)
        check_nonnegative("beta", self.beta)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "Salehi et al. 2017")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return intersection, outputs and targets per element."""
        return overlap_channels(xp, outputs[0], targets, self.soft_labels)

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives for the probability."""
        return overlap_slopes(xp, outputs[0], targets, self.soft_labels)

    def pools(self) -> Axes:
        """Nothing is pooled: one value a cell."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return (2α·FP + 2β·FN + t − s)/D; 0 where D is 0."""
        return ratio_values(xp, self._ratio(), sums)

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y."""
        return ratio_slopes(xp, self._ratio(), sums)

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the numerator's factors over the denominator, and what the smoothing adds."""
        return ratio_attribution(xp, self._ratio(), sums)

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of α·FP + β·FN over I + α·FP + β·FN, twice."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        return Ratio(self.alpha, self.beta, self.smooth, smoothing(self))


@dataclass(frozen=True)
class FocalTversky(AbstractOverlapLoss):
    """(1 − T)^γ with T the score of `Tversky`: γ < 1 presses on what is nearly right.

    Derivatives are those of `Tversky` times γ(1 − T)^(γ−1), which for γ < 1 is infinite at
    T = 1 and is taken as 0 there. Elements contribute by their share of 1 − T.

    Args:
        alpha: α, of false positives.
        beta: β, of false negatives.
        gamma: γ > 0, the exponent itself (the paper writes 1/γ, and uses 3/4).

    The others as for `Dice`; t ≥ s, so that 1 − T is never negative.

    Source: Abraham and Khan 2019.
    """

    over: Names
    alpha: float = 0.3
    beta: float = 0.7
    gamma: float = 0.75
    smooth: float = 1.0
    smooth_denominator: float | None = None
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self)
        check_nonnegative("alpha", self.alpha)
        check_nonnegative("beta", self.beta)
        check_positive("gamma", self.gamma)
        check_nonnegative("smooth_denominator − smooth", smoothing(self) - self.smooth)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "Abraham and Khan 2019")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return intersection, outputs and targets per element."""
        return overlap_channels(xp, outputs[0], targets, self.soft_labels)

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives for the probability."""
        return overlap_slopes(xp, outputs[0], targets, self.soft_labels)

    def pools(self) -> Axes:
        """Nothing is pooled: one value a cell."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return (1 − T)^γ."""
        return ratio_values(xp, self._ratio(), sums, Power(self.gamma))

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y."""
        return ratio_slopes(xp, self._ratio(), sums, Power(self.gamma))

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return each sum's factor by its share of 1 − T, and what the smoothing adds."""
        return ratio_attribution(xp, self._ratio(), sums, Power(self.gamma))

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of 1 − T: α·FP + β·FN over I + α·FP + β·FN, twice."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        return Ratio(self.alpha, self.beta, self.smooth, smoothing(self))


@dataclass(frozen=True)
class LogDice(AbstractOverlapLoss):
    """−log of the score of `Dice` (or of `Jaccard`).

    Derivatives are those of 1 − score over the score. Elements contribute by their share of
    1 − score, so rows add up to the value.

    Args:
        ratio: "dice" or "jaccard".
        smooth: s > 0: without smoothing the value is infinite where nothing overlaps.

    The others as for `Dice`.

    Source: Wong et al. 2018, 3D segmentation with exponential logarithmic loss.
    """

    over: Names
    ratio: Literal["dice", "jaccard"] = "dice"
    smooth: float = 1.0
    squared: bool = False
    smooth_denominator: float | None = None
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self, self.squared)
        check_positive("smooth", self.smooth)
        check_choice("ratio", self.ratio, ("dice", "jaccard"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "Wong et al. 2018")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return intersection, outputs and targets per element."""
        return overlap_channels(xp, outputs[0], targets, self.soft_labels, self.squared)

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives for the probability."""
        return overlap_slopes(xp, outputs[0], targets, self.soft_labels, self.squared)

    def pools(self) -> Axes:
        """Nothing is pooled: one value a cell."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return −log score."""
        return ratio_values(xp, self._ratio(), sums, MinusLog())

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y."""
        return ratio_slopes(xp, self._ratio(), sums, MinusLog())

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return each sum's factor by its share of 1 − score, and what the smoothing adds."""
        return ratio_attribution(xp, self._ratio(), sums, MinusLog())

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of 1 − score."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        price = 0.5 if self.ratio == "dice" else 1.0
        return Ratio(price, price, self.smooth, smoothing(self))
