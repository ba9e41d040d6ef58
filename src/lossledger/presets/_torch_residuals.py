# SPDX-License-Identifier: Apache-2.0
"""Losses of torch for residuals, counts and distributions, one value an element."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from lossledger._errors import ShapeError
from lossledger._typing import Array, Axes
from lossledger.losses import (
    AbsoluteError,
    GaussianNLL,
    Huber,
    PointwiseKL,
    PoissonNLL,
    SmoothL1,
    SquaredError,
)
from lossledger.presets._base import Given, Outputs, Recipe
from lossledger.presets._torch_base import AbstractTorch, Reduction, broadcasts, full_name, reduced
from lossledger.reductions import Chain, Mean

_WARNS = "torch broadcasts them to one shape, with a warning"
_BROADCASTS = "torch broadcasts them to one shape without a word"


@dataclass(frozen=True)
class MSELoss(AbstractTorch):
    """torch.nn.MSELoss: the mean over all elements."""

    reduction: Reduction = "mean"

    default_axes: ClassVar[str] = "batch unit"
    shapes: ClassVar[str] = _WARNS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Squared error over all elements."""
        return Recipe(SquaredError(), reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class L1Loss(AbstractTorch):
    """torch.nn.L1Loss: the mean over all elements."""

    reduction: Reduction = "mean"

    default_axes: ClassVar[str] = "batch unit"
    shapes: ClassVar[str] = _WARNS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Absolute error over all elements."""
        return Recipe(AbsoluteError(), reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class SmoothL1Loss(AbstractTorch):
    """torch.nn.SmoothL1Loss; with beta = 0 it is L1Loss."""

    reduction: Reduction = "mean"
    beta: float = 1.0

    notes: ClassVar[tuple[str, ...]] = ("It is HuberLoss(delta=beta) divided by beta.",)
    default_axes: ClassVar[str] = "batch unit"
    shapes: ClassVar[str] = _WARNS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Smooth absolute error over all elements."""
        loss = SmoothL1(self.beta) if self.beta else AbsoluteError()
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class HuberLoss(AbstractTorch):
    """torch.nn.HuberLoss: the mean over all elements."""

    reduction: Reduction = "mean"
    delta: float = 1.0

    default_axes: ClassVar[str] = "batch unit"
    shapes: ClassVar[str] = _WARNS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Huber's loss over all elements."""
        return Recipe(Huber(self.delta), reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True)
class KLDivLoss(AbstractTorch):
    """torch.nn.KLDivLoss: outputs are log-probabilities, targets probabilities (or their logs)."""

    reduction: Literal["mean", "sum", "none", "batchmean"] = "mean"
    log_target: bool = False

    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none", "batchmean")
    notes: ClassVar[tuple[str, ...]] = (
        "The default divides by all elements, classes included; 'batchmean' gives the divergence.",
        "Where a target is 0 and a log-probability −∞, torch gives NaN.",
    )
    shapes: ClassVar[str] = _BROADCASTS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Divergence element by element, over elements or samples."""
        if self.reduction == "batchmean":
            chain = Chain((Mean(denominator="samples"),))
        else:
            chain = reduced(self.reduction, Mean())
        return Recipe(PointwiseKL(self.log_target), chain, self.reduction == "none")


@dataclass(frozen=True)
class PoissonNLLLoss(AbstractTorch):
    """torch.nn.PoissonNLLLoss: `full` adds Stirling's approximation where a count is above 1."""

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: Reduction = "mean"

    notes: ClassVar[tuple[str, ...]] = (
        "full=True approximates log(y!), and adds nothing for counts of 0 and 1.",
        "torch gives NaN for rates below −eps, and takes negative counts; here both are errors.",
    )
    default_axes: ClassVar[str] = "batch unit"
    shapes: ClassVar[str] = _BROADCASTS

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Poisson likelihood over all elements."""
        loss = PoissonNLL(self.log_input, "stirling" if self.full else False, self.eps)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


@dataclass(frozen=True, kw_only=True)
class GaussianNLLLoss(AbstractTorch):
    """torch.nn.GaussianNLLLoss: reads (input, var); variances are held at `eps`.

    A `var` that lacks the last axis, or has length 1 on one axis, is shared along it.
    """

    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"

    reads: ClassVar[int] = 2
    notes: ClassVar[tuple[str, ...]] = (
        "A variance below eps gets the gradient that it would have at eps.",
        "torch's module is called with the variance last; here it is the second output.",
    )
    default_axes: ClassVar[str] = "batch unit"
    shapes: ClassVar[str] = _BROADCASTS

    def placed(self, given: Given) -> Given:
        """Share the variance along an axis that it lacks."""
        mean, var = given.outputs
        shape, own = tuple(mean.shape), tuple(var.shape)
        if own == shape:
            return given
        if own == shape[:-1]:
            var = given.xp.expand(var, -1)
        elif len(own) != len(shape) or not broadcasts(own, shape) or _differing(own, shape) != 1:
            raise ShapeError(
                f"The variance of {full_name(self)} must have the shape of the input, lack its "
                "last axis, or have length 1 on one axis",
                f"Found input {shape} and variance {own}",
                "The two come from different layers; torch refuses it",
                f"Reshape the variance to {shape}",
            )
        return replace(given, outputs=(mean, given.xp.broadcast_to(var, shape)))

    def value_and_grad(
        self,
        outputs: Outputs,
        targets: Array = None,
        sample_weight: Array | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, Outputs]:
        """Return (number, gradients) where the variance has the shape of the input.

        Raises:
            ShapeError: If it is shared: its gradient would not have its shape.
        """
        shapes = [tuple(output.shape) for output in outputs]
        if len(set(shapes)) > 1:
            raise ShapeError(
                "The closed-form gradient needs a variance of the input's shape",
                f"Found {' and '.join(map(str, shapes))}",
                "A variance that is shared has one slope for many places",
                f"Broadcast it to {shapes[0]} and sum the slope; or use torch or JAX arrays",
            )
        return super().value_and_grad(outputs, targets, sample_weight, mask)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Gaussian likelihood over all elements."""
        loss = GaussianNLL("variance", self.full, self.eps or None)
        return Recipe(loss, reduced(self.reduction, Mean()), self.reduction == "none")


def _differing(own: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(own, shape, strict=True))
