# SPDX-License-Identifier: Apache-2.0
"""What losses that compare samples need of a whole: every sample, as it was passed."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Self

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError
from lossledger._typing import Array, Mapping
from lossledger.engines._factors import BatchWeights
from lossledger.engines._prepare import Prepared, prepare
from lossledger.engines._shapes import frame_of, read_weight, targets_frame, values_frame
from lossledger.engines._watch import Watch
from lossledger.engines.reference import run
from lossledger.frames import NamedArray
from lossledger.term import Term

_WEIGHTS = ("mask", "sample_weight", "element_weight")
Joined = tuple[tuple[Array, ...], Array, BatchWeights]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The outputs, targets and weights of several parts, one after the other; detached.

    Attributes:
        named: Every array by what it is, with the names of its axes.
        lengths: Number of samples of each part.
    """

    term: Term
    named: Mapping[str, NamedArray]
    lengths: tuple[int, ...] = field(default=())

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(self.lengths)

    @property
    def divisor(self) -> None:
        """Values of a pair belong to no part: there is no divisor to show."""
        return

    def merge(self, xp: ArrayLibrary, other: Self) -> Self:
        """Join the samples.

        Raises:
            MatchError: If one part has a mask or weights, and the other has none.
        """
        if set(self.named) != set(other.named):
            raise MatchError(
                f"Parts of `{self.term.name}` must all have the same masks and weights",
                f"Found {', '.join(self.named)} and {', '.join(other.named)}",
                "A mask was passed with some micro-batches only",
                "Pass it with all of them; a mask of ones removes nothing",
            )
        joined = {n: _join(xp, a, other.named[n]) for n, a in self.named.items()}
        return replace(self, named=joined, lengths=self.lengths + other.lengths)

    def value(self, xp: ArrayLibrary) -> Array:
        """Return the term's value on all samples, before the loss weight."""
        watch = Watch(xp)
        return watch.guard(run(prepare(self.term, *_arguments(self), watch), watch).value)

    def slice_of(self, part: int) -> slice:
        """Return where a part's samples stand."""
        edges = [sum(self.lengths[:i]) for i in range(len(self.lengths) + 1)]
        return slice(*list(pairwise(edges))[part])

    def around(self, own: Self, part: int, xp: ArrayLibrary) -> tuple[Joined, Array]:
        """Return the arguments with a part's own outputs in place, and where its samples are.

        Raises:
            MatchError: If the part is not as long as the one that was counted.
        """
        here = self.slice_of(part)
        if here.stop - here.start != own.samples:
            raise MatchError(
                f"Part {part} of `{self.term.name}` must be the one that was counted",
                f"Found {own.samples} samples where the whole has {here.stop - here.start}",
                "Parts are passed in another order than they were merged in",
                "Pass part=i, the place of the part in sum(wholes)",
            )
        live = {n: a for n, a in own.named.items() if n.startswith("output")}
        named = {n: _put(xp, a, live[n], here) if n in live else a for n, a in self.named.items()}
        like = next(iter(named.values())).array
        place = xp.arange(self.samples, like)
        return _arguments(replace(self, named=named)), (place >= here.start) & (place < here.stop)


def _arguments(found: Candidates) -> Joined:
    """Return what `prepare` takes."""
    named = found.named
    outputs = tuple(named[f"output {i}"].array for i in range(len(found.term.outputs)))
    targets = named["targets"].array if "targets" in named else None
    keys = {n.removeprefix("key "): a.array for n, a in named.items() if n.startswith("key ")}
    weights = {n: named[n] for n in _WEIGHTS if n in named}
    return outputs, targets, BatchWeights(keys=keys, **weights)


def candidates(
    prepared: Prepared, outputs: tuple[Array, ...], targets: Array, weights: BatchWeights
) -> Candidates:
    """Name the axes of everything that was passed; outputs keep their graph."""
    term = prepared.term
    frame = frame_of(term, outputs)
    beside, left = targets_frame(term, frame, prepared.inputs.form), values_frame(term, frame)
    named = {f"output {i}": NamedArray(a, frame.axes) for i, a in enumerate(outputs)}
    if targets is not None:
        named["targets"] = NamedArray(targets, beside.axes)
    for kind in _WEIGHTS:
        given = getattr(weights, kind)
        if given is not None:
            named[kind] = read_weight(kind, given, term, beside, left)
    for name in term.keys:
        index = weights.keys[name]
        named[f"key {name}"] = NamedArray(index, left.axes[: len(index.shape)])
    return Candidates(term, named, (frame.length("batch"),))


def bare(xp: ArrayLibrary, found: Candidates) -> Candidates:
    """Return candidates that hold no graph."""
    named = {n: NamedArray(xp.detach(a.array), a.axes) for n, a in found.named.items()}
    return replace(found, named=named)


def _join(xp: ArrayLibrary, mine: NamedArray, theirs: NamedArray) -> NamedArray:
    if "batch" not in mine.axes:
        return mine
    return NamedArray(xp.concat([mine.array, theirs.array], mine.axes.index("batch")), mine.axes)


def _put(xp: ArrayLibrary, whole: NamedArray, part: NamedArray, here: slice) -> NamedArray:
    """Replace the samples of a slice."""
    axis = whole.axes.index("batch")
    before = (slice(None),) * axis
    sides = [whole.array[(*before, slice(0, here.start))], part.array]
    sides.append(whole.array[(*before, slice(here.stop, None))])
    return NamedArray(xp.concat(sides, axis), whole.axes)
