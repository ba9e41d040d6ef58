# SPDX-License-Identifier: Apache-2.0
"""What a recognized criterion is: whose, which preset, and how it is called."""

import functools
import re
from dataclasses import MISSING, dataclass, fields
from typing import Any

from lossledger._errors import LossLedgerError
from lossledger._typing import Array, Callable, Mapping
from lossledger.explanation.criterion._host import host
from lossledger.presets._base import AbstractLibraryLoss
from lossledger.presets._registry import spell

Call = Callable[..., Array]


@dataclass(frozen=True, eq=False)
class Known:
    """A criterion that a preset stands for.

    Attributes:
        preset: The same loss here.
        spelled: The loss as its users write it.
        framework: Whose it is, with its version.
        home: Framework of the arrays that it takes; "" for any.
        call: (*outputs, targets, sample_weight, mask) as its library orders them.
        dtype: NumPy name of the floats that it holds, and that data of NumPy are cast to.
        takes: Which of "sample_weight" and "mask" it takes when it is called.
    """

    preset: AbstractLibraryLoss
    spelled: str
    framework: str
    home: str
    call: Call
    dtype: str | None = None
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unknown:
    """A criterion without a preset, and why."""

    reason: str


Found = Known | Unknown


def plain(value: Any) -> Any:
    """Return an option's value without its framework: arrays as lists or NumPy arrays."""
    if not hasattr(value, "shape"):
        return value
    array = host(value)
    if array.ndim == 0:
        return array.item()
    return array.tolist() if array.ndim == 1 else array


def build(kind: type[Any], options: Mapping[str, Any]) -> AbstractLibraryLoss | str:
    """Build a preset; return why not if one of the options is beyond it."""
    known = {f.name: f for f in fields(kind) if f.init}
    unknown = sorted(set(options) - set(known))
    if unknown:
        return f"the preset {kind.__name__} has no option {', '.join(unknown)}"
    given = {n: plain(v) for n, v in options.items()}
    missing = [
        n
        for n, f in known.items()
        if n not in given and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        return f"the option {', '.join(missing)} could not be read"
    try:
        built: AbstractLibraryLoss = kind(**given)
    except LossLedgerError as error:
        return f"its settings have no preset: {error.rule}; {error.found}"
    return built


def bound(thing: Any) -> tuple[Any, dict[str, Any]] | None:
    """Return (function, keyword arguments) of a function or a partial without positions."""
    options: dict[str, Any] = {}
    while isinstance(thing, functools.partial):
        if thing.args:
            return None
        options = {**thing.keywords, **options}
        thing = thing.func
    return thing, options


def spelling(preset: AbstractLibraryLoss) -> str:
    """Return a preset as its users write it; functions by their names."""
    named = re.sub(r"<function (?:[\w.<>]*\.)?(\w+) at 0x[0-9a-f]+>", r"\1", spell(preset))
    return re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", named)
