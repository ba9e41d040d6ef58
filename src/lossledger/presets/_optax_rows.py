# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N801 - the library's losses are functions: their names are in snake case
"""Presets of optax: losses of rows of scores, and divergences of distributions."""

from dataclasses import dataclass
from typing import ClassVar

from lossledger._errors import ShapeError
from lossledger._typing import Array, Axes, Callable
from lossledger.losses import (
    CrossEntropy,
    FenchelYoung,
    GeneralizedKL,
    MulticlassPerceptron,
    PointwiseKL,
    Poly1,
    Sparsemax,
    SubsetCrossEntropy,
)
from lossledger.losses._base import AbstractLoss
from lossledger.losses._odds import LOWEST
from lossledger.presets._base import Given, Recipe
from lossledger.presets._optax_base import (
    AbstractOptax,
    Axis,
    check_labels,
    check_same,
    check_single,
    filled,
    flattened,
    joined_where,
    named,
    places,
)
from lossledger.reductions import Sum

_RANGE = "optax reads a label −1 as the last class and one too large as NaN; here it is an error."
_HOT = "optax reads a label out of range as no label at all; here it is an error."


@dataclass(frozen=True, kw_only=True)
class AbstractRows(AbstractOptax):
    """A loss of rows along `axis`, the last one if the loss has no such option.

    Attributes:
        indexed: Whether targets are integer labels.
    """

    indexed: ClassVar[bool] = False

    def axes(self, rank: int) -> Axes:
        """Return the class axis at its place, and the others."""
        axis = self._axis()
        single = isinstance(axis, int) or (axis is not None and len(axis) == 1)
        place = places(axis, rank, type(self).__name__)[0] if single else rank - 1
        return named(rank, place)

    def arrange(self, given: Given) -> Given:
        """Flatten several class axes into one, and refuse labels that would broadcast."""
        name = type(self).__name__
        if self.indexed:
            check_labels(given, places(self._axis(), len(given.outputs[0].shape), name), name)
        else:
            check_same(given, name)
        return flattened(given, self._axis(), name)

    def where_for(self, given: Given | None) -> Array:
        """Return `where` beside arrays as `arrange` left them."""
        name = type(self).__name__
        if given is None:
            check_single(self._axis(), name)
        return joined_where(getattr(self, "where", None), given, self._axis(), name)

    def _axis(self) -> Axis:
        axis: Axis = getattr(self, "axis", -1)
        return axis


@dataclass(frozen=True)
class softmax_cross_entropy(AbstractRows):
    """optax.losses.softmax_cross_entropy: labels with one number a class.

    `where` has the axes of the logits or those without the class axis.
    """

    axis: Axis = -1
    where: Array = None

    notes: ClassVar[tuple[str, ...]] = (
        "A logit of −∞ makes optax' number NaN even where the label is 0; here it adds 0.",
        "Labels are not divided by their sum.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy among all classes, or those in `where`."""
        where = self.where_for(given)
        return self.finished(CrossEntropy() if where is None else SubsetCrossEntropy(where))


@dataclass(frozen=True)
class softmax_cross_entropy_with_integer_labels(AbstractRows):
    """optax.losses.softmax_cross_entropy_with_integer_labels.

    `where` has the axes of the logits or those without the class axis. Of several class axes
    the label is the flat index.
    """

    indexed: ClassVar[bool] = True

    axis: Axis = -1
    where: Array = None

    notes: ClassVar[tuple[str, ...]] = (
        _RANGE,
        "A label that `where` leaves out keeps its logit in the value.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy among all classes, or those in `where`."""
        where = self.where_for(given)
        return self.finished(CrossEntropy() if where is None else SubsetCrossEntropy(where))


@dataclass(frozen=True)
class safe_softmax_cross_entropy(AbstractRows):
    """optax.losses.safe_softmax_cross_entropy: logits of −∞ where the label is 0 add nothing."""

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy."""
        return self.finished(CrossEntropy())


@dataclass(frozen=True, kw_only=True)
class poly_loss_cross_entropy(AbstractRows):
    """optax.losses.poly_loss_cross_entropy: labels with one number a class.

    `where` has the axes of the logits.
    """

    epsilon: float = 2.0
    axis: Axis = -1
    where: Array = None

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Cross entropy and ε·Σ t·(1 − p)."""
        loss = Poly1(self.epsilon)
        return self.finished(filled(loss, self.where_for(given), LOWEST))


@dataclass(frozen=True)
class make_fenchel_young_loss(AbstractRows):
    """optax.losses.make_fenchel_young_loss: what it returns, for scores and dense targets.

    `max_fun` takes one row of scores to one number. `derivative`, which optax does not have, is
    its gradient: `value_and_grad` asks for it on NumPy arrays.
    """

    max_fun: Callable[[Array], Array]
    derivative: Callable[[Array], Array] | None = None

    notes: ClassVar[tuple[str, ...]] = (
        "Rows run along the last axis.",
        "A max_fun of jax.numpy takes JAX arrays alone; of torch, torch's alone.",
        "Targets of another shape broadcast in optax; here they are an error.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """The potential less the inner product of scores and targets."""
        return self.finished(FenchelYoung(self.max_fun, self.derivative))


@dataclass(frozen=True)
class multiclass_hinge_loss(AbstractRows):
    """optax.losses.multiclass_hinge_loss: integer labels, classes last."""

    indexed: ClassVar[bool] = True

    notes: ClassVar[tuple[str, ...]] = (_HOT,)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Margin of 1."""
        return self.finished(MulticlassPerceptron(1.0))


@dataclass(frozen=True)
class multiclass_perceptron_loss(AbstractRows):
    """optax.losses.multiclass_perceptron_loss: integer labels, classes last."""

    indexed: ClassVar[bool] = True

    notes: ClassVar[tuple[str, ...]] = (
        "Scores that tie for the largest share the slope, the label's own among them.",
        _HOT,
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Margin of 0."""
        return self.finished(MulticlassPerceptron())


@dataclass(frozen=True)
class multiclass_sparsemax_loss(AbstractRows):
    """optax.losses.multiclass_sparsemax_loss: integer labels, one batch axis, classes last."""

    indexed: ClassVar[bool] = True

    def arrange(self, given: Given) -> Given:
        """Refuse more axes than batch and class.

        Raises:
            ShapeError: If there are more.
        """
        shape = tuple(given.outputs[0].shape)
        if len(shape) != 2:
            raise ShapeError(
                "Scores of multiclass_sparsemax_loss must have the axes batch and class",
                f"Found shape {shape}",
                "optax reads each sample as one vector; of a square one it makes a matrix",
                "Reshape the scores to (batch, class) and the labels to (batch,)",
            )
        return super().arrange(given)

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Sparsemax loss."""
        return self.finished(Sparsemax())


@dataclass(frozen=True, kw_only=True)
class AbstractDivergence(AbstractOptax):
    """A divergence of log-probabilities, summed over `axis` where `where` is True."""

    def axes(self, rank: int) -> Axes:
        """Return the class axis at its place, and the others."""
        axis = self._axis()
        if not isinstance(axis, int):
            return named(rank, rank)
        return named(rank, places(axis, rank, type(self).__name__)[0])

    def arrange(self, given: Given) -> Given:
        """Refuse targets that would broadcast."""
        check_same(given, type(self).__name__)
        return given

    def summed(self, loss: AbstractLoss, axes: Axes, outside: float = 0.0) -> Recipe:
        """Return the sum of the loss over `axis`."""
        axis = self._axis()
        if isinstance(axis, int) and "class" in axes:
            over: Axes = ("class",)
        else:
            over = tuple(axes[i] for i in places(axis, len(axes), type(self).__name__))
        where = getattr(self, "where", None)
        return self.finished(filled(loss, where, outside), Sum(over=over))

    def _axis(self) -> Axis:
        axis: Axis = getattr(self, "axis", -1)
        return axis


@dataclass(frozen=True)
class kl_divergence(AbstractDivergence):
    """optax.losses.kl_divergence: outputs are logs, targets are not."""

    axis: Axis = -1
    where: Array = None

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Σ t·(log t − x)."""
        return self.summed(PointwiseKL(), axes)


@dataclass(frozen=True)
class kl_divergence_with_log_targets(AbstractDivergence):
    """optax.losses.kl_divergence_with_log_targets: outputs and targets are logs."""

    axis: Axis = -1
    where: Array = None

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Σ exp(s)·(s − x)."""
        return self.summed(PointwiseKL(log_target=True), axes)


@dataclass(frozen=True)
class generalized_kl_divergence(AbstractDivergence):
    """optax.losses.generalized_kl_divergence: rows need not sum to 1."""

    axis: Axis = -1
    where: Array = None

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Σ t·(log t − x) + exp(x) − t."""
        return self.summed(GeneralizedKL(), axes, LOWEST)


@dataclass(frozen=True)
class convex_kl_divergence(AbstractDivergence):
    """optax.losses.convex_kl_divergence: the old name of generalized_kl_divergence."""

    axis: Axis = -1
    where: Array = None

    notes: ClassVar[tuple[str, ...]] = (
        "optax warns that the name is deprecated: use generalized_kl_divergence.",
    )

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Σ t·(log t − x) + exp(x) − t."""
        return self.summed(GeneralizedKL(), axes, LOWEST)
