# SPDX-License-Identifier: Apache-2.0
"""What a loss is: values per element, or sums over named axes, with closed-form derivatives."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Axes, Callable, Mapping, Names
from lossledger.frames import Frame

Accepts = Literal["same", "classes", "rows", "free", "none"]
Domain = Literal[
    "any", "logits", "probabilities", "positive", "nonnegative", "nonzero", "above_minus_one",
    "sign", "labels", "distribution", "interior",
]  # fmt: skip
Scores = Literal["sigmoid", "softmax"]
Form = Literal["dense", "index", "rows", "free", "none"]


@dataclass(frozen=True, eq=False)
class Met:
    """What the ranks of a group found out together about one batch; the same on each of them.

    Attributes:
        outputs: This rank's shards, as plain arrays.
        starts: The first class of each rank's shard, in the order of the ranks, and behind them
            the sum of the shards' lengths.
        rules: (rule of the watch, whether it holds, what was found).
    """

    outputs: tuple[Array, ...]
    starts: Array
    rules: tuple[tuple[str, Array, Callable[[], str]], ...]


class AbstractShards(ABC):
    """What ranks do together where each one's outputs hold a shard of the class axis.

    The loss gets its shard as it was passed, in its own dtype: the loss itself computes in that
    of the work, and leaves out what is not `alive`, so that no shard is copied whole.

    Attributes:
        classes: Number of classes in all shards together.
    """

    classes: int

    @abstractmethod
    def meet(self, outputs: tuple[Array, ...], targets: Array, axis: int) -> Met:
        """Compare the batch over the ranks, before anything is checked on one of them alone.

        `axis` is the place of the class axis.
        """

    @abstractmethod
    def decide(self, output: Array, inputs: "Inputs") -> Array:
        """Return the class with the largest output in all shards, the first of equal ones."""


@dataclass(frozen=True)
class Facts:
    """What a loss declares about itself; everything else is derived from it.

    Attributes:
        accepts: Targets with the axes of the outputs ("same"), class indices or one
            number a class ("classes"), the axes of the outputs less those in `lacks` ("rows"),
            whatever the callable wants ("free"), or "none".
        outputs: Domain of the outputs: one for all, or one for each.
        targets: Domain of the targets.
        removes: Axes of the outputs that the values no longer have.
        lacks: Axes of the outputs that targets of the form "rows" do not have.
        reads: Number of outputs read.
        scores: How outputs decide for a class, for the counts of hits; None if they don't.
        couples: Axes along which outputs act on each other's values; for a softmax `class`
            if none is named.
        labels: Whether each element has a positive or negative label (target > 1/2).
        class_weight_within: Whether soft targets weigh each class inside the value.
        candidates: Whether values depend on the other samples of the batch.
        shards: Who asks the other ranks, where the class axis of the outputs is a shard: then
            labels and classes are those of all shards, and the loss's values too.
        source: Paper or library function that it equals.
    """

    accepts: Accepts
    outputs: Domain | tuple[Domain, ...] = "any"
    targets: Domain = "any"
    removes: Axes = ()
    lacks: Axes = ()
    reads: int = 1
    scores: Scores | None = None
    couples: Axes = ()
    labels: bool = False
    class_weight_within: bool = False
    candidates: bool = False
    shards: AbstractShards | None = None
    source: str = ""

    @property
    def coupled(self) -> Axes:
        """Axes along which no output can be replaced alone: coupled or removed."""
        rows = ("class",) if self.scores == "softmax" else ()
        return self.removes + (self.couples or rows)

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Domain of each output."""
        return self.outputs if isinstance(self.outputs, tuple) else (self.outputs,) * self.reads


@dataclass(frozen=True)
class Inputs:
    """What is known of a batch before its numbers: axes, form of the targets, classes.

    Attributes:
        class_weight: Set only where the loss weighs classes inside its values.
        alive: Where elements have weight, over the axes of the values (length 1 where all
            agree): what compares samples leaves the others out. None for everywhere.
        starts: Where the class axis is a shard: `Met.starts`.
    """

    frame: Frame
    form: Form
    classes: int | None
    class_weight: Array | None = None
    alive: Array | None = None
    starts: Array | None = None

    @property
    def class_axis(self) -> int:
        """Place of the class axis in the outputs."""
        return self.frame.axes.index("class")


class AbstractLoss(ABC):
    """A loss with one value per element.

    `ignore_index` and `label_smoothing` are read where a loss has them.
    """

    @abstractmethod
    def facts(self) -> Facts:
        """Return what the loss declares about itself."""

    @abstractmethod
    def values(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> Array:
        """Return one value per element: the outputs' axes without those removed."""

    def present(self, xp: ArrayLibrary, targets: Array) -> Array | None:
        """Return which elements have a value, over the targets' axes; None for all of them.

        The others are masked: a mean does not count them.
        """
        del xp, targets
        return None

    @abstractmethod
    def gradient(
        self,
        xp: ArrayLibrary,
        outputs: tuple[Array, ...],
        targets: Array,
        inputs: Inputs,
        coefficients: Array,
    ) -> tuple[Array, ...]:
        """Return Σ coefficient · ∂value/∂output in closed form, an array like each output.

        `coefficients` has the axes of the values.
        """


class AbstractOverlapLoss(ABC):
    """A loss of sums: channels are summed `over` named axes, and cells made of the sums.

    A cell in which no element has weight does not exist: it has no value and no weight.

    Attributes:
        over: Names of the axes summed over.
        empty: What a cell does whose targets sum to 0: "keep" the formula, "zero" it but
            count it, "skip" it, "raise", or "agree": 0 where the outputs are empty too.
        include_background: Whether class 0 counts.
        bare: Channels that weights of a pooled axis do not multiply.
    """

    bare: ClassVar[Axes] = ()
    over: Names
    empty: Literal["keep", "zero", "skip", "raise", "agree"]
    include_background: bool

    @abstractmethod
    def facts(self) -> Facts:
        """Return what the loss declares about itself."""

    @abstractmethod
    def channels(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> dict[str, Array]:
        """Return what is summed, per element; `outputs` are probabilities if scored.

        "targets" and "outputs" are read by the policies for empty cells; the engine keeps
        two sums of its own, "mass" and "weight".
        """

    @abstractmethod
    def channel_slopes(
        self, xp: ArrayLibrary, outputs: tuple[Array, ...], targets: Array, inputs: Inputs
    ) -> tuple[dict[str, Array], ...]:
        """Return ∂channel/∂output per element, for each output."""

    @abstractmethod
    def pools(self) -> Axes:
        """Return the axes of the sums that `finalize` combines into one value."""

    @abstractmethod
    def finalize(self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None) -> Array:
        """Return one value per cell; `axis` is the place of a pooled axis."""

    @abstractmethod
    def slopes(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> dict[str, Array]:
        """Return ∂value/∂sum for each channel."""

    @abstractmethod
    def attribution(
        self, xp: ArrayLibrary, sums: Mapping[str, Array], axis: int | None
    ) -> tuple[dict[str, Array], Array]:
        """Return (a per channel, rest per value) with Σ a·channel + rest = value."""

    @abstractmethod
    def own(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Return the channels' factors in a row's own numerator and denominator.

        An empty denominator stands for the weights; two empty ones for no own mean.
        """


Loss = AbstractLoss | AbstractOverlapLoss
