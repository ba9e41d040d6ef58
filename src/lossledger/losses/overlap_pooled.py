# SPDX-License-Identifier: Apache-2.0
"""One ratio for all classes together: generalized Dice."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.frames import parse_axes
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_choice
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
class GeneralizedDice(AbstractOverlapLoss):
    """1 − (2Σ_c v_c·I_c + s)/(Σ_c v_c·(P_c + Y_c) + t): small classes weigh as much as large.

    v_c = 1/Y_c², 1/Y_c or 1 depends on the targets alone. With D the denominator and r the
    value: ∂/∂I_c = −2v_c/D, ∂/∂P_c = v_c(1 − r)/D. Elements contribute
    v_c·w·(p + y − 2py)/D, which adds up by class and label; (t − s)/D is left where t ≠ s.
    Class weights multiply v_c; other weights multiply the sums, those in v_c included.

    Args:
        over: Axes summed over, without `class`, which is pooled: "batch height width" is one
            ratio for the batch, "height width" one a sample.
        weights: "square" 1/Y², "simple" 1/Y, or "uniform" 1.
        absent: v of a class without targets: the "largest" of the others' (0 if there is
            none), or "drop" it with v = 0. With "uniform" weights v = 1 all the same.
        smooth: s, beside sums weighted by v: 1 would drown sums over Y². Default 0.
        smooth_denominator: t; default s.
        kind: "sigmoid" or "softmax" of the logits.
        from_logits: False takes probabilities.
        empty: Groups in which no class has targets: as for `Dice`.
        include_background: Whether class 0 counts.
        soft_labels: As for `Dice`.

    Source: Sudre et al. 2017.
    """

    bare: ClassVar[Axes] = ("volume",)

    over: Names
    weights: Literal["square", "simple", "uniform"] = "square"
    absent: Literal["largest", "drop"] = "largest"
    smooth: float = 0.0
    smooth_denominator: float | None = None
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self)
        check_choice("weights", self.weights, ("square", "simple", "uniform"))
        check_choice("absent", self.absent, ("largest", "drop"))
        if "class" in parse_axes(self.over, "over"):
            raise MatchError(
                "GeneralizedDice pools the class axis itself",
                f"Found `class` in over={self.over!r}",
                "Without weights by class the ratio over all classes is Dice",
                "Leave `class` out of `over`, or use Dice(over='... class')",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "Sudre et al. 2017")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return intersection, outputs and targets, and the targets that v is made of."""
        found = overlap_channels(xp, outputs[0], targets, self.soft_labels)
        return found | {"volume": targets}

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives for the probability."""
        return overlap_slopes(xp, outputs[0], targets, self.soft_labels)

    def pools(self) -> Axes:
        """The class axis."""
        return ("class",)

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return the ratio of weighted sums; 0 where its denominator is 0."""
        _, pooled = self._pooled(xp, sums, axis)
        return ratio_values(xp, self._ratio(), pooled)

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y by class, with v held."""
        v, pooled = self._pooled(xp, sums, axis)
        found = ratio_slopes(xp, self._ratio(), pooled)
        return {name: v * xp.expand(slope, axis or 0) for name, slope in found.items()}

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return each class's factors in the numerator over the one denominator."""
        v, pooled = self._pooled(xp, sums, axis)
        found, rest = ratio_attribution(xp, self._ratio(), pooled)
        return {name: v * xp.expand(each, axis or 0) for name, each in found.items()}, rest

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of P + Y − 2I over P + Y: a class's own Dice."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        return Ratio(0.5, 0.5, self.smooth, smoothing(self))

    def _pooled(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[Array, dict[str, Array]]:
        """Return v and the weighted sums over the classes."""
        v = xp.detach(self._weights(xp, sums, axis or 0))
        names = ("intersection", "outputs", "targets")
        return v, {name: xp.sum(v * sums[name], axis=axis or 0) for name in names}

    def _weights(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int) -> Array:
        volume = sums["volume"]
        if self.weights == "uniform":
            return xp.full_like(volume, 1.0)
        some = volume != 0
        inverse = 1 / xp.where(some, volume, xp.full_like(volume, 1.0))
        inverse = inverse * inverse if self.weights == "square" else inverse
        none = xp.full_like(volume, 0.0)
        if self.absent == "drop":
            return xp.where(some, inverse, none)
        # A class of weight 0 (a background left out) does not lend its v to others.
        counted = some & (sums["outputs"] + sums["targets"] != 0)
        largest = xp.max(xp.where(counted, inverse, none), axis=axis)
        return xp.where(some, inverse, xp.expand(largest, axis))
