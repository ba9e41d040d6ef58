# SPDX-License-Identifier: Apache-2.0
"""Losses of a router's choice among experts."""

from dataclasses import dataclass, field

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.frames import parse_axes
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_choice
from lossledger.losses._ratio import Empty


@dataclass(frozen=True)
class LoadBalance(AbstractOverlapLoss):
    """E·Σ_e f_e·P_e over E experts: 1 if tokens are spread evenly, E if all go to one.

    f_e is the share of the tokens whose most probable expert is e, a constant; P_e is the
    mean over tokens of the router's probability (softmax) of e. With T = Σw tokens,
    ∂/∂(Σp_e) = E·f_e/T, and a token contributes E·f_e·w·p_e/T to expert e.

    Args:
        over: Axes of the tokens, summed over: "batch time". Without `batch` in it, every
            sample is balanced by itself, which is another loss.
        axis: Name of the axis of the experts.
        empty: What a group without tokens gives; as for `Dice`.

    Outputs are router logits with the axes of the tokens and of the experts; there are no
    targets. Of equal logits the first expert is taken.

    Source: Fedus et al. 2021 (Switch Transformer), without its factor α: see `loss_weight`.
    """

    over: Names
    axis: str = "class"
    empty: Empty = "keep"
    include_background: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that experts are not summed over as tokens."""
        check_choice("empty", self.empty, ("keep", "zero", "skip", "raise", "agree"))
        if self.axis in parse_axes(self.over, "over"):
            raise MatchError(
                "`over` names the axes of the tokens, without the experts' axis",
                f"Found `{self.axis}` in over={self.over!r}",
                "The experts' axis has another name in `axes`",
                "Name it: LoadBalance(over='batch time', axis='expert')",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="none",
            outputs="logits",
            scores="softmax",
            couples=(self.axis,),
            source="Fedus et al. 2021",
        )

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return probabilities, and as targets the expert chosen."""
        p, place = outputs[0], inputs.frame.axes.index(self.axis)
        steps = xp.arange(p.shape[place], p)
        rank = len(inputs.frame.axes)
        experts = xp.reshape(steps, tuple(-1 if i == place else 1 for i in range(rank)))
        chosen = xp.expand(xp.argmax(xp.detach(p), place), place)
        return {"outputs": p, "targets": xp.astype(chosen == experts, xp.dtype(p))}

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return 1 for the probability."""
        return ({"outputs": xp.full_like(outputs[0], 1.0)},)

    def pools(self) -> Axes:
        """The experts' axis."""
        return (self.axis,)

    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return E·Σ f·P; 0 without tokens."""
        return xp.sum(self._price(xp, sums, axis or 0) * sums["outputs"], axis=axis or 0)

    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return E·f/T."""
        return {"outputs": self._price(xp, sums, axis or 0)}

    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return E·f/T: the value is linear in the probabilities."""
        price = self._price(xp, sums, axis or 0)
        return {"outputs": price}, xp.full_like(xp.sum(price, axis=axis or 0), 0.0)

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the probability over the number of tokens: P_e, or P of all rows."""
        return {"outputs": 1.0}, {}

    def _price(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int) -> Array:
        """Return E·f/T with T = Σ_e of the tokens sent to e."""
        sent = sums["targets"]
        tokens = xp.expand(xp.sum(sent, axis=axis), axis)
        some = xp.where(tokens == 0, xp.full_like(tokens, 1.0), tokens)
        return xp.detach(sent.shape[axis] * sent / (some * some))
