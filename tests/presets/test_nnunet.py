# SPDX-License-Identifier: Apache-2.0
"""Presets of nnU-Net against nnU-Net itself."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conformance import SINGLE, Case, check_loss, losses, torch_call
from nnunetv2.training.loss import compound_losses, dice, robust_ce_loss
from nnunetv2.utilities.helpers import softmax_helper_dim1

import lossledger as ll
from lossledger.presets import nnunet as presets

RNG = np.random.default_rng(0)
SIZES = ((3, 4, 3, 5), (2, 3, 7), (2, 4, 2, 3, 2))
HOMES = (dice, robust_ce_loss, compound_losses)
PLAIN = ("numpy", "torch")
ALL = (*PLAIN, "jax")


def theirs(name: str, options: dict[str, Any]) -> Callable[..., Any]:
    """Return nnU-Net's own call; the top-k loss warns of its own options."""

    def tensors(given: Any) -> Any:
        if isinstance(given, dict):
            return {k: tensors(v) for k, v in given.items()}
        return torch.tensor(given, dtype=torch.float64) if isinstance(given, list) else given

    def loss(outputs: Any, targets: Any, *mask: Any) -> Any:
        kind = next(getattr(h, name) for h in HOMES if hasattr(h, name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = kind(**tensors(options))
            return found(outputs, targets, *(torch.tensor(m) for m in mask))

    return torch_call(loss)


def case(name: str, options: dict[str, Any], outputs: Any, targets: Any, **more: Any) -> Case:
    """Return a case; sums of the Dice are in single precision."""
    own = {k: v for k, v in options.items() if k != "dice_class"}
    if "dice_class" in options:
        own["dice_class"] = getattr(presets, options["dice_class"].__name__)
    preset = getattr(presets, name)(**own)
    more.setdefault("within", SINGLE if "ice" in name or "DC" in name else 1e-9)
    return Case(name, preset, theirs(name, options), (outputs,), targets, **more)


def labels(size: tuple[int, ...], holes: int | None = None) -> Any:
    """Return labels, some of them a label to be ignored."""
    found = RNG.integers(0, size[1], (size[0], 1, *size[2:]))
    if holes is not None:
        found[RNG.random(found.shape) < 0.3] = holes
    return found


def soft_dice() -> list[Case]:
    """SoftDiceLoss and its twin: labels and masks, of a softmax, sigmoids, probabilities."""
    found = []
    grid = itertools.product(
        ("SoftDiceLoss", "MemoryEfficientSoftDiceLoss"), (False, True), (False, True),
        (1.0, 0.0, 1e-5), (softmax_helper_dim1, torch.sigmoid, None), ("labels", "masks"),
    )  # fmt: skip
    for place, (name, pooled, background, smooth, act, form) in enumerate(grid):
        size = SIZES[place % 3]
        z = RNG.normal(size=size)
        if act is None:
            z = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        t = labels(size) if place % 5 else labels(size)[:, 0].astype(float)
        if form == "masks":
            t = (RNG.random(size) < 0.4).astype(float) if place % 2 else RNG.random(size)
        options = {
            "apply_nonlin": act, "batch_dice": pooled, "do_bg": background, "smooth": smooth,
            "ddp": False,
        }  # fmt: skip
        if name == "SoftDiceLoss" and place % 4 == 0:
            options["clip_tp"] = 1.0
        mask = None
        if place % 3:
            mask = RNG.random((size[0], 1, *size[2:])) < 0.6
            mask[0] = place % 4 != 1
        more = {"mask": mask, "ours": ALL if place % 73 == 0 else PLAIN}
        found.append(case(name, options, z, t, **more))
    return found


def entropies() -> list[Case]:
    """RobustCrossEntropyLoss and TopKLoss."""
    found = []
    grid = itertools.product((None, [1.0, 2.0, 0.0, 0.5]), (0.0, 0.1), ("mean", "sum", "none"))
    for place, (weight, smoothing, reduction) in enumerate(grid):
        size = (*SIZES[place % 3][:1], 4, *SIZES[place % 3][2:])
        options = {"weight": weight, "label_smoothing": smoothing, "ignore_index": 7}
        z, t = RNG.normal(size=size), labels(size, 7)
        t = t[:, 0] if place % 2 else t.astype(float)
        ours = ALL if place == 0 else PLAIN
        reduced = options | {"reduction": reduction}
        found.append(case("RobustCrossEntropyLoss", reduced, z, t, ours=ours))
        k = {"mean": 10, "sum": 33.3, "none": 95}[reduction]
        found.append(case("TopKLoss", options | {"k": k}, z, labels(size, 7), ours=ours))
        found.append(case("TopKLoss", {"k": k, "weight": weight}, z, labels(size)))
    return found


def sums() -> list[Case]:
    """DC_and_CE_loss and DC_and_topk_loss."""
    found = []
    grid = itertools.product((False, True), (False, True), (1.0, 0.0), (None, 4, "all"))
    for place, (pooled, background, smooth, ignored) in enumerate(grid):
        size = SIZES[place % 3]
        inner = {"batch_dice": pooled, "do_bg": background, "smooth": smooth, "ddp": False}
        label = None if ignored is None else 4
        t = labels(size, label)
        if ignored == "all":
            t[:1] = 4
        if place == 11:
            t[:] = 4
        options = {
            "soft_dice_kwargs": inner, "ignore_label": label,
            "weight_ce": (1, 0.3, 2)[place // 3 % 3],
            "weight_dice": (0.7, 1, 0)[place // 3 % 3],
        }  # fmt: skip
        z, ours = RNG.normal(size=size), ALL if place == 0 else PLAIN
        weight = [1.0, 2.0, 0.3, 0.5][: size[1]] if place % 2 else None
        given = {"weight": weight, "label_smoothing": 0.1 * (place % 2)}
        both = options | {"ce_kwargs": given}
        one = both | {
            "dice_class": (dice.SoftDiceLoss, dice.MemoryEfficientSoftDiceLoss)[place % 2]
        }
        found.append(case("DC_and_CE_loss", one, z, t, ours=ours))
        top = options | {"ce_kwargs": given | {"k": 20}}
        found.append(case("DC_and_topk_loss", top, z, t, ours=ours))
    return found


def regions() -> list[Case]:
    """DC_and_BCE_loss: masks, and a channel of ignored pixels."""
    found = []
    grid = itertools.product((False, True), (False, True), (1.0, 0.0), (False, True))
    for place, (pooled, background, smooth, ignoring) in enumerate(grid):
        size = SIZES[0]
        inner = {"batch_dice": pooled, "do_bg": background, "smooth": smooth, "ddp": False}
        t = (RNG.random((size[0], size[1] + ignoring, *size[2:])) < 0.4).astype(float)
        t = t.astype(bool) if place % 4 == 1 and ignoring else t
        beta = [[[1.0]], [[2.0]], [[0.5]], [[3.0]]]
        inside = ({}, {"pos_weight": beta}, {"reduction": "sum"}, {"weight": beta})[place // 4]
        if ignoring:
            inside = {k: v for k, v in inside.items() if k != "reduction"}
        kind = (dice.SoftDiceLoss, dice.MemoryEfficientSoftDiceLoss)[(place // 2) % 2]
        options = {
            "bce_kwargs": inside, "soft_dice_kwargs": inner, "use_ignore_label": ignoring,
            "weight_ce": 0.5, "weight_dice": 1.5, "dice_class": kind,
        }  # fmt: skip
        own = {k: np.array(v) if isinstance(v, list) else v for k, v in inside.items()}
        made = case("DC_and_BCE_loss", options | {"bce_kwargs": own}, RNG.normal(size=size), t)
        given = vars(made) | {"theirs": theirs("DC_and_BCE_loss", options)}
        found.append(Case(**(given | {"ours": ALL if place == 0 else PLAIN})))
    return found


def single() -> list[Case]:
    """Outputs in single precision, and labels of other types."""
    found = []
    size = SIZES[0]
    inner = {"soft_dice_kwargs": {}, "ce_kwargs": {"k": 30}}
    for dtype in (np.int32, np.uint8, np.float32):
        z, t = RNG.normal(size=size).astype(np.float32), labels(size).astype(dtype)
        act = {"apply_nonlin": softmax_helper_dim1}
        for name, options in (
            ("SoftDiceLoss", act), ("MemoryEfficientSoftDiceLoss", act), ("TopKLoss", {}),
            ("RobustCrossEntropyLoss", {}), ("DC_and_topk_loss", inner),
            ("DC_and_CE_loss", inner | {"ce_kwargs": {}}),
        ):  # fmt: skip
            found.append(case(name, options, z, t, within=SINGLE))
        masks = {"bce_kwargs": {}, "soft_dice_kwargs": {}}
        hot = (RNG.random(size) < 0.4).astype(dtype)
        found.append(case("DC_and_BCE_loss", masks, z, hot, within=SINGLE))
    return found


CASES = [*soft_dice(), *entropies(), *sums(), *regions(), *single()]


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are nnU-Net's, in as many cases as the page says."""
    check_loss("nnunet", loss, CASES)


SINGLES = [
    presets.SoftDiceLoss(softmax_helper_dim1, do_bg=False, clip_tp=2.0),
    presets.MemoryEfficientSoftDiceLoss(torch.sigmoid, batch_dice=True, ddp=False),
    presets.RobustCrossEntropyLoss(weight=[1.0, 2.0, 3.0, 4.0]),
    presets.TopKLoss(k=50, weight=[1.0, 2.0, 3.0, 4.0]),
]


@pytest.mark.parametrize("preset", SINGLES, ids=lambda p: type(p).__name__)
def test_term_is_the_call(preset: Any) -> None:
    """A term gives the call's number, and its rows and curvature add up."""
    z, t = RNG.normal(size=(2, 4, 3, 6)), labels((2, 4, 3, 6))
    total, ledger = ll.Objective(preset.term("y"))(z, t[:, 0])
    np.testing.assert_allclose(total, preset(z, t), rtol=1e-12)
    np.testing.assert_allclose(sum(r.contribution for r in ledger.rows), total, rtol=1e-9)


def test_terms_are_the_call() -> None:
    """The terms of a sum give the call's number."""
    z, t = RNG.normal(size=(2, 4, 3, 6)), labels((2, 4, 3, 6), 9)
    inner = {"batch_dice": True, "ddp": False}
    for preset in (
        presets.DC_and_CE_loss(inner, {}, ignore_label=9),
        presets.DC_and_topk_loss(inner, {"k": 50}, ignore_label=9),
    ):
        total, ledger = ll.Objective(*preset.terms("y"))(z, t[:, 0])
        np.testing.assert_allclose(total, preset(z, t), rtol=1e-12)
        np.testing.assert_allclose(sum(r.contribution for r in ledger.rows), total, rtol=1e-9)
    masks = (RNG.random((2, 4, 3, 6)) < 0.5).astype(float)
    preset = presets.DC_and_BCE_loss({}, inner)
    total, _ = ll.Objective(*preset.terms("y"))(z, masks)
    np.testing.assert_allclose(total, preset(z, masks), rtol=1e-12)


def test_refusals() -> None:
    """What nnU-Net misreads is an error that says so."""
    z, t = RNG.normal(size=(2, 4, 3, 6)), labels((2, 4, 3, 6))
    with pytest.raises(ll.MatchError, match="ddp=False"):
        presets.SoftDiceLoss(batch_dice=True)
    with pytest.raises(ll.MatchError, match="apply_nonlin"):
        presets.SoftDiceLoss(torch.tanh)(z, t)
    with pytest.raises(ll.DomainError, match="percentage"):
        presets.TopKLoss(k=0)
    with pytest.raises(ll.ShapeError, match="at least one pixel"):
        presets.TopKLoss(k=1)(z, t)
    hot = np.moveaxis(np.eye(4)[t[:, 0]], -1, 1)
    with pytest.raises(ll.ShapeError, match="channel 0"):
        presets.DC_and_CE_loss({}, {})(z, hot)
    with pytest.raises(ll.MatchError, match="must be reduced"):
        presets.DC_and_CE_loss({}, {"reduction": "none"})(z, t)
    with pytest.raises(ll.MatchError, match="bce_kwargs"):
        presets.DC_and_BCE_loss({"reduction": "none"}, {})
    with pytest.raises(ll.ShapeError, match="last axes"):
        presets.DC_and_BCE_loss({"pos_weight": np.ones(4)}, {})(z, hot)
    with pytest.raises(ll.MatchError, match="batch_dice"):
        presets.SoftDiceLoss(batch=True)
