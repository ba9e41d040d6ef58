# SPDX-License-Identifier: Apache-2.0
"""A mean of Dice losses by class, each weighed by how rare its class is in the batch.

I = Σwpy, P = Σwp, Y = Σwy over the axes in `over`; p are probabilities, y targets in [0, 1].
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.frames import parse_axes
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_positive
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
class BalancedDice(AbstractOverlapLoss):
    """Σ_c v_c·d_c/C with d_c = 1 − (2I_c + s)/(P_c + Y_c + t) and v_c = C·u_c/Σu.

    u_c = 1/(n_c² + ε) with n_c = Σwy of the class over the whole batch, class weights apart; C
    counts all classes in v, and those that count under the sum. ∂/∂I_c = −2v_c/(C·D_c) with
    D_c = P_c + Y_c + t, ∂/∂P_c = (1 − d_c)·v_c/(C·D_c).

    Args:
        over: Axes that each d is summed over: "height width" is one a sample. The class axis
            is not named.
        epsilon: ε > 0.

    The others as for `Dice`. Samples of a batch share v, so parts of a batch mean something
    else.

    Source: optax.losses.multiclass_generalized_dice_loss (there s and t are halved).
    """

    bare: ClassVar[Axes] = ("volume",)

    over: Names
    smooth: float = 1.0
    smooth_denominator: float | None = None
    epsilon: float = 1e-7
    kind: Kind = "softmax"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self)
        check_positive("epsilon", self.epsilon)
        if "class" in parse_axes(self.over, "over"):
            raise MatchError(
                "BalancedDice pools the class axis itself",
                f"Found `class` in over={self.over!r}",
                "Without weights by class the ratio over all classes is Dice",
                "Leave `class` out of `over`, or use Dice(over='... class')",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        source = "optax.losses.multiclass_generalized_dice_loss"
        return replace(overlap_facts(self, source), candidates=True)

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
        """Return the weighed mean of the classes' losses."""
        return xp.sum(self._share(xp, sums, axis) * ratio_values(xp, self._ratio(), sums), axis)

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y by class, with v held."""
        share = self._share(xp, sums, axis)
        return {n: share * slope for n, slope in ratio_slopes(xp, self._ratio(), sums).items()}

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return each class's factors over its own denominator."""
        share = self._share(xp, sums, axis)
        found, rest = ratio_attribution(xp, self._ratio(), sums)
        return {n: share * each for n, each in found.items()}, xp.sum(share * rest, axis)

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of P + Y − 2I over P + Y: a class's own Dice."""
        return self._ratio().own()

    def _ratio(self) -> Ratio:
        return Ratio(0.5, 0.5, self.smooth, smoothing(self))

    def _share(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return v/C by class, the same in every cell; 0 for a background left out."""
        volume, place = xp.detach(sums["volume"]), axis or 0
        rank, classes = len(volume.shape), volume.shape[place]
        others = tuple(i for i in range(rank) if i != place)
        total = xp.sum(volume, axis=others) if others else volume
        rare = 1 / (total * total + self.epsilon)
        counted = classes if self.include_background or classes == 1 else classes - 1
        share = rare / xp.sum(rare) * (classes / counted)
        if counted < classes:
            index = xp.arange(classes, share)
            share = xp.where(index > 0, share, xp.full_like(share, 0.0))
        along = tuple(classes if i == place else 1 for i in range(rank))
        return xp.broadcast_to(xp.reshape(share, along), tuple(volume.shape))
