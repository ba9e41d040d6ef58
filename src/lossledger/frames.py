# SPDX-License-Identifier: Apache-2.0
"""Named axes: which axes an array has, and how its elements fall into cells."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Mapping, Names


def parse_axes(names: Names, what: str = "axes") -> Axes:
    """Return axis names from "batch class" or a sequence of names.

    Raises:
        MatchError: If a name occurs twice.
    """
    axes = tuple(names.split()) if isinstance(names, str) else tuple(names)
    repeated = sorted({name for name in axes if axes.count(name) > 1})
    if repeated:
        raise MatchError(
            f"Every name in `{what}` must occur once",
            f"Found {' '.join(axes)}, where {', '.join(repeated)} repeats",
            "Two axes were given the same name",
            "Name each axis for what it counts, e.g. 'batch height width class'",
        )
    return axes


@dataclass(frozen=True)
class Frame:
    """The names and lengths of an array's axes, in order."""

    axes: Axes
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def length(self, axis: str) -> int:
        """Return the length of a named axis."""
        return self.shape[self.axes.index(axis)]

    def only(self, axes: Axes) -> "Frame":
        """Return the frame of the axes named, in this frame's order."""
        kept = [(a, n) for a, n in zip(self.axes, self.shape, strict=True) if a in axes]
        return Frame(tuple(a for a, _ in kept), tuple(n for _, n in kept))

    def without(self, axes: Axes) -> "Frame":
        """Return the frame without the axes named."""
        return self.only(tuple(a for a in self.axes if a not in axes))

    def __str__(self) -> str:
        """Write as `(batch 8, class 5)`."""
        pairs = zip(self.axes, self.shape, strict=True)
        return "(" + ", ".join(f"{a} {n}" for a, n in pairs) + ")"


@dataclass(frozen=True, eq=False)
class NamedArray:
    """An array whose axes have names, so that it is placed by name and never by guess."""

    array: Array
    axes: Axes


@dataclass(frozen=True, eq=False)
class Key:
    """An integer label 0 … size-1 of every element over `axes` of a frame.

    `known` says which elements have a label; None for all. The others are in no cell.
    """

    index: Array
    size: int
    axes: Axes
    known: Array | None = None


Keys = Mapping[str, Key]


def align(xp: ArrayLibrary, named: NamedArray, frame: Frame) -> Array:
    """Place an array by axis names inside `frame`; axes it lacks get length 1.

    Its own axes may have length 1 too, where all their numbers are equal.
    """
    if named.axes == frame.axes:
        return named.array
    order = tuple(named.axes.index(a) for a in frame.axes if a in named.axes)
    moved = named.array if order == tuple(range(len(order))) else xp.permute(named.array, order)
    lengths = dict(zip(named.axes, named.array.shape, strict=True))
    return xp.reshape(moved, tuple(lengths.get(a, 1) for a in frame.axes))


class AbstractGrouping(ABC):
    """Elements of one frame sorted into the cells of another."""

    xp: ArrayLibrary
    frame: Frame
    cells: Frame
    removed: Axes

    @abstractmethod
    def sum(self, x: Array) -> Array:
        """Sum elements by cell; axes of length 1 stand for equal elements."""

    @abstractmethod
    def max(self, x: Array) -> Array:
        """Largest element by cell, -inf where there is none."""

    @abstractmethod
    def count(self, like: Array) -> Array | int:
        """Number of elements by cell."""

    @abstractmethod
    def spread(self, cells: Array) -> Array:
        """Give every element its cell's number (axes of length 1 where all agree)."""

    @abstractmethod
    def at_cells(self, x: Array) -> Array | None:
        """Undo `spread`, if an array's shape says that each cell's elements agree; else None."""

    @abstractmethod
    def rows(self, x: Array, fill: float) -> Array:
        """Lay elements out as cells × elements, `fill` where an element is elsewhere."""

    @abstractmethod
    def unrows(self, rows: Array) -> Array:
        """Undo `rows`: each element takes its own place's number."""


@dataclass(frozen=True, eq=False)
class DenseGrouping(AbstractGrouping):
    """Cells are the axes that stay; the axes in `removed` are reduced."""

    xp: ArrayLibrary
    frame: Frame
    cells: Frame
    removed: Axes

    def sum(self, x: Array) -> Array:
        """Sum over the removed axes, each counted at its full length."""
        places = self._places()
        shape = tuple(x.shape)
        copies = math.prod([self.frame.shape[i] // max(shape[i], 1) for i in places])
        total = self.xp.sum(x, axis=places) if places else x
        total = total if copies == 1 else total * copies
        if tuple(total.shape) == self.cells.shape:
            return total
        return self.xp.broadcast_to(total, self.cells.shape)

    def max(self, x: Array) -> Array:
        """Largest over the removed axes."""
        full = self.xp.broadcast_to(x, self.frame.shape)
        return self.xp.max(full, axis=self._places()) if self.removed else full

    def count(self, like: Array) -> int:
        """Return the product of the removed axes' lengths."""
        del like
        return math.prod([self.frame.length(a) for a in self.removed])

    def spread(self, cells: Array) -> Array:
        """Reshape so that removed axes have length 1."""
        if not self.removed:
            return cells
        shape = zip(self.frame.axes, self.frame.shape, strict=True)
        return self.xp.reshape(cells, tuple(1 if a in self.removed else n for a, n in shape))

    def at_cells(self, x: Array) -> Array | None:
        """Drop the removed axes if each has length 1."""
        shape, gone = tuple(x.shape), self._places()
        if len(shape) == 0:
            return x
        if any(shape[i] != 1 for i in gone):
            return None
        return self.xp.reshape(x, tuple(n for i, n in enumerate(shape) if i not in gone))

    def rows(self, x: Array, fill: float) -> Array:
        """Move kept axes to the front and flatten the others."""
        del fill  # every place belongs to its cell
        full = self.xp.broadcast_to(x, self.frame.shape)
        return self.xp.reshape(self.xp.permute(full, self._order()), (self.cells.size, -1))

    def unrows(self, rows: Array) -> Array:
        """Restore the axes in their order."""
        order = self._order()
        moved = self.xp.reshape(rows, tuple(self.frame.shape[i] for i in order))
        return self.xp.permute(moved, tuple(order.index(i) for i in range(len(order))))

    def _places(self) -> tuple[int, ...]:
        return tuple(i for i, a in enumerate(self.frame.axes) if a in self.removed)

    def _order(self) -> tuple[int, ...]:
        kept = tuple(i for i, a in enumerate(self.frame.axes) if a not in self.removed)
        return kept + self._places()


@dataclass(frozen=True, eq=False)
class KeyedGrouping(AbstractGrouping):
    """Cells are axes that stay × values of keys; `index` is each element's flat cell."""

    xp: ArrayLibrary
    frame: Frame
    cells: Frame
    removed: Axes
    index: Array

    def sum(self, x: Array) -> Array:
        """Add up by cell, in the widest float there is."""
        flat = self.xp.reshape(self.xp.broadcast_to(x, self.frame.shape), (-1,))
        work = self.xp.dtype(flat)
        wide = self.xp.wide(flat) if self.xp.is_float(flat) else self.xp.counter(flat)
        sums = self.xp.bin_sum(self.xp.astype(flat, wide), self.index, self.cells.size)
        return self.xp.astype(self.xp.reshape(sums, self.cells.shape), work)

    def max(self, x: Array) -> Array:
        """Largest by cell."""
        flat = self.xp.reshape(self.xp.broadcast_to(x, self.frame.shape), (-1,))
        tops = self.xp.bin_max(flat, self.index, self.cells.size)
        return self.xp.reshape(tops, self.cells.shape)

    def count(self, like: Array) -> Array:
        """Count elements by cell."""
        del like
        ones = self.xp.astype(self.index * 0 + 1, self.xp.counter(self.index))
        sums = self.xp.bin_sum(ones, self.index, self.cells.size)
        return self.xp.reshape(sums, self.cells.shape)

    def spread(self, cells: Array) -> Array:
        """Look each element's cell up."""
        flat = self.xp.take(self.xp.reshape(cells, (-1,)), self.index)
        return self.xp.reshape(flat, self.frame.shape)

    def at_cells(self, x: Array) -> Array | None:
        """Return one number that all elements share."""
        shared = all(n == 1 for n in tuple(x.shape))
        return self.xp.reshape(x, ()) if shared else None

    def rows(self, x: Array, fill: float) -> Array:
        """Repeat the elements for each cell and blank those of other cells."""
        full = self.xp.broadcast_to(x, self.frame.shape)
        flat = self.xp.expand(self.xp.reshape(full, (-1,)), 0)
        return self.xp.where(self._members(), flat, self.xp.full_like(flat, fill))

    def unrows(self, rows: Array) -> Array:
        """Take each element's number from its own cell's row."""
        own = self.xp.take_along(rows, self.xp.expand(self.index, 0), 0)
        return self.xp.reshape(own, self.frame.shape)

    def _members(self) -> Array:
        cells = self.xp.arange(self.cells.size, self.index)
        return self.xp.expand(cells, 1) == self.xp.expand(self.index, 0)


def group(xp: ArrayLibrary, frame: Frame, keys: Keys, keep: Axes) -> AbstractGrouping:
    """Sort the elements of `frame` into cells by the axes and keys named in `keep`.

    Raises:
        ShapeError: If a name is neither an axis nor a key.
    """
    axes = frame.only(keep)
    removed = tuple(a for a in frame.axes if a not in keep)
    named = [name for name in keep if name not in frame.axes]
    unknown = [name for name in named if name not in keys]
    if unknown:
        raise ShapeError(
            "An axis or key named in a reduction or in `rows` must exist",
            f"Found {', '.join(unknown)} where the axes are {frame} and the keys "
            f"{', '.join(keys) or 'none'}",
            "The loss removed the axis, an earlier stage did, or the name is misspelled",
            "Name an axis that is left, or give `classes=` so that labels become a key",
        )
    if not named:
        return DenseGrouping(xp, frame, axes, removed)
    index: Array = None
    for axis in axes.axes:
        index = _append(xp, index, frame.length(axis), _positions(xp, frame, keys, axis))
    for name in named:
        own = align(xp, NamedArray(keys[name].index, keys[name].axes), frame)
        flat = xp.reshape(xp.broadcast_to(own, frame.shape), (-1,))
        index = _append(xp, index, keys[name].size, flat)
    shape = axes.shape + tuple(keys[name].size for name in named)
    return KeyedGrouping(xp, frame, Frame(axes.axes + tuple(named), shape), removed, index)


def _append(xp: ArrayLibrary, index: Array | None, size: int, flat: Array) -> Array:
    """Extend a flat cell number by one more digit of base `size`."""
    wide = xp.astype(flat, xp.counter(flat))
    return wide if index is None else index * size + wide


def _positions(xp: ArrayLibrary, frame: Frame, keys: Keys, axis: str) -> Array:
    like = next(iter(keys.values())).index
    steps = NamedArray(xp.arange(frame.length(axis), like), (axis,))
    return xp.reshape(xp.broadcast_to(align(xp, steps, frame), frame.shape), (-1,))
