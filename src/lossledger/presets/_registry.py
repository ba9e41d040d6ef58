# SPDX-License-Identifier: Apache-2.0
"""Presets by name: which there are, and how one is written as code and read from it."""

import ast
import inspect
from dataclasses import fields
from functools import cache
from importlib import import_module

from lossledger._errors import MatchError
from lossledger.presets._base import AbstractLibraryLoss

LIBRARIES = ("torch", "keras", "tf1", "optax", "monai", "smp", "nnunet")


def parse(text: str) -> AbstractLibraryLoss:
    """Build a preset from "library.Loss(option=value, ...)"; values are plain literals.

    Raises:
        MatchError: If it is not of that form, or does not exist.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        call = call if isinstance(call, ast.Call) else ast.Call(call, [], [])
        library, _, name = ast.unparse(call.func).removeprefix("ll.presets.").rpartition(".")
        positional = [ast.literal_eval(a) for a in call.args]
        named = {k.arg or "**": ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise MatchError(
            "A loss is written as library.Loss(option=value)",
            f"Found {text!r}",
            "An option is not a plain number, string, list or dict",
            "Write e.g. 'torch.CrossEntropyLoss(weight=[1, 2, 5])'",
        ) from error
    for kind in presets_of(library):
        if kind.__name__ == name:
            built: AbstractLibraryLoss = kind(*positional, **named)
            return built
    raise MatchError(
        f"{library} has the losses {', '.join(k.__name__ for k in presets_of(library))}",
        f"Found {name!r}",
        "The name is misspelled, or belongs to another library",
        "Use one of them",
    )


@cache
def presets_of(library: str) -> list[type[AbstractLibraryLoss]]:
    """Return the presets of a library, of one part and of several.

    Raises:
        MatchError: If there are none.
    """
    if library not in LIBRARIES:
        raise MatchError(
            f"Presets exist for {', '.join(LIBRARIES)}",
            f"Found {library!r}",
            "The library's name is misspelled, or was left out",
            "Write e.g. torch.CrossEntropyLoss()",
        )
    module = import_module(f"lossledger.presets.{library}")
    kinds = [k for k in vars(module).values() if isinstance(k, type)]
    built = [k for k in kinds if issubclass(k, AbstractLibraryLoss) and not inspect.isabstract(k)]
    return sorted(set(built), key=lambda k: k.__name__)


def spell(preset: AbstractLibraryLoss) -> str:
    """Return a preset as code, with the options that are not at their defaults."""
    shown = []
    for f in fields(preset):
        value = getattr(preset, f.name)
        default = f.default
        if not hasattr(value, "shape") and value == default:
            continue
        shown.append(f"{f.name}={value!r}")
    return f"{library_of(preset)}.{type(preset).__name__}({', '.join(shown)})"


def library_of(preset: AbstractLibraryLoss) -> str:
    """Return the name under which a preset's library is found here."""
    found = [name for name in LIBRARIES if type(preset) in presets_of(name)]
    return found[0] if found else preset.library
