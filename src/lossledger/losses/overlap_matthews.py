# SPDX-License-Identifier: Apache-2.0
"""Losses of all four counts of a binary mask: the correlation of Matthews."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Mapping, Names
from lossledger.losses._base import AbstractOverlapLoss, Facts, Inputs
from lossledger.losses._checks import check_nonnegative
from lossledger.losses._ratio import Empty, Kind

Sums = Mapping[str, Array]


@dataclass(frozen=True)
class Matthews(AbstractOverlapLoss):
    """1 − (TP·TN − FP·FN)/√((TP + FP)(TP + FN)(TN + FP)(TN + FN)), each count plus ε.

    The four counts are sums of p·y, (1 − p)(1 − y), p(1 − y), (1 − p)y. With r the
    correlation, D the root and A, B, C, E its four factors: ∂r/∂TP = TN/D − r/2·(1/A + 1/B),
    ∂r/∂TN = TP/D − r/2·(1/C + 1/E), ∂r/∂FP = −FN/D − r/2·(1/A + 1/C),
    ∂r/∂FN = −FP/D − r/2·(1/B + 1/E). Elements contribute to first order in FP and FN; what is
    left stands in the ledger as curvature.

    Args:
        over: Axes summed over.
        eps: ε ≥ 0; at 0, all of one label is 0/0.
        kind: "sigmoid" of the logits.
        from_logits: False takes probabilities.
        empty: As for `Dice`.
        include_background: Whether class 0 counts.

    Source: Abhishek and Hamarneh 2021; segmentation_models_pytorch.losses.MCCLoss.
    """

    over: Names
    eps: float = 1e-5
    kind: Kind = "sigmoid"
    from_logits: bool = True
    empty: Empty = "keep"
    include_background: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_nonnegative("eps", self.eps)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return Facts(
            accepts="same",
            outputs="logits" if self.from_logits else "probabilities",
            targets="probabilities",
            scores="sigmoid",
            labels=True,
            source="Abhishek and Hamarneh 2021",
        )

    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return the four counts per element, and what the policies for empty cells read."""
        p, y = outputs[0], targets
        return {
            "hits": p * y, "rejections": (1 - p) * (1 - y), "false": p * (1 - y),
            "missed": (1 - p) * y, "outputs": p, "targets": y,
        }  # fmt: skip

    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return their derivatives for the probability."""
        y = targets
        return ({"hits": y, "rejections": y - 1, "false": 1 - y, "missed": -y},)

    def pools(self) -> Axes:
        """Nothing is pooled: one value a cell."""
        return ()

    def finalize(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> Array:
        """Return 1 − r."""
        tp, tn, fp, fn = self._counts(sums)
        root = xp.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return 1 - (tp * tn - fp * fn) / root

    def slopes(self, xp: ArrayLibrary, sums: Sums, axis: int | None) -> dict[str, Array]:
        """Return the derivatives for the four counts."""
        tp, tn, fp, fn = self._counts(sums)
        a, b, c, e = tp + fp, tp + fn, tn + fp, tn + fn
        root = xp.sqrt(a * b * c * e)
        half = (tp * tn - fp * fn) / root * 0.5
        return {
            "hits": half * (1 / a + 1 / b) - tn / root,
            "rejections": half * (1 / c + 1 / e) - tp / root,
            "false": fn / root + half * (1 / a + 1 / c),
            "missed": fp / root + half * (1 / b + 1 / e),
        }

    def attribution(
        self, xp: ArrayLibrary, sums: Sums, axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return the slopes for FP and FN, and what they leave."""
        slopes = self.slopes(xp, sums, axis)
        found = {name: slopes[name] for name in ("false", "missed")}
        rest = xp.detach(self.finalize(xp, sums, axis))
        for name, factor in found.items():
            rest = rest - factor * sums[name]
        return found, rest

    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the factors of FP + FN over all elements."""
        wrong = {"false": 1.0, "missed": 1.0}
        return wrong, wrong | {"hits": 1.0, "rejections": 1.0}

    def _counts(self, sums: Sums) -> tuple[Array, Array, Array, Array]:
        tp, tn, fp, fn = (sums[n] + self.eps for n in ("hits", "rejections", "false", "missed"))
        return tp, tn, fp, fn
