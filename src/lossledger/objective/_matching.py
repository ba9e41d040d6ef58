# SPDX-License-Identifier: Apache-2.0
"""Outputs, targets and weights matched to terms one to one, by name."""

from dataclasses import dataclass
from typing import Any

from lossledger._array import ArrayLibrary, is_array, library_of
from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Mapping, Tree
from lossledger.engines import BatchWeights
from lossledger.frames import NamedArray
from lossledger.term import Term

Given = Array | NamedArray | Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call, by name."""

    xp: ArrayLibrary
    outputs: dict[str, Array]
    targets: dict[str, Array]
    weights: dict[str, BatchWeights]


def match(
    terms: tuple[Term, ...],
    skip: tuple[str, ...],
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
    by_output = _by_name("outputs", outputs, reads, skip)
    by_target = _by_name("targets", targets, wants, skip) if wants else _none(targets)
    xp = library_of(*(by_output[n] for n in reads))
    by_target = {n: _beside(xp, by_output[reads[0]], a) for n, a in by_target.items()}
    like = by_output[reads[0]]
    labels = {n: _beside(xp, like, a) for n, a in keys.items()}
    _check_keys(terms, labels)
    weights = {}
    for term in terms:
        own = {kind: _weight(kind, g, term, terms) for kind, g in given.items()}
        near = {kind: _near(xp, like, w) for kind, w in own.items()}
        weights[str(term.name)] = BatchWeights(keys=labels, **near)
    return Call(xp, by_output, by_target, weights)


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _by_name(what: str, given: Tree, names: list[str], skip: tuple[str, ...]) -> dict[str, Array]:
    if isinstance(given, Mapping):
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
        return {n: given[n] for n in names}
    if is_array(given):
        if len(names) == 1:
            return {names[0]: given}
        raise MatchError(
            f"`{what}` must hold {len(names)} arrays: {', '.join(names)}",
            f"Found one array of shape {tuple(given.shape)}",
            "The terms read several, and an array alone cannot say which it is",
            "Pass a dict by name, or a list in that order",
        )
    if isinstance(given, tuple | list):
        order = names + [n for n in skip if what == "outputs"]
        if len(given) != len(names) and len(given) != len(order):
            raise MatchError(
                f"`{what}` in a list must be, in order: {', '.join(names)}",
                f"Found {len(given)} arrays",
                "An output is missing, or one without a loss was left in",
                "Pass a dict by name to be safe from the order",
            )
        return dict(zip(names, given, strict=False))
    raise MatchError(
        f"`{what}` must be an array, or a tuple, list or dict of arrays",
        f"Found {type(given).__name__}",
        "A model's output object or a data loader's batch was passed as it is",
        "Pass its arrays, by name: {'logits': out.logits}",
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


def _near(xp: ArrayLibrary, like: Array, weight: Any) -> Any:
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


def _only_samples(kind: str, given: Any, terms: tuple[Term, ...]) -> None:
    shape = tuple(getattr(given, "shape", (len(given),)))
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
