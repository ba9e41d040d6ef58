# SPDX-License-Identifier: Apache-2.0
"""Losses of overlap: Dice and Jaccard, ratios of sums over named axes.

I = Σwpy, P = Σwp, Y = Σwy over the axes in `over`; p are probabilities, y targets in [0, 1].
FP = P − I is what is predicted and wrong, FN = Y − I what is missed.
"""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._ratio import (
    Empty,
    Kind,
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
class Dice(AbstractOverlapLoss):
    """1 − (2I + s)/(P + Y + t): one minus the soft Dice score; t = s unless it is given.

    With D = P + Y + t: ∂/∂I = −2/D, ∂/∂P = (2I + s)/D². Elements contribute
    w·(p + y − 2py)/D, which adds up by class and label; (t − s)/D is left where t ≠ s.

    Args:
        over: Axes summed over: "batch height width" is one Dice per class over the batch,
            "height width" one per sample and class, "batch height width class" one in all.
        smooth: s, in the form above (optax and smp write I + s for 2I + 2s).
        squared: Use Σwp² and Σwy² for P and Y (V-Net).
        kind: "sigmoid" or "softmax" of the logits.
        from_logits: False takes probabilities.
        empty: Cells whose targets sum to 0: "keep" the formula, "zero" (counts as 0), "skip"
            (does not count), "raise", or "agree": 0 where P = 0 too, else the formula.
        include_background: Whether class 0 counts.
        soft_labels: Intersect by (p + y − |p − y|)/2, which is p·y for hard labels and is 0
            loss at p = y for soft ones.
        smooth_denominator: t.

    Source: Milletari et al. 2016 (V-Net); Drozdzal et al. 2016.
    """

    over: Names
    smooth: float = 1.0
    squared: bool = False
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False
    smooth_denominator: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self, self.squared)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "Milletari et al. 2016")

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
        """Return (P + Y − 2I + t − s)/D; 0 where D is 0."""
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
        """Return the factors of P + Y − 2I over P + Y."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        return Ratio(0.5, 0.5, self.smooth, smoothing(self))


@dataclass(frozen=True)
class Jaccard(AbstractOverlapLoss):
    """1 − (2I + s)/(2U + t) with the union U = P + Y − I; t = s unless it is given.

    The same as 1 − (I + s/2)/(U + t/2): the smoothing is stated as for `Dice`.
    With D = 2U + t and r the value: ∂/∂I = −(4 − 2r)/D, ∂/∂P = 2(1 − r)/D. Elements
    contribute 2w·(p + y − 2py)/D; (t − s)/D is left where t ≠ s.

    Args: As for `Dice`.

    Source: Rahman and Wang 2016, Optimizing intersection-over-union.
    """

    over: Names
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

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "Rahman and Wang 2016")

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
        """Return (2(P + Y − 2I) + t − s)/D; 0 where D is 0."""
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
        """Return the factors of P + Y − 2I over P + Y − I, twice."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        return Ratio(1.0, 1.0, self.smooth, smoothing(self))
