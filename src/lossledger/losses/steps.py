# SPDX-License-Identifier: Apache-2.0
"""Steps in front of a loss: what a library does to outputs and targets before its formula.

Each is a function of an array with a closed-form pullback, so that a loss behind it keeps
its value, its gradient and its ledger.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array
from lossledger.losses._base import AbstractLoss, Domain, Facts, Inputs
from lossledger.losses._checks import check_probability


class AbstractStep(ABC):
    """A function of an array that keeps its shape."""

    @abstractmethod
    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return the function's value."""

    @abstractmethod
    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return slope · ∂apply/∂x."""


@dataclass(frozen=True)
class Clip(AbstractStep):
    """Numbers moved into [low, high]; the derivative is 1 inside and at the ends, 0 outside."""

    low: float
    high: float

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return min(max(x, low), high), with no slope outside."""
        low, high = (xp.full_like(x, end) for end in (self.low, self.high))
        return xp.where(x < low, low, xp.where(x > high, high, x))

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return the slope inside, 0 outside."""
        inside = (x >= self.low) & (x <= self.high)
        return xp.where(inside, slope, xp.full_like(slope, 0.0))


@dataclass(frozen=True)
class Affine(AbstractStep):
    """scale · x + shift: labels from {0, 1} to {−1, 1}, smoothing toward a constant."""

    scale: float = 1.0
    shift: float = 0.0

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return scale · x + shift."""
        return x * self.scale + self.shift

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return scale · slope."""
        return slope * self.scale


@dataclass(frozen=True)
class Smooth(AbstractStep):
    """(1 − s)·x + s/n: targets moved toward the uniform over an axis of length n.

    Args:
        amount: s in [0, 1].
        axis: Whose length n is; the classes', unless a library takes another.
    """

    amount: float
    axis: str = "class"

    def __post_init__(self) -> None:
        """Check the range of the amount."""
        check_probability("amount", self.amount)

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return (1 − s)·x + s/n.

        Raises:
            MatchError: If the targets are class indices, which no uniform part fits into.
        """
        if inputs.form == "index":
            raise MatchError(
                "Targets that are smoothed in front of a loss need one number a class",
                "Found class indices",
                "An index has no place for the part that the other classes get",
                "Pass one-hot rows",
            )
        return x * (1 - self.amount) + self.amount / inputs.frame.length(self.axis)

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return (1 − s)·slope."""
        return slope * (1 - self.amount)


@dataclass(frozen=True)
class Normalize(AbstractStep):
    """x / Σx along an axis."""

    axis: str = "class"

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return x / Σx."""
        return x / self._total(xp, x, inputs)

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return (slope − Σ slope · x/Σx) / Σx."""
        place = inputs.frame.axes.index(self.axis)
        total = self._total(xp, x, inputs)
        return (slope - xp.expand(xp.sum(slope * x / total, axis=place), place)) / total

    def _total(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        place = inputs.frame.axes.index(self.axis)
        return xp.expand(xp.sum(x, axis=place), place)


@dataclass(frozen=True)
class Softmax(AbstractStep):
    """exp(x) / Σ exp(x) along an axis."""

    axis: str = "class"

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return the softmax."""
        return xp.exp(xp.log_softmax(x, inputs.frame.axes.index(self.axis)))

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return p · (slope − Σ slope · p)."""
        place = inputs.frame.axes.index(self.axis)
        p = self.apply(xp, x, inputs)
        return p * (slope - xp.expand(xp.sum(slope * p, axis=place), place))


@dataclass(frozen=True)
class Sigmoid(AbstractStep):
    """1 / (1 + exp(−x))."""

    def apply(self, xp: ArrayLibrary, x: Array, inputs: Inputs) -> Array:
        """Return the sigmoid."""
        return xp.sigmoid(x)

    def pull(self, xp: ArrayLibrary, x: Array, inputs: Inputs, slope: Array) -> Array:
        """Return slope · p · (1 − p)."""
        p = xp.sigmoid(x)
        return slope * p * (1 - p)


@dataclass(frozen=True)
class Mapped(AbstractLoss):
    """A loss behind steps on its outputs and targets.

    Args:
        loss: The loss.
        outputs: Steps for every output, in order.
        targets: Steps for the targets, in order; no gradient flows to targets.
        outputs_are: Domain of what is passed, in front of the steps; left out, the loss's.
        targets_are: Likewise.
    """

    loss: AbstractLoss
    outputs: tuple[AbstractStep, ...] = ()
    targets: tuple[AbstractStep, ...] = ()
    outputs_are: Domain | None = None
    targets_are: Domain | None = None

    @property
    def ignore_index(self) -> int | None:
        """The loss's own label without weight."""
        return getattr(self.loss, "ignore_index", None)

    @property
    def label_smoothing(self) -> float:
        """The loss's own smoothing, or that of the targets in front of it."""
        own = float(getattr(self.loss, "label_smoothing", 0.0))
        return max([own, *(s.amount for s in self.targets if isinstance(s, Smooth))])

    def facts(self) -> Facts:
        """Return the loss's facts with the domains of what is passed."""
        facts = self.loss.facts()
        outputs = facts.outputs if self.outputs_are is None else self.outputs_are
        targets = facts.targets if self.targets_are is None else self.targets_are
        return replace(facts, outputs=outputs, targets=targets)

    def present(self, xp: ArrayLibrary, targets: Array) -> Array | None:
        """Return which elements have a value: the loss's own answer, for the bare targets."""
        return self.loss.present(xp, targets)

    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return the loss's values of what the steps give."""
        stages = self._stages(xp, outputs, inputs)
        return self.loss.values(xp, stages[-1], self._targets(xp, targets, inputs), inputs)

    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return the loss's gradient, pulled back through the steps."""
        stages = self._stages(xp, outputs, inputs)
        goal = self._targets(xp, targets, inputs)
        slopes = self.loss.gradient(xp, stages[-1], goal, inputs, coefficients)
        for step, before in zip(reversed(self.outputs), reversed(stages[:-1]), strict=True):
            pairs = zip(before, slopes, strict=True)
            slopes = tuple(step.pull(xp, x, inputs, slope) for x, slope in pairs)
        return slopes

    def _stages(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], inputs: Inputs
    ) -> list[tuple[Array, ...]]:
        stages = [outputs]
        for step in self.outputs:
            stages.append(tuple(step.apply(xp, x, inputs) for x in stages[-1]))
        return stages

    def _targets(self, xp: ArrayLibrary, targets: Array, inputs: Inputs) -> Array:
        for step in self.targets:
            targets = step.apply(xp, targets, inputs)
        return targets
