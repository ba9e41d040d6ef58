# SPDX-License-Identifier: Apache-2.0
"""Which library owns an array; frameworks are looked up only once the user has imported them."""

import sys
from importlib import import_module
from typing import Any

from lossledger._array._protocol import ArrayLibrary
from lossledger._errors import DomainError
from lossledger._typing import Array

# First package of the array type's module -> the module here that speaks it.
_SPEAKERS = {
    "numpy": "numpy",
    "array_api_strict": "strict",
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "tensorflow": "tensorflow",
}
# No arrays, whatever they hold; a step that is being compiled cannot walk their classes.
_PLAIN = frozenset({bool, int, float, str, tuple, list, dict, type(None)})
# Filled with immutable libraries, one for each array type ever seen: a dispatch
# table as in functools.singledispatch, not state that changes a result.
_BY_TYPE: dict[type, ArrayLibrary] = {}


def library_of(*arrays: Array) -> ArrayLibrary:
    """Return the library of the first array that is not NumPy's, else NumPy's.

    Raises:
        DomainError: If two array libraries meet, or something is no array.
    """
    found: ArrayLibrary | None = None
    for array in arrays:
        library = _BY_TYPE.get(type(array)) or _speaker(array)
        if found is None or found.name == "numpy":
            found = library
        elif library is not found and library.name != "numpy":
            raise DomainError(
                "All arrays of one call must come from one array library",
                f"Found {found.name} and {library.name} arrays",
                "Outputs and targets were made by different frameworks",
                f"Convert one of them before the call, e.g. to {found.name}",
            )
    assert found is not None  # noqa: S101 - every caller passes at least one array
    return found


def resolve_imported() -> ArrayLibrary | None:
    """Look PyTorch's tensors up if it is imported: a step that is being compiled cannot."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "nn"):
        return None
    return library_of(torch.empty(0), torch.nn.Parameter(torch.empty(0)))


def is_array(thing: Any) -> bool:
    """Whether a library here owns `thing`."""
    if type(thing) in _PLAIN:
        return False
    return type(thing) in _BY_TYPE or (_module_of(thing) in _SPEAKERS and hasattr(thing, "shape"))


def _module_of(thing: Any) -> str:
    for parent in type(thing).__mro__:
        root = parent.__module__.partition(".")[0]
        if root in _SPEAKERS:
            return root
    return ""


def _speaker(array: Array) -> ArrayLibrary:
    root = _module_of(array)
    if not root or not hasattr(array, "shape"):
        raise DomainError(
            "Outputs, targets, masks and weights must be arrays",
            f"Found {type(array).__name__}",
            "A Python scalar, a list or a container was passed where one array belongs",
            "Pass a NumPy, PyTorch, JAX or TensorFlow array",
        )
    name = f"lossledger._array._{_SPEAKERS[root]}"
    module = sys.modules.get(name) or import_module(name)
    library: ArrayLibrary = module.library()
    _BY_TYPE[type(array)] = library
    return library
