# SPDX-License-Identifier: Apache-2.0
"""What two models minimize, part by part: losses of outputs, then what is added to them."""

from dataclasses import replace

from lossledger._typing import Sequence
from lossledger.explanation.comparison._change import Change
from lossledger.explanation.comparison._comparison import Comparison, Part
from lossledger.explanation.comparison._extras import close, extra_parts
from lossledger.explanation.comparison._factors import CONSTANT
from lossledger.explanation.comparison._outputs import differing, loss_part
from lossledger.explanation.comparison._units import Side, paired
from lossledger.explanation.criterion._difference import Difference


def totals(a: Side, b: Side) -> Comparison:
    """Compare what two models minimize on one batch, or a model and a criterion on its outputs.

    Args:
        a: The first.
        b: The second; of a criterion its one unit has no value yet.

    Raises:
        LossLedgerError: If a criterion does not take the model's outputs.
    """
    pairs = paired(a.units, b.units)
    told = [loss_part(one, two, (a.weighs, b.weighs)) for one, two in pairs]
    losses = [part for part, _ in told]
    parts = (*losses, *extra_parts(a.extras, b.extras, (a.places, b.places)))
    mine = sum(part.number_a or 0.0 for part in parts)
    theirs = sum(part.number_b or 0.0 for part in parts)
    slopes = [None if part.losses is None else part.losses.slope for part in losses]
    known = [slope for slope in slopes if slope is not None]
    found = Comparison(
        a.name,
        b.name,
        mine,
        theirs,
        abs(theirs - mine) / max(1.0, abs(mine)),
        max(known) if known and len(known) == len(slopes) else None,
        all(part.equal for part in parts) and _agree(a, b, parts),
        layout="; ".join(
            dict.fromkeys(p.losses.layout for p in losses if p.losses and p.losses.layout)
        ),
        notes=(
            *_of_outputs(a, b),
            *_inside(parts, "notes"),
        ),
        undecided=(
            *(f"of the first, {text}" for text in a.undecided),
            *(f"of the second, {text}" for text in b.undecided),
            *(why for _, why in told if why),
            *_idle(parts),
            *_inside(parts, "undecided"),
        ),
        parts=parts,
    )
    return found if found.equal else _parted(found, a, b)


def _parted(found: Comparison, a: Side, b: Side) -> Comparison:
    """Return the comparison with what there is to say of a difference."""
    parts = found.parts
    stages = [p.difference for p in parts if p.difference is not None and not p.equal]
    others = any(stage.stage in ("outputs", "targets") for stage in stages)
    first = next((p for p in parts if p.difference is not None and not p.equal), None)
    difference = None
    if first is not None and first.difference is not None:
        name, at = f"{first.name}: " * (len(parts) > 1), first.difference
        difference = Difference(at.stage, name + at.of_a, name + at.of_b)
    found = replace(
        found,
        factor=found.number_b / found.number_a if found.number_a and not others else None,
        difference=difference,
        change=_change(found),
    )
    only = parts[0].losses
    if len(parts) > 1 or others or only is None or not a.units[0].loss_weight:
        return found
    ratio = b.units[0].loss_weight / a.units[0].loss_weight
    slope = 1.0 if only.equal and only.slope is not None else only.gradient_factor
    return replace(
        found,
        gradient_factor=None if slope is None else slope * ratio,
        constant=CONSTANT if only.equal else only.constant,
    )


def _change(found: Comparison) -> Change | None:
    """Return what makes the totals equal, if there is something for every part."""
    several = sum(part.kind == "loss" for part in found.parts) > 1
    texts: list[str] = []
    slopes: list[float | None] = []
    number = 0.0
    for part in found.parts:
        if part.equal:
            number += part.number_b or 0.0
            continue
        if part.change is None:
            return None
        number += part.change.number
        named = several and part.kind == "loss" and f"`{part.name}`" not in part.change.text
        texts.append(f"for `{part.name}`, " * named + part.change.text)
        slopes += [part.change.slope] * (part.kind == "loss")
    known = [slope for slope in slopes if slope is not None]
    far = abs(number - found.number_a) / max(abs(found.number_a), 1e-12)
    slope = max(known) if known and len(known) == len(slopes) else None
    return Change("; ".join(texts), number, far, slope)


def _agree(a: Side, b: Side, parts: Sequence[Part]) -> bool:
    """Whether the two totals agree: no verdict on parts makes two numbers equal that are not."""
    amounts = [(part.number_a or 0.0, part.number_b or 0.0) for part in parts]
    size = max(sum(abs(mine) + abs(theirs) for mine, theirs in amounts), 0.1)
    pairs = [(sum(mine for mine, _ in amounts), sum(theirs for _, theirs in amounts))]
    if a.number is not None and b.number is not None:
        pairs.append((a.number, b.number))
    return all(close(mine, theirs, size) for mine, theirs in pairs)


def _of_outputs(a: Side, b: Side) -> tuple[str, ...]:
    """Say that losses are computed on different outputs."""
    pairs = [(one, two) for one, two in paired(a.units, b.units) if one and two]
    if not any(two.value is not None and differing(one, two) for one, two in pairs):
        return ()
    told = "The models give different outputs: their losses are computed on different ones."
    drawn = " Layers draw random numbers in a training step, each model its own."
    return (told + drawn * (a.draws and b.draws),)


def _idle(parts: Sequence[Part]) -> tuple[str, ...]:
    """Say of what adds the same, and need not be the same, that it may part them elsewhere."""
    return tuple(
        f"whether they agree elsewhere: {p.kind} {p.name} "
        f"{'adds the same' if p.number_a or p.number_b else 'is 0'} here; "
        f"first: {p.difference.of_a}, second: {p.difference.of_b}"
        for p in parts
        if p.equal and p.difference is not None
    )


def _inside(parts: Sequence[Part], name: str) -> tuple[str, ...]:
    """Return the sentences of the losses inside, with the outputs where there are several."""
    several = sum(part.kind == "loss" for part in parts) > 1
    found = [
        f"{part.name}: " * several + text
        for part in parts
        if part.losses is not None
        for text in getattr(part.losses, name)
    ]
    return tuple(dict.fromkeys(found))
