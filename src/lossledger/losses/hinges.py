# SPDX-License-Identifier: Apache-2.0
"""Hinges of distances, of pairs of scores, and of all classes against those that are wanted.

z is a score, x a distance, y a target. Where a hinge has a `kink`, that is its slope at the
kink as a share of the slope above it: 0, or 1 as in torch's clamp.
"""

from dataclasses import dataclass
from typing import Literal

from lossledger._array import ArrayLibrary
from lossledger._errors import DomainError, ShapeError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Facts, Inputs
from lossledger.losses._checks import check_choice, check_finite, check_probability
from lossledger.losses._hinges import hinge, hinge_slope, pair_margins, pair_weights
from lossledger.losses._rows import indicators, pick, row_facts

LabelsAre = Literal["counts", "lists"]


@dataclass(frozen=True)
class HingeEmbedding(AbstractLoss):
    """x for a target of 1, max(0, margin − x) for a target of −1.

    ∂/∂x = 1 for a target of 1; −1 for −1 where x < margin, else 0.

    Args:
        margin: Distance from which a pair of target −1 costs nothing.
        kink: Share of the slope at x = margin.

    Source: torch.nn.functional.hinge_embedding_loss.
    """

    margin: float = 1.0
    kink: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_finite("margin", self.margin)
        check_probability("kink", self.kink)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _signed("torch.nn.functional.hinge_embedding_loss")

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element."""
        x = outputs[0]
        return xp.where(targets > 0, x, hinge(xp, self.margin - x, self.kink))

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c, or −c where x < margin."""
        slope = hinge_slope(xp, self.margin - outputs[0], self.kink)
        return (coefficients * xp.where(targets > 0, xp.full_like(slope, 1), -slope),)


@dataclass(frozen=True)
class MarginRanking(AbstractLoss):
    """max(0, margin − y·(a − b)); reads two scores (a, b), y is 1 if a should be larger, or −1.

    ∂/∂a = −y and ∂/∂b = y where the value is above 0, else 0.

    Args:
        margin: By how much the right score must lead.
        kink: Share of the slope at a value of just 0; scores that tie are there if the
            margin is 0.

    Source: torch.nn.functional.margin_ranking_loss.
    """

    margin: float = 0.0
    kink: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_finite("margin", self.margin)
        check_probability("kink", self.kink)

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return _signed("torch.nn.functional.margin_ranking_loss", reads=2)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per pair."""
        return hinge(xp, self._lack(outputs, targets), self.kink)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return −c·y and c·y where the value is above 0."""
        slope = coefficients * targets * hinge_slope(xp, self._lack(outputs, targets), self.kink)
        return -slope, slope

    def _lack(self, outputs: tuple[Array, ...], targets: Array) -> Array:
        return -targets * (outputs[0] - outputs[1]) + self.margin


@dataclass(frozen=True)
class MultiMargin(AbstractLoss):
    """Hinges of all K classes against the label: Σ_{j≠y} max(0, margin − z_y + z_j)^p / K.

    With m_j the inside of a hinge, ∂/∂z_j = p·max(0, m_j)^(p−1)/K for j ≠ y (0 at the kink),
    and ∂/∂z_y is minus their sum.

    Args:
        p: 1 or 2.
        margin: By how much the label's score must lead each of the others.
        ignore_index: Label whose elements have no weight.

    Soft rows t give Σ_c t_c·ℓ(z, c). The division is by K, not by the K − 1 hinges.

    Source: torch.nn.functional.multi_margin_loss.
    """

    p: int = 1
    margin: float = 1.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_finite("margin", self.margin)
        if self.p not in (1, 2):
            raise DomainError(
                "`p` must be 1 or 2",
                f"Found {self.p!r}",
                "It is a power of the hinge, not the order of a norm",
                "Pass p=1 for hinges, p=2 for squared hinges",
            )

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        return row_facts("torch.nn.functional.multi_margin_loss", class_weight_within=False)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        z, axis = outputs[0], inputs.class_axis
        own = max(0.0, self.margin) ** self.p  # the label's hinge against itself
        if inputs.form == "index":
            sums = xp.sum(hinge(xp, self._leads(xp, z, targets, axis)) ** self.p, axis=axis)
            return (sums - own) / z.shape[axis]
        pairs = hinge(xp, pair_margins(xp, z, axis, self.margin)) ** self.p
        sums = xp.sum(pairs, axis=axis + 1) - own
        return xp.sum(targets * sums, axis=axis) / z.shape[axis]

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·p·max(0, m_j)^(p−1)/K at the others, minus their sum at the label."""
        z, axis = outputs[0], inputs.class_axis
        spread = xp.expand(coefficients, axis) / z.shape[axis]
        if inputs.form == "index":
            slopes = self._slopes(xp, self._leads(xp, z, targets, axis))
            here = indicators(xp, targets, z.shape[axis], axis, xp.dtype(z))
            row = slopes - here * xp.expand(xp.sum(slopes, axis=axis), axis)
            return (row * spread,)
        slopes = self._slopes(xp, pair_margins(xp, z, axis, self.margin))
        return (_pull_pairs(xp, slopes * xp.expand(targets, axis + 1), axis) * spread,)

    def _leads(self, xp: ArrayLibrary, z: Array, targets: Array, axis: int) -> Array:
        return self.margin - xp.expand(pick(xp, z, targets, axis), axis) + z

    def _slopes(self, xp: ArrayLibrary, m: Array) -> Array:
        return hinge_slope(xp, m) if self.p == 1 else 2 * hinge(xp, m)


@dataclass(frozen=True)
class MultilabelMargin(AbstractLoss):
    """Hinges of wanted classes against the others: Σ_c Σ_j t_c·1[t_j=0]·max(0, 1 − z_c + z_j)/K.

    t_c says how often class c is wanted: 0 or 1, as a rule. With a_cj = t_c·1[t_j=0] where
    that hinge is above 0, else 0: ∂/∂z_i = (Σ_c a_ci − Σ_j a_ij)/K.

    Args:
        targets_are: "counts" t, or "lists" of class indices along the class axis, each ended
            by −1 (what stands behind it is not read).

    Source: torch.nn.functional.multilabel_margin_loss, whose targets are lists.
    """

    targets_are: LabelsAre = "counts"

    def __post_init__(self) -> None:
        """Check the form of the targets."""
        check_choice("targets_are", self.targets_are, ("counts", "lists"))

    def facts(self) -> Facts:
        """Return what the loss declares about itself."""
        lists = self.targets_are == "lists"
        return Facts(
            accepts="free" if lists else "same",
            targets="any" if lists else "nonnegative",
            removes=("class",),
            source="torch.nn.functional.multilabel_margin_loss",
        )

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per row."""
        z, axis = outputs[0], inputs.class_axis
        pairs = hinge(xp, pair_margins(xp, z, axis, 1.0))
        weights = self._weights(xp, z, targets, inputs)
        return xp.sum(weights * pairs, axis=(axis, axis + 1)) / z.shape[axis]

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return c·(Σ_c a_ci − Σ_j a_ij)/K."""
        z, axis = outputs[0], inputs.class_axis
        above = hinge_slope(xp, pair_margins(xp, z, axis, 1.0))
        row = _pull_pairs(xp, self._weights(xp, z, targets, inputs) * above, axis)
        return (row * xp.expand(coefficients, axis) / z.shape[axis],)

    def _weights(self, xp: ArrayLibrary, z: Array, targets: Array, inputs: Inputs) -> Array:
        """Return t_c·1[t_j=0] over pairs of classes."""
        t = targets
        if self.targets_are == "lists":
            t = _count_lists(xp, xp.astype(targets, xp.dtype(z)), inputs)
        return pair_weights(xp, t, xp.astype(t == 0, xp.dtype(z)), inputs.class_axis)


def _count_lists(xp: ArrayLibrary, lists: Array, inputs: Inputs) -> Array:
    """Return how often each class is listed before the first −1."""
    axis, classes = inputs.class_axis, inputs.frame.length("class")
    _check_lists(xp, lists, inputs)
    ended = xp.cumsum(xp.astype(lists < 0, xp.dtype(lists)), axis) > 0
    listed = xp.where(ended, xp.full_like(lists, -1), lists)
    names = xp.astype(xp.arange(classes, lists), xp.dtype(lists))
    names = xp.reshape(names, (classes, *(1,) * (len(inputs.frame.axes) - axis - 1)))
    hot = xp.expand(listed, axis + 1) == names
    return xp.sum(xp.astype(hot, xp.dtype(lists)), axis=axis)


def _check_lists(xp: ArrayLibrary, lists: Array, inputs: Inputs) -> None:
    if tuple(lists.shape) != inputs.frame.shape:
        raise ShapeError(
            "Lists of labels must have the shape of the outputs",
            f"Found lists {tuple(lists.shape)} beside outputs {inputs.frame}",
            "The lists are shorter than the number of classes",
            "Pad them with −1 to the number of classes",
        )
    classes = inputs.frame.length("class")
    bad = xp.any((lists < -1) | (lists >= classes))
    if xp.readable(bad) and bool(bad):
        raise DomainError(
            f"Lists of labels must hold class indices from 0 to {classes - 1}, ended by −1",
            f"Found labels from {float(xp.min(lists)):g} to {float(xp.max(lists)):g}",
            "Labels start at 1, or the lists are padded with another number",
            "Shift the labels, and pad the lists with −1",
        )


def _pull_pairs(xp: ArrayLibrary, slopes: Array, axis: int) -> Array:
    """Return the derivative for z of pairs margin − z_c + z_j: what j gets less what c gives."""
    return xp.sum(slopes, axis=axis) - xp.sum(slopes, axis=axis + 1)


def _signed(source: str, reads: int = 1) -> Facts:
    return Facts(accepts="same", targets="sign", reads=reads, source=source)
