# SPDX-License-Identifier: Apache-2.0
"""What presets of segmentation losses share: axes, labels with a class axis of length 1."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lossledger._errors import MatchError, ShapeError
from lossledger._typing import Array, Axes, Sequence
from lossledger.presets._base import Given

Weights = Sequence[float] | float | Array | None


def spatial(axes: Axes) -> Axes:
    """Return the axes other than batch and class."""
    return tuple(a for a in axes if a not in ("batch", "class"))


def summed(axes: Axes, batch: bool) -> Axes:
    """Return the axes that a cell is summed over: with the batch, or without."""
    return (("batch",) if batch else ()) + spatial(axes)


def channels(given: Given | None) -> int | None:
    """Return the number of classes, if there are arrays to tell."""
    return None if given is None else int(given.outputs[0].shape[1])


def labels(given: Given) -> Given:
    """Take the class axis of length 1 out of labels, and make them integers."""
    targets = given.targets
    shape = tuple(targets.shape)
    if len(shape) == len(given.outputs[0].shape) and shape[1] == 1:
        targets = given.xp.reshape(targets, (shape[0], *shape[2:]))
    if given.xp.is_float(targets):
        targets = given.xp.astype(targets, "int64")
    return replace(given, targets=targets)


def numbers(weights: Weights) -> float | list[float] | None:
    """Return weights as Python numbers: one, or a list of one a class."""
    if weights is None or isinstance(weights, int | float):
        return weights
    listed: Any = weights.tolist() if hasattr(weights, "tolist") else list(weights)
    found: float | list[float] = listed
    return found


def activation(function: Callable[..., Any] | None, library: str, option: str) -> str | None:
    """Return "sigmoid" or "softmax" (over the classes) for a callable that is known as such.

    Raises:
        MatchError: For any other.
    """
    if function is None:
        return None
    name = getattr(function, "__name__", type(function).__name__)
    known = {
        "sigmoid": "sigmoid", "Sigmoid": "sigmoid", "softmax_helper_dim1": "softmax",
    }  # fmt: skip
    if name == "Softmax" and getattr(function, "dim", None) == 1:
        return "softmax"
    if name in known:
        return known[name]
    raise MatchError(
        f"`{option}` must be a sigmoid or a softmax over the classes",
        f"Found {name}",
        f"{library} calls any function; a preset is made of parts whose derivative is known",
        f"Apply it to the outputs before the call, and leave `{option}` out",
    )


def check_planes(given: Given, library: str) -> None:
    """Require an axis beside batch and class.

    Raises:
        ShapeError: If there is none.
    """
    shape = tuple(given.outputs[0].shape)
    if len(shape) <= len(("batch", "class")):
        raise ShapeError(
            f"Outputs of {library}'s loss must have an axis beside batch and class",
            f"Found shape {shape}",
            "Summing over no axis is read by torch as summing over all of them, classes too",
            "Reshape rows to (batch, class, 1), which sums over nothing",
        )


def by_channel(name: str, weights: Any) -> Any:
    """Return a weight of torch's, of shape (class, 1, ...) or one number, as numbers.

    Raises:
        ShapeError: For another shape.
    """
    shape = tuple(getattr(weights, "shape", ()))
    if weights is None or (all(n == 1 for n in shape[1:]) and len(shape) > 1):
        found: Any = numbers(weights)
        while isinstance(found, list) and isinstance(found[0], list):
            found = [n for each in found for n in each]
        return found
    if shape in ((), (1,)):
        one: Any = numbers(weights)
        return float(one[0] if isinstance(one, list) else one)
    raise ShapeError(
        f"`{name}` must be one number, or have the shape (class, 1, 1)",
        f"Found shape {shape}",
        "torch lines it up with the last axes of the outputs, not with the classes",
        f"Pass {name}.reshape(-1, 1, 1)",
    )
