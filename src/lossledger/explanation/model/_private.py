# SPDX-License-Identifier: Apache-2.0
"""Whether explaining a model reads what Keras keeps private, and what it then finds.

The names themselves are in `lossledger.keras._private` alone. Each function tells whether it
found what it needs; where it did not, the caller goes the way of public names alone.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from lossledger._typing import Array
from lossledger.keras import _private as names


@dataclass(frozen=True)
class Private:
    """What is not public in Keras, behind one switch.

    Attributes:
        allowed: Whether it is read at all; False goes the public way everywhere.
    """

    allowed: bool = True

    def readable(self, model: Any) -> bool:
        """Return whether private names are read, and a compiled loss is where it was."""
        return self.allowed and names.has_known_loss(model)

    def loss_weights(self, model: Any) -> tuple[bool, Any]:
        """Return (whether they were found, loss weights as they were compiled)."""
        if not self.readable(model):
            return False, None
        return True, None if model.loss is None else names.user_loss_weights(model)

    def mask(self, array: Array) -> tuple[bool, Array]:
        """Return (whether masks can be read, the mask that an array carries)."""
        return self.allowed, names.mask_of(array) if self.allowed else None

    def resolved(self, identifier: Any, targets: Array, outputs: Array) -> Any:
        """Return the loss object that Keras makes of what was compiled; None if unknown."""
        return names.resolved_loss(identifier, targets, outputs) if self.allowed else None

    def layers(self, model: Any) -> list[Any] | None:
        """Return the model and every layer inside, in Keras' order; None if not found."""
        return names.flat_layers(model) if self.allowed else None

    def own_losses(self, layer: Any) -> list[Array] | None:
        """Return what a layer itself added in this scope; None if not found."""
        return names.own_losses(layer) if self.allowed else None

    def lent(self, model: Any, other: Any) -> AbstractContextManager[bool]:
        """Let the model compute with another model's compiled loss; tell whether it does."""
        return names.lent_loss(model, other) if self.readable(model) else nullcontext(False)

    def kept_seeds(self) -> AbstractContextManager[None]:
        """Leave Keras' global seed generator away where it was not made yet."""
        return names.kept_seeds() if self.allowed else nullcontext()

    def kept_losses(self, model: Any) -> AbstractContextManager[None]:
        """Leave what the layers added in their last call as it was."""
        return names.kept_losses(self.layers(model) or ())


def of_version(version: str) -> Private:
    """Return which private names are read in a version of Keras: none in one not tried."""
    return Private(names.is_tried(version))
