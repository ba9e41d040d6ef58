# SPDX-License-Identifier: Apache-2.0
"""A micro-batch as a part of a window: what travels with it in the place of sample weights."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from lossledger._array import library_of
from lossledger._errors import MatchError
from lossledger.ledger import Ledger
from lossledger.ledger._tree import rebuild
from lossledger.splitting import Whole

HEAD = 3
"""The factor of the part, whether it is one, and its share of the window's samples."""

_ROUNDING = 1e-3
"""More than shares in float32 are off, and less than a share of one sample in a thousand."""


class WindowPart(NamedTuple):
    """What `Windows` sends along with each micro-batch.

    Attributes:
        sample_weight: The weights of its samples.
        numbers: `HEAD` numbers, then those of the window's whole.
        steps: An array as long as the window has micro-batches.
    """

    sample_weight: Any
    numbers: Any
    steps: Any

    def whole(self, structure: Any, shapes: list[tuple[int, ...]]) -> Whole:
        """Return the window's whole, with its numbers on the device."""
        xp = library_of(self.numbers)
        leaves, at = [], HEAD
        for shape in shapes:
            own = self.numbers[at : at + prod(shape)]
            leaves.append(xp.reshape(own, shape))
            at += prod(shape)
        found: Whole = rebuild(structure, leaves)
        return found


def accumulation_steps(model: Any) -> int:
    """Return over how many micro-batches a model's optimizer accumulates; 1 if it does not."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return int(getattr(optimizer, "gradient_accumulation_steps", None) or 1)


def check_window(model: Any, sample_weight: Any, training: bool) -> None:
    """Require that an optimizer which accumulates gets windows of its own length.

    Raises:
        MatchError: If not: the mean of micro-batches' means is another number.
    """
    steps = accumulation_steps(model)
    given = int(sample_weight.steps.shape[0]) if isinstance(sample_weight, WindowPart) else 1
    if training and steps != given:
        raise MatchError(
            "An optimizer that accumulates gradients needs windows of as many micro-batches",
            f"Found gradient_accumulation_steps={steps} and windows of {given}",
            "Keras averages the gradients of micro-batches, whose denominators differ",
            "Pass fit(ll.keras.Windows(model, x, y, batch_size=...)), made after the model was "
            "compiled",
        )


def check_whole(model: Any, ledger: Ledger) -> None:
    """Require that an epoch was one of whole windows.

    Raises:
        MatchError: If not: its ledger has a part of a window, whose update comes later.
    """
    count = float(np.asarray(ledger.to_dict()["wholes"]))
    if abs(count - round(count)) <= _ROUNDING:
        return
    steps = accumulation_steps(model)
    raise MatchError(
        "An epoch of windows must end with a window",
        f"Found {count:.4g} windows of {steps} micro-batches",
        f"`steps_per_epoch` is not a multiple of {steps}: a window lies in two epochs, and its "
        "update and its ledger in different ones",
        f"Pass steps_per_epoch as a multiple of {steps}, or leave it out",
    )
