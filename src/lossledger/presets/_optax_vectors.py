# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N801 - the library's losses are functions: their names are in snake case
"""Presets of optax: losses of vectors."""

import math
from dataclasses import dataclass
from typing import ClassVar

from lossledger._errors import DomainError, ShapeError
from lossledger._typing import Array, Axes
from lossledger.losses import CosineSimilarity, NTXent, SmoothTriplet
from lossledger.losses._checks import check_nonnegative
from lossledger.losses.cosine import Form
from lossledger.presets._base import AbstractPreset, Given, Recipe
from lossledger.presets._optax_base import AbstractOptax, Axis, filled, named, places
from lossledger.presets._optax_rows import AbstractRows
from lossledger.reductions import Chain, Mean

_ZERO = "The cosine of a zero vector is NaN in optax without an epsilon; here it is 0."


@dataclass(frozen=True, kw_only=True)
class AbstractCosine(AbstractRows):
    """A cosine along `axis`; `epsilon` is the least square of a norm."""

    epsilon: float = 0.0
    axis: Axis = -1
    where: Array = None

    notes: ClassVar[tuple[str, ...]] = (_ZERO,)

    def cosine(self, form: Form, given: Given | None) -> Recipe:
        """Return the cosine, or 1 less it."""
        check_nonnegative("epsilon", self.epsilon)
        loss = CosineSimilarity(form, math.sqrt(self.epsilon))
        return self.finished(filled(loss, self.where_for(given)))


@dataclass(frozen=True, kw_only=True)
class cosine_similarity(AbstractCosine):
    """optax.losses.cosine_similarity: the cosine itself, which grows as the loss falls."""

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """The cosine."""
        return self.cosine("similarity", given)


@dataclass(frozen=True, kw_only=True)
class cosine_distance(AbstractCosine):
    """optax.losses.cosine_distance."""

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """1 less the cosine."""
        return self.cosine("distance", given)


@dataclass(frozen=True)
class ntxent(AbstractPreset):
    """optax.losses.ntxent: one number, the mean over pairs of one label."""

    library: ClassVar[str] = "optax"
    version: ClassVar[str] = "0.2.8"
    default_axes: ClassVar[str] = "batch feature"

    temperature: float = 0.07

    notes: ClassVar[tuple[str, ...]] = (
        "If no two samples share a label, optax returns NaN; here the loss is 0.",
    )

    def axes(self, rank: int) -> Axes:
        """Return batch and feature."""
        return ("batch", "feature", *(f"axis_{i}" for i in range(2, rank)))[:rank]

    def arrange(self, given: Given) -> Given:
        """Refuse labels that are not one a sample.

        Raises:
            ShapeError: If they have another shape.
        """
        shapes = tuple(given.outputs[0].shape), tuple(given.targets.shape)
        if shapes[1] != shapes[0][:1]:
            raise ShapeError(
                "ntxent needs one label for each embedding",
                f"Found embeddings {shapes[0]} and labels {shapes[1]}",
                "Labels were one-hot encoded, or belong to another batch",
                "Pass integers of shape (batch,)",
            )
        return given

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Mean over pairs; squares of norms are at least the dtype's epsilon."""
        double = given is not None and given.xp.dtype(given.outputs[0]) == "float64"
        floor = math.sqrt(2.0**-52 if double else 2.0**-23)
        return Recipe(NTXent(self.temperature, floor), Chain((Mean(),)))


@dataclass(frozen=True)
class triplet_margin_loss(AbstractOptax):
    """optax.losses.triplet_margin_loss: reads (anchors, positives, negatives)."""

    reads: ClassVar[int] = 3
    default_axes: ClassVar[str] = "batch feature"

    axis: int = -1
    norm_degree: float = 2
    margin: float = 1.0
    eps: float = 1e-6

    notes: ClassVar[tuple[str, ...]] = (
        "optax adds eps under the root, so equal vectors are eps^(1/norm_degree) apart.",
        "An odd norm_degree keeps the signs of differences in optax; here it is an error.",
    )

    def axes(self, rank: int) -> Axes:
        """Return the axis of the vectors at its place, and the others."""
        return named(rank, places(self.axis, rank, "triplet_margin_loss")[0], "feature")

    def recipe(self, axes: Axes, given: Given | None) -> Recipe:
        """Hinge of two distances.

        Raises:
            DomainError: If norm_degree is not even.
        """
        if self.norm_degree < 1 or math.fmod(self.norm_degree, 2):
            raise DomainError(
                "`norm_degree` of triplet_margin_loss must be even",
                f"Found {self.norm_degree!r}",
                "optax takes powers of differences without their absolute value: odd ones add "
                "up with their signs, broken ones are NaN",
                "Pass 2, or use ll.losses.TripletMargin, which has every norm",
            )
        return self.finished(SmoothTriplet(self.margin, self.norm_degree, self.eps))
