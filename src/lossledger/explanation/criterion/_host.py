# SPDX-License-Identifier: Apache-2.0
"""Arrays of any framework on the host, and back."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossledger._array import is_array
from lossledger._errors import MatchError
from lossledger._typing import Array, Callable, Tree


@dataclass(frozen=True, eq=False)
class Data:
    """What a criterion is explained on.

    Attributes:
        outputs: As passed, one array or several.
        targets: As passed; None for none.
        sample_weight: As passed.
        mask: As passed.
    """

    outputs: tuple[Array, ...]
    targets: Array
    sample_weight: Array = None
    mask: Array = None

    def on_host(self) -> "Data":
        """Return the same as NumPy arrays, floats as float64."""
        return self.map(host)

    def map(self, function: Callable[[Array], Array]) -> "Data":
        """Return the data with a function applied to every array."""
        rest = (self.targets, self.sample_weight, self.mask)
        return Data(
            tuple(function(o) for o in self.outputs),
            *(None if a is None else function(a) for a in rest),
        )

    @property
    def given(self) -> Any:
        """The outputs as a preset takes them: one array, or a tuple."""
        return self.outputs if len(self.outputs) > 1 else self.outputs[0]


def data_of(outputs: Tree, targets: Tree, sample_weight: Tree, mask: Tree) -> Data:
    """Return what was passed, checked to be arrays.

    Raises:
        MatchError: If something is no array, or outputs are none.
    """
    several = tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
    named = [("outputs", o) for o in several]
    rest = {"targets": targets, "sample_weight": sample_weight, "mask": mask}
    named += [(name, a) for name, a in rest.items() if a is not None]
    for name, array in named:
        if not is_array(array):
            raise MatchError(
                f"`{name}` of a criterion must be an array, or for `outputs` a tuple of arrays",
                f"Found {type(array).__name__}",
                "A list of numbers, a dict or a model's output object was passed as it is",
                "Pass the arrays that the criterion is called with",
            )
    return Data(several, targets, sample_weight, mask)


def host(array: Array) -> Array:
    """Return a NumPy copy; floats become float64, integers and booleans stay."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = (array.double() if array.is_floating_point() else array).numpy()
    found = np.array(array)
    known = found.dtype.kind in "biu"
    return found if known else found.astype(np.float64)


def framework_of(array: Array) -> str:
    """Return "numpy", "torch", "jax" or "tensorflow"."""
    for kind in type(array).__mro__:
        root = kind.__module__.partition(".")[0]
        found = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "tensorflow": "tensorflow"}
        if root in found:
            return found[root]
    return "numpy"


def into(framework: str, array: Array, dtype: Any = None) -> Array:
    """Return a detached copy of an array in a framework that is imported.

    Args:
        framework: Its name.
        array: Of any framework; its own dtype is kept unless `dtype` is given.
        dtype: A NumPy name for floats.
    """
    if framework == framework_of(array) and dtype is None:
        return _copy(framework, array)
    found = array
    if hasattr(array, "detach"):
        found = array.detach().cpu()
        found = (found.float() if str(found.dtype) == "torch.bfloat16" else found).numpy()
    plain = np.array(found)
    plain = plain.astype(dtype) if dtype is not None and plain.dtype.kind == "f" else plain
    return _moved(framework, plain)


def _copy(framework: str, array: Array) -> Array:
    if framework == "torch":
        return array.detach().clone()
    return np.array(array) if framework == "numpy" else array  # the others are immutable


def _moved(framework: str, array: Array) -> Array:
    if framework == "torch":
        wide = array.astype(np.int64) if array.dtype.kind in "iu" else array  # labels of torch
        return sys.modules["torch"].from_numpy(np.ascontiguousarray(wide))
    if framework == "jax":
        return sys.modules["jax"].numpy.asarray(array)
    if framework == "tensorflow":
        return sys.modules["tensorflow"].constant(array)
    return array
