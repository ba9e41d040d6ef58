# SPDX-License-Identifier: Apache-2.0
"""Batches on which presets are compared, and how each library has them laid out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Array
from lossledger.losses._base import Domain, Facts
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._settings import options, overlaps

SIZES = ((6, 3), (9, 5), (8, 4))
"""Samples and classes of each batch."""

IMAGE = (4, 5)

COLUMN = "labels[:, None]"
"""How labels with a class axis of length 1 are written."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One batch, the class axis second.

    Attributes:
        outputs: One array or several.
        targets: With the axes of the outputs, or those that the loss wants; None for none.
        labels: Class indices, if the targets are classes.
        kind: The same for batches that are the same.
    """

    outputs: tuple[Array, ...]
    targets: Array
    labels: Array
    kind: str = ""

    @property
    def batch(self) -> int:
        """Number of samples."""
        return int(self.outputs[0].shape[0])

    @property
    def classes(self) -> int:
        """Length of the class axis."""
        return int(self.outputs[0].shape[1])

    @property
    def elements(self) -> int:
        """Number of elements of an output."""
        return int(self.outputs[0].size)


def samples(preset: AbstractLibraryLoss) -> tuple[Sample, ...]:
    """Return batches of several sizes that a preset can take, the same at every call.

    Raises:
        MatchError: If it can be built for neither rows nor images.
    """
    weight = class_weights(preset)
    rank = 2 if _facts(preset, 2) is not None else 4
    fixed = None if weight is None or isinstance(weight, int | float) else len(weight)
    random = np.random.default_rng(0)
    found = []
    facts = _facts(preset, rank)
    if facts is None:
        raise MatchError(
            "A loss is compared on batches of rows or of images",
            f"Found {type(preset).__name__}, which can be built for neither",
            "An option asks for arrays, or for axes, of its own",
            "Compare the two presets on data of your own",
        )
    for batch, classes in SIZES:
        shape = (batch, fixed or classes, *IMAGE[: rank - 2])
        drawn = _draw(random, preset, shape, facts)
        kind = f"{fixed} {facts.domains} {facts.accepts} {facts.targets} {facts.scores} {shape}"
        found.append(replace(drawn, kind=f"{kind} {facts.lacks} {drawn.outputs[0].shape}"))
    return tuple(found)


def class_weights(preset: AbstractLibraryLoss) -> Array:
    """Return the weights of the classes among a preset's options; None if there are none."""
    given = options(preset)
    return next((given[n] for n in ("weight", "class_weights") if given.get(n) is not None), None)


def layouts(
    preset: AbstractLibraryLoss, sample: Sample
) -> Iterator[tuple[tuple[Array, ...], Array, str]]:
    """Yield the batch as a preset may want it: class axis in place, targets in each form.

    The last of three says what targets are, if they are not as the sample first has them.
    """
    rank = sample.outputs[0].ndim
    facts = _facts(preset, rank)
    outputs = tuple(moved(preset, o) for o in sample.outputs)
    sign = facts is not None and facts.targets == "sign"
    if sample.labels is not None:
        yield outputs, sample.labels, ""
        yield outputs, sample.labels[:, None], COLUMN
    if sample.targets is not None:
        same = sample.targets.shape == sample.outputs[0].shape
        dense = moved(preset, sample.targets) if same else sample.targets
        form = "one-hot targets" if sample.labels is not None else ""
        yield outputs, _signed(dense) if sign else dense, "targets −1 and 1" if sign else form
    if sample.labels is None and sample.targets is None:
        yield outputs, None, ""


def moved(preset: AbstractLibraryLoss, x: Array) -> Array:
    """Move the class axis from the second place to where a preset's library has it."""
    names = preset.axes(x.ndim)
    return np.moveaxis(x, 1, names.index("class")) if "class" in names and x.ndim > 1 else x


def moved_back(preset: AbstractLibraryLoss, x: Array) -> Array:
    """Undo `moved`."""
    names = preset.axes(x.ndim)
    return np.moveaxis(x, names.index("class"), 1) if "class" in names and x.ndim > 1 else x


def _facts(preset: AbstractLibraryLoss, rank: int) -> Facts | None:
    """Return what the preset's loss declares; None if it needs arrays of another rank.

    Of several parts the first says what outputs are, and any that they are of classes.
    """
    if rank == 2 and overlaps(preset):
        return None
    try:
        parts = preset.recipes(preset.axes(rank), None).values()
    except LossLedgerError:
        return None
    facts = [part.loss.facts() for part in parts]
    labels = any(each.accepts == "classes" for each in facts)
    return replace(facts[0], accepts="classes") if labels else facts[0]


def _draw(
    random: np.random.Generator,
    preset: AbstractLibraryLoss,
    shape: tuple[int, ...],
    facts: Facts,
) -> Sample:
    domains = facts.domains
    outputs = tuple(_numbers(random, shape, domains[i]) for i in range(preset.reads))
    labels = random.integers(0, shape[1], shape[:1] + shape[2:])
    if facts.accepts == "none":
        return Sample(outputs, None, None)
    if facts.accepts == "classes":
        hot = np.moveaxis(np.eye(shape[1])[labels], -1, 1)
        return Sample(outputs, hot, labels)
    own = shape
    if facts.accepts == "rows":
        axes = preset.axes(len(shape))
        own = tuple(n for a, n in zip(axes, shape, strict=True) if a not in facts.lacks)
    targets = _targets(random, own, facts)
    return Sample(outputs, targets, None)


def _targets(random: np.random.Generator, shape: tuple[int, ...], facts: Facts) -> Array:
    if facts.targets in ("probabilities", "labels", "sign") or facts.scores is not None:
        return (random.random(shape) < 0.4) * 1.0
    return _numbers(random, shape, facts.targets)


def _numbers(random: np.random.Generator, shape: tuple[int, ...], domain: Domain) -> Array:
    x = random.normal(size=shape)
    if domain in ("probabilities", "interior"):
        return 1 / (1 + np.exp(-x))
    if domain == "distribution":
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)
    return np.exp(x) if domain in ("positive", "nonnegative", "above_minus_one") else x


def _signed(y: Array) -> Array:
    """Return labels 0 and 1 as −1 and 1."""
    return np.where(y > 0.5, 1.0, -1.0)
