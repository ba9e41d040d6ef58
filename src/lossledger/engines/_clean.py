# SPDX-License-Identifier: Apache-2.0
"""Harmless numbers where no weight is: whatever stands there, nothing comes of it."""

from dataclasses import dataclass

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.engines._domain import harmless
from lossledger.engines._shapes import targets_frame
from lossledger.frames import Frame, NamedArray, align, group
from lossledger.losses._base import Domain, Form
from lossledger.term import Term


@dataclass(frozen=True, eq=False)
class Places:
    """Where elements have weight.

    Attributes:
        frame: Axes of the outputs.
        free: Those along which an element can be left out by itself.
        alive: Where elements have weight, over `free`; None for everywhere.
        given: Likewise, class weights apart: a class of weight 0 keeps its labels, by which
            the ledger splits and counts.
    """

    frame: Frame
    free: Frame
    alive: Array | None
    given: Array | None

    def on_outputs(self, xp: ArrayLibrary, alive: Array) -> Array:
        """Place over the axes of the outputs."""
        return align(xp, NamedArray(alive, self.free.axes), self.frame)

    def on_targets(
        self, xp: ArrayLibrary, term: Term, form: Form, alive: Array | None
    ) -> Array | None:
        """Place over the targets' own axes: where any of their values has weight."""
        if alive is None or form == "index":
            return alive
        if form != "rows":
            return self.on_outputs(xp, alive)
        own = targets_frame(term, self.frame, form)
        gone = tuple(i for i, a in enumerate(self.free.axes) if a not in own.axes)
        return xp.any(alive, axis=gone) if gone else alive


def clean_targets(
    xp: ArrayLibrary, term: Term, form: Form, targets: Array, places: Places, work: str
) -> Array:
    """Return targets in the dtype of the work, with a harmless number where no weight is."""
    if form == "none":
        return targets
    if form == "free":
        return _borrowed_targets(xp, targets, places)
    if form == "index":
        cast = xp.astype(targets, "int64" if xp.counter(targets) == "int64" else "int32")
    else:
        cast = xp.astype(targets, work)
    domain = term.facts.targets
    fill = harmless(domain) if domain in ("positive", "nonzero", "sign") else 0
    if domain == "distribution" and form == "dense" and "class" in places.frame.axes:
        fill = 1 / places.frame.length("class")
    given = places.on_targets(xp, term, form, places.given)
    if places.alive is not places.given and form == "dense":
        alive = places.on_targets(xp, term, form, places.alive)
        counted = alive | xp.isfinite(cast)
        given = counted if given is None else given & counted
    return cast if given is None else xp.where(given, cast, xp.full_like(cast, fill))


def clean_output(
    xp: ArrayLibrary, output: Array, places: Places, domain: Domain, form: Form
) -> Array:
    """Return an output with a number inside the loss's domain where no weight is."""
    if places.alive is None:
        return output
    here = places.on_outputs(xp, places.alive)
    if form == "free":
        return xp.where(here, output, _borrowed(xp, output, places))
    value = 1 / places.frame.length("class") if domain == "distribution" else harmless(domain)
    return xp.where(here, output, xp.full_like(output, value))


def _borrowed(xp: ArrayLibrary, output: Array, places: Places) -> Array:
    """The output of the first element with weight: a callable's domain is not known."""
    grouping = group(xp, places.frame, {}, places.free.axes)
    first = _first(xp, grouping.rows(xp.detach(output), 0.0), places)
    lengths = zip(places.frame.axes, places.frame.shape, strict=True)
    return xp.reshape(first, tuple(1 if a in places.free.axes else n for a, n in lengths))


def _borrowed_targets(xp: ArrayLibrary, targets: Array, places: Places) -> Array:
    """A callable's targets, if their leading axes are those that can be left out."""
    rank, shape = len(places.free.shape), tuple(getattr(targets, "shape", ()))
    if places.given is None or shape[:rank] != places.free.shape:
        return targets
    rest = (1,) * (len(shape) - rank)
    here = xp.reshape(places.given, tuple(places.given.shape) + rest)
    first = _first(xp, xp.reshape(targets, (places.free.size, -1)), places)
    return xp.where(here, targets, xp.reshape(first, (1,) * rank + shape[rank:]))


def _first(xp: ArrayLibrary, rows: Array, places: Places) -> Array:
    """The row of the first element with weight; zeros if there is none."""
    alive = xp.reshape(xp.broadcast_to(places.alive, places.free.shape), (-1,))
    place = xp.argmax(xp.astype(alive, xp.counter(rows)), 0)
    row = xp.take(rows, xp.reshape(place, (1,)))
    return xp.where(xp.any(alive), row, xp.full_like(row, 0))
