# SPDX-License-Identifier: Apache-2.0
"""What Keras hands to a loss, by the names that an objective uses."""

from typing import Any

from lossledger._errors import MatchError
from lossledger._typing import Array, Axes, Mapping, Sequence, Tree
from lossledger.frames import NamedArray
from lossledger.keras._private import mask_of
from lossledger.objective import Objective
from lossledger.term import Term


def names_of(model: Any) -> Axes:
    """Return the names of a model's outputs in their order; nothing where it has none."""
    return tuple(getattr(model, "output_names", None) or ())


def outputs_by_name(objective: Objective, outputs: Tree, names: Axes) -> Tree:
    """Give the outputs in a list their names, where the terms use the model's names."""
    reads = {name for term in objective.terms for name in term.outputs}
    return _named(outputs, names) if reads <= set(names) else outputs


def targets_by_name(objective: Objective, targets: Tree, names: Axes) -> Tree:
    """Give the targets in a list the names of the outputs that they stand beside."""
    wants = {term.target for term in objective.terms if term.target is not None}
    if not wants:
        return None  # Keras needs some `y`; no term reads it
    found = _named(targets, names) if wants <= set(names) else targets
    return _present(found)


def weights_by_term(objective: Objective, sample_weight: Tree, targets: Tree, names: Axes) -> Any:
    """Return sample weights by term: those beside its target; a single one is for all.

    Raises:
        MatchError: If a list of weights has no names, or no term takes one of them.
    """
    if isinstance(sample_weight, list | tuple):
        if len(sample_weight) == 1:
            return sample_weight[0]
        places = tuple(targets) if isinstance(targets, Mapping) else names
        if len(places) != len(sample_weight):
            raise MatchError(
                "`sample_weight` in a list needs one entry for each output of the model",
                f"Found {len(sample_weight)} entries and the outputs {', '.join(places) or '?'}",
                "An output without weights was left out, or the model does not name its outputs",
                "Pass a dict by output name",
            )
        sample_weight = dict(zip(places, sample_weight, strict=True))
    if not isinstance(sample_weight, Mapping):
        return sample_weight
    given = {name: each for name, each in sample_weight.items() if each is not None}
    beside = {term.name: term.target or term.outputs[0] for term in objective.terms}
    unread = [n for n in given if n not in beside.values() and n not in objective.skip]
    if unread:
        raise MatchError(
            "Every sample weight must reach a term, by the name of its target",
            f"Found weights for {', '.join(unread)}; targets: {', '.join(beside.values())}",
            "A name is misspelled, or the weights stand beside an output without a loss",
            "Leave them out, or name the output in Objective(..., skip=[...])",
        )
    return {term: given[name] for term, name in beside.items() if name in given} or None


def masks_of(objective: Objective, outputs: Tree) -> dict[str, Any] | None:
    """Return the masks that layers left on the outputs, by term; None if there is none."""
    reads = list(dict.fromkeys(name for term in objective.terms for name in term.outputs))
    found = {n: m for n, o in items_of(objective, outputs, reads) if (m := mask_of(o)) is not None}
    if not found:
        return None
    masks = {term.name: _mask(term, found) for term in objective.terms}
    return {name: mask for name, mask in masks.items() if mask is not None} or None


def items_of(objective: Objective, tree: Tree, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Return arrays with their names: those of a list are all outputs', or `names` in order."""
    places = objective.output_names if len(objective.output_names) == _length(tree) else names
    return _items(tree, places)


def _mask(term: Term, found: Mapping[str, Array]) -> NamedArray | None:
    """Return a term's mask: it has the leading axes of the outputs that the term reads."""
    mask: Any = None
    for name in term.outputs:
        if name in found:
            mask = found[name] if mask is None else mask & found[name]
    if mask is None:
        return None
    return NamedArray(mask, term.axes[: len(mask.shape)])


def _items(outputs: Tree, places: Sequence[str]) -> list[tuple[str, Any]]:
    if isinstance(outputs, Mapping):
        return list(outputs.items())
    several = outputs if isinstance(outputs, list | tuple) else [outputs]
    return list(zip(places, several, strict=False))


def _length(outputs: Tree) -> int:
    return len(outputs) if isinstance(outputs, list | tuple) else 1


def _named(tree: Tree, names: Axes) -> Tree:
    if isinstance(tree, list | tuple) and len(tree) == len(names):
        return dict(zip(names, tree, strict=True))
    return tree


def _present(tree: Tree) -> Tree:
    """Leave out what was given as None: an output without targets or weights."""
    if isinstance(tree, Mapping):
        return {name: each for name, each in tree.items() if each is not None}
    return tree
