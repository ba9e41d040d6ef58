# SPDX-License-Identifier: Apache-2.0
"""One case: a loss with batches inside its domain."""

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
        outputs: How outputs are drawn: a key of `OUTPUTS`, or one for each output.
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
    outputs: str | tuple[str, ...] = "real"
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
        kinds = (self.outputs,) * self.reads if isinstance(self.outputs, str) else self.outputs
        outputs = tuple(OUTPUTS[kind](rng, shape, axes) for kind in kinds)
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
    "nonzero": lambda rng, shape, _: rng.uniform(1, 4, shape) * rng.choice([-1, 1], shape),
    "real_less_last": lambda rng, shape, _: rng.normal(size=shape[:-1]),
    "sign_per_sample": lambda rng, shape, axes: np.where(rng.random(shape[:1]) < 0.5, -1.0, 1.0),
}
