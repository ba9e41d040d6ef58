# SPDX-License-Identifier: Apache-2.0
"""Presets of torch in use: terms, single precision, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch

import lossledger as ll
from lossledger.presets import torch as presets

RNG = np.random.default_rng(4)
ROWS = (6, 4)
SIGNS = RNG.choice([-1.0, 1.0], ROWS)
HALVES = RNG.uniform(size=ROWS)
LISTS = np.array(
    [[3, 0, -1, 1], [-1, 2, 2, 2], [2, -1, 0, 0], [0, 1, 2, 3], [1, -1, 0, 0], [3] * 4]
)
LABELS = np.array([0, 1, 2, 3, -100, 0])
BY_CLASS = [1.0, 2.0, 5.0, 0.5]

# Preset, outputs, targets, axes of the outputs where they are not the preset's own.
BATCHES: dict[str, tuple[Any, tuple[Any, ...], Any, str | None]] = {
    "cross entropy": (presets.CrossEntropyLoss(BY_CLASS), (SIGNS * HALVES,), LABELS, None),
    "likelihood": (presets.NLLLoss(BY_CLASS), (np.log(HALVES),), LABELS, None),
    "multi-margin": (presets.MultiMarginLoss(2, 0.5, BY_CLASS), (HALVES,), LABELS % 4, None),
    "multilabel margin": (presets.MultiLabelMarginLoss(), (HALVES,), LISTS, None),
    "bce": (presets.BCELoss(BY_CLASS), (HALVES,), HALVES.round(), None),
    "bce logits": (
        presets.BCEWithLogitsLoss(BY_CLASS, pos_weight=[2.0, 1.0, 0.5, 3.0]),
        (SIGNS,),
        HALVES,
        None,
    ),
    "soft margins": (presets.MultiLabelSoftMarginLoss(BY_CLASS), (SIGNS,), HALVES, None),
    "soft margin": (presets.SoftMarginLoss("sum"), (HALVES,), SIGNS, None),
    "focal": (presets.sigmoid_focal_loss(reduction="mean"), (SIGNS,), HALVES.round(), None),
    "mse": (presets.MSELoss(), (SIGNS,), HALVES, None),
    "l1": (presets.L1Loss("sum"), (SIGNS,), HALVES, None),
    "smooth l1": (presets.SmoothL1Loss(beta=0.5), (SIGNS,), HALVES, None),
    "huber": (presets.HuberLoss(delta=0.5), (SIGNS,), HALVES, None),
    "kl": (presets.KLDivLoss("batchmean"), (np.log(HALVES),), HALVES, None),
    "poisson": (presets.PoissonNLLLoss(full=True), (SIGNS,), LISTS + 1.0, None),
    "gaussian": (presets.GaussianNLLLoss(full=True), (SIGNS, HALVES), HALVES, None),
    "cosine": (presets.CosineEmbeddingLoss(0.1), (SIGNS, HALVES), SIGNS[:, 0], None),
    "hinge": (presets.HingeEmbeddingLoss(), (HALVES,), SIGNS, None),
    "ranking": (presets.MarginRankingLoss(0.5), (SIGNS, HALVES), SIGNS, None),
    "triplet": (presets.TripletMarginLoss(swap=True), (SIGNS, HALVES, SIGNS * HALVES), None, None),
}


def given(outputs: tuple[Any, ...]) -> Any:
    """Return outputs as a preset takes them."""
    return outputs if len(outputs) > 1 else outputs[0]


def test_every_preset_has_a_batch() -> None:
    """No preset is left out below."""
    named = {type(batch[0]).__name__ for batch in BATCHES.values()}
    assert named == set(presets.__all__)


@pytest.mark.parametrize("name", BATCHES)
def test_term(name: str) -> None:
    """A term gives the number of the call, and its ledger adds up to it."""
    preset, outputs, targets, axes = BATCHES[name]
    names = tuple(f"y{i}" for i in range(preset.reads))
    term = preset.term(names if preset.reads > 1 else names[0], axes=axes, target="t")
    by_name = dict(zip(names, outputs, strict=True))
    goal = None if targets is None else {"t": targets}
    total, ledger = ll.Objective(term)(by_name, goal)
    expected = preset(given(outputs), targets)
    np.testing.assert_allclose(total, expected, rtol=1e-12)
    np.testing.assert_allclose(sum(row.contribution for row in ledger.rows), total, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in BATCHES if n != "focal"])  # no torchvision
def test_single_precision(name: str) -> None:
    """float32 arrays give torch's float32 number and gradient."""
    preset, outputs, targets, _ = BATCHES[name]
    options = {k: v for k, v in vars(preset).items() if k not in ("weight", "pos_weight")}
    for key in ("weight", "pos_weight"):
        if getattr(preset, key, None) is not None:
            options[key] = torch.tensor(getattr(preset, key))
    module = getattr(torch.nn, type(preset).__name__)(**options)
    leaves = [torch.tensor(o, dtype=torch.float32, requires_grad=True) for o in outputs]
    goal = None if targets is None else torch.tensor(targets)
    if goal is not None and goal.is_floating_point():
        goal = goal.float()
    order = leaves if goal is None else [leaves[0], goal, *leaves[1:]]
    order = order if name == "gaussian" or goal is None else [*leaves, goal]
    theirs = module(*order)
    ours = preset(tuple(leaves) if len(leaves) > 1 else leaves[0], goal)
    assert ours.dtype == torch.float32
    pairs = zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", presets.__all__)
def test_reduction_is_checked(name: str) -> None:
    """A reduction that torch refuses is refused, with those that there are."""
    with pytest.raises(ll.MatchError, match=f"{name} has the reductions mean, sum, none"):
        getattr(presets, name)(reduction="avg")


@pytest.mark.parametrize("option", ["size_average", "reduce", "pos_weights"])
def test_unknown_option(option: str) -> None:
    """Deprecated options are none, and misspelled ones find their neighbor."""
    with pytest.raises(ll.MatchError, match="torch's BCEWithLogitsLoss has the options"):
        presets.BCEWithLogitsLoss(**{option: True})


@pytest.mark.parametrize("weight", ["sample_weight", "mask"])
def test_no_weights_beside_arrays(weight: str) -> None:
    """Torch takes neither, so that a call with one is an error; a term takes both."""
    with pytest.raises(ll.MatchError, match=f"takes no `{weight}` when it is called"):
        presets.MSELoss()(SIGNS, HALVES, **{weight: np.ones(6)})
    objective = ll.Objective(presets.MSELoss().term("y", axes="batch unit"))
    half = np.array([1.0, 1, 1, 0, 0, 0])
    expected = presets.MSELoss()(SIGNS[:3], HALVES[:3])
    np.testing.assert_allclose(objective.loss(SIGNS, HALVES, **{weight: half}), expected)


@pytest.mark.parametrize(
    ("preset", "error", "match"),
    [
        (presets.HuberLoss(delta=0.0), ll.DomainError, "`delta` must be positive"),
        (presets.SmoothL1Loss(beta=-1.0), ll.DomainError, "`beta` must be positive"),
        (presets.BCEWithLogitsLoss([1.0, 2.0]), ll.ShapeError, "must broadcast"),
        (presets.BCEWithLogitsLoss(np.ones((2, 6, 4))), ll.ShapeError, "must broadcast"),
        (presets.BCEWithLogitsLoss(pos_weight=[1.0, 2.0]), ll.ShapeError, "pos_weight"),
        (presets.SoftMarginLoss(), ll.DomainError, "domain of the loss"),
        (presets.HingeEmbeddingLoss(), ll.DomainError, "domain of the loss"),
    ],
)
def test_options_and_targets(preset: Any, error: Any, match: str) -> None:
    """What torch refuses or misreads is refused, when arrays are there."""
    with pytest.raises(error, match=match):
        preset(SIGNS, HALVES)


@pytest.mark.parametrize("name", ["MSELoss", "KLDivLoss", "SoftMarginLoss", "BCELoss"])
def test_targets_are_not_broadcast(name: str) -> None:
    """Targets of another shape are an error that says what torch does with them."""
    with pytest.raises(ll.ShapeError, match="torch"):
        getattr(presets, name)()(HALVES, SIGNS[:, :1])


def test_outputs_are_not_broadcast() -> None:
    """Pairs of two shapes are an error."""
    with pytest.raises(ll.ShapeError, match="must have one shape"):
        presets.MarginRankingLoss()((SIGNS, SIGNS[:, :1]), SIGNS)


def test_wrong_number_of_arrays() -> None:
    """Missing outputs and targets, and targets that nobody reads, are errors."""
    with pytest.raises(ll.MatchError, match="reads 3 output"):
        presets.TripletMarginLoss()((SIGNS, HALVES))
    with pytest.raises(ll.MatchError, match="takes no targets"):
        presets.TripletMarginLoss()((SIGNS, HALVES, SIGNS), SIGNS)
    with pytest.raises(ll.MatchError, match="takes targets"):
        presets.L1Loss()(SIGNS)


@pytest.mark.parametrize("preset", [presets.CrossEntropyLoss(), presets.NLLLoss()])
def test_rows_refuse(preset: Any) -> None:
    """No label that counts, and labels out of range."""
    ignored = np.full(6, -100)
    with pytest.raises(ll.LossLedgerError, match="needs some weight"):
        preset(SIGNS, ignored)
    assert torch.isnan(
        getattr(torch.nn, type(preset).__name__)()(*map(torch.tensor, (SIGNS, ignored)))
    )
    with pytest.raises(ll.DomainError, match="class indices from 0"):
        preset(SIGNS, np.array([0, 1, 2, 3, 4, 0]))


def test_dense_targets() -> None:
    """Probabilities have no label to ignore, and only CrossEntropyLoss reads them."""
    soft = HALVES / HALVES.sum(1, keepdims=True)
    with pytest.raises(ll.MatchError, match="ignores no label"):
        presets.CrossEntropyLoss(ignore_index=2)(SIGNS, soft)
    with pytest.raises(ll.MatchError, match="reads class indices"):
        presets.NLLLoss()(SIGNS, soft)


def test_lists_of_labels() -> None:
    """Lists hold integers, within the classes, as long as the classes are many."""
    preset = presets.MultiLabelMarginLoss()
    with pytest.raises(ll.DomainError, match="lists of class indices"):
        preset(SIGNS, HALVES)
    with pytest.raises(ll.DomainError, match="from 0 to 3"):
        preset(SIGNS, LISTS + 1)
    with pytest.raises(ll.ShapeError, match="padded with −1"):
        preset(SIGNS, LISTS[:, :2])


def test_shared_variance() -> None:
    """A variance that fits nowhere is refused, and a shared one has no closed-form gradient."""
    with pytest.raises(ll.ShapeError, match="lack its last axis"):
        presets.GaussianNLLLoss()((SIGNS, HALVES[:3]), HALVES)
    with pytest.raises(ll.ShapeError, match="closed-form gradient"):
        presets.GaussianNLLLoss().value_and_grad((SIGNS, HALVES[:, :1]), HALVES)


def test_weights_of_elements_are_no_weights_of_a_term() -> None:
    """A term takes weights a class; those of elements come with each batch."""
    with pytest.raises(ll.MatchError, match="element_weight="):
        presets.BCELoss(HALVES).term("y", axes="batch class")
    term = presets.BCELoss().term("y", axes="batch class")
    assert ll.Objective(term).loss(HALVES, HALVES.round(), element_weight=np.ones(ROWS)) > 0


def test_focal_without_alpha() -> None:
    """An alpha of −1 weighs no label; others outside [0, 1] are refused, as torchvision does."""
    ours = presets.sigmoid_focal_loss(alpha=-1, gamma=0)(SIGNS, HALVES)
    np.testing.assert_allclose(ours, presets.BCEWithLogitsLoss(reduction="none")(SIGNS, HALVES))
    with pytest.raises(ll.DomainError, match="`alpha` must lie in"):
        presets.sigmoid_focal_loss(alpha=-0.5)(SIGNS, HALVES)
