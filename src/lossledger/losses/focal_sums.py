# SPDX-License-Identifier: Apache-2.0
"""Focal losses divided by the sum of their own factors."""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_positive
from lossledger.losses._ratio import Empty
from lossledger.losses.focal_soft import ScaledCrossEntropy, cross_entropy
from lossledger.losses.steps import AbstractStep

Sums = Mapping[str, Array]


@dataclass(frozen=True)
class NormalizedFocal(AbstractOverlapLoss):
    """Σ a·u^γ·ℓ / max(Σ u^γ, ε), and over the number of elements under `mean`.

    With L and F the two sums: ∂/∂L = 1/max(F, ε), ∂/∂F = −L/F² above ε and 0 below it; both
    sums are differentiated by z. Elements contribute a·u^γ·ℓ/F, which adds up.

    Args:
        over: Axes summed over.
        focal: a, u, γ and ℓ.
        mean: Whether the ratio is divided by the sum of the weights once more.
        eps: ε > 0.
        steps: What is done to the outputs first, element by element: probabilities to logits.
        empty: As for `Dice`.
        include_background: Whether class 0 counts.

    Source: Zheng et al. 2019; segmentation_models_pytorch.losses.FocalLoss(normalized=True).
    """

    over: Names
    focal: ScaledCrossEntropy
    mean: bool = True
    eps: float = 1e-6
    steps: tuple[AbstractStep, ...] = ()
    empty: Empty = "keep"
    include_background: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("eps", self.eps)

    def facts(self) -> Facts:
        """Return the facts of the focal loss; it reads logits itself."""
        return replace(self.focal.facts(), outputs="any", scores=None, source="Zheng et al. 2019")

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return the losses, their factors, and 1, per element."""
        z = self._stages(xp, outputs[0], inputs)[-1]
        entropy = cross_entropy(xp, z, targets)
        scale = self.focal.factor(xp, z, targets, entropy)
        alpha = self.focal.alphas(xp, z, targets, inputs)
        return {
            "losses": alpha * scale * entropy, "factors": scale + 0 * z,
            "elements": xp.full_like(z, 1.0), "outputs": xp.sigmoid(z), "targets": targets,
        }  # fmt: skip

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives for the output."""
        stages = self._stages(xp, outputs[0], inputs)
        z = stages[-1]
        one = xp.full_like(z, 1.0)
        entropy = cross_entropy(xp, z, targets)
        found = {
            "losses": self.focal.gradient(xp, (z,), targets, inputs, one)[0],
            "factors": self.focal.factor_slope(xp, z, targets, entropy),
        }
        for step, before in zip(reversed(self.steps), reversed(stages[:-1]), strict=True):
            found = {name: step.pull(xp, before, inputs, s) for name, s in found.items()}
        return (found,)

    def pools(self) -> Axes:
        """Nothing is pooled: one value a cell."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> Array:
        """Return the ratio."""
        return sums["losses"] * self._inverse(xp, sums)

    def slopes(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> dict[str, Array]:
        """Return ∂/∂L and ∂/∂F."""
        inverse, factors = self._inverse(xp, sums), sums["factors"]
        zero = xp.full_like(factors, 0.0)
        free = xp.where(factors >= self.eps, inverse, zero)
        some = xp.where(factors >= self.eps, factors, zero + 1)
        return {"losses": inverse, "factors": -sums["losses"] * free / some}

    def attribution(
        self, xp: ArrayLibrary, sums: Sums, axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return 1/F for the losses; nothing is left."""
        return {"losses": self._inverse(xp, sums)}, xp.full_like(sums["losses"], 0.0)

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the losses over the elements."""
        return {"losses": 1.0}, {"elements": 1.0}

    def _stages(self, xp: ArrayLibrary, z: Array, inputs: Inputs) -> list[Array]:
        stages = [z]
        for step in self.steps:
            stages.append(step.apply(xp, stages[-1], inputs))
        return stages

    def _inverse(self, xp: ArrayLibrary, sums: Sums) -> Array:
        factors = sums["factors"]
        held = xp.where(factors >= self.eps, factors, xp.full_like(factors, self.eps))
        return 1 / (held * sums["elements"]) if self.mean else 1 / held
