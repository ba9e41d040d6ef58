# SPDX-License-Identifier: Apache-2.0
"""Numbers against the domains that a loss declares."""

from lossledger._array import ArrayLibrary
from lossledger._typing import Array
from lossledger.engines._watch import Watch
from lossledger.frames import Frame
from lossledger.losses._base import Form
from lossledger.term import Term

_SUM_TOLERANCE = 1e-3


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
        good = (targets >= 0) & (targets < classes) if not xp.is_bool(targets) else targets == targets
        watch.require(_or_dead(good, alive), "labels", lambda: _labels(xp, term, targets, classes))
        return
    if not xp.is_float(targets):
        good = _within(term, targets) if not xp.is_bool(targets) else None
    else:
        good = _within(term, targets)
        good = xp.isfinite(targets) if good is None else good & xp.isfinite(targets)
    if good is not None:
        watch.require(_or_dead(good, alive), "targets", lambda: _range(xp, term, targets, alive))


def check_outputs(
    xp: ArrayLibrary, term: Term, frame: Frame, outputs: tuple[Array, ...], watch: Watch
) -> None:
    """Require that outputs lie in the loss's domain, as far as that can be seen."""
    domain = term.loss.facts().outputs
    found = lambda: f"Found output `{term.outputs[0]}` outside it ({domain} are asked for)"  # noqa: E731
    for output in outputs:
        if domain in ("probabilities", "distribution"):
            watch.require(~((output < 0) | (output > 1)), "outputs", found)
        if domain == "positive":
            watch.require(~(output <= 0), "outputs", found)
    if domain == "distribution":
        sums = xp.sum(outputs[0], axis=frame.axes.index("class"))
        watch.require(~(xp.abs(sums - 1) > _SUM_TOLERANCE), "outputs", found)
    if domain == "logits" and xp.readable(outputs[0]):
        _check_logits(xp, term, frame, xp.detach(outputs[0]), watch)


def _check_logits(
    xp: ArrayLibrary, term: Term, frame: Frame, output: Array, watch: Watch
) -> None:
    """Refuse numbers that are probabilities beyond doubt."""
    softmax = term.loss.facts().scores == "softmax"
    corner = output[(0,) * (len(frame.shape) - 1)] if softmax else None
    if softmax and frame.axes[-1] == "class" and abs(float(xp.sum(corner)) - 1) > _SUM_TOLERANCE:
        return  # the first row is no distribution: the usual, cheap way out
    first = float(output[(0,) * len(frame.shape)])
    if not 0 < first < 1:
        return
    inside = bool(xp.min(output) > 0) and bool(xp.max(output) < 1)
    if softmax:
        sums = xp.sum(output, axis=frame.axes.index("class"))
        looks = inside and bool(xp.max(xp.abs(sums - 1)) < _SUM_TOLERANCE)
    else:
        looks = inside and frame.size >= 1000 and bool(xp.max(output) > xp.min(output))
    found = (
        f"Found output `{term.outputs[0]}` between {float(xp.min(output)):.3g} and "
        f"{float(xp.max(output)):.3g}"
        + (", summing to 1 over the classes" if softmax else "")
        + ": probabilities where from_logits=True asks for logits"
    )
    if looks:
        watch.require(output != output, "outputs", lambda: found)


def _within(term: Term, targets: Array) -> Array | None:
    domain = term.loss.facts().targets
    if domain in ("probabilities", "distribution"):
        return (targets >= 0) & (targets <= 1)
    if domain == "sign":
        return (targets == 1) | (targets == -1)
    if domain == "positive":
        return targets > 0
    if domain == "nonnegative":
        return targets >= 0
    return None


def _or_dead(good: Array, alive: Array | None) -> Array:
    return good if alive is None else good | ~alive


def _labels(xp: ArrayLibrary, term: Term, targets: Array, classes: int | None) -> str:
    return (
        f"Found labels from {int(xp.min(targets))} to {int(xp.max(targets))} in target "
        f"`{term.target}` of `{term.name}`, which has {classes} classes"
    )


def _range(xp: ArrayLibrary, term: Term, targets: Array, alive: Array | None) -> str:
    domain = term.loss.facts().targets
    seen = targets if alive is None else xp.where(alive, targets, targets * 0)
    return (
        f"Found numbers from {float(xp.min(seen)):.4g} to {float(xp.max(seen)):.4g} in target "
        f"`{term.target}` of `{term.name}`; domain: {domain}"
    )
