# SPDX-License-Identifier: Apache-2.0
"""Values of regression, probabilistic and pairwise losses by another route, in float64.

Each function takes (tuple of NumPy outputs, targets) and returns one value per element.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Oracle = Callable[[tuple[Any, ...], Any], Any]


def of_torch(name: str, **settings: Any) -> Oracle:
    """Return a function of torch.nn.functional with `reduction="none"`."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch

        arrays = outputs if targets is None else (*outputs, targets)
        given = [torch.as_tensor(a) for a in arrays]
        function = getattr(torch.nn.functional, name)
        return function(*given, reduction="none", **settings).numpy()

    return values


def gaussian(spread: str, full: bool) -> Oracle:
    """Return torch's Gaussian likelihood; `spread` is what the second output stands for."""
    to_variance = {"variance": lambda s: s, "deviation": np.square, "log": np.exp}[spread]

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch

        mean, variance, t = (
            torch.as_tensor(a) for a in (outputs[0], to_variance(outputs[1]), targets)
        )
        nll = torch.nn.functional.gaussian_nll_loss
        return nll(mean, t, variance, full=full, reduction="none").numpy()

    return values


def laplace(scale: str, full: bool) -> Oracle:
    """Return torch's Laplace density; log 2 is taken off unless `full`."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        import torch

        b = np.exp(outputs[1]) if scale == "log" else outputs[1]
        density = torch.distributions.Laplace(torch.as_tensor(outputs[0]), torch.as_tensor(b))
        nll = -density.log_prob(torch.as_tensor(targets)).numpy()
        return nll if full else nll - np.log(2)

    return values


def gaussian_kl(outputs: tuple[Any, ...], _: Any) -> Any:
    """Return torch's KL of two normal distributions."""
    import torch

    mean, deviation = torch.as_tensor(outputs[0]), torch.as_tensor(np.exp(outputs[1] / 2))
    code, prior = torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    return torch.distributions.kl_divergence(code, prior).numpy()


def half_square(outputs: tuple[Any, ...], targets: Any) -> Any:
    """Return half the square of the residual."""
    return np.square(outputs[0] - targets) / 2


def log_cosh(outputs: tuple[Any, ...], targets: Any) -> Any:
    """Return log((exp(e) + exp(−e))/2)."""
    e = outputs[0] - targets
    return np.logaddexp(e, -e) - np.log(2)


def charbonnier(epsilon: float) -> Oracle:
    """Return the hypotenuse of the residual and ε."""
    return lambda outputs, targets: np.hypot(outputs[0] - targets, epsilon)


def pinball(tau: Any) -> Oracle:
    """Return max(τ·d, (τ − 1)·d) with d = target − output, levels along the last axis."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        levels = np.asarray(tau)
        d = (targets if levels.ndim == 0 else targets[..., None]) - outputs[0]
        return np.maximum(levels * d, (levels - 1) * d)

    return values


def squared_log(outputs: tuple[Any, ...], targets: Any) -> Any:
    """Return the squared log of the ratio (1 + o)/(1 + t)."""
    return np.log((1 + outputs[0]) / (1 + targets)) ** 2


def percentage(factor: float) -> Oracle:
    """Return factor·|o/t − 1|."""
    return lambda outputs, targets: factor * np.abs(outputs[0] / targets - 1)


def poisson(log_input: bool) -> Oracle:
    """Return minus the log of the Poisson mass exp(−r)·r^y/y!, for integer y."""

    def values(outputs: tuple[Any, ...], targets: Any) -> Any:
        rate = np.exp(outputs[0]) if log_input else outputs[0]
        factorials = np.cumprod([1.0, *range(1, 30)])
        return -np.log(np.exp(-rate) * rate**targets / factorials[targets.astype(int)])

    return values


def info_nce(temperature: float, symmetric: bool, normalize: bool) -> Oracle:
    """Return torch's cross entropy of the similarity matrix, label i for row i."""

    def values(outputs: tuple[Any, ...], _: Any) -> Any:
        import torch

        queries, keys = (torch.as_tensor(x) for x in outputs)
        if normalize:
            queries, keys = (torch.nn.functional.normalize(x, dim=1) for x in (queries, keys))
        scores = queries @ keys.T / temperature
        place = torch.arange(len(scores))
        cross_entropy = torch.nn.functional.cross_entropy
        found = cross_entropy(scores, place, reduction="none")
        if symmetric:
            found = (found + cross_entropy(scores.T, place, reduction="none")) / 2
        return found.numpy()

    return values


def logistic(outputs: tuple[Any, ...], _: Any) -> Any:
    """Return −log(exp(a)/(exp(a) + exp(b)))."""
    a, b = outputs
    return np.logaddexp(a, b) - a
