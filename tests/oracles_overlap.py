# SPDX-License-Identifier: Apache-2.0
"""Cells of overlap losses by another route, in float64: MONAI, smp, or the paper's formula.

Each function takes (tuple of NumPy outputs, targets) with the class axis last and returns one
value per cell.
"""

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Oracle = Callable[[tuple[Any, ...], Any], Any]


def scores(z: Any, kind: str) -> Any:
    """Return probabilities of moderate logits; as they are for kind "none"."""
    if kind == "none":
        return z
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-z))
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def masks(t: Any, like: Any) -> Any:
    """Return one mask a class."""
    return t if t.shape == like.shape else np.eye(like.shape[-1])[t]


def of_monai(name: str, *, batch: bool, kind: str = "sigmoid", **settings: Any) -> Oracle:
    """Return a loss of MONAI, whose class axis is the second, with reduction="none"."""

    def cells(outputs: tuple[Any, ...], targets: Any) -> Any:
        import monai.losses
        import torch

        loss = getattr(monai.losses, name)(
            batch=batch, sigmoid=kind == "sigmoid", softmax=kind == "softmax",
            reduction="none", **settings,
        )  # fmt: skip
        first = [np.moveaxis(a, -1, 1) for a in (outputs[0], masks(targets, outputs[0]))]
        found = loss(*(torch.tensor(a) for a in first)).numpy()
        return found.reshape([n for n in found.shape if n > 1])

    return cells


def of_smp(name: str, *, sample: bool = False, kind: str = "sigmoid", **settings: Any) -> Oracle:
    """Return a loss of segmentation_models_pytorch, class by class (and sample by sample)."""

    def cells(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch

        z = torch.tensor(np.moveaxis(outputs[0], -1, 1))
        t = torch.tensor(np.moveaxis(masks(targets, outputs[0]), -1, 1))
        if kind == "softmax":  # its multiclass mode rounds nothing but takes no soft labels
            z = torch.log_softmax(z, 1).exp()
        build = getattr(smp_losses(), name)
        options = {"from_logits": kind == "sigmoid", **settings}
        each = [build("multilabel", classes=[c], **options) for c in range(z.shape[1])]
        if not sample:
            return np.array([float(loss(z, t)) for loss in each])
        samples = [(z[i : i + 1], t[i : i + 1]) for i in range(len(z))]
        return np.array([[float(loss(*pair)) for loss in each] for pair in samples])

    return cells


def smp_losses() -> Any:
    """Import smp's losses alone: its package asks for models that are not needed."""
    name = "segmentation_models_pytorch"
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        empty = types.ModuleType(name)
        empty.__path__ = [str(Path(spec.origin).parent)]
        sys.modules[name] = empty
    return importlib.import_module(f"{name}.losses")


def ratio(
    alpha: float,
    beta: float,
    axes: tuple[int, ...],
    *,
    smooth: float = 1.0,
    below: float | None = None,
    squared: bool = False,
    soft: bool = False,
    kind: str = "sigmoid",
    h: Callable[[Any], Any] = lambda score: 1 - score,
) -> Oracle:
    """Return h(score) with score = (I + s/2)/(I + α·FP + β·FN + t/2), as the papers write it."""

    def cells(outputs: tuple[Any, ...], targets: Any) -> Any:
        p = scores(outputs[0], kind)
        y = masks(targets, p)
        both = (np.minimum(p, y) if soft else p * y).sum(axes)
        power = 2 if squared else 1
        wrong, missed = (p**power).sum(axes) - both, (y**power).sum(axes) - both
        t = smooth if below is None else below
        return h((both + smooth / 2) / (both + alpha * wrong + beta * missed + t / 2))

    return cells


def generalized(
    weight: Callable[[Any], Any],
    axes: tuple[int, ...],
    *,
    smooth: float = 0.0,
    kind: str = "sigmoid",
) -> Oracle:
    """Return the ratio of Sudre et al. for weights that are finite."""

    def cells(outputs: tuple[Any, ...], targets: Any) -> Any:
        p = scores(outputs[0], kind)
        y = masks(targets, p)
        volume = y.sum(axes)
        v = weight(volume)
        top = 2 * (v * (p * y).sum(axes)).sum(-1) + smooth
        return 1 - top / ((v * (p.sum(axes) + volume)).sum(-1) + smooth)

    return cells


def boundary(kind: str) -> Oracle:
    """Return φ·p."""
    return lambda outputs, targets: scores(outputs[0], kind) * targets


def load_balance(axes: tuple[int, ...]) -> Oracle:
    """Return E·Σ f·P."""

    def cells(outputs: tuple[Any, ...], targets: Any) -> Any:
        del targets
        p = scores(outputs[0], "softmax")
        top = np.eye(p.shape[-1])[p.argmax(-1)]
        return p.shape[-1] * (top.mean(axes) * p.mean(axes)).sum(-1)

    return cells
