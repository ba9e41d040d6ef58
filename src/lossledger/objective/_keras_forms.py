# SPDX-License-Identifier: Apache-2.0
"""Keras' ways to write several losses: one, a list or a dict, with weights alongside."""

from dataclasses import replace
from typing import Any

from lossledger._array import is_array
from lossledger._errors import MatchError
from lossledger._typing import Mapping, Sequence
from lossledger.term import Term


def terms_from_keras(
    loss: Any, loss_weights: Any, axes: Any, output_names: Sequence[str] | None
) -> tuple[list[Term], list[str], list[str]]:
    """Return the terms, the names of outputs without a loss, and all names in order.

    Raises:
        MatchError: If losses, weights, axes and names do not match one to one.
    """
    losses = _named("loss", loss, output_names)
    weights = _weights(loss_weights, list(losses))
    terms: list[Term] = []
    for name, found in losses.items():
        several = list(found) if isinstance(found, list | tuple) else [found]
        factors = _each(weights[name], len(several), f"output `{name}`")
        for each, factor in zip(several, factors, strict=True):
            if isinstance(each, str):
                raise _string(each)
            if each is not None:
                own_axes = axes[name] if isinstance(axes, Mapping) else axes
                terms.append(Term(name, each, own_axes, loss_weight=factor))
    skip = [n for n in losses if all(n not in t.outputs for t in terms)]
    return _distinct(terms), skip, list(losses)


def _each(given: Any, number: int, what: str) -> list[Any]:
    """Return one weight for each loss: those listed, or the one given for all."""
    factors = _rows(given)
    factors = list(factors) if isinstance(factors, list | tuple) else [factors] * number
    if len(factors) != number:
        raise _unequal(what, number, len(factors))
    return [1.0 if f is None else f for f in factors]


def _rows(given: Any) -> Any:
    """Return the 0-d arrays of a 1-d array, through which its gradient flows."""
    if is_array(given) and len(given.shape) == 1:
        return [given[i] for i in range(given.shape[0])]
    return given


def _distinct(terms: list[Term]) -> list[Term]:
    """Name terms by output and loss, as Keras names its logs by output."""
    counts: dict[str, int] = {}
    named = []
    for term in terms:
        name = f"{term.outputs[0]}_{term.name}"
        counts[name] = counts.get(name, 0) + 1
        name = name if counts[name] == 1 else f"{name}_{counts[name]}"
        named.append(replace(term, name=name))
    return named


def _named(what: str, given: Any, names: Sequence[str] | None) -> dict[str, Any]:
    if isinstance(given, Mapping):
        unknown = [] if names is None else [n for n in given if n not in names]
        if unknown:
            raise _unknown(what, unknown, names or ())
        return {n: given.get(n) for n in (names or given)}
    several = list(given) if isinstance(given, list | tuple) else [given] * len(names or [given])
    names = list(names or [f"output_{i}" for i in range(len(several))])
    if len(several) != len(names):
        raise _unequal("the model", len(names), len(several))
    return dict(zip(names, several, strict=True))


def _weights(given: Any, names: list[str]) -> dict[str, Any]:
    if given is None:
        return dict.fromkeys(names, 1.0)
    if isinstance(given, Mapping):
        unknown = [n for n in given if n not in names]
        if unknown:
            raise _unknown("loss_weights", unknown, names)
        return {n: given.get(n, 1.0) for n in names}
    given = _rows(given)
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise _unequal("loss_weights", len(names), len(given))
        return dict(zip(names, given, strict=True))
    if len(names) > 1:
        raise _unequal("loss_weights", len(names), 1)
    return {names[0]: given}


def _unequal(what: str, wanted: int, found: int) -> MatchError:
    return MatchError(
        "Losses, loss weights and outputs must match one to one",
        f"Found {found} for {what} where {wanted} are needed",
        "An entry is missing, or an output without a loss was left out",
        "Write None for an output without a loss, or use dicts by output name",
    )


def _unknown(what: str, unknown: list[Any], names: Sequence[str]) -> MatchError:
    return MatchError(
        f"`{what}` by name must use the names of the outputs",
        f"Found {', '.join(map(str, unknown))}; outputs: {', '.join(names)}",
        "A name is misspelled",
        "Use the names of the model's output layers",
    )


def _string(name: str) -> MatchError:
    return MatchError(
        "A loss must be a loss object or a callable",
        f"Found the string {name!r}",
        "Keras' strings stand for its own conventions (probabilities, its denominators)",
        "Pass e.g. ll.losses.CrossEntropy() and say what the outputs are",
    )
