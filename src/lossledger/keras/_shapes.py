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
        """Make none yet."""
        self.model, self.name, self.make = model, name, make
        self.known: dict[Any, Step] = {}

    def __call__(self, iterator: Any) -> Any:
        """Run the steps of one execution: at once, if all batches have one shape."""
        spec = _static_spec(iterator)
        return self._for(spec)(iterator) if spec is not None else self._each(iterator)

    def _each(self, batches: Iterable[Any]) -> Any:
        outputs: Any = None
        for _, batch in zip(range(self.model.steps_per_execution), batches, strict=False):
            key = tuple(_shape(part) for part in keras.tree.flatten(batch))
            outputs = self._for(key)(iter((batch,)))
        if outputs is None:
            raise StopIteration
        return outputs

    def _for(self, key: Any) -> Step:
        if key not in self.known:
            self.known[key] = self._new()
        return self.known[key]

    def _new(self) -> Step:
        """Let Keras make a function, and stay in its place."""
        self.make(force=True)
        found: Step = getattr(self.model, self.name)
        setattr(self.model, self.name, self)
        return found


def _static_spec(iterator: Any) -> Any:
    """Return the shapes of a TensorFlow iterator's batches; None if they may differ."""
    spec = getattr(iterator, "element_spec", None)
    if spec is None:
        return None
    parts = sys.modules["tensorflow"].nest.flatten(spec)
    shapes = [getattr(part, "shape", None) for part in parts]
    if any(shape is None or not shape.is_fully_defined() for shape in shapes):
        return None
    return "iterator", *(_shape(part) for part in parts)


def _shape(part: Any) -> Any:
    shape = getattr(part, "shape", None)
    return type(part).__name__ if shape is None else (tuple(shape), str(part.dtype))
