# SPDX-License-Identifier: Apache-2.0
"""Ledgers and statistics written as plain dicts, lists, strings and numbers, for JSON."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from lossledger._array import is_array, library_of
from lossledger._typing import Mapping
from lossledger.engines import Limbs
from lossledger.term import Term

VERSION = 1
"""Of the form of a state; a release reads the forms that it knows."""
# Types that NumPy has everywhere; others, such as bfloat16, are written as float32.
_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64")


def state_of(kind: str, node: Any, terms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the state of a ledger or a whole.

    Args:
        kind: "ledger" or "whole".
        node: What is saved.
        terms: What is known of each term, to recognize the objective by.
    """
    head = {"lossledger": kind, "version": VERSION, "terms": dict(terms)}
    return head | {f.name: written(getattr(node, f.name)) for f in fields(node)}


def written(node: Any) -> Any:
    """Write numbers, arrays and dataclasses of them; every array is read from its device.

    A float that JSON has no number for is `{"type": "float", "value": "nan"}`. An array is its
    dtype, its shape and its elements in row-major order. All numbers round-trip exactly.
    """
    if is_array(node) or isinstance(node, Limbs):
        return _array(node)
    if node is None or isinstance(node, bool | str | int | float):
        finite = not isinstance(node, float) or math.isfinite(node)
        return node if finite else {"type": "float", "value": repr(node)}
    if isinstance(node, tuple | list):
        return [written(part) for part in node]
    if isinstance(node, Mapping):
        return {"type": "dict", "items": {name: written(part) for name, part in node.items()}}
    return _dataclass(node)


def _dataclass(node: Any) -> Any:
    """Write the fields; a term and a note by name, because the objective has them."""
    if isinstance(node, Term):
        return node.name
    if type(node).__name__ == "Note":  # of a module that imports this one
        return node.term
    own = {f.name: written(getattr(node, f.name)) for f in fields(node)}
    return {"type": type(node).__name__} | own


def facts_of(term: Term) -> dict[str, Any]:
    """Return what makes two terms the same: their statistics may only merge then.

    The loss weight is left out: it may be learned, and a ledger keeps its own.
    """
    parts = ("outputs", "target", "axes", "loss", "classes", "class_weight", "keys", "rows")
    found = {part: described(getattr(term, part)) for part in parts}
    return found | {"reduction": str(term.reduction)}


def described(setting: Any) -> Any:
    """Return a setting as plain data: the same in every process that builds it the same way."""
    if is_array(setting):
        return _array(setting)
    if setting is None or isinstance(setting, bool | str | int | float):
        return written(setting)
    if isinstance(setting, tuple | list):
        return [described(part) for part in setting]
    if isinstance(setting, Mapping):
        return {str(name): described(part) for name, part in setting.items()}
    name = getattr(setting, "__qualname__", type(setting).__qualname__)
    if is_dataclass(setting) and not isinstance(setting, type):
        own = {f.name: described(getattr(setting, f.name)) for f in fields(setting)}
        return {"name": name} | own if own else name
    return name


def _array(x: Any) -> dict[str, Any]:
    if isinstance(x, Limbs):
        host = np.asarray(x.on_host(library_of(x.high).to_numpy))
    else:
        xp = library_of(x)
        known = xp.dtype(x) in _DTYPES
        host = np.asarray(xp.to_numpy(x if known else xp.astype(x, "float32")))
    flat = [written(number) for number in host.reshape(-1).tolist()]
    return {"type": "array", "dtype": host.dtype.name, "shape": list(host.shape), "data": flat}
