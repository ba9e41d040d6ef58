# SPDX-License-Identifier: Apache-2.0
"""Outputs, targets and weights matched to terms one to one, by name."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Mapping, Tree
from lossledger.engines import BatchWeights
from lossledger.frames import NamedArray
from lossledger.term import Term

Given = Array | NamedArray | Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call, by name; `places` are the outputs' names in a tuple or list."""

    xp: ArrayLibrary
    outputs: dict[str, Array]
    targets: dict[str, Array]
    weights: dict[str, BatchWeights]
    places: Axes

    def like(self, outputs: Tree, slopes: Mapping[str, Array]) -> Tree:
        """Return slopes by name in the structure of the outputs, 0 for outputs without a loss."""
        if isinstance(outputs, Mapping):
            return {n: slopes[n] if n in slopes else self._zeros(a) for n, a in outputs.items()}
        if not isinstance(outputs, tuple | list):
            return next(iter(slopes.values()))
        pairs = zip(self.places, outputs, strict=True)
        found = [slopes[n] if n in slopes else self._zeros(a) for n, a in pairs]
        return type(outputs)(*found) if hasattr(outputs, "_fields") else type(outputs)(found)

    def _zeros(self, skipped: Any) -> Any:
        if not is_array(skipped):
            return None
        return self.xp.zeros(tuple(skipped.shape), self.xp.dtype(skipped), skipped)


def match(
    terms: tuple[Term, ...],
    skip: Axes,
    output_names: Axes,
    outputs: Tree,
    targets: Tree,
    given: Mapping[str, Given],
    keys: Mapping[str, Array],
) -> Call:
    """Match containers of arrays to the terms' names.

    Raises:
        MatchError: If a name is missing or left over.
    """
    reads = _unique([n for t in terms for n in t.outputs])
    wants = _unique([t.target for t in terms if t.target is not None])
    places = _places("outputs", outputs, reads, output_names)
    by_output = _by_name("outputs", outputs, reads, skip, places)
    goals = _places("targets", targets, wants, output_names) if wants else ()
    by_target = _by_name("targets", targets, wants, skip, goals) if wants else _none(targets)
    xp = library_of(*(by_output[n] for n in reads))
    by_target = {n: _beside(xp, by_output[reads[0]], a) for n, a in by_target.items()}
    like = by_output[reads[0]]
    weights = _weights(terms, xp, like, given, keys)
    return Call(xp, by_output, by_target, weights, places)


def match_targets(
    terms: tuple[Term, ...],
    skip: Axes,
    output_names: Axes,
    targets: Tree,
    given: Mapping[str, Given],
    keys: Mapping[str, Array],
) -> Call:
    """Match targets and weights to the terms' names, before there are outputs.

    Raises:
        MatchError: If a name is missing or left over, or nothing was passed.
    """
    wants = _unique([t.target for t in terms if t.target is not None])
    goals = _places("targets", targets, wants, output_names) if wants else ()
    by_target = _by_name("targets", targets, wants, skip, goals) if wants else _none(targets)
    arrays = [a for a in (*by_target.values(), *_arrays_in(given), *keys.values()) if is_array(a)]
    if not arrays:
        raise MatchError(
            "Counting needs targets, masks or weights as arrays",
            "Found none",
            "Nothing was passed, or lists of numbers",
            "Pass the arrays of the batch",
        )
    xp = library_of(*arrays)
    like = next((a for a in arrays if library_of(a) is xp), arrays[0])
    by_target = {n: _beside(xp, like, a) for n, a in by_target.items()}
    return Call(xp, {}, by_target, _weights(terms, xp, like, given, keys), ())


def _arrays_in(given: Mapping[str, Given]) -> list[Any]:
    found: list[Any] = []
    for each in given.values():
        parts = each.values() if isinstance(each, Mapping) else (each,)
        found += [p.array if isinstance(p, NamedArray) else p for p in parts if p is not None]
    return found


def _weights(
    terms: tuple[Term, ...],
    xp: ArrayLibrary,
    like: Array,
    given: Mapping[str, Given],
    keys: Mapping[str, Array],
) -> dict[str, BatchWeights]:
    """Place masks, weights and keys beside an array, for each term."""
    labels = {n: _beside(xp, like, a) for n, a in keys.items()}
    _check_keys(terms, labels)
    weights = {}
    for term in terms:
        own = {kind: _weight(kind, g, term, terms) for kind, g in given.items()}
        placed = {kind: near(xp, like, w) for kind, w in own.items()}
        weights[term.name] = BatchWeights(keys=labels, **placed)
    return weights


def check_output_names(terms: tuple[Term, ...], skip: Axes, output_names: Axes) -> None:
    """Require that the names in the order of lists are those that are read or skipped.

    Raises:
        MatchError: If one is missing, left over or repeats.
    """
    reads = _unique([n for t in terms for n in t.outputs])
    known = [n for n in dict.fromkeys(output_names) if n in reads or n in skip]
    missing = [n for n in reads if n not in output_names]
    if output_names and (missing or len(known) != len(output_names)):
        raise MatchError(
            "`output_names` must name every output once: those read and those in `skip`",
            f"Found {', '.join(output_names)}; read: {', '.join(reads)}; skipped: "
            f"{', '.join(skip) or 'none'}",
            "A name is missing, misspelled or repeated",
            "List the model's outputs in their order, and those without a loss in `skip` too",
        )


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _places(what: str, given: Tree, names: list[str], output_names: Axes) -> Axes:
    """Return the name of each place of a tuple or list; nothing for other containers.

    A list holds either every output, or those that are read; in the order of
    `output_names`, or else in the order in which the terms first read them.
    """
    if not isinstance(given, tuple | list):
        return ()
    named = all(n in output_names for n in names)
    ordered = tuple(n for n in output_names if n in names) if named else tuple(names)
    for order in (output_names if named else (), ordered):
        if order and len(given) == len(order):
            return order
    numbers = [x for x in given if isinstance(x, bool | int | float)]
    raise MatchError(
        f"`{what}` in a tuple or list must be, in order: {', '.join(ordered)}",
        f"Found {len(given)} {'numbers' if numbers else 'arrays'}",
        "A list of numbers is not an array: a list here holds one array for each name"
        if numbers
        else "An array is missing, or one that no term reads was left in",
        "Pass a dict by name; or name all outputs in order: Objective(..., output_names=[...], "
        "skip=[...])",
    )


def _by_name(
    what: str, given: Tree, names: list[str], skip: Axes, places: Axes
) -> dict[str, Array]:
    if isinstance(given, Mapping):
        _check_names(what, given, names, skip)
        return {n: given[n] for n in names}
    if places:
        by_place = dict(zip(places, given, strict=True))
        return {n: by_place[n] for n in names}
    if is_array(given):
        if len(names) == 1:
            return {names[0]: given}
        raise MatchError(
            f"`{what}` must hold {len(names)} arrays: {', '.join(names)}",
            f"Found one array of shape {tuple(given.shape)}",
            "The terms read several, and an array alone cannot say which it is",
            "Pass a dict by name, or a list in that order",
        )
    raise MatchError(
        f"`{what}` must be an array, or a tuple, list or dict of arrays: {', '.join(names)}",
        f"Found {type(given).__name__}",
        f"`{what}` was left out"
        if given is None
        else "A model's output object or a data loader's batch was passed as it is",
        f"Pass the arrays by name: {{{names[0]!r}: array}}",
    )


def _check_names(what: str, given: Mapping[str, Any], names: list[str], skip: Axes) -> None:
    missing = [n for n in names if n not in given]
    extra = [n for n in given if n not in names and n not in skip]
    if missing or extra:
        raise MatchError(
            f"`{what}` must hold exactly the names that the terms read",
            f"Found {', '.join(map(str, given)) or 'nothing'}"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; read by no term: {', '.join(map(str, extra))}" if extra else ""),
            "A name is misspelled, or an output has no loss",
            "Rename it, or list outputs without a loss in Objective(..., skip=[...])",
        )


def _none(targets: Tree) -> dict[str, Array]:
    if targets is None:
        return {}
    raise MatchError(
        "No term of this objective takes targets",
        f"Found {type(targets).__name__}",
        "The losses look at outputs only",
        "Leave `targets` out",
    )


def _beside(xp: ArrayLibrary, like: Array, array: Any) -> Array:
    """Bring NumPy data and lists to the library of the outputs."""
    if isinstance(array, list | tuple | int | float) or not is_array(array):
        return xp.asarray(array, None, like)
    own = library_of(array)
    if own is xp:
        return array
    library_of(like, array)  # refuses two frameworks in one call
    return xp.asarray(array, None, like)


def near(xp: ArrayLibrary, like: Array, weight: Any) -> Any:
    """Bring an array or a named array to the library of the outputs; None stays None."""
    if weight is None:
        return None
    if isinstance(weight, NamedArray):
        return NamedArray(_beside(xp, like, weight.array), tuple(weight.axes))
    return _beside(xp, like, weight)


def _weight(kind: str, given: Given, term: Term, terms: tuple[Term, ...]) -> Any:
    """Find one term's weight: by the name of its output, target or itself, or for all."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        known = {n for t in terms for n in (*t.outputs, t.target, t.name)}
        unknown = [n for n in given if n not in known]
        if unknown:
            raise MatchError(
                f"`{kind}` by name must use names of outputs, targets or terms",
                f"Found {', '.join(map(str, unknown))}",
                "A name is misspelled",
                f"Use {', '.join(sorted(str(n) for n in known if n))}",
            )
        for name in given:
            _check_meaning(kind, name, terms)
        names = [term.name, *term.outputs, term.target]
        hits = [given[n] for n in dict.fromkeys(names) if n is not None and n in given]
        if len(hits) > 1:
            raise MatchError(
                f"Only one `{kind}` may reach the term `{term.name}`",
                f"Found several, under {', '.join(n for n in given if n in names)}",
                "It was given for the term and for its output",
                "Keep one of them",
            )
        return hits[0] if hits else None
    if not isinstance(given, NamedArray) and len({t.outputs for t in terms}) > 1:
        _only_samples(kind, given, terms)
    return given


def _check_meaning(kind: str, name: str, terms: tuple[Term, ...]) -> None:
    """Refuse a name that is one term's output and another's target, or name."""
    roles = {
        "outputs": [t.name for t in terms if name in t.outputs],
        "targets": [t.name for t in terms if name == t.target],
        "terms": [t.name for t in terms if name == t.name],
    }
    reached = {role: tuple(found) for role, found in roles.items() if found}
    if len(set(reached.values())) > 1:
        shown = "; ".join(f"among {role}: of {', '.join(t)}" for role, t in reached.items())
        raise MatchError(
            f"`{kind}` by name must mean one thing",
            f"Found {name!r} {shown}",
            "An output of one term has the name of another term's target, or of a term",
            "Rename one of them, or use a name that only the terms you mean have",
        )


def _only_samples(kind: str, given: Any, terms: tuple[Term, ...]) -> None:
    shape = tuple(given.shape) if is_array(given) else np.shape(given)
    if len(shape) != 1:
        raise ShapeError(
            f"`{kind}` for several outputs must weigh samples, or be given by name",
            f"Found one array of shape {shape} and the outputs "
            + ", ".join(dict.fromkeys(n for t in terms for n in t.outputs)),
            "The weight belongs to one of the outputs",
            f"Pass {kind}={{name: array}}",
        )


def _check_keys(terms: tuple[Term, ...], keys: Mapping[str, Array]) -> None:
    known = {name for term in terms for name in term.keys}
    unknown = [n for n in keys if n not in known]
    if unknown:
        raise MatchError(
            "`keys` may hold only what a term declares",
            f"Found {', '.join(unknown)}",
            "The term was built without keys={name: size}",
            f"Declare it: Term(..., keys={{{unknown[0]!r}: number of values}})",
        )
