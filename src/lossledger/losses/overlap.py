# SPDX-License-Identifier: Apache-2.0
"""Losses of overlap: ratios of sums over named axes.

I = Σwpy, P = Σwp, Y = Σwy over the axes in `over`; p are probabilities, y targets in [0, 1].
"""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.losses._base import AbstractOverlapLoss, Facts
from lossledger.losses._checks import check_nonnegative

Kind = Literal["sigmoid", "softmax"]
Empty = Literal["keep", "zero", "skip", "raise", "agree"]


@dataclass(frozen=True)
class Dice(AbstractOverlapLoss):
    """1 − (2I + s)/(P + Y + s): one minus the soft Dice score.

    ∂/∂I = −2/D, ∂/∂P = (2I + s)/D² with D = P + Y + s. Elements contribute
    w·(p + y − 2py)/D, which adds up by class and label.

    Args:
        over: Axes summed over: "batch height width" is one Dice per class over the batch,
            "height width" one per sample and class.
        smooth: s, in the form above (twice optax' and half MONAI's numerator convention).
        squared: Use Σwp² and Σwy² for P and Y (V-Net).
        kind: "sigmoid" or "softmax" of the logits.
        from_logits: False takes probabilities.
        empty: Cells whose targets sum to 0: "keep", "zero", "skip", "raise" or "agree".
        include_background: Whether class 0 counts.
        soft_labels: Intersect by (p + y − |p − y|)/2, which is p·y for hard labels and is 0
            loss at p = y for soft ones.

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

    def __post_init__(self) -> None:
        """Check the range of the smoothing."""
        check_nonnegative("smooth", self.smooth)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self.kind, self.from_logits, "Milletari et al. 2016")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array
    ) -> dict[str, Array]:
        """Return intersection, outputs and targets per element."""
        return overlap_channels(xp, outputs[0], targets, self.squared, self.soft_labels)

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array
    ) -> dict[str, Array]:
        """Return their derivatives for the probability."""
        return overlap_slopes(xp, outputs[0], targets, self.squared, self.soft_labels)

    def pools(self) -> Axes:
        """One Dice per cell: nothing is pooled."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return 1 − (2I + s)/D as (P + Y − 2I)/D; 0 where both are empty and s = 0."""
        top, bottom = self._ratio(xp, sums)
        return top / bottom

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y."""
        top, bottom = self._ratio(xp, sums)
        side = 1 / bottom - top / bottom**2
        return {"intersection": -2 / bottom, "outputs": side, "targets": side}

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the numerator's factors over the shared denominator."""
        _, bottom = self._ratio(xp, sums)
        each = 1 / bottom
        return {"intersection": -2 * each, "outputs": each, "targets": each}, each * 0

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return P + Y − 2I over P + Y."""
        return {"intersection": -2, "outputs": 1, "targets": 1}, {"outputs": 1, "targets": 1}

    def _ratio(self, xp: ArrayLibrary, sums: Mapping[str, Array]) -> tuple[Array, Array]:
        whole = sums["outputs"] + sums["targets"]
        bottom = whole + self.smooth
        top = whole - 2 * sums["intersection"]
        return top, xp.where(bottom == 0, bottom * 0 + 1, bottom)


def overlap_facts(kind: Kind, from_logits: bool, source: str) -> Facts:
    """Return the facts that all overlap losses share."""
    return Facts(
        accepts="classes" if kind == "softmax" else "same",
        outputs="logits" if from_logits else "probabilities",
        targets="distribution" if kind == "softmax" else "probabilities",
        scores=kind,
        labels=True,
        source=source,
    )


def overlap_channels(
    xp: ArrayLibrary, p: Array, y: Array, squared: bool, soft_labels: bool
) -> dict[str, Array]:
    """Return w-free channels: intersection, outputs (or squares), targets (or squares)."""
    both = (p + y - xp.abs(p - y)) * 0.5 if soft_labels else p * y
    if squared:
        return {"intersection": both, "outputs": p * p, "targets": y * y}
    return {"intersection": both, "outputs": p, "targets": y}


def overlap_slopes(
    xp: ArrayLibrary, p: Array, y: Array, squared: bool, soft_labels: bool
) -> dict[str, Array]:
    """Return the channels' derivatives for p."""
    both = (1 - xp.sign(p - y)) * 0.5 if soft_labels else y
    return {"intersection": both, "outputs": 2 * p if squared else p * 0 + 1, "targets": p * 0}
