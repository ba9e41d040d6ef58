# SPDX-License-Identifier: Apache-2.0
"""The losses of one output of two models: on the outputs of the first, before loss weights."""

from dataclasses import replace

from lossledger._errors import LossLedgerError, MatchError
from lossledger.explanation.comparison._change import Change
from lossledger.explanation.comparison._comparison import Comparison, Part
from lossledger.explanation.comparison._extras import alike, close
from lossledger.explanation.comparison._judge import between
from lossledger.explanation.comparison._units import Unit, apart, off_targets, shared
from lossledger.explanation.criterion._difference import Difference

_ROUNDING = {"float64": 1e-10}
_STAGES = ("values", "inner", "weights", "numerator", "denominator")
_CALLED, _FITTED = ", called with sample_weight=weight[labels]", ", and pass class_weight to fit"


def loss_part(one: Unit | None, two: Unit | None, weighs: tuple[str, str]) -> tuple[Part, str]:
    """Return (the losses of one output compared, what could not be decided).

    Args:
        one: Of the first model; None if the output has no loss there.
        two: Of the second; without a value if it is a criterion.
        weighs: Where the sample weights of each come from.

    Raises:
        LossLedgerError: If a criterion does not take the outputs.
    """
    if one is None or two is None:
        return _lone(one, two), ""
    losses, undecided = _losses(one, two)
    called = losses.number_b if losses is not None else 0.0
    mine, theirs = one.value or 0.0, called if two.value is None else two.value
    far = "" if two.value is None else differing(one, two)
    goals = off_targets(one.data, two.data)
    same = alike(mine, theirs) if losses is None else losses.equal and close(called, theirs)
    nothing = not one.loss_weight and not two.loss_weight
    weighed = same and not goals and one.loss_weight == two.loss_weight
    equal = not far and (nothing or weighed)
    amounts = one.loss_weight * mine, two.loss_weight * theirs
    part = Part(one.output, "loss", *amounts, equal, losses=losses)
    if equal:
        return part, undecided
    difference = _difference(one, two, losses, same, (far, goals))
    change = None if far or goals else _change(one, two, losses, weighs, same)
    return replace(part, difference=difference, change=change), undecided


def differing(one: Unit, two: Unit) -> str:
    """Return in words by how much the outputs of two models differ; "" if they do not."""
    far = apart(one.data, two.data)
    if isinstance(far, str):
        return f"others: {far}"
    within = _ROUNDING.get(str(one.data.outputs[0].dtype).removeprefix("torch."), 1e-5)
    if far[0] <= within * far[1]:
        return ""
    return f"others, by up to {far[0]:.6g}; the first's are up to {far[1]:.6g}"


def _losses(one: Unit, two: Unit) -> tuple[Comparison | None, str]:
    """Return (two losses compared on the outputs of the first, why they could not be).

    Raises:
        LossLedgerError: If the second is a criterion, and cannot be compared.
    """
    together = shared(one, two)
    if together is not None and not isinstance(apart(one.data, two.data), str):
        data, a, b = together
        try:
            return between(a, b, data, (one.thing, two.thing)), ""
        except LossLedgerError as error:
            if two.value is None:
                raise
            return None, f"how the losses of `{one.output}` differ: {error.rule}; {error.found}"
    reasons = dict.fromkeys(x for x in (one.why, two.why) if x)
    why = "; ".join(reasons) or "outputs, targets, weights or masks differ"
    if two.value is None:
        raise MatchError(
            "A model's loss must give its number when it is called alone, to be compared",
            f"Found that {why}",
            "It reads weights or masks that no criterion gets, or draws random numbers",
            "Explain the model and the criterion each by itself",
        )
    return None, f"whether the losses of `{one.output}` have the same gradient: {why}"


def _lone(one: Unit | None, two: Unit | None) -> Part:
    """Return the losses of an output that only one model has."""
    found = one or two
    assert found is not None  # noqa: S101 - one of them is there
    name, amount = found.output, found.contribution
    mine, theirs = (amount, None) if one else (None, amount)
    if not found.loss_weight:
        return Part(name, "loss", mine, theirs, equal=True)
    texts = (f"{found.loss} of `{found.output}`", "no loss of this output")
    difference = Difference("parts", *(texts if one else texts[::-1]))
    return Part(name, "loss", mine, theirs, equal=False, difference=difference)


def _difference(
    one: Unit, two: Unit, losses: Comparison | None, same: bool, far: tuple[str, str]
) -> Difference | None:
    """Return the first stage of the flow at which two losses of an output part."""
    for stage, text in zip(("outputs", "targets"), far, strict=True):
        if text:
            return Difference(stage, f"{stage} of `{one.output}`", text)
    if losses is not None and not losses.equal:
        return losses.difference
    if not same:
        return _by_steps(one, two)
    return Difference("loss_weight", f"times {one.loss_weight:g}", f"times {two.loss_weight:g}")


def _by_steps(one: Unit, two: Unit) -> Difference:
    """Return the first step that two explanations tell otherwise."""
    elsewhere = any(s.text.startswith("as in ") for u in (one, two) for s in u.steps)
    for stage in ("denominator",) if elsewhere else _STAGES:
        told = one.told(stage), two.told(stage)
        if told[0] != told[1]:
            return Difference(stage, *told)
    return Difference("values", one.loss, two.loss)


def _change(
    one: Unit, two: Unit, losses: Comparison | None, weighs: tuple[str, str], same: bool
) -> Change | None:
    """Return what makes the second's losses equal: its settings, and its loss weight."""
    if not same and (losses is None or losses.equal):
        return None
    goal = one.value or 0.0 if losses is None else losses.number_a
    number, slope, texts = goal, None, []
    if losses is not None:
        number, slope = losses.number_b, losses.slope
        if not losses.equal:
            change = _weighed(one, two, weighs) or losses.change
            if change is None:
                return None
            number, slope = change.number, change.slope
            texts.append(change.text.replace(_CALLED, _FITTED))
    if one.loss_weight != two.loss_weight:
        texts.append(
            f"multiply the second by {one.loss_weight:g}"
            if two.value is None
            else f"give `{two.output}` the loss weight {one.loss_weight:g} in the second, instead "
            f"of {two.loss_weight:g}"
        )
    far = abs(number - goal) / max(abs(goal), 1e-12)
    return Change("; ".join(texts), one.loss_weight * number, far, slope)


def _weighed(one: Unit, two: Unit, weighs: tuple[str, str]) -> Change | None:
    """Return that the first's weights and mask, or the lack of them, are all that differs."""
    together = shared(one, two)
    if together is None or two.value is None:
        return None
    data, a, b = together
    if a.without == b.without:
        return None
    found = between(a, replace(b, without=a.without), data, (one.thing, two.thing))
    if not found.equal:
        return None
    names = ({"sample_weight": each or "sample_weight", "mask": "mask"} for each in weighs)
    mine, theirs = names
    told = [f"give the second the first's {mine[n]}" for n in sorted(b.without - a.without)]
    told += [f"leave out the second's {theirs[n]}" for n in sorted(a.without - b.without)]
    return Change(" and ".join(told), found.number_b, found.deviation, found.slope)
