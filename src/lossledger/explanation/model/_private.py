# SPDX-License-Identifier: Apache-2.0
"""What explaining a model reads of Keras beside its public names, in one place.

Each function tells whether it found what it needs; where it did not, the caller goes the way
of public names alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lossledger._typing import Array

TRIED = ((3, 3), (3, 17))
"""Versions of Keras in which these attributes were read: from the first to below the second."""


@dataclass(frozen=True)
class Private:
    """The attributes of Keras that are not public.

    Attributes:
        allowed: Whether they are read at all; False goes the public way everywhere.
    """

    allowed: bool = True

    def readable(self, model: Any) -> bool:
        """Return whether private names are read, and a compiled loss is where it was."""
        if not self.allowed:
            return False
        compiled = vars(model).get("_compile_loss")
        return compiled is None or hasattr(compiled, "_user_loss_weights")

    def loss_weights(self, model: Any) -> tuple[bool, Any]:
        """Return (whether they were found, loss weights as they were compiled)."""
        if not self.readable(model):
            return False, None
        compiled = vars(model).get("_compile_loss")
        return True, None if compiled is None else compiled._user_loss_weights  # noqa: SLF001

    def mask(self, array: Array) -> tuple[bool, Array]:
        """Return (whether masks can be read, the mask that an array carries)."""
        try:
            from keras.src.backend import get_keras_mask  # noqa: PLC0415 - may not be there
        except ImportError:
            return False, None
        return self.allowed, get_keras_mask(array) if self.allowed else None

    def options(self, loss: Any) -> dict[str, Any]:
        """Return the options that a loss passes to its function; none if they are not found."""
        found = getattr(loss, "_fn_kwargs", None) if self.allowed else None
        return dict(found) if isinstance(found, dict) else {}

    def resolved(self, identifier: Any, targets: Array, outputs: Array) -> Any:
        """Return the loss object that Keras makes of what was compiled; None if unknown."""
        if not self.allowed:
            return None
        try:
            from keras.src.trainers.compile_utils import (  # noqa: PLC0415 - may not be there
                get_loss,
            )
        except ImportError:
            return None
        return get_loss(identifier, targets, outputs)

    def layers(self, model: Any) -> list[Any] | None:
        """Return the model and every layer inside, in Keras' order; None if not found."""
        flatten = getattr(model, "_flatten_layers", None) if self.allowed else None
        return None if flatten is None else list(flatten())

    def own_losses(self, layer: Any) -> list[Array] | None:
        """Return what a layer itself added in this scope; None if not found."""
        own = getattr(layer, "_get_own_losses", None) if self.allowed else None
        return None if own is None else list(own())

    @contextmanager
    def lent(self, model: Any, other: Any) -> Iterator[bool]:
        """Let the model compute with another model's compiled loss; tell whether it does."""
        if not self.readable(model) or "_compile_loss" not in vars(model):
            yield False
            return
        own = vars(model)["_compile_loss"]
        vars(model)["_compile_loss"] = vars(other)["_compile_loss"] if own is not None else None
        try:
            yield True
        finally:
            vars(model)["_compile_loss"] = own

    @contextmanager
    def kept_seeds(self) -> Iterator[None]:
        """Leave Keras' global seed generator away where it was not made yet."""
        name = "global_seed_generator"
        try:
            from keras.src.backend.common.global_state import (  # noqa: PLC0415 - may not be there
                get_global_attribute,
                set_global_attribute,
            )
        except ImportError:
            yield
            return
        before = get_global_attribute(name) if self.allowed else None
        try:
            yield
        finally:
            if self.allowed and before is None:
                set_global_attribute(name, None)

    @contextmanager
    def kept_losses(self, model: Any) -> Iterator[None]:
        """Leave what the layers added in their last call as it was."""
        held = [
            (kept, list(kept) if isinstance(kept, list) else set(kept))
            for layer in self.layers(model) or ()
            for name in ("_losses", "_loss_ids")
            if isinstance(kept := vars(layer).get(name), list | set)
        ]
        try:
            yield
        finally:
            for kept, before in held:
                kept.clear()
                if isinstance(kept, list):
                    kept.extend(before)
                else:
                    kept.update(before)


def of_version(version: str) -> Private:
    """Return which private names are read in a version of Keras: none in one not tried."""
    found = tuple(int(n) for n in version.split(".")[:2])
    return Private(TRIED[0] <= found < TRIED[1])
