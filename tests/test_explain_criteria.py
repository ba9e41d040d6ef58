# SPDX-License-Identifier: Apache-2.0
"""Criteria of libraries are recognized, and their explanations add up to their numbers."""

import functools
import importlib
import inspect
import json
import pkgutil

import explained
import numpy as np
import pytest
import torch
from oracles_overlap import smp_losses
from torch import nn
from torch.nn import functional

import lossledger as ll
from lossledger.explanation.criterion import _images, _optax, _torch
from lossledger.explanation.criterion._call import called
from lossledger.explanation.criterion._host import data_of
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._recognize import recognize
from lossledger.presets._registry import presets_of

SINGLE = 2e-6
"""Largest deviation of numbers computed in float32, of these few elements."""

LIBRARIES = {
    "torch.nn": explained.torch_modules,
    "torch.nn.functional": explained.torch_functions,
    "monai": explained.monai_losses,
    "smp": lambda: explained.smp_losses(smp_losses()),
    "nnunet": explained.nnunet_losses,
    "optax": explained.optax_losses,
}


@pytest.mark.filterwarnings("ignore")  # what the libraries say of their own losses
@pytest.mark.parametrize("library", LIBRARIES)
def test_total_is_the_librarys(library):
    """Every recognized criterion: pieces add up to its own number, or to its array's sum."""
    worst, count = 0.0, 0
    for criterion, outputs, targets in LIBRARIES[library]():
        found = ll.explain(criterion, outputs, targets)
        assert not any(p.measured for p in found.pieces), found.subject
        assert json.loads(json.dumps(found.to_dict()))["total"] == found.total
        assert all(n.rule != "deviates" for n in found.notes), found.subject
        known = recognize(criterion)
        assert isinstance(known, Known)
        theirs = called(known, criterion, data_of(outputs, targets, None, None)).array.sum()
        far = abs(found.total - theirs) / max(1, abs(theirs))
        assert far <= SINGLE, (found.subject, found.total, theirs)
        if found.number is not None:
            assert found.deviation == pytest.approx(far, abs=1e-15)
        worst, count = max(worst, far), count + 1
    print(f"{library}: {count} criteria, largest deviation {worst:.1e}")


def test_double_precision_is_exact():
    """In float64 the deviation is summation rounding."""
    for criterion, outputs, targets in explained.torch_modules():
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        wide = tuple(o.double() for o in several)
        goal = targets.double() if targets is not None and targets.is_floating_point() else targets
        found = ll.explain(criterion.double(), wide if len(wide) > 1 else wide[0], goal)
        assert found.deviation is not None
        assert found.deviation <= 1e-14, found.subject


def test_every_torch_loss_is_known_or_named():
    """Every class of torch.nn and every function of torch.nn.functional that is a loss."""
    classes = {n for n in nn.modules.loss.__all__ if not n.startswith("_")}
    classes |= {n for n in dir(nn) if n.endswith(("Loss", "WithLoss"))}
    classes -= {"NLLLoss2d"}  # deprecated, and a subclass: measured like any other
    assert classes == {*_torch.MODULES, *(n for n in _torch.UNKNOWN if n in dir(nn))}
    functions = {
        n
        for n, f in vars(functional).items()
        if not n.startswith("_")
        and callable(f)
        and (n.endswith(("_loss", "entropy", "_with_logits")) or n == "kl_div")
    }
    assert functions == {*_torch.FUNCTIONS, *(n for n in _torch.UNKNOWN if n in dir(functional))}
    assert not {*_torch.MODULES, *_torch.FUNCTIONS} & {*_torch.UNKNOWN}


def test_every_optax_loss_is_known_or_named():
    """Every public function of optax.losses."""
    import optax

    functions = {n for n, f in vars(optax.losses).items() if inspect.isroutine(f)}
    functions = {n for n in functions if not n.startswith("_")}
    presets = {n for n in ll.presets.optax.__all__ if n not in _optax.UNKNOWN}
    assert functions == presets | {*_optax.UNKNOWN}


def test_every_monai_loss_is_known_or_named():
    """Every class of monai.losses."""
    import monai.losses

    public = {n: c for n, c in vars(monai.losses).items() if inspect.isclass(c)}
    classes = {c.__name__ for c in public.values() if c.__module__.startswith("monai.losses")}
    assert classes == {*ll.presets.monai.__all__, *_images.MONAI_UNKNOWN}


def test_every_smp_loss_is_known_or_named():
    """Every class of segmentation_models_pytorch.losses."""
    classes = {n for n, c in vars(smp_losses()).items() if inspect.isclass(c)}
    presets = {kind.__name__ for kind in presets_of("smp")}
    assert classes == presets | {*_images.SMP_UNKNOWN}
    assert not presets & {*_images.SMP_UNKNOWN}


def test_every_nnunet_loss_is_known_or_named():
    """Every class of nnU-Net's package of losses, in the module where it is looked for."""
    from nnunetv2.training import loss

    classes = {}
    for module in pkgutil.iter_modules(loss.__path__):
        there = importlib.import_module(f"{loss.__name__}.{module.name}")
        own = {n for n, c in vars(there).items() if inspect.isclass(c)}
        classes |= {n: module.name for n in own if vars(there)[n].__module__ == there.__name__}
    presets = {kind.__name__ for kind in presets_of("nnunet")}
    assert {*classes} == presets | {*_images.NNUNET_UNKNOWN}
    assert classes == _images.NNUNET
    assert not presets & {*_images.NNUNET_UNKNOWN}


def test_steps_of_a_weighted_cross_entropy():
    """By hand: w = (1, 2, 5) and labels 0, 1, 2, 0, ignored, 1: Σw = 11 - the ignored one's."""
    b = explained.Batches()
    criterion = nn.CrossEntropyLoss(weight=explained.WEIGHT)
    (piece,) = ll.explain(criterion, b.logits, b.labels).pieces
    assert [s.stage for s in piece.steps] == [
        "values", "weights", "weights", "numerator", "denominator",
    ]  # fmt: skip
    assert piece.step("denominator").amount == 1 + 2 + 5 + 1 + 2
    assert "Σ of the class weights of the labels" in piece.step("denominator").text
    weights = {s.settings["name"]: s.amount for s in piece.steps if s.stage == "weights"}
    assert weights == {"ignore_index": 5, "class_weight": 11}
    rows = -b.logits.double().log_softmax(1)
    hand = sum((1, 2, 5)[k] * rows[i, k].item() for i, k in enumerate(b.labels) if k >= 0)
    assert piece.numerator == pytest.approx(hand, rel=1e-12)
    assert piece.formula == "Σ m·w·l / Σ m·w"


def test_parts_of_a_sum():
    """A sum of MONAI is one piece a part, and the factors are its own."""
    import monai.losses

    b = explained.Batches()
    criterion = monai.losses.DiceCELoss(softmax=True, to_onehot_y=True, lambda_ce=0.5)
    found = ll.explain(criterion, b.image, b.plane)
    assert [(p.name, p.loss_weight) for p in found.pieces] == [("dice", 1), ("cross_entropy", 0.5)]
    assert found.total == pytest.approx(sum(p.contribution for p in found.pieces))
    assert "0.5 · Σ l / N" in found.formula


def test_names_of_classes_and_what_is_hidden():
    """Rows carry the names given, and a rare class that is always wrong is overlooked."""
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    logits = torch.tensor([[3.0, 0.0, 0.0]] * 100)
    found = ll.explain(nn.CrossEntropyLoss(), logits, labels, classes=["cat", "dog", "fox"])
    assert [r.cls for r in found.rows] == ["cat", "dog", "fox"]
    assert [r.cls for r in found.overlooked] == ["fox"]
    assert "class fox of `outputs`" in str(found)


def test_names_without_classes():
    """Names for a loss without a class axis are said to be of no use, not dropped."""
    b = explained.Batches()
    found = ll.explain(nn.MSELoss(), b.logits, b.yes, classes=["a", "b", "c"])
    assert found.undecided == ("rows by class: the loss has no class axis",)


def test_other_frameworks_arrays():
    """A criterion of torch takes NumPy data, and gives the same explanation."""
    b = explained.Batches()
    criterion = nn.CrossEntropyLoss(weight=explained.WEIGHT)
    found = ll.explain(criterion, b.logits.numpy().astype(np.float64), b.labels.numpy())
    assert found.total == pytest.approx(ll.explain(criterion, b.logits, b.labels).total)


def test_objective_with_regularizer():
    """An objective's terms are pieces and its regularizers extras, adding up to its total."""
    b = explained.Batches()
    term = ll.Term("y", ll.losses.CrossEntropy(), "batch class", loss_weight=0.5)
    l2 = ll.L2(1e-2, parameters=[torch.ones(5)], half=False)
    found = ll.explain(ll.Objective(term, l2), b.logits.double(), b.inside)
    assert [e.amount for e in found.extras] == [pytest.approx(0.05)]
    assert found.deviation is not None
    assert found.deviation <= 1e-14


def test_objective_with_weights_by_name():
    """Each of two terms takes its own mask and weights, and one of them a user's function."""
    b = explained.Batches()

    def distance(outputs, targets):
        return torch.sqrt(torch.sum((outputs - targets) ** 2, -1) + 1e-6)

    objective = ll.Objective(
        ll.Term("y", ll.losses.CrossEntropy(), "batch class"),
        ll.Term("z", distance, "batch class", removes="class", loss_weight=0.5),
    )
    logits = b.logits.double().requires_grad_()
    data = {"y": logits, "z": logits}, {"y": b.inside, "z": b.yes.double()}
    size = len(logits)
    mask = {"y": torch.arange(size) > 0}
    weight = {"z": torch.arange(size, dtype=torch.float64)}
    found = ll.explain(objective, *data, mask=mask, sample_weight=weight)
    assert found.deviation <= 1e-14
    first, second = found.pieces
    assert (first.denominator, second.denominator) == (size - 1, size * (size - 1) / 2)
    hand = torch.nn.functional.cross_entropy(logits[1:], b.inside[1:]).item()
    assert first.value == pytest.approx(hand, rel=1e-12)


@pytest.mark.parametrize("given", [{"classes": ["a", "b", "c"]}, {"convention": "keras1"}])
def test_objective_refuses_what_it_says_itself(given):
    """Names of classes belong to the terms: they are refused, not dropped."""
    b = explained.Batches()
    objective = ll.Objective(ll.Term("y", ll.losses.CrossEntropy(), "batch class"))
    with pytest.raises(ll.MatchError, match=r"Found c(lasses|onvention)"):
        ll.explain(objective, b.logits, b.inside, **given)


def test_hooks_are_noticed():
    """Broken twin: a recognized module whose number was changed behind its back."""
    b = explained.Batches()
    criterion = nn.MSELoss()
    criterion.register_forward_hook(lambda module, arguments, result: 2 * result)
    found = ll.explain(criterion, b.logits, b.yes)
    assert "deviates" in [n.rule for n in found.notes]
    assert found.deviation > 0.1


def test_nothing_is_touched():
    """Gradients, random numbers, flags and buffers are as before."""
    import monai.losses

    b = explained.Batches()
    outputs = b.image.clone().requires_grad_()
    outputs.grad = torch.ones_like(outputs)
    criterion = monai.losses.DiceLoss(softmax=True, weight=2.0).eval()
    kept = criterion.class_weight
    before = explained.states()
    ll.explain(criterion, outputs, b.hot)
    assert torch.equal(outputs.grad, torch.ones_like(outputs))
    assert not criterion.training
    assert criterion.class_weight is kept
    assert kept.shape == ()
    assert explained.states() == before


def test_a_graph_of_the_users_stays():
    """A loss that was computed before can be differentiated after: no buffer was written to."""
    b = explained.Batches()
    outputs = b.logits.clone().requires_grad_()
    criterion = nn.CrossEntropyLoss(weight=explained.WEIGHT.clone())
    loss = criterion(outputs, b.labels)
    ll.explain(criterion, outputs, b.labels)
    ll.compare(criterion, nn.CrossEntropyLoss(), outputs, b.labels)
    loss.backward()
    (hand,) = torch.autograd.grad(criterion(outputs, b.labels), outputs)
    assert torch.equal(outputs.grad, hand)


def test_touched_twin():
    """Broken twin: MONAI itself, called alone, does replace its buffer."""
    import monai.losses

    b = explained.Batches()
    criterion = monai.losses.DiceLoss(softmax=True, weight=2.0)
    kept = criterion.class_weight
    criterion(b.image, b.hot)
    assert criterion.class_weight is not kept


@pytest.mark.parametrize(
    ("criterion", "outputs", "message"),
    [
        (nn.MSELoss(), torch.zeros(3, 2), "raised|shape"),
        (nn.CrossEntropyLoss(), torch.zeros(4, 3), "callable on this data"),
        (nn.MSELoss(), [0.0, 1.0], "must be an array"),
    ],
    ids=["shapes", "labels", "list"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bad_data(criterion, outputs, message):
    """What the criterion refuses, or would broadcast, is an error in four parts."""
    with pytest.raises(ll.LossLedgerError, match=message) as caught:
        ll.explain(criterion, outputs, torch.zeros(4, 2))
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["sample_weight", "mask"])
def test_weights_are_not_left_out(name):
    """What the library's loss would not see is refused: torch, optax and MONAI take none."""
    import monai.losses
    import optax

    b = explained.Batches()
    given = {name: torch.ones(2)}
    with pytest.raises(ll.MatchError, match=r"no weights and no mask|`(sample_weight|mask)`"):
        ll.explain(nn.MSELoss(), b.logits, b.yes, **given)
    with pytest.raises(ll.MatchError, match="no weights and no mask"):
        ll.explain(monai.losses.DiceLoss(sigmoid=True), b.image, b.hot, **given)
    with pytest.raises(ll.MatchError, match="no weights and no mask"):
        ll.explain(optax.l2_loss, b.logits, b.yes, **given)


@pytest.mark.filterwarnings("ignore:No mask")
def test_mask_of_a_loss_that_takes_one():
    """MONAI's MaskedDiceLoss is called with its mask, and explained with it."""
    import monai.losses

    b = explained.Batches()
    mask = torch.ones(2, 1, 4, 4)
    mask[:, :, 2:] = 0
    criterion = monai.losses.MaskedDiceLoss(sigmoid=True)
    found = ll.explain(criterion, b.image, b.hot, mask=mask)
    assert found.deviation <= SINGLE
    assert found.total != pytest.approx(ll.explain(criterion, b.image, b.hot).total)


def test_numbers_that_the_preset_refuses():
    """Torch takes targets beyond [0, 1], the preset does not: measured, with the reason."""
    b = explained.Batches()
    found = ll.explain(nn.BCEWithLogitsLoss(), b.logits, 2 * b.yes)
    assert found.notes[0].rule == "refused"
    assert found.pieces[0].measured
    theirs = functional.binary_cross_entropy_with_logits(b.logits, 2 * b.yes)
    assert found.total == pytest.approx(float(theirs))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broadcasting_is_an_error():
    """Targets that torch would broadcast give a number, and an error here."""
    with pytest.raises(ll.ShapeError, match="shape of the outputs"):
        ll.explain(nn.MSELoss(), torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """The criterion's own number keeps its dtype, ours is float64; both are shown."""
    b = explained.Batches()
    found = ll.explain(nn.MSELoss(), b.logits.to(dtype), b.yes.to(dtype))
    assert 0 < found.deviation < 1e-2
    assert all(n.rule != "deviates" for n in found.notes)


def test_nan_is_an_error():
    """All labels ignored: torch gives NaN, which no explanation passes on."""
    with pytest.raises(ll.DomainError, match="NaN"):
        ll.explain(nn.CrossEntropyLoss(), torch.zeros(2, 3), torch.tensor([-100, -100]))


def test_subclass_is_not_its_parent():
    """A subclass may do anything: it is not taken for what it inherits from."""

    class Twice(nn.MSELoss):
        def forward(self, outputs, targets):
            return 2 * super().forward(outputs, targets)

    assert not isinstance(recognize(Twice()), Known)
    assert not isinstance(recognize(functools.partial(functional.mse_loss, torch.zeros(1))), Known)
