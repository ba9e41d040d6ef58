# SPDX-License-Identifier: Apache-2.0
"""TensorFlow steps in which every shape is known: one compiled step for each shape of a batch.

The last batch of an epoch is shorter, so Keras compiles one step for batches of any length.
Which axes two arrays share cannot be checked there, and is what no ledger goes without.
"""

import sys
from collections.abc import Iterable
from typing import Any

import keras

from lossledger._typing import Callable

Step = Callable[[Any], Any]


class ByShape:
    """A train or test function of Keras, made once for every shape of the data.

    Args:
        model: Whose function it is.
        name: "train_function" or "test_function".
        make: Keras' own maker of it, which puts it on the model.
    """

    def __init__(self, model: Any, name: str, make: Callable[..., Any]) -> None:
        """Make the one that Keras would use."""
        self.model, self.name, self.make = model, name, make
        self.plain: Step = self._new()
        self.known: dict[Any, Step] = {}

    def __call__(self, iterator: Any) -> Any:
        """Run the steps of one execution."""
        if _is_static(iterator):
            return self.plain(iterator)
        return self._each(iterator)

    def _each(self, batches: Iterable[Any]) -> Any:
        outputs: Any = None
        for _, batch in zip(range(self.model.steps_per_execution), batches, strict=False):
            key = tuple(_shape(part) for part in keras.tree.flatten(batch))
            if key not in self.known:
                self.known[key] = self._new()
            outputs = self.known[key](iter((batch,)))
        if outputs is None:
            raise StopIteration
        return outputs

    def _new(self) -> Step:
        """Let Keras make a function, and stay in its place."""
        self.make(force=True)
        found: Step = getattr(self.model, self.name)
        setattr(self.model, self.name, self)
        return found


def _is_static(iterator: Any) -> bool:
    """Whether all batches of a TensorFlow iterator have one known shape."""
    spec = getattr(iterator, "element_spec", None)
    if spec is None:
        return False
    parts = sys.modules["tensorflow"].nest.flatten(spec)
    return all(getattr(part, "shape", None) is not None and _full(part) for part in parts)


def _full(spec: Any) -> bool:
    full: bool = spec.shape.is_fully_defined()
    return full


def _shape(part: Any) -> Any:
    shape = getattr(part, "shape", None)
    return type(part).__name__ if shape is None else (tuple(shape), str(part.dtype))
