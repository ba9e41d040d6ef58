# SPDX-License-Identifier: Apache-2.0
"""Presets of segmentation_models_pytorch against the library itself."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conformance import SINGLE, Case, check_loss, losses, torch_call
from oracles_overlap import smp_losses

import lossledger as ll
from lossledger.presets import smp as presets

RNG = np.random.default_rng(0)
SIZES = ((3, 4, 3, 5), (2, 4, 7, 2))
MODES = ("binary", "multiclass", "multilabel")
WEIGHTS = [1.0, 0.5, 2.0, 0.0]
PLAIN = ("numpy", "torch")
ALL = (*PLAIN, "jax")


def theirs(name: str, options: dict[str, Any]) -> Callable[..., Any]:
    """Return smp's own call."""

    def loss(outputs: Any, targets: Any) -> Any:
        kinds = {k: torch.tensor(v) if hasattr(v, "shape") else v for k, v in options.items()}
        return getattr(smp_losses(), name)(**kinds)(outputs, targets)

    return torch_call(loss)


def case(name: str, options: dict[str, Any], outputs: Any, targets: Any, **more: Any) -> Case:
    """Return a case."""
    preset = getattr(presets, name)(**options)
    return Case(name, preset, theirs(name, options), (outputs,), targets, **more)


def batch(mode: str, place: int, *, logits: bool, soft: bool = False, holes: Any = None) -> Any:
    """Return outputs and targets of a mode; class 3 is absent, and 2 of a label."""
    size = SIZES[place % 2]
    if mode == "binary":
        size = (size[0], 1, *size[2:])
    z = RNG.normal(size=size)
    if not logits:
        odds = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        z = odds if mode == "multiclass" else 1 / (1 + np.exp(-z))
    if mode == "multiclass":
        t = RNG.integers(0, 3, (size[0], *size[2:]))
    else:
        t = RNG.random(size) if soft else (RNG.random(size) < 0.4).astype(float)
        t[:, 3:] = 0
        t = t[:, 0] if mode == "binary" and place % 3 == 0 else t
    if holes is not None:
        t[RNG.random(t.shape) < 0.3] = holes
    return z, t


def overlap(name: str, more: list[dict[str, Any]]) -> list[Case]:
    """Options that the three losses of overlap share."""
    found = []
    grid = itertools.product(
        MODES, (False, True), (False, True), (0.0, 0.5), (None, -1, 255), (None, [0, 2], [2, 3, 0])
    )
    for place, (mode, log, logits, smooth, ignored, classes) in enumerate(grid):
        options = more[place % len(more)] | {
            "mode": mode, "log_loss": log, "from_logits": logits, "smooth": smooth,
            "ignore_index": ignored,
        }  # fmt: skip
        if mode != "binary":
            options["classes"] = classes
            options["class_weights"] = None if place % 5 < 2 else WEIGHTS
        elif classes is not None:
            continue
        soft = place % 2 == 0
        z, t = batch(mode, place, logits=logits, soft=soft, holes=ignored)
        if mode == "multilabel" and ignored == 255 and place % 2:
            t[:, 1] = 255  # a class in which nothing counts
        whole = mode == "multiclass" and place % 17 == 0 and ignored is not None
        if whole and options.get("gamma", 1) >= 1:  # smp's slope of 0 ** gamma is NaN
            t[:] = ignored
        if mode == "multilabel" and place % 7 == 0:
            z[:, 0] -= 40 * logits  # a score below eps
        found.append(case(name, options, z, t, ours=ALL if place == 60 else PLAIN))
    return found


def tversky() -> list[Case]:
    """TverskyLoss, with powers."""
    more: list[dict[str, Any]] = [
        {"alpha": 0.3, "beta": 0.7}, {"alpha": 0.3, "beta": 0.7, "gamma": 0.75},
        {"alpha": 1.0, "beta": 0.0, "gamma": 2.0}, {"alpha": 0.0, "beta": 0.0},
    ]  # fmt: skip
    return overlap("TverskyLoss", more)


def focal() -> list[Case]:
    """FocalLoss."""
    found = []
    grid = itertools.product(
        MODES, ("mean", "sum", "batchwise_mean", "none"), (False, True), (None, 0.25),
        (None, 0.6), (None, 255), (False, True),
    )  # fmt: skip
    for place, each in enumerate(grid):
        mode, reduction, logits, alpha, threshold, ignored, normalized = each
        odd = reduction in ("batchwise_mean", "none")
        if mode == "multilabel" and ignored is not None:
            continue
        if (normalized and odd) or (odd and mode == "binary" and ignored):
            continue
        options = {
            "mode": mode, "reduction": reduction, "from_logits": logits, "alpha": alpha,
            "reduced_threshold": threshold, "ignore_index": ignored, "normalized": normalized,
            "gamma": (2.0, 1.0, 0.5, 0.0)[place % 4],
        }  # fmt: skip
        if mode != "binary" and not odd and place % 3 == 0:
            options["class_weights"] = WEIGHTS
        z, t = batch(mode, place, logits=logits, soft=place % 2 == 0, holes=ignored)
        if not logits and mode == "multilabel":
            z.reshape(-1)[:3] = 0.0, 1.0, 1e-9
        jax = (mode, reduction, alpha, threshold, logits) == ("multiclass", "mean", 0.25, 0.6, True)
        found.append(case("FocalLoss", options, z, t, ours=ALL if jax else PLAIN))
    return found


def entropies() -> list[Case]:
    """SoftCrossEntropyLoss and SoftBCEWithLogitsLoss."""
    found = []
    grid = itertools.product(("mean", "sum", "none"), (0.0, 0.1), (None, -100, 1))
    for place, (reduction, smoothing, ignored) in enumerate(grid):
        options = {"reduction": reduction, "smooth_factor": smoothing, "ignore_index": ignored}
        z, t = batch("multiclass", place, logits=True, holes=ignored)
        ours = ALL if place == 2 else PLAIN
        found.append(case("SoftCrossEntropyLoss", options, z, t, ours=ours))
        rows = RNG.normal(size=(5, 3, 4))
        last = options | {"dim": -1}
        found.append(case("SoftCrossEntropyLoss", last, rows, RNG.integers(0, 4, (5, 3))))
        z, t = batch("multilabel", place, logits=True, soft=place % 2 == 0, holes=ignored)
        options = options | {"smooth_factor": smoothing or None}
        by_class = RNG.random((4, 1, 1)) + 0.5
        options["pos_weight"] = (None, by_class, np.array(2.0))[place % 3]
        options["weight"] = (None, np.array([3.0]), by_class)[(place // 3) % 3]
        found.append(case("SoftBCEWithLogitsLoss", options, z, t, ours=ours))
    return found


def matthews() -> list[Case]:
    """MCCLoss."""
    found = []
    for place, eps in enumerate((1e-5, 0.1, 1.0)):
        z, t = batch("binary", place, logits=False)
        found.append(case("MCCLoss", {"eps": eps}, z, t, ours=ALL if place == 0 else PLAIN))
        found.append(case("MCCLoss", {"eps": eps}, z[:, 0], t.reshape(z.shape) * 0))
    return found


def single() -> list[Case]:
    """Outputs in single precision, and labels of other integer types."""
    found = []
    for place, dtype in enumerate((np.int32, np.uint8, np.int64)):
        z, t = batch("multiclass", place, logits=True)
        wide = np.int64 if place < 2 else dtype  # torch's one_hot takes no other
        for name, options in (
            ("DiceLoss", {"mode": "multiclass"}), ("FocalLoss", {"mode": "multiclass"}),
        ):  # fmt: skip
            given = t.astype(dtype if name == "FocalLoss" else wide)
            found.append(case(name, options, z.astype(np.float32), given, within=SINGLE))
        masks = np.moveaxis(np.eye(4)[t], -1, 1).astype(np.float32)
        for name in ("JaccardLoss", "TverskyLoss"):
            options = {"mode": "multilabel"}
            found.append(case(name, options, z.astype(np.float32), masks, within=SINGLE))
        both = {"outputs": z.astype(np.float32), "targets": masks, "within": SINGLE}
        found.append(case("SoftBCEWithLogitsLoss", {}, **both))
    return found


CASES = [
    *overlap("DiceLoss", [{}]), *overlap("JaccardLoss", [{}, {"eps": 0.01}]), *tversky(),
    *focal(), *entropies(), *matthews(), *single(),
]  # fmt: skip


@pytest.mark.parametrize("loss", losses(CASES))
def test_value_and_gradient(loss: str) -> None:
    """Numbers and gradients are smp's, in as many cases as the page says."""
    check_loss("smp", loss, CASES)


TERMS: list[tuple[Any, str]] = [
    (presets.DiceLoss("multiclass", classes=[1, 2], class_weights=WEIGHTS), "index"),
    (presets.JaccardLoss("multilabel", log_loss=True, ignore_index=255), "masks"),
    (presets.TverskyLoss("multiclass", gamma=0.75), "index"),
    (presets.FocalLoss("multiclass", alpha=0.25), "index"),
    (presets.FocalLoss("multilabel", normalized=True), "masks"),
    (presets.SoftCrossEntropyLoss(smooth_factor=0.1), "index"),
    (presets.SoftBCEWithLogitsLoss(smooth_factor=0.1), "masks"),
    (presets.MCCLoss(), "one"),
]


@pytest.mark.parametrize(("preset", "form"), TERMS, ids=range(len(TERMS)))
def test_term_is_the_call(preset: Any, form: str) -> None:
    """A term gives the call's number, and its rows add up."""
    mode = {"index": "multiclass", "masks": "multilabel", "one": "binary"}[form]
    z, t = batch(mode, 1, logits=form != "one")
    z, t = (z[:, 0], t[:, 0]) if form == "one" else (z, t)
    total, ledger = ll.Objective(preset.term("y"))(z, t)
    np.testing.assert_allclose(total, preset(z, t), rtol=1e-12)
    np.testing.assert_allclose(sum(r.contribution for r in ledger.rows), total, rtol=1e-9)


def test_refusals() -> None:
    """What smp refuses, fails at or misreads is an error that says so."""
    z, t = batch("multiclass", 0, logits=True)
    with pytest.raises(ll.DomainError, match="'binary', 'multiclass'"):
        presets.DiceLoss("multi")
    with pytest.raises(ll.MatchError, match="no classes to choose"):
        presets.JaccardLoss("binary", classes=[0])
    with pytest.raises(ll.MatchError, match="which fails"):
        presets.FocalLoss("multilabel", ignore_index=255)
    with pytest.raises(ll.MatchError, match="goes without"):
        presets.FocalLoss("binary", reduction="none", normalized=True)
    with pytest.raises(ll.DomainError, match="fails for None"):
        presets.SoftCrossEntropyLoss()
    with pytest.raises(ll.DomainError, match="must be one of"):
        presets.SoftBCEWithLogitsLoss(reduction="average")
    with pytest.raises(ll.ShapeError, match="last axes"):
        presets.SoftBCEWithLogitsLoss(pos_weight=np.ones(4))(z, z)
    with pytest.raises(ll.ShapeError, match="flattens"):
        presets.DiceLoss("multilabel")(z, np.moveaxis(z, 2, 3))
    with pytest.raises(ll.MatchError, match="class_weights, one a class"):
        presets.DiceLoss("multiclass", classes=[1]).term("y")
    with pytest.raises(ll.DomainError, match="labels"):
        presets.FocalLoss("multiclass")(z, t + 5)
    with pytest.raises(ll.MatchError, match="class_weights"):
        presets.DiceLoss("multiclass", class_weight=[1.0])
