# SPDX-License-Identifier: Apache-2.0
"""Losses of sums as a user would write them, with their derivatives and another route."""

from typing import Any

import numpy as np

import lossledger as ll


def _squares(y: Any, t: Any) -> dict[str, Any]:
    return {"squares": (y - t) ** 2, "elements": 0 * y + 1}


def rmse(over: str, **settings: Any) -> ll.losses.FromSums:
    """Return √(Σ(y − t)² / N)."""
    return ll.losses.FromSums(
        _squares,
        lambda s: (s["squares"] / s["elements"]) ** 0.5,
        over,
        value_derivative=lambda s: {"squares": 0.5 / (s["squares"] * s["elements"]) ** 0.5},
        sums_derivative=lambda y, t: {"squares": 2 * (y - t)},
        own_mean=("squares", "elements"),
        **settings,
    )


def _counts(p: Any, t: Any) -> dict[str, Any]:
    return {"both": p * t, "outputs": p, "targets": t, "elements": 0 * p + 1}


def _count_slopes(p: Any, t: Any) -> dict[str, Any]:
    return {"both": t, "outputs": 0 * p + 1}


def _mcc(s: dict[str, Any]) -> Any:
    p, y, n = s["outputs"], s["targets"], s["elements"]
    return 1 - (n * s["both"] - p * y) / (p * (n - p) * y * (n - y) + 1) ** 0.5


def f1(over: str, **settings: Any) -> ll.losses.FromSums:
    """Return 1 − 2·Σpt/(Σp + Σt) of probabilities, charged by the errors p + t − 2pt."""
    return ll.losses.FromSums(
        _counts,
        lambda s: 1 - 2 * s["both"] / (s["outputs"] + s["targets"]),
        over,
        value_derivative=lambda s: {
            "both": -2 / (s["outputs"] + s["targets"]),
            "outputs": 2 * s["both"] / (s["outputs"] + s["targets"]) ** 2,
        },
        sums_derivative=_count_slopes,
        factors=lambda s: {
            "both": -2 / (s["outputs"] + s["targets"]),
            "outputs": 1 / (s["outputs"] + s["targets"]),
            "targets": 1 / (s["outputs"] + s["targets"]),
        },
        **settings,
    )


def mcc(over: str) -> ll.losses.FromSums:
    """Return one minus Matthews' correlation of probabilities and labels, smoothed by 1."""
    return ll.losses.FromSums(_counts, _mcc, over, sums_derivative=_count_slopes)


def _moments(y: Any, t: Any) -> dict[str, Any]:
    return {"n": 0 * y + 1, "y": y, "t": t, "yy": y * y, "tt": t * t, "yt": y * t}


def _correlation(s: dict[str, Any]) -> Any:
    spread = (s["n"] * s["yy"] - s["y"] ** 2) * (s["n"] * s["tt"] - s["t"] ** 2)
    return 1 - (s["n"] * s["yt"] - s["y"] * s["t"]) / spread**0.5


def _correlation_slopes(s: dict[str, Any]) -> dict[str, Any]:
    """Return −u'/√(ab) + u·a'/(2a√(ab)) of 1 − u/√(ab), for the sums that y is in."""
    u, a = s["n"] * s["yt"] - s["y"] * s["t"], s["n"] * s["yy"] - s["y"] ** 2
    root = (a * (s["n"] * s["tt"] - s["t"] ** 2)) ** 0.5
    half = u / (2 * a * root)
    return {
        "yt": -s["n"] / root,
        "y": s["t"] / root - 2 * half * s["y"],
        "yy": half * s["n"],
    }


def correlation(over: str) -> ll.losses.FromSums:
    """Return one minus Pearson's correlation."""
    slopes = lambda y, t: {"y": 0 * y + 1, "yy": 2 * y, "yt": t}  # noqa: E731 - one line of algebra
    return ll.losses.FromSums(
        _moments, _correlation, over, value_derivative=_correlation_slopes, sums_derivative=slopes
    )


def normalized(over: str) -> ll.losses.FromSums:
    """Return Σ q(y − t)²/Σ q: the normalizer depends on the second output."""
    return ll.losses.FromSums(
        lambda o, t: {"errors": o[1] * (o[0] - t) ** 2, "norm": o[1]},
        lambda s: s["errors"] / s["norm"],
        over,
        sums_derivative=lambda o, t: {
            "errors": (2 * o[1] * (o[0] - t), (o[0] - t) ** 2),
            "norm": (0 * o[0], 0 * o[0] + 1),
        },
        reads=2,
    )


def row_error(over: str) -> ll.losses.FromSums:
    """Return √(Σ_rows |row − t|² / rows): the channel consumes a class axis of two."""
    return ll.losses.FromSums(
        lambda y, t: {
            "squares": (y - t)[..., 0] ** 2 + (y - t)[..., 1] ** 2,
            "rows": 0 * y[..., 0] + 1,
        },
        lambda s: (s["squares"] / s["rows"]) ** 0.5,
        over,
        value_derivative=lambda s: {
            "squares": 0.5 / (s["squares"] * s["rows"]) ** 0.5,
            "rows": -0.5 * (s["squares"] / s["rows"] ** 3) ** 0.5,
        },
        sums_derivative=lambda y, t: {"squares": 2 * (y - t)},
        removes="class",
    )


def by_rmse(axes: tuple[int, ...]) -> Any:
    """Return NumPy's root mean square."""
    return lambda outputs, t: np.sqrt(np.mean((outputs[0] - t) ** 2, axes))


def by_f1(axes: tuple[int, ...]) -> Any:
    """Return one minus the harmonic mean of precision and recall."""

    def cells(outputs: tuple[Any, ...], t: Any) -> Any:
        both = (outputs[0] * t).sum(axes)
        precision, recall = both / outputs[0].sum(axes), both / t.sum(axes)
        return 1 - 2 / (1 / precision + 1 / recall)

    return cells


def by_mcc(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return Matthews' formula in true and false positives and negatives."""
    p, q = outputs[0], 1 - outputs[0]
    tp, fp, fn, tn = (p * t).sum(), (p * (1 - t)).sum(), (q * t).sum(), (q * (1 - t)).sum()
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return 1 - (tp * tn - fp * fn) / np.sqrt(spread + 1)


def by_correlation(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return NumPy's correlation."""
    return 1 - np.corrcoef(outputs[0].reshape(-1), t.reshape(-1))[0, 1]


def by_normalized(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return NumPy's weighted average."""
    return np.average((outputs[0] - t) ** 2, weights=outputs[1])


def by_row_error(outputs: tuple[Any, ...], t: Any) -> Any:
    """Return the root of the mean squared norm."""
    return np.sqrt(np.mean(np.linalg.norm(outputs[0] - t, axis=-1) ** 2))
