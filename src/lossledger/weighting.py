# SPDX-License-Identifier: Apache-2.0
"""Every source of weight, kept by name and multiplied where its axes are reduced."""

from dataclasses import dataclass, replace

from lossledger._array import ArrayLibrary
from lossledger._errors import ShapeError
from lossledger._typing import Array, Axes
from lossledger.frames import Frame, Keys, NamedArray, align


@dataclass(frozen=True, eq=False)
class Factor:
    """One source of weight: an array over named axes, or over the values of a key.

    Attributes:
        name: Where it comes from: "mask", "ignore_index", "present", "sample_weight", ….
        array: Non-negative; 0 removes an element.
        axes: Axis names; `("class",)` also stands for the key of that name.
        in_numerator: False if the loss has already multiplied its values by it.
    """

    name: str
    array: Array
    axes: Axes
    in_numerator: bool = True

    @property
    def is_mask(self) -> bool:
        """Whether it says which elements exist, rather than how much they weigh."""
        return self.name in ("mask", "ignore_index", "present")


@dataclass(frozen=True, eq=False)
class Masses:
    """The weights of one stage's elements; None stands for ones.

    Arrays have the rank of the stage's frame; an axis of length 1 stands for equal weights.

    Attributes:
        numerator: Product of the factors above the bar.
        denominator: Product of all factors.
        mask: Product of the masks.
        presence: 0 where an earlier stage skipped a cell.
        samples: Length of `batch`.
        beside: The factors that are no masks, one by one.
    """

    numerator: Array | None
    denominator: Array | None
    mask: Array | None
    presence: Array | None
    samples: int | Array
    beside: tuple[Array, ...] = ()


def axes_in(factor: Factor, frame: Frame, keys: Keys) -> Axes:
    """Return the axes of `frame` along which a factor varies."""
    found: Axes = ()
    for name in factor.axes:
        if name in frame.axes:
            found += (name,)
        elif name in keys:
            found += keys[name].axes
    return tuple(a for a in frame.axes if a in found)


def enters(factor: Factor, frame: Frame, keys: Keys, keep: Axes) -> bool:
    """Whether a stage that keeps `keep` is the first to remove one of the factor's axes.

    A single value has no axis to remove: its weights enter at once.
    """
    if not frame.axes:
        return True
    for name in factor.axes:
        if name in keep:
            continue
        if name in frame.axes:
            return True
        if name in keys and any(a not in keep for a in keys[name].axes):
            return True
    return False


def place(xp: ArrayLibrary, factor: Factor, frame: Frame, keys: Keys) -> Array:
    """Return a factor's weights at the elements of `frame`, by axis name.

    Raises:
        ShapeError: If the factor varies along something that `frame` does not have.
    """
    array, axes = factor.array, factor.axes
    missing = [a for a in axes if a not in frame.axes]
    if missing:
        if axes != tuple(missing) or len(missing) != 1 or missing[0] not in keys:
            raise ShapeError(
                f"`{factor.name}` must vary along axes of the values",
                f"Found axes {' '.join(axes)} where the values have {frame}",
                "The loss removes an axis that the weight still has",
                "Give the weight the axes of the values, without the axis the loss removes",
            )
        key = keys[missing[0]]
        array, axes = _look_up(xp, array, key.index), key.axes
    return align(xp, NamedArray(array, axes), frame)


def masses(
    xp: ArrayLibrary, factors: tuple[Factor, ...], frame: Frame, keys: Keys, dtype: str
) -> Masses:
    """Multiply the factors that enter a stage into weights at its elements."""
    numerator = denominator = mask = None
    beside: tuple[Array, ...] = ()
    for factor in factors:
        weight = xp.astype(place(xp, factor, frame, keys), dtype)
        denominator = _times(denominator, weight)
        if factor.in_numerator:
            numerator = _times(numerator, weight)
        if factor.is_mask:
            mask = _times(mask, weight)
        else:
            beside += (weight,)
    samples = frame.length("batch") if "batch" in frame.axes else 1
    return Masses(numerator, denominator, mask, None, samples, beside)


def with_presence(xp: ArrayLibrary, found: Masses, presence: Array | None, dtype: str) -> Masses:
    """Take cells that an earlier stage skipped out of every weight."""
    if presence is None:
        return found
    here = xp.astype(presence, dtype)
    return replace(
        found,
        numerator=_times(found.numerator, here),
        denominator=_times(found.denominator, here),
        mask=_times(found.mask, here),
        presence=_times(found.presence, here),
        beside=(*found.beside, here),
    )


def kept(
    xp: ArrayLibrary, factors: tuple[Factor, ...], frame: Frame, keys: Keys, within: Axes
) -> Array | None:
    """Return where elements count, over `within`, from the factors that vary only there.

    None if no factor can remove an element.
    """
    found: Array | None = None
    reach = frame.only(within)
    for factor in factors:
        varies = axes_in(factor, frame, keys)
        elsewhere = any(a not in frame.axes and a not in keys for a in factor.axes)
        if elsewhere or (frame.axes and not varies) or any(a not in within for a in varies):
            continue
        here = align(xp, NamedArray(place_at(xp, factor, frame, keys, varies), varies), reach)
        counts = here if xp.is_bool(here) else here != 0
        found = counts if found is None else found & counts
    return found


def place_at(xp: ArrayLibrary, factor: Factor, frame: Frame, keys: Keys, axes: Axes) -> Array:
    """Return a factor's weights over exactly the axes along which it varies."""
    placed = place(xp, factor, frame, keys)
    return xp.reshape(placed, tuple(frame.length(a) for a in axes))


def _times(product: Array | None, factor: Array) -> Array:
    return factor if product is None else product * factor


def _look_up(xp: ArrayLibrary, by_class: Array, index: Array) -> Array:
    flat = xp.take(by_class, xp.reshape(index, (-1,)))
    return xp.reshape(flat, tuple(index.shape))
