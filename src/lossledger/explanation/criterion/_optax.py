# SPDX-License-Identifier: Apache-2.0
"""The losses of optax, recognized by identity."""

import sys
from typing import Any

from lossledger._typing import Array
from lossledger.explanation.criterion._known import Found, Known, Unknown, bound, build, spelling
from lossledger.presets import optax as presets

UNKNOWN: dict[str, str] = {
    "ctc_loss": "it sums over alignments of two sequences and takes four arrays",
    "ctc_loss_with_forward_probs": "it sums over alignments and returns two arrays",
    "make_fenchel_young_loss": "it makes a loss of a function of yours",
    "ranking_softmax_loss": "it ranks lists, and reduces by a function of yours",
    "smooth_labels": "it is no loss: it moves labels toward the uniform",
}
"""Functions of optax.losses without a preset, and why."""


def recognize(thing: Any) -> Found | None:
    """Return what a loss of optax is; None if it is none of optax's."""
    library = sys.modules.get("optax")
    unbound = bound(thing)
    if library is None or unbound is None:
        return None
    function, options = unbound
    name = getattr(function, "__name__", "")
    if getattr(library.losses, name, None) is not function:
        return None
    if name in UNKNOWN:
        return Unknown(f"optax.losses.{name} has no preset: {UNKNOWN[name]}")
    if not hasattr(presets, name):
        return None
    if options.get("where") is None:
        options.pop("where", None)
    preset = build(getattr(presets, name), options)
    if isinstance(preset, str):
        return Unknown(preset)

    def call(outputs: tuple[Array, ...], targets: Array, *_: Any) -> Array:
        return thing(*outputs) if targets is None else thing(*outputs, targets)

    return Known(preset, spelling(preset), f"optax {library.__version__}", "jax", call)
