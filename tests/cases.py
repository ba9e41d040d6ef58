# SPDX-License-Identifier: Apache-2.0
"""The one table of cases: a new loss is one row, and inherits every law."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import lossledger as ll


@dataclass(frozen=True)
class Case:
    """A loss with a batch inside its domain.

    Attributes:
        id: Name in test ids.
        loss: A loss or callable.
        axes: Axes of the outputs.
        shape: Lengths of the axes.
        targets: How targets are drawn: a key of `TARGETS`.
        outputs: How outputs are drawn: a key of `OUTPUTS`.
        reads: Number of outputs.
        oracle: (outputs tuple, targets) -> values by another route; None if a library has none.
        smooth: False where a kink may lie within a finite difference's step.
        twice: Whether values are unchanged if the batch is duplicated (not for candidates).
    """

    id: str
    loss: Any
    axes: str
    shape: tuple[int, ...]
    targets: str
    outputs: str = "real"
    reads: int = 1
    oracle: Callable[..., Any] | None = None
    twice: bool = True

    def term(self, **settings: Any) -> ll.Term:
        """Return a term of this loss."""
        names = ("y",) if self.reads == 1 else tuple(f"y{i}" for i in range(self.reads))
        settings.setdefault("target", "t")
        settings.setdefault("name", "case")
        return ll.Term(names if self.reads > 1 else "y", self.loss, axes=self.axes, **settings)

    def sample(self, seed: int = 0, batch: int | None = None) -> tuple[tuple[Any, ...], Any]:
        """Draw (outputs, targets) in float64; targets are None if the loss takes none."""
        rng = np.random.default_rng(seed)
        shape = self.shape if batch is None else (batch, *self.shape[1:])
        axes = self.axes.split()
        outputs = tuple(OUTPUTS[self.outputs](rng, shape, axes) for _ in range(self.reads))
        return outputs, TARGETS[self.targets](rng, shape, axes)


def _softmax(z: Any, axis: int) -> Any:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _class(axes: list[str]) -> int:
    return axes.index("class")


def _index(rng: Any, shape: tuple[int, ...], axes: list[str]) -> Any:
    place = _class(axes)
    return rng.integers(0, shape[place], shape[:place] + shape[place + 1 :])


def _one_hot(rng: Any, shape: tuple[int, ...], axes: list[str]) -> Any:
    index = np.expand_dims(_index(rng, shape, axes), _class(axes))
    hot = np.zeros(shape)
    np.put_along_axis(hot, index, 1.0, _class(axes))
    return hot


OUTPUTS: dict[str, Callable[..., Any]] = {
    "real": lambda rng, shape, axes: rng.normal(size=shape) * 2,
    "positive": lambda rng, shape, axes: rng.uniform(0.2, 3.0, shape),
    "unit": lambda rng, shape, axes: rng.uniform(0.05, 0.95, shape),
    "simplex": lambda rng, shape, axes: _softmax(rng.normal(size=shape), _class(axes)),
}
TARGETS: dict[str, Callable[..., Any]] = {
    "none": lambda rng, shape, axes: None,
    "real": lambda rng, shape, axes: rng.normal(size=shape),
    "positive": lambda rng, shape, axes: rng.uniform(0.2, 3.0, shape),
    "count": lambda rng, shape, axes: rng.integers(0, 5, shape).astype(float),
    "binary": lambda rng, shape, axes: (rng.random(shape) < 0.4).astype(float),
    "unit": lambda rng, shape, axes: rng.uniform(0.0, 1.0, shape),
    "index": _index,
    "one_hot": _one_hot,
    "soft": lambda rng, shape, axes: _softmax(rng.normal(size=shape), _class(axes)),
    "sign_per_sample": lambda rng, shape, axes: np.where(rng.random(shape[:1]) < 0.5, -1.0, 1.0),
}

CE = ll.losses.CrossEntropy
BCE = ll.losses.BinaryCrossEntropy
IMAGE = ("batch height width class", (4, 3, 5, 3))

LOSSES: tuple[Case, ...] = (
    Case("ce-index", CE(), "batch class", (6, 4), "index"),
    Case("ce-soft", CE(), "batch class", (6, 4), "soft"),
    Case("ce-one-hot-first", CE(), "batch class time", (4, 3, 5), "one_hot"),
    Case("ce-smooth", CE(label_smoothing=0.1), "batch time class", (3, 4, 5), "index"),
    Case("ce-z-loss", CE(z_loss=1e-2), "batch class", (6, 4), "index"),
    Case("ce-probabilities", CE(from_logits=False), "batch class", (6, 4), "index", "simplex"),
    Case("bce", BCE(), *IMAGE, "binary"),
    Case("bce-soft-smooth", BCE(label_smoothing=0.2, pos_weight=3.0), *IMAGE, "unit"),
    Case("bce-pos-weight", BCE(pos_weight=[1.0, 2.0, 5.0]), *IMAGE, "binary"),
    Case("bce-probabilities", BCE(from_logits=False), "batch", (7,), "binary", "unit"),
    Case("squared", ll.losses.SquaredError(), "batch feature", (5, 3), "real"),
    Case("squared-half", ll.losses.SquaredError(half=True), "batch", (5,), "real"),
    Case("absolute", ll.losses.AbsoluteError(), "batch time", (5, 3), "real"),
    Case("huber", ll.losses.Huber(delta=0.7), "batch time", (5, 3), "real"),
    Case("dice-batch", ll.losses.Dice(over="batch height width"), *IMAGE, "binary"),
    Case("dice-sample", ll.losses.Dice(over="height width", smooth=0.5), *IMAGE, "binary"),
    Case("dice-softmax", ll.losses.Dice(over="batch height width", kind="softmax"), *IMAGE, "index"),
    Case("dice-squared", ll.losses.Dice(over="batch height width", squared=True), *IMAGE, "unit"),
    Case("dice-soft", ll.losses.Dice(over="height width", soft_labels=True), *IMAGE, "unit"),
)
