# SPDX-License-Identifier: Apache-2.0
"""Which settings of another library's loss may mean the source's: to be tried, not believed.

Options of one meaning are carried over under the other library's name; where two libraries
have the same names for opposite things, both ways are tried; what the source leaves to its
data or fixes by itself is tried in each of its values.
"""

import itertools
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lossledger._errors import LossLedgerError
from lossledger._typing import Mapping
from lossledger.losses import AbstractOverlapLoss
from lossledger.presets._base import AbstractLibraryLoss

# One meaning, several names; a value that stands for "nothing" is not carried over.
SAME = (
    {"ignore_index", "ignore_class", "ignore_label"},
    {"delta", "beta"},
    {"smooth", "smooth_nr", "smooth_dr"},
    {"weight", "class_weights"},
    {"include_background", "do_bg"},
    {"batch", "batch_dice"},
    {"lambda_dice", "weight_dice"},
    {"lambda_ce", "weight_ce"},
)
# One pair of names, of which some libraries have the meanings exchanged.
REVERSED = (("alpha", "beta"),)
# What losses of overlap differ in without saying so: tried where the source has no such option.
TRIED: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"to_onehot_y": False}, {"to_onehot_y": True}),
    ({}, {"batch": True}, {"batch_dice": True, "ddp": False}),
    ({}, {"smooth_nr": 0.0, "smooth_dr": 1e-7}, {"smooth_nr": 0.0, "smooth_dr": 0.0}),
    ({}, {"jaccard": True}),
    ({}, {"axis": (0, 1, 2)}),
)
ACTIVATIONS: tuple[dict[str, Any], ...] = ({"sigmoid": True}, {"softmax": True})
"""The same where outputs are logits."""

OWN = ("reduction", "from_logits")
"""Options that are tried in all their values, never carried over."""


def alike(name: str) -> set[str]:
    """Return the names under which an option of this name may be found."""
    return next((group for group in SAME if name in group), {name})


def overlaps(preset: AbstractLibraryLoss, rank: int = 4) -> bool:
    """Whether a part of the preset is a loss of sums over an image."""
    try:
        recipes = preset.recipes(preset.axes(rank), None)
    except LossLedgerError:
        return False
    return any(isinstance(r.loss, AbstractOverlapLoss) for r in recipes.values())


def options(preset: AbstractLibraryLoss) -> dict[str, Any]:
    """Return a preset's options, those of its parts among them."""
    found: dict[str, Any] = {}
    for f in fields(preset):
        value = getattr(preset, f.name)
        if f.name in preset.nested:
            inner = preset.nested[f.name]
            found |= {g.name: value.get(g.name, g.default) for g in fields(inner)}
        else:
            found[f.name] = value
    return found


def required(f: "Field[Any]") -> bool:
    """Whether an option has no default."""
    return f.default is MISSING and f.default_factory is MISSING


def built(kind: type[AbstractLibraryLoss], settings: Mapping[str, Any]) -> AbstractLibraryLoss:
    """Build a preset from settings without regard to which of its parts they belong to."""
    own = {f.name for f in fields(kind) if f.init}
    given = {n: v for n, v in settings.items() if n in own and n not in kind.nested}
    for name, inner in kind.nested.items():
        defaults = {f.name: f.default for f in fields(inner) if f.name not in own}
        kept = [n for n in settings if n in defaults and settings[n] != defaults[n]]
        given[name] = {n: settings[n] for n in kept}
    found: AbstractLibraryLoss = kind(**given)
    return found


def plainest(kind: type[AbstractLibraryLoss]) -> list[AbstractLibraryLoss]:
    """Return a preset at its defaults, once for each name that a required option may have."""
    hints = get_type_hints(kind)
    needed = [f.name for f in fields(kind) if required(f) and f.name not in kind.nested]
    literals = {n: get_args(hints[n]) if get_origin(hints[n]) is Literal else () for n in needed}
    choices = [[(n, v) for v in values] for n, values in literals.items()]
    found = []
    for chosen in itertools.product(*choices):
        try:
            found.append(built(kind, dict(chosen)))
        except (TypeError, LossLedgerError):
            continue
    return found


def configurations(
    kind: type[AbstractLibraryLoss], source: AbstractLibraryLoss
) -> list[AbstractLibraryLoss]:
    """Return a preset's settings that may mean the source's; none if an option is beyond them."""
    known = {f.name: f for f in fields(kind) if f.init and f.name not in kind.nested}
    inner = {f.name: f for each in kind.nested.values() for f in fields(each)}
    carried = _carried(source, {*known, *inner})
    hints = get_type_hints(kind)
    choices = list(_tried(source, {*known, *inner}, carried))
    for name, f in known.items():
        literal = get_origin(hints[name]) is Literal
        if name == "from_logits":
            choices.append([{name: v} for v in (True, False)])
        elif name == "reduction" or (literal and required(f)):
            choices.append([{name: v} for v in get_args(hints[name])])
        elif required(f) and name not in carried:
            return []
    found: dict[str, AbstractLibraryLoss] = {}
    for chosen in itertools.product(*choices):
        settings = dict(carried)
        for each in chosen:
            settings |= each
        try:
            preset = built(kind, settings)
        except LossLedgerError:
            continue
        found.setdefault(repr(preset), preset)
    return list(found.values())


def lost(source: AbstractLibraryLoss, nearest: AbstractLibraryLoss, passed: str) -> tuple[str, ...]:
    """Return the options that were set and have no counterpart; `passed` says what a call has."""
    names = {*options(nearest)} | ({"weight"} if passed else set())
    defaults = {f.name: f.default for f in fields(source)}
    for inner in source.nested.values():
        defaults |= {f.name: f.default for f in fields(inner)}
    given = options(source).items()
    changed = [n for n, v in given if hasattr(v, "shape") or v != defaults[n]]
    return tuple(name for name in changed if not alike(name) & names)


def _carried(source: AbstractLibraryLoss, names: set[str]) -> dict[str, Any]:
    """Return the source's options under the names that mean the same."""
    given = {n: v for n, v in options(source).items() if n not in OWN and v is not None}
    found = {name: v for n, v in given.items() for name in alike(n) & names}
    return found | {n: v for n, v in given.items() if n in names}


def _tried(
    source: AbstractLibraryLoss, names: set[str], carried: Mapping[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the choices that the source's options leave open."""
    for one, other in REVERSED:
        pair = {one: carried.get(one), other: carried.get(other)}
        if None not in pair.values() and pair[one] != pair[other]:
            yield [pair, {one: pair[other], other: pair[one]}]
    if carried.get("batch_dice"):
        yield [{"ddp": False}]
    if not overlaps(source):
        return
    for group in TRIED if _takes_probabilities(source) else (ACTIVATIONS, *TRIED):
        choices = [each for each in group if {*each} <= names and not {*each} & {*carried}]
        if any(choices):
            yield choices


def _takes_probabilities(source: AbstractLibraryLoss) -> bool:
    first = next(iter(source.recipes(source.axes(4), None).values()))
    return first.loss.facts().domains[0] == "probabilities"
