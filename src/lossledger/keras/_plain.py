# SPDX-License-Identifier: Apache-2.0
"""Objectives as plain data and back: what Keras writes into a saved model."""

import math
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np

from lossledger._array import is_array, library_of
from lossledger._errors import MatchError
from lossledger._typing import Mapping
from lossledger.losses import AbstractLoss, AbstractOverlapLoss
from lossledger.losses.steps import AbstractStep
from lossledger.objective import Objective
from lossledger.reductions import AbstractReduction, Chain
from lossledger.regularizers import L1, L2, AbstractRegularizer
from lossledger.term import Term

VERSION = 1
"""Of the form; a release reads the forms that it knows."""
_BASES = (AbstractLoss, AbstractOverlapLoss, AbstractReduction, AbstractRegularizer, AbstractStep)
_TERM = (
    "outputs", "loss", "axes", "target", "classes", "class_weight", "loss_weight", "reduction",
    "name", "rows", "keys",
)  # fmt: skip


def objective_to_dict(objective: Objective) -> dict[str, Any]:
    """Return an objective as plain data that JSON can write.

    Every loss, reduction and step of the library is written by its name and settings, L1 and
    L2 without parameters of their own.

    Raises:
        MatchError: If a part is a function, or holds parameters.

    Example:
        >>> import lossledger as ll
        >>> objective = ll.Objective(ll.Term("y", ll.losses.Huber(delta=2.0), "batch"))
        >>> data = ll.keras.objective_to_dict(objective)
        >>> ll.keras.objective_from_dict(data).terms[0].loss
        Huber(delta=2.0)
    """
    return {
        "lossledger": "objective",
        "version": VERSION,
        "terms": [_term(term) for term in objective.terms],
        "regularizers": [_regularizer(r) for r in objective.regularizers],
        "skip": list(objective.skip),
        "output_names": list(objective.output_names),
    }


def objective_from_dict(data: Mapping[str, Any]) -> Objective:
    """Return the objective that `objective_to_dict` described.

    Raises:
        MatchError: If the data is something else, or of another version.
    """
    head = _head(data)
    if head != ("objective", VERSION):
        raise MatchError(
            f"objective_from_dict needs what objective_to_dict gave, of version {VERSION}",
            f"Found {head[0]!r} of version {head[1]!r}",
            "It was written by another release, or by something else",
            "Write it again with objective_to_dict(objective)",
        )
    terms = [_read_term(each) for each in data["terms"]]
    regularizers = [_read(each) for each in data["regularizers"]]
    names = data["output_names"]
    return Objective(*terms, *regularizers, skip=data["skip"], output_names=names)


def _head(data: Any) -> tuple[Any, Any]:
    """Return what data says it is, and its version."""
    if not isinstance(data, Mapping):
        return type(data).__name__, None
    return data.get("lossledger"), data.get("version")


def _term(term: Term) -> dict[str, Any]:
    own = {name: getattr(term, name) for name in _TERM}
    own["keys"] = {name: term.key_names.get(name, n) for name, n in term.keys.items()}
    if is_array(own["loss_weight"]):
        raise _refused(f"a loss weight of `{term.name}` that is an array", "It may be learned")
    return {name: _write(value, term.name) for name, value in own.items()}


def _read_term(data: Mapping[str, Any]) -> Term:
    own = {name: _read(value) for name, value in data.items()}
    return Term(own.pop("outputs"), own.pop("loss"), own.pop("axes"), **own)


def _regularizer(regularizer: AbstractRegularizer) -> Any:
    if not isinstance(regularizer, L1 | L2) or regularizer.parameters is not None:
        raise _refused(
            f"the regularizer `{regularizer.name}` with parameters of its own",
            "It was built with parameters=, which belong to one model",
        )
    return _write(regularizer, regularizer.name)


def _write(value: Any, where: str) -> Any:
    """Write a setting: plain values as they are, everything else with its type."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"type": "float", "value": repr(value)}
    if isinstance(value, list):
        return [_write(part, where) for part in value]
    return _tagged(value, where)


def _tagged(value: Any, where: str) -> dict[str, Any]:
    """Write what JSON has no form of."""
    if isinstance(value, tuple):
        return {"type": "tuple", "items": [_write(part, where) for part in value]}
    if isinstance(value, Mapping):
        pairs = [[_write(k, where), _write(v, where)] for k, v in value.items()]
        return {"type": "dict", "items": pairs}
    if is_array(value):
        host = np.asarray(library_of(value).to_numpy(value))
        return {"type": "array", "dtype": host.dtype.name, "data": host.tolist()}
    name = type(value).__name__
    if is_dataclass(value) and _known().get(name) is type(value):
        settings = [f.name for f in fields(value) if f.init]
        return {"type": name} | {n: _write(getattr(value, n), where) for n in settings}
    raise _refused(f"{getattr(value, '__name__', name)!r} in `{where}`", "A function was passed")


def _read(data: Any) -> Any:
    if isinstance(data, list):
        return [_read(part) for part in data]
    if not isinstance(data, Mapping):
        return data
    if data["type"] == "float":
        return float(data["value"])
    if data["type"] == "tuple":
        return tuple(_read(part) for part in data["items"])
    if data["type"] == "dict":
        return {_read(k): _read(v) for k, v in data["items"]}
    return _read_object(data)


def _read_object(data: Mapping[str, Any]) -> Any:
    own = {name: part for name, part in data.items() if name != "type"}
    kind = data["type"]
    if kind == "array":
        return np.asarray(own["data"], dtype=own["dtype"])
    known = _known().get(kind)
    if known is None:
        raise MatchError(
            "A saved objective is made of this library's losses, reductions and regularizers",
            f"Found the type {kind!r}",
            "It was saved by a later release",
            "Install that release to load it",
        )
    return known(**{name: _read(part) for name, part in own.items()})


def _known() -> dict[str, type]:
    """Return the library's own losses, reductions, steps and regularizers by name."""
    import_module("lossledger.presets")  # whose losses and reductions terms may hold
    found: dict[str, type] = {Chain.__name__: Chain}
    waiting: list[type] = list(_BASES)
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("lossledger."):
            found[cls.__name__] = cls
    return found


def _refused(found: str, cause: str) -> MatchError:
    return MatchError(
        "A saved objective is made of names and numbers",
        f"Found {found}",
        f"{cause}, and code cannot be written into a file",
        "Use a loss of ll.losses and plain numbers; or save the weights alone "
        "(model.save_weights), build the model again and compile it with the objective",
    )
