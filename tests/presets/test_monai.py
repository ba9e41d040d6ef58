# SPDX-License-Identifier: Apache-2.0
"""Presets of MONAI against MONAI itself."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import monai.losses
import numpy as np
import pytest
import torch
from conformance import SINGLE, TIGHT, Case, check_loss, losses, torch_call

import lossledger as ll
from lossledger.presets import monai as presets

RNG = np.random.default_rng(0)
SIZES = ((3, 4, 3, 5), (2, 3, 7), (2, 4, 2, 3, 2))


def theirs(name: str, options: dict[str, Any]) -> Callable[..., Any]:
    """Return MONAI's own call; it warns of options that one channel ignores."""

    def loss(outputs: Any, targets: Any, *mask: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = dict(options)
            if isinstance(given.get("weight"), list):
                given["weight"] = torch.tensor(given["weight"], dtype=torch.float64)
            found = getattr(monai.losses, name)(**given)
            return found(outputs, targets, *(torch.tensor(m) for m in mask))

    return torch_call(loss)


def batch(size: tuple[int, ...], form: str, raw: bool) -> tuple[Any, Any]:
    """Return logits (or probabilities) and labels, one-hot masks, or soft masks."""
    z = RNG.normal(size=size)
    outputs = np.exp(z) / np.exp(z).sum(1, keepdims=True) if raw else z
    index = RNG.integers(0, size[1], (size[0], *size[2:]))
    index[0] = np.minimum(index[0], 1)  # classes that the first sample lacks
    if form == "labels":
        return outputs, index[:, None].astype(float)
    if form == "soft":
        return outputs, RNG.random(size)
    return outputs, np.moveaxis(np.eye(size[1])[index], -1, 1)


def case(
    name: str,
    options: dict[str, Any],
    size: tuple[int, ...] = SIZES[0],
    form: str = "hot",
    **more: Any,
) -> Case:
    """Return a case; the number is single precision where MONAI's is."""
    scored = options.get("sigmoid") or options.get("softmax") or "ocal" in name
    z, t = batch(size, form, raw=not scored)
    t = more.pop("targets", t)
    norms = options.get("squared_pred") or options.get("soft_label")
    single = "ocal" in name or "General" in name or (norms and options.get("to_onehot_y"))
    more.setdefault("within", SINGLE if single else TIGHT)
    options = {k: v for k, v in options.items() if v is not None}
    ours = getattr(presets, name)(**options)
    return Case(name, ours, theirs(name, options), (z,), t, **more)


def acts() -> list[dict[str, Any]]:
    """The activations: none, a sigmoid, a softmax."""
    return [{}, {"sigmoid": True}, {"softmax": True}]


def overlap(name: str, more: list[dict[str, Any]]) -> list[Case]:
    """Options that all losses of overlap have."""
    found = []
    grid = itertools.product(
        acts(), ("mean", "sum", "none"), (False, True), (False, True), ("labels", "hot")
    )
    for place, (act, reduction, pooled, background, form) in enumerate(grid):
        options = act | more[place % len(more)] | {
            "reduction": reduction, "batch": pooled, "include_background": background,
            "to_onehot_y": form == "labels",
        }  # fmt: skip
        if "weight" in options and not background:
            options["weight"] = options["weight"][1:]
        size = SIZES[place % 3]
        if "weight" in options:
            options["weight"] = options["weight"][: size[1] - (not background)]
        ours = ("numpy", "torch", "jax") if place == 30 else ("numpy", "torch")
        found.append(case(name, options, size, form, ours=ours))
    return found


def ignored(name: str, options: dict[str, Any]) -> list[Case]:
    """Labels and one-hot pixels that are ignored."""
    found = []
    for reduction in ("mean", "sum", "none"):
        given = options | {"reduction": reduction}
        for index in (-1, 1, 255):
            labels = RNG.integers(0, 4, (3, 1, 3, 5))
            labels.reshape(-1)[::3] = index
            hot = np.eye(4)[np.where(labels[:, 0] < 4, labels[:, 0], 0)]
            hot = np.moveaxis(hot, -1, 1)
            hot[:, :, 0] = 0
            these = given | {"ignore_index": index}
            found.append(case(name, these | {"to_onehot_y": True}, targets=labels))
            found.append(case(name, these, targets=hot))
    empty = np.full((3, 1, 3, 5), 7)
    empty[1:] = RNG.integers(0, 4, (2, 1, 3, 5))
    found.append(case(name, options | {"to_onehot_y": True, "ignore_index": 7}, targets=empty))
    single = {"sigmoid": True} if "sigmoid" in options or "softmax" in options else {}
    one = RNG.integers(0, 3, (2, 1, 3, 4)).clip(0, 2)
    found.append(case(name, single | {"ignore_index": 2}, (2, 1, 3, 4), targets=one))
    return found


def dice() -> list[Case]:
    """DiceLoss."""
    more: list[dict[str, Any]] = [
        {}, {"squared_pred": True}, {"jaccard": True, "weight": [1.0, 2.0, 0.0, 0.5]},
        {"smooth_nr": 0.5, "smooth_dr": 1.5}, {"jaccard": True, "squared_pred": True},
        {"weight": [3.0, 1.0, 0.5, 2.0]}, {"soft_label": True}, {"weight": None},
    ]  # fmt: skip
    found = overlap("DiceLoss", [{k: v for k, v in m.items() if v is not None} for m in more])
    for soft, square in itertools.product((False, True), repeat=2):
        for jaccard in (False, True):
            given = {"soft_label": soft, "squared_pred": square, "jaccard": jaccard}
            found.append(case("DiceLoss", given | {"sigmoid": True}, form="soft"))
    found.append(case("DiceLoss", {"sigmoid": True, "weight": 2.5}))
    two = {"weight": [3.0], "include_background": False, "softmax": True}
    found += [case("DiceLoss", two, (2, 2, 3, 4))]
    found.append(case("DiceLoss", two | {"to_onehot_y": True}, (2, 2, 3, 4), "labels"))
    found.append(case("DiceLoss", {"weight": 3.0}, (2, 1, 3, 4)))
    for act in acts()[:2]:
        given = act | {"to_onehot_y": True, "include_background": False}
        targets = RNG.integers(0, 2, (2, 1, 3, 4))
        found.append(case("DiceLoss", given, (2, 1, 3, 4), targets=targets))
    return found + ignored("DiceLoss", {"softmax": True}) + ignored("DiceLoss", {"sigmoid": True})


def masked_dice() -> list[Case]:
    """MaskedDiceLoss."""
    more: list[dict[str, Any]] = [{"squared_pred": True}, {"soft_label": True}, {"jaccard": True}]
    found = []
    for place, each in enumerate(overlap("MaskedDiceLoss", more)):
        if each.preset.to_onehot_y and each.preset.include_background:
            continue
        shape = each.outputs[0].shape
        first = shape[0] if place % 2 else 1
        mask = (RNG.random((first, 1, *shape[2:])) < 0.6).astype(float)
        mask[..., 0] = 1
        found.append(Case(**(vars(each) | {"mask": mask})))
    return found


def generalized() -> list[Case]:
    """GeneralizedDiceLoss."""
    more: list[dict[str, Any]] = [
        {}, {"w_type": "simple"}, {"w_type": "uniform"}, {"smooth_nr": 0.1, "smooth_dr": 0.2},
        {"soft_label": True},
    ]  # fmt: skip
    return overlap("GeneralizedDiceLoss", more)


def tversky() -> list[Case]:
    """TverskyLoss."""
    more: list[dict[str, Any]] = [
        {"alpha": 0.3, "beta": 0.7}, {"alpha": 1.0, "beta": 1.0}, {"soft_label": True},
        {"smooth_nr": 0.1, "smooth_dr": 0.2},
    ]  # fmt: skip
    found = overlap("TverskyLoss", more)
    return found + ignored("TverskyLoss", {"softmax": True})


def focal() -> list[Case]:
    """FocalLoss: of sigmoids and of a softmax."""
    found = []
    grid = itertools.product(
        (False, True), ("mean", "sum", "none"), (False, True), ("labels", "hot", "soft"),
        (None, 0.3, [0.2, 0.4, 0.9, 0.5]),
    )  # fmt: skip
    for place, (soft, reduction, background, form, alpha) in enumerate(grid):
        size = ((3, 4, 3, 5), (5, 4), (2, 4, 6))[place % 3]
        weight: Any = (None, 2.0, [1.0, 0.0, 2.0, 0.5])[(place // 3) % 3]
        first = 0 if background else 1
        options = {
            "use_softmax": soft, "reduction": reduction, "include_background": background,
            "alpha": alpha[first:] if isinstance(alpha, list) else alpha,
            "weight": weight[first:] if isinstance(weight, list) else weight,
            "gamma": (2.0, 0.0, 1.5, 0.5)[place % 4], "to_onehot_y": form == "labels",
        }  # fmt: skip
        ours = ("numpy", "torch", "jax") if place == 3 else ("numpy", "torch")
        found.append(case("FocalLoss", options, size, form, ours=ours))
    one = RNG.integers(0, 2, (2, 1, 3, 4))
    found.append(case("FocalLoss", {"weight": 3.0}, (2, 1, 3, 4), targets=one))
    found.append(case("FocalLoss", {"include_background": False}, (2, 1, 3, 4), targets=one))
    weighted = {"weight": [1.0, 2.0, 3.0, 0.5]}
    found += ignored("FocalLoss", weighted)[:-1]
    found += ignored("FocalLoss", {"use_softmax": True, "include_background": False})
    return found


def sums(name: str, factors: tuple[str, str], more: list[dict[str, Any]]) -> list[Case]:
    """Sums of two losses."""
    found = []
    grid = itertools.product(
        acts()[1:], ("mean", "sum"), (False, True), (False, True), ("labels", "hot")
    )
    for place, (act, reduction, pooled, background, form) in enumerate(grid):
        size = SIZES[place % 3]
        options = act | more[place % len(more)] | {
            "reduction": reduction, "batch": pooled, "include_background": background,
            "to_onehot_y": form == "labels", factors[0]: 0.7, factors[1]: 1.3,
        }  # fmt: skip
        if "weight" in options:
            first = 0 if background or name == "DiceCELoss" else 1
            options["weight"] = options["weight"][first : size[1]]
        if name == "GeneralizedDiceFocalLoss" or place % 3:
            options[factors[1]] = 0.0 if place % 7 == 3 else 1.3
        ours = ("numpy", "torch", "jax") if place == 0 else ("numpy", "torch")
        found.append(case(name, options, size, form, ours=ours))
    return found


def arrays(name: str, factors: tuple[str, str]) -> list[Case]:
    """Sums of two losses that are left unreduced: the cell's value is added to its pixels."""
    found = []
    grid = itertools.product((False, True), (False, True), ("labels", "hot"))
    for place, (pooled, background, form) in enumerate(grid):
        for size in SIZES:
            weight = [1.0, 2.0, 0.5, 3.0][: size[1]]
            first = 0 if background else 1
            options = acts()[1 + place % 2] | {
                "reduction": "none", "batch": pooled, "include_background": background,
                "to_onehot_y": form == "labels", factors[0]: 0.7 * (place != 3),
                factors[1]: 1.3 * (place != 6), "weight": weight[first:] if place % 3 else None,
            }  # fmt: skip
            ours = (
                ("numpy", "torch", "jax") if place == 0 and size is SIZES[0] else ("numpy", "torch")
            )
            found.append(case(name, options, size, form, ours=ours))
        one = RNG.integers(0, 2, (2, 1, 3, 4))
        single = {"sigmoid": True, "reduction": "none", "batch": pooled}
        found.append(case(name, single, (2, 1, 3, 4), targets=one))
    return found


def dice_ce() -> list[Case]:
    """DiceCELoss."""
    weight = [1.0, 2.0, 0.5, 3.0]
    more: list[dict[str, Any]] = [
        {}, {"weight": weight}, {"label_smoothing": 0.1}, {"jaccard": True, "weight": weight},
        {"squared_pred": True, "weight": weight, "label_smoothing": 0.2},
    ]  # fmt: skip
    found = sums("DiceCELoss", ("lambda_dice", "lambda_ce"), more)
    found.append(case("DiceCELoss", {"sigmoid": True}, form="soft"))
    for options in ({}, {"weight": [2.0]}):
        targets = RNG.integers(0, 2, (2, 1, 3, 4))
        given = options | {"sigmoid": True}
        found.append(case("DiceCELoss", given, (2, 1, 3, 4), targets=targets))
    return found


def dice_focal() -> list[Case]:
    """DiceFocalLoss and GeneralizedDiceFocalLoss."""
    weight = [1.0, 2.0, 0.5, 3.0]
    more: list[dict[str, Any]] = [{}, {"weight": weight}, {"gamma": 1.0}, {"gamma": 0.5}]
    one = [m | {"alpha": 0.3} for m in more] + [{"jaccard": True}]
    other = [m | {"w_type": "simple"} for m in more] + [{}]
    return [
        *sums("DiceFocalLoss", ("lambda_dice", "lambda_focal"), one),
        *arrays("DiceFocalLoss", ("lambda_dice", "lambda_focal")),
        *sums("GeneralizedDiceFocalLoss", ("lambda_gdl", "lambda_focal"), other),
        *arrays("GeneralizedDiceFocalLoss", ("lambda_gdl", "lambda_focal")),
    ]


def single() -> list[Case]:
    """Outputs in single precision, and labels of integer types."""
    found = []
    for name in (
        "DiceLoss", "MaskedDiceLoss", "GeneralizedDiceLoss", "TverskyLoss", "FocalLoss",
        "DiceCELoss", "DiceFocalLoss",
    ):  # fmt: skip
        for dtype in (np.int64, np.int32, np.uint8, np.float32):
            options = {"to_onehot_y": True}
            options |= {} if name == "FocalLoss" else {"softmax": True}
            z, t = batch(SIZES[0], "labels", raw=False)
            call, ours = theirs(name, options), getattr(presets, name)(**options)
            z = z.astype(np.float32)
            found.append(Case(name, ours, call, (z,), t.astype(dtype), within=SINGLE))
    return found


CASES = [
    *dice(), *masked_dice(), *generalized(), *tversky(), *focal(), *dice_ce(), *dice_focal(),
    *single(),
]  # fmt: skip


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are MONAI's, in as many cases as the page says."""
    check_loss("monai", loss, CASES)


SINGLES = [
    presets.DiceLoss(softmax=True, to_onehot_y=True),
    presets.DiceLoss(sigmoid=True, to_onehot_y=True, ignore_index=3, weight=[1.0, 2.0, 3.0, 4.0]),
    presets.MaskedDiceLoss(softmax=True, to_onehot_y=True, include_background=False),
    presets.GeneralizedDiceLoss(sigmoid=True, to_onehot_y=True),
    presets.TverskyLoss(softmax=True, to_onehot_y=True, reduction="sum"),
    presets.FocalLoss(to_onehot_y=True, include_background=False, ignore_index=2),
    presets.FocalLoss(to_onehot_y=True, use_softmax=True),
]


@pytest.mark.parametrize("preset", SINGLES, ids=range(len(SINGLES)))
def test_term_is_the_call(preset: Any) -> None:
    """A term gives the call's number, and its rows add up."""
    z, t = batch(SIZES[0], "labels", raw=False)
    term = preset.term("y", axes="batch class height width")
    total, ledger = ll.Objective(term)(z, t[:, 0].astype(int))
    np.testing.assert_allclose(total, preset(z, t), rtol=1e-12)
    np.testing.assert_allclose(sum(r.contribution for r in ledger.rows), total, rtol=1e-9)


COMPOUNDS = [
    presets.DiceCELoss(softmax=True, to_onehot_y=True, lambda_ce=0.3),
    presets.DiceFocalLoss(softmax=True, to_onehot_y=True, include_background=False),
    presets.GeneralizedDiceFocalLoss(sigmoid=True, to_onehot_y=True, lambda_gdl=2.0),
]


@pytest.mark.parametrize("preset", COMPOUNDS, ids=lambda p: type(p).__name__)
def test_terms_are_the_call(preset: Any) -> None:
    """The terms of a sum give the call's number, and name its parts."""
    z, t = batch(SIZES[0], "labels", raw=False)
    terms = preset.terms("y", loss_weight=2.0)
    total, ledger = ll.Objective(*terms)(z, t[:, 0].astype(int))
    np.testing.assert_allclose(total, 2 * preset(z, t), rtol=1e-12)
    np.testing.assert_allclose(sum(r.contribution for r in ledger.rows), total, rtol=1e-9)
    assert {r.term for r in ledger.rows} == {term.name for term in terms}
    with pytest.raises(ll.MatchError, match="reduced and weighted"):
        preset.terms("y", reduction="sum")


def test_refusals() -> None:
    """What MONAI refuses or misreads is an error that says so."""
    z, t = batch(SIZES[0], "labels", raw=False)
    with pytest.raises(ll.DomainError, match="'mean', 'sum' or 'none'"):
        presets.DiceLoss(reduction="average")
    with pytest.raises(ll.MatchError, match="At most one"):
        presets.DiceLoss(sigmoid=True, softmax=True)
    with pytest.raises(ll.MatchError, match="sigmoid or a softmax"):
        presets.DiceLoss(other_act=torch.tanh, to_onehot_y=True)(z, t)
    with pytest.raises(AssertionError, match="different shape"):
        theirs("DiceLoss", {"softmax": True})((z,), t)
    for labels in (t, t[:, 0]):
        with pytest.raises(ll.ShapeError, match="Without to_onehot_y"):
            presets.DiceLoss(softmax=True)(z, labels)
    with pytest.raises(ll.DomainError, match="at least 0"):
        presets.DiceCELoss(lambda_dice=-1.0)
    with pytest.raises(ValueError, match="Unsupported option"):
        monai.losses.DiceCELoss(reduction="none")
    with pytest.raises(ll.MatchError, match="MONAI refuses it as well"):
        presets.DiceCELoss(reduction="none")
    whole = presets.DiceFocalLoss(reduction="none", softmax=True, to_onehot_y=True)
    with pytest.raises(ll.MatchError, match="unreduced preset"):
        whole.terms("y")
    with pytest.raises(ll.MatchError, match="Only a number"):
        whole.value_and_grad(z, t)
    with pytest.raises(ll.ShapeError, match="class axis of length 1"):
        presets.DiceLoss(softmax=True, to_onehot_y=True)(z, t[:, 0])
    with pytest.raises(ll.ShapeError, match="beside batch and class"):
        presets.DiceLoss(sigmoid=True)(z[..., 0, 0], t[:, :, 0, 0])
    with pytest.raises(ll.DomainError, match="probabilities"):
        presets.DiceLoss(to_onehot_y=True)(z, t)
    masked = presets.MaskedDiceLoss(softmax=True, to_onehot_y=True)
    with pytest.raises(ll.MatchError, match="before it makes masks"):
        masked(z, t, mask=np.ones((1, 1, 3, 5)))
    with pytest.raises(ll.MatchError, match="squared_pred"):
        presets.DiceLoss(squared=True)
    ignoring = {"softmax": True, "to_onehot_y": True, "ignore_index": 9, "smooth_nr": 0.0}
    with pytest.raises(ll.ReductionError, match="Every cell"):
        presets.DiceLoss(**ignoring)(z, np.where(np.arange(3)[:, None, None, None], t, 9))
    known = presets.DiceLoss(other_act=torch.sigmoid, to_onehot_y=True)
    assert known(z, t) == presets.DiceLoss(sigmoid=True, to_onehot_y=True)(z, t)
