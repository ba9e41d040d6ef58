# SPDX-License-Identifier: Apache-2.0
"""Values of classification losses by another route, in float64.

Each function takes (tuple of NumPy outputs, targets) and returns one value per element. Where no
installed library has the loss it is written in probabilities: plain, and right only for small z.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Oracle = Callable[[tuple[Any, ...], Any], Any]
# Of a softmax row's outputs.
LAST = -1


def sigmoid(z: Any) -> Any:
    """Return 1/(1 + exp(−z))."""
    return 1 / (1 + np.exp(-z))


def softmax(z: Any, axis: int = LAST) -> Any:
    """Return exp(z)/Σ exp(z)."""
    e = np.exp(z)
    return e / e.sum(axis=axis, keepdims=True)


def hot(targets: Any, like: Any, axis: int = LAST) -> Any:
    """Return index targets as one-hot rows, and others as they are."""
    if targets.shape == like.shape:
        return targets
    return np.moveaxis(np.eye(like.shape[axis])[targets], -1, axis)


def of_optax(name: str, prepare: Callable[[Any], Any] = lambda t: t, **settings: Any) -> Oracle:
    """Return a function of optax.losses, in 64 bits; `prepare` makes its targets of ours."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import jax
        import optax

        with jax.enable_x64(True):
            function = getattr(optax.losses, name)
            given = jax.numpy.asarray(outputs[0]), jax.numpy.asarray(prepare(targets))
            return np.asarray(function(*given, **settings))

    return values


def fenchel_young(axis: int) -> Oracle:
    """Return optax' loss with the potential log-sum-exp, in 64 bits, along an axis."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import jax
        import optax

        with jax.enable_x64(True):
            function = optax.losses.make_fenchel_young_loss(jax.scipy.special.logsumexp)
            return np.asarray(function(*(np.moveaxis(a, axis, -1) for a in (outputs[0], targets))))

    return values


def signs(targets: Any) -> Any:
    """Return −1 and 1 for 0 and 1."""
    return 2 * targets - 1


def focal_of_monai(name: str, **settings: Any) -> Oracle:
    """Return one of MONAI's two focal functions; its class axis is the second."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch
        from monai.losses import focal_loss

        z, t = outputs[0], hot(targets, outputs[0])
        z, t = (torch.as_tensor(np.moveaxis(x, -1, 1)) for x in (z, t))
        found = np.moveaxis(getattr(focal_loss, name)(z, t, **settings).numpy(), 1, -1)
        return found if name == "sigmoid_focal_loss" else found.sum(-1)

    return values


def elements(loss: Callable[[Any], Any], smoothing: float = 0.0) -> Oracle:
    """Return y·loss(p) + (1 − y)·loss(1 − p), for p the probability of the true label."""
    return two_sided(loss, loss, smoothing)


def two_sided(
    positive: Callable[[Any], Any], negative: Callable[[Any], Any], smoothing: float = 0.0
) -> Oracle:
    """Return y·positive(p) + (1 − y)·negative(1 − p)."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        p = sigmoid(outputs[0])
        y = targets * (1 - smoothing) + smoothing / 2
        return y * positive(p) + (1 - y) * negative(1 - p)

    return values


def quality_focal(gamma: float) -> Oracle:
    """Return |y − p|^γ times torch's binary cross entropy."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch

        given = torch.as_tensor(outputs[0]), torch.as_tensor(targets)
        bce = torch.nn.functional.binary_cross_entropy_with_logits(*given, reduction="none")
        return np.abs(targets - sigmoid(outputs[0])) ** gamma * bce.numpy()

    return values


def asymmetric(gamma_pos: float, gamma_neg: float, margin: float) -> Oracle:
    """Return the two focal parts, negatives shifted down by the margin."""

    def negative(rest: Any) -> Any:
        shifted = np.clip(1 - rest - margin, 0, None)
        return -(shifted**gamma_neg) * np.log(1 - shifted)

    return two_sided(lambda p: -((1 - p) ** gamma_pos) * np.log(p), negative)


def rows(loss: Callable[[Any], Any], axis: int = LAST, smoothing: float = 0.0) -> Oracle:
    """Return Σ_c t_c·loss(p_c)."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        p = softmax(outputs[0], axis)
        t = hot(targets, p, axis) * (1 - smoothing) + smoothing / p.shape[axis]
        return (t * loss(p)).sum(axis)

    return values


def squared_hinge(outputs: tuple[Any, ...], targets: Any) -> Any:
    """Return max(0, 1 − s·z)²."""
    return np.maximum(0, 1 - signs(targets) * outputs[0]) ** 2


def multiclass_hinge(margin: float) -> Oracle:
    """Return Σ_c t_c·max(0, margin + max_{j≠c} z_j − z_c), class by class."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        z, found = outputs[0], 0.0
        for c in range(z.shape[-1]):
            rival = np.delete(z, c, axis=-1).max(-1)
            found = found + hot(targets, z)[..., c] * np.maximum(0, margin + rival - z[..., c])
        return found

    return values


def cross_entropy(
    change: Callable[[Any, Any], Any], scale: float = 1.0, smoothing: float = 0.0
) -> Oracle:
    """Return Σ_c t_c·CE(scale·change(z, e_c), c) by torch, class by class."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch

        z, found = outputs[0], 0.0
        t = hot(targets, z) * (1 - smoothing) + smoothing / z.shape[-1]
        for c in range(z.shape[-1]):
            one = np.eye(z.shape[-1])[c]
            changed = torch.as_tensor(scale * change(z, one)).reshape(-1, z.shape[-1])
            label = torch.full((len(changed),), c)
            ce = torch.nn.functional.cross_entropy(changed, label, reduction="none").numpy()
            found = found + t[..., c] * ce.reshape(z.shape[:-1])
        return found

    return values


def divergence(kind: str, temperature: float = 1.0, logits: bool = False) -> Oracle:
    """Return torch's KL divergence, forward or reverse, or SciPy's Jensen–Shannon, times T²."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch
        from scipy.spatial.distance import jensenshannon

        p = softmax(outputs[0] / temperature)
        t = softmax(targets / temperature) if logits else targets
        if kind == "js":
            return temperature**2 * jensenshannon(p, t, axis=-1) ** 2
        first, second = (p, t) if kind == "forward" else (t, p)
        given = torch.as_tensor(np.log(first)), torch.as_tensor(second)
        found = torch.nn.functional.kl_div(*given, reduction="none").numpy()
        return temperature**2 * found.sum(-1)

    return values


def brier(outputs: tuple[Any, ...], targets: Any) -> Any:
    """Return Σ (p − t)²."""
    p = softmax(outputs[0])
    return ((p - hot(targets, p)) ** 2).sum(-1)


def entropy(outputs: tuple[Any, ...], _: Any) -> Any:
    """Return torch's entropy of a categorical distribution."""
    import torch

    return torch.distributions.Categorical(logits=torch.as_tensor(outputs[0])).entropy().numpy()
