# SPDX-License-Identifier: Apache-2.0
"""Ratios of sums as libraries guard them: numerators, denominators and scores held off 0.

I = Σwpy, P = Σwp, Y = Σwy over the axes in `over`; FP = P − I, FN = Y − I.
"""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Mapping, Names, Sequence
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_choice, check_nonnegative, check_positive
from lossledger.losses._ratio import (
    Empty,
    Kind,
    check_overlap,
    overlap_channels,
    overlap_facts,
    overlap_slopes,
)

Form = Literal["complement", "negative", "log"]
Sums = Mapping[str, Array]


@dataclass(frozen=True)
class ClippedTversky(AbstractOverlapLoss):
    """1 − T, −T or −log max(T, ε) with T = (I' + s/2)/max(I' + α·FP + β·FN + t/2, ε).

    I' = max(I, the least intersection). With B the denominator, ∂T/∂I = (1 − T·(1 − α − β))/B,
    ∂T/∂P = −α·T/B; what is held at its bound has derivative 0. Elements contribute the slope
    of the loss times their part of α·FP + β·FN over B; what is left over, such as the −1 of
    −T, stands in the ledger as curvature.

    Args:
        over: Axes summed over.
        alpha: α, of false positives; 1/2 beside β = 1/2 is Dice, 1 beside 1 Jaccard.
        beta: β, of false negatives.
        smooth: s, as for `Tversky`.
        form: "complement" 1 − T, "negative" −T, "log" −log max(T, ε).
        floor: ε.
        least: Least intersection.
        kind: "sigmoid" or "softmax" of the logits.
        from_logits: False takes probabilities.
        empty: As for `Dice`.
        include_background: Whether class 0 counts.
        soft_labels: As for `Dice`.
        smooth_denominator: t; default s.

    Source: nnU-Net's SoftDiceLoss; segmentation_models_pytorch's soft_tversky_score.
    """

    over: Names
    alpha: float = 0.5
    beta: float = 0.5
    smooth: float = 1.0
    form: Form = "complement"
    floor: float = 1e-7
    least: float | None = None
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True
    soft_labels: bool = False
    smooth_denominator: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_overlap(self)
        check_nonnegative("alpha", self.alpha)
        check_nonnegative("beta", self.beta)
        check_positive("floor", self.floor)
        check_choice("form", self.form, ("complement", "negative", "log"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return overlap_facts(self, "nnU-Net's SoftDiceLoss")

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

    def finalize(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> Array:
        """Return 1 − T, −T or −log T."""
        score = score_of(xp, self, sums)
        if self.form == "log":
            return -xp.log(raised(xp, score, self.floor))
        return -score if self.form == "negative" else 1 - score

    def slopes(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> dict[str, Array]:
        """Return ∂/∂I, ∂/∂P and ∂/∂Y."""
        outer = self._outer(xp, sums)
        return {name: outer * s for name, s in score_slopes(xp, self, sums).items()}

    def attribution(
        self, xp: ArrayLibrary, sums: Sums, axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the parts of α·FP + β·FN over B, and what is left."""
        bottom = raised(xp, parts_of(xp, self, sums)[1], self.floor)
        each = -self._outer(xp, sums) / bottom
        return shares(self, sums, each, xp.detach(self.finalize(xp, sums, axis)))

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of α·FP + β·FN over I + α·FP + β·FN."""
        above = wrong_factors(self)
        below = above | {"intersection": 1 + above["intersection"]}
        return above, {name: factor for name, factor in below.items() if factor}

    def _outer(self, xp: ArrayLibrary, sums: Sums) -> Array:
        """Return the derivative for T."""
        score = score_of(xp, self, sums)
        if self.form != "log":
            return xp.full_like(score, -1.0)
        high = raised(xp, score, self.floor)
        return xp.where(score >= self.floor, -1 / high, xp.full_like(score, 0.0))


@dataclass(frozen=True)
class MeanTverskyPower(AbstractOverlapLoss):
    """(Σ_c w_c·v_c / Σ_c w_c)^γ with v_c the values of `ClippedTversky`: one power for all.

    ∂/∂v_c = γ·m^(γ−1)·w_c/Σw with m the mean, 0 at m = 0. Classes whose targets sum to 0
    have v_c = 0 and count. Elements contribute m^(γ−1) times what they do to the mean.

    Args:
        loss: The loss of one class, with empty="keep": its axes, smoothing and form.
        gamma: γ > 0.
        weights: w_c, one a class; None for ones.

    Source: segmentation_models_pytorch.losses.TverskyLoss(gamma=...).
    """

    loss: ClippedTversky
    gamma: float = 1.0
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("gamma", self.gamma)
        check_choice("loss.empty", self.loss.empty, ("keep",))

    @property
    def over(self) -> Names:  # type: ignore[override]
        """The axes of the loss of one class."""
        return self.loss.over

    @property
    def empty(self) -> Empty:  # type: ignore[override]
        """Groups are kept; within them, absent classes are 0."""
        return "keep"

    @property
    def include_background(self) -> bool:  # type: ignore[override]
        """Whether class 0 counts."""
        return self.loss.include_background

    def facts(self) -> Facts:
        """Return the facts of the loss of one class."""
        return self.loss.facts()

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return the channels of the loss of one class."""
        return self.loss.channels(xp, outputs, targets, inputs)

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives."""
        return self.loss.channel_slopes(xp, outputs, targets, inputs)

    def pools(self) -> Axes:
        """The class axis."""
        return ("class",)

    def finalize(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> Array:
        """Return the power of the mean."""
        mean = self._mean(xp, sums, axis or 0)
        some = xp.where(mean > 0, mean, xp.full_like(mean, 1.0))
        return xp.where(mean > 0, some**self.gamma, xp.full_like(mean, 0.0))

    def slopes(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> dict[str, Array]:
        """Return the slopes of every class, times what its value weighs."""
        outer = self._power(xp, sums, axis or 0) * self.gamma * self._shares(xp, sums, axis or 0)
        return {name: outer * s for name, s in self.loss.slopes(xp, sums, axis).items()}

    def attribution(
        self, xp: ArrayLibrary, sums: Sums, axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the attribution of every class, times m^(γ−1) and its weight."""
        outer = self._power(xp, sums, axis or 0) * self._shares(xp, sums, axis or 0)
        found, rest = self.loss.attribution(xp, sums, axis)
        return {n: f * outer for n, f in found.items()}, xp.sum(rest * outer, axis=axis or 0)

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of the loss of one class."""
        return self.loss.own()

    def _mean(self, xp: ArrayLibrary, sums: Sums, axis: int) -> Array:
        values = self.loss.finalize(xp, sums, axis) * self._shares(xp, sums, axis)
        return xp.sum(values, axis=axis)

    def _power(self, xp: ArrayLibrary, sums: Sums, axis: int) -> Array:
        mean = xp.detach(self._mean(xp, sums, axis))
        some = xp.where(mean > 0, mean, xp.full_like(mean, 1.0))
        power = xp.where(mean > 0, some ** (self.gamma - 1), xp.full_like(mean, 0.0))
        return xp.expand(power, axis)

    def _shares(self, xp: ArrayLibrary, sums: Sums, axis: int) -> Array:
        """Return w_c/Σw, 0 for a class without targets."""
        volume = xp.detach(sums["targets"])
        numbers = [1.0] * volume.shape[axis] if self.weights is None else list(self.weights)
        place = tuple(-1 if i == axis else 1 for i in range(len(volume.shape)))
        total = sum(numbers)
        along = xp.asarray([n / total for n in numbers], xp.dtype(volume), volume)
        zero = xp.full_like(volume, 0.0)
        return xp.where(volume > 0, xp.reshape(along, place) + zero, zero)


def wrong_factors(loss: ClippedTversky) -> dict[str, float]:
    """Return the factors of I, P and Y in α·FP + β·FN."""
    both = -loss.alpha - loss.beta
    return {"intersection": both, "outputs": loss.alpha, "targets": loss.beta}


def raised(xp: ArrayLibrary, x: Array, low: float) -> Array:
    """Return max(x, low), with derivative 1 at and above the bound, 0 below."""
    return xp.where(x >= low, x, xp.full_like(x, low))


def parts_of(xp: ArrayLibrary, loss: ClippedTversky, sums: Sums) -> tuple[Array, Array]:
    """Return T's numerator, and its denominator before it is held off 0."""
    both = sums["intersection"]
    above = both if loss.least is None else raised(xp, both, loss.least)
    below = loss.smooth if loss.smooth_denominator is None else loss.smooth_denominator
    wrong = loss.alpha * (sums["outputs"] - both) + loss.beta * (sums["targets"] - both)
    return above + loss.smooth / 2, above + wrong + below / 2


def score_of(xp: ArrayLibrary, loss: ClippedTversky, sums: Sums) -> Array:
    """Return T."""
    top, bottom = parts_of(xp, loss, sums)
    return top / raised(xp, bottom, loss.floor)


def score_slopes(xp: ArrayLibrary, loss: ClippedTversky, sums: Sums) -> dict[str, Array]:
    """Return ∂T for each sum."""
    top, bottom = parts_of(xp, loss, sums)
    high = raised(xp, bottom, loss.floor)
    one, zero = xp.full_like(top, 1.0), xp.full_like(top, 0.0)
    free = one
    if loss.least is not None:
        free = xp.where(sums["intersection"] >= loss.least, one, zero)
    falls = xp.where(bottom >= loss.floor, top / high, zero) / high
    wrong = wrong_factors(loss)
    found = {name: -falls * factor for name, factor in wrong.items()}
    return found | {"intersection": free / high - falls * (free + wrong["intersection"])}


def shares(
    loss: ClippedTversky, sums: Sums, each: Array, value: Array
) -> tuple[dict[str, Array], Array]:
    """Return `each` times the factors of α·FP + β·FN, and what they leave of the value."""
    found = {name: each * factor for name, factor in wrong_factors(loss).items()}
    rest = value
    for name, factor in found.items():
        rest = rest - factor * sums[name]
    return found, rest
