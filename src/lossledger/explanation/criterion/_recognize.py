# SPDX-License-Identifier: Apache-2.0
"""Which preset a criterion is: by what it is, never by what it is called."""

from typing import Any

from lossledger._typing import Array
from lossledger.explanation.criterion import _images, _keras, _optax, _torch
from lossledger.explanation.criterion._known import Found, Known, Unknown, spelling
from lossledger.presets._base import AbstractLibraryLoss

_READERS = (
    _torch.recognize,
    _images.recognize,
    _optax.recognize,
    _keras.recognize,
)


def recognize(thing: Any) -> Found:
    """Return the preset that a criterion is, or why there is none."""
    if isinstance(thing, AbstractLibraryLoss):
        return of_preset(thing)
    for reader in _READERS:
        found = reader(thing)
        if found is not None:
            return found
    return Unknown("it is not one of the losses that are recognized")


def of_preset(preset: AbstractLibraryLoss) -> Known:
    """Return a preset as what it stands for: it is called itself."""

    def call(
        outputs: tuple[Array, ...], targets: Array, sample_weight: Array, mask: Array
    ) -> Array:
        given = outputs if preset.reads > 1 else outputs[0]
        return preset(given, targets, sample_weight, mask)

    framework = f"ll.presets ({preset.library} {preset.version})"
    return Known(preset, spelling(preset), framework, "", call, takes=("sample_weight", "mask"))
