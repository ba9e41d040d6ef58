# SPDX-License-Identifier: Apache-2.0
"""Numbers against the domains that a loss declares."""

import sys

from lossledger._array import ArrayLibrary
from lossledger._typing import Array, Callable
from lossledger.engines._watch import Watch
from lossledger.frames import Frame
from lossledger.losses._base import Domain, Form
from lossledger.term import Term

_SUM_TOLERANCE = 1e-3
_SPAN = 0.9
_LARGEST = sys.float_info.max
# NaN is outside no domain here: targets are checked for it apart, outputs carry it on.
_OUTSIDE: dict[Domain, Callable[[Array], Array]] = {
    "probabilities": lambda x: (x < 0) | (x > 1),
    "distribution": lambda x: (x < 0) | (x > 1),
    "interior": lambda x: (x <= 0) | (x > 1),
    "positive": lambda x: x <= 0,
    "nonnegative": lambda x: x < 0,
    "nonzero": lambda x: x == 0,
    "above_minus_one": lambda x: x <= -1,
    "sign": lambda x: (x != 1) & (x != -1),
}
_SPELLED: dict[Domain, str] = {
    "probabilities": "probabilities are asked for",
    "distribution": "probabilities are asked for",
    "interior": "probabilities above 0 are asked for",
    "positive": "numbers above 0 are asked for",
    "nonnegative": "numbers of at least 0 are asked for",
    "nonzero": "numbers other than 0 are asked for",
    "above_minus_one": "numbers above −1 are asked for",
    "sign": "the numbers −1 and 1 are asked for",
}
# The closed intervals among them: two reads of an array decide that all of it lies inside.
_LIMITS: dict[Domain, tuple[float, float]] = {
    "any": (-_LARGEST, _LARGEST),
    "probabilities": (0.0, 1.0),
    "distribution": (0.0, 1.0),
    "nonnegative": (0.0, _LARGEST),
}
# What stands where no weight is: inside the domain, so that nothing becomes infinite.
_HARMLESS: dict[Domain, float] = {
    "probabilities": 0.5, "distribution": 0.5, "interior": 0.5,
    "positive": 1.0, "nonzero": 1.0, "sign": 1.0,
}  # fmt: skip


def harmless(domain: Domain) -> float:
    """Return a number inside a domain."""
    return _HARMLESS.get(domain, 0.0)


def check_targets(
    xp: ArrayLibrary,
    term: Term,
    form: Form,
    targets: Array,
    classes: int | None,
    alive: Array | None,
    watch: Watch,
) -> None:
    """Require that targets with weight lie in the loss's domain."""
    if form in ("free", "none"):
        return
    if form == "index":
        if xp.is_bool(targets) or _between(xp, targets, 0, (classes or 0) - 1):
            return
        good = (targets >= 0) & (targets < classes)
        watch.require(_or_dead(good, alive), "labels", lambda: _labels(xp, term, targets, classes))
        return
    if xp.is_bool(targets):
        targets = xp.astype(targets, "int32")
    domain = term.facts.targets
    limits = _LIMITS.get(domain)
    if limits is not None and _between(xp, targets, *limits):
        return
    outside = _OUTSIDE.get(domain)
    good = None if outside is None else ~outside(targets)
    if xp.is_float(targets):
        good = xp.isfinite(targets) if good is None else good & xp.isfinite(targets)
    if good is not None:
        good = _or_dead(good, alive)
        watch.require(good, "targets", lambda: _range(xp, term, targets, alive, good))


def check_outputs(
    xp: ArrayLibrary, term: Term, frame: Frame, outputs: tuple[Array, ...], watch: Watch
) -> None:
    """Require that outputs lie in the loss's domain, as far as that can be seen."""
    domains = term.facts.domains
    for name, output, domain in zip(term.outputs, outputs, domains, strict=True):
        if domain in _OUTSIDE:
            rule = "outputs" if domain in ("probabilities", "distribution") else "numbers"
            found = f"Found output `{name}` of `{term.name}` outside it ({_SPELLED[domain]})"
            watch.require(~_OUTSIDE[domain](output), rule, lambda f=found: f)  # type: ignore[misc]
    domain = domains[0]
    if domain == "distribution":
        sums = xp.sum(outputs[0], axis=frame.axes.index("class"))
        found = f"Found rows of output `{term.outputs[0]}` that do not sum to 1"
        watch.require(~(xp.abs(sums - 1) > _SUM_TOLERANCE), "outputs", lambda: found)
    if domain == "logits" and xp.readable(outputs[0]):
        _check_logits(xp, term, frame, xp.detach(outputs[0]), watch)


def _check_logits(xp: ArrayLibrary, term: Term, frame: Frame, output: Array, watch: Watch) -> None:
    """Refuse numbers that are probabilities beyond doubt."""
    facts = term.facts
    softmax = facts.scores == "softmax"
    rows = facts.couples[0] if facts.couples else "class"
    corner = output[(*(0,) * (len(frame.shape) - 1), slice(None))] if softmax else None
    if softmax and frame.axes[-1] == rows and abs(float(xp.sum(corner)) - 1) > _SUM_TOLERANCE:
        return  # the first row is no distribution: the usual, cheap way out
    first = float(output[(0,) * len(frame.shape)])
    if not 0 < first < 1:
        return
    inside = bool(xp.min(output) > 0) and bool(xp.max(output) < 1)
    if softmax:
        sums = xp.sum(output, axis=frame.axes.index(rows))
        looks = inside and bool(xp.max(xp.abs(sums - 1)) < _SUM_TOLERANCE)
    else:
        # Many logits may happen to lie in (0, 1), but hardly from one end to the other.
        wide = float(xp.max(output)) - float(xp.min(output)) > _SPAN
        looks = inside and frame.size >= 1000 and wide
    found = (
        f"Found output `{term.outputs[0]}` between {float(xp.min(output)):.3g} and "
        f"{float(xp.max(output)):.3g}"
        + (", summing to 1 over the classes" if softmax else "")
        + ": probabilities where from_logits=True asks for logits"
    )
    if looks:
        watch.require(output != output, "outputs", lambda: found)


def _between(xp: ArrayLibrary, x: Array, low: float, high: float) -> bool:
    """Whether all numbers are known to lie in a closed interval; NaN lies in none."""
    if not xp.readable(x):
        return False
    least, most = xp.min(x), xp.max(x)
    # Under a trace even what is computed from a known array is unknown.
    return xp.readable(least) and low <= float(least) and float(most) <= high


def _or_dead(good: Array, alive: Array | None) -> Array:
    return good if alive is None else good | ~alive


def _labels(xp: ArrayLibrary, term: Term, targets: Array, classes: int | None) -> str:
    return (
        f"Found labels from {int(xp.min(targets))} to {int(xp.max(targets))} in target "
        f"`{term.target}` of `{term.name}`, which has {classes} classes"
    )


def _range(xp: ArrayLibrary, term: Term, targets: Array, alive: Array | None, good: Array) -> str:
    seen = targets if alive is None else xp.where(alive, targets, targets * 0)
    bad = int(xp.sum(xp.astype(~good, xp.counter(good))))
    return (
        f"Found numbers from {float(xp.min(seen)):.4g} to {float(xp.max(seen)):.4g} in target "
        f"`{term.target}` of `{term.name}`, {bad} of them outside its domain: "
        + _SPELLED.get(term.facts.targets, "finite numbers")
    )
