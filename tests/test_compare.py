# SPDX-License-Identifier: Apache-2.0
"""Two losses that should agree: where they part, by what factor, and what makes them equal."""

import json

import explained
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lossledger as ll
from lossledger.explanation.comparison._layouts import layouts
from lossledger.explanation.criterion._host import Data

PRESETS = ll.presets
RNG = np.random.default_rng(0)
SCORES, YES = RNG.normal(size=(6, 3)), (RNG.random((6, 3)) < 0.4) * 1.0
LABELS = np.array([0, 1, 2, 0, 1, 1])
IMAGE, PLANE = RNG.normal(size=(2, 3, 4, 4)), RNG.integers(0, 3, (2, 1, 4, 4))
WEIGHT = [1.0, 2.0, 5.0]


def test_equal_across_layouts():
    """Torch has logits, the class axis second and indices; Keras none of these by default."""
    theirs = PRESETS.keras.CategoricalCrossentropy()
    found = ll.compare(nn.CrossEntropyLoss(), theirs, torch.from_numpy(IMAGE), PLANE[:, 0])
    assert found.equal
    assert found.layout == "class axis last instead of second, softmax(outputs), one-hot targets"
    assert found.deviation <= 1e-12
    assert found.slope <= 1e-12
    assert "Equal on this data" in str(found)
    assert found.change is None


@pytest.mark.parametrize(
    ("first", "second", "targets", "layout"),
    [
        ("torch.BCEWithLogitsLoss()", "keras.BinaryCrossentropy()", YES, "sigmoid(outputs)"),
        ("torch.CrossEntropyLoss()", "torch.NLLLoss()", LABELS, "log_softmax(outputs)"),
        (
            "torch.CrossEntropyLoss()",
            "optax.softmax_cross_entropy(reduction='mean')",
            LABELS,
            "one-hot targets",
        ),
        (
            "torch.SoftMarginLoss()",
            "optax.sigmoid_binary_cross_entropy(reduction='mean')",
            2 * YES - 1,
            "targets 0 and 1",
        ),
        (
            "keras.SparseCategoricalCrossentropy(from_logits=True)",
            "torch.CrossEntropyLoss()",
            LABELS[:, None],
            "labels without their axis of length 1",
        ),
    ],
)
def test_layouts(first, second, targets, layout):
    """Each form of outputs and targets is found and named, gradients and all."""
    found = ll.compare(parsed(first), parsed(second), SCORES, targets)
    assert found.equal
    assert found.layout == layout
    assert found.slope <= 1e-10


def parsed(text):
    """Return a preset from its text."""
    return PRESETS._registry.parse(text)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_data(dtype):
    """Layouts are made in float64 whatever was passed; the live loss gets its own dtype."""
    image = torch.from_numpy(IMAGE).to(dtype)
    theirs = PRESETS.keras.CategoricalCrossentropy()
    found = ll.compare(nn.CrossEntropyLoss(), theirs, image, torch.from_numpy(PLANE[:, 0]))
    assert found.equal
    assert found.deviation <= 1e-12


def test_same_number_and_other_gradient():
    """Keras divides probabilities by their sum, so its gradient is another: by 1 everywhere."""
    shares = torch.from_numpy(IMAGE).softmax(1).movedim(1, -1)
    theirs = PRESETS.keras.CategoricalCrossentropy()
    found = ll.compare(theirs, nn.NLLLoss(), shares, np.eye(3)[PLANE[:, 0]])
    assert found.layout == (
        "class axis second instead of last, log(outputs), labels for one-hot targets"
    )
    assert found.deviation <= 1e-12
    assert not found.equal
    assert found.slope > 0.01
    assert not found.notes


def test_layout_of_large_data():
    """Of large data the layout is tried on a part; number and gradient are the whole's."""
    image = np.random.default_rng(0).normal(size=(6, 3, 40, 40))
    plane = np.random.default_rng(1).integers(0, 3, (6, 40, 40))
    one, two = PRESETS.torch.CrossEntropyLoss(), PRESETS.keras.CategoricalCrossentropy()
    found = ll.compare(one, two, image, plane)
    assert found.equal
    assert found.layout.startswith("class axis last")
    assert found.number_a == pytest.approx(float(one(image, plane)))


def test_labels_stay_labels():
    """Torch divides by Σ w for labels and by N for rows: labels that it takes are no rows."""
    theirs = nn.CrossEntropyLoss(weight=torch.tensor(WEIGHT).double())
    ours = PRESETS.keras.SparseCategoricalCrossentropy(from_logits=True)
    found = ll.compare(ours, theirs, torch.from_numpy(SCORES), LABELS)
    assert found.layout == ""
    assert found.number_b == pytest.approx(
        float(theirs(torch.from_numpy(SCORES), torch.from_numpy(LABELS)))
    )


def test_gradients_come_back():
    """The way back through every layout is the transpose of the way there: finite differences."""
    checked = 0
    for targets in (LABELS, YES, np.eye(3)[LABELS], 2 * YES - 1):
        data = Data((1 / (1 + np.exp(-SCORES)),), targets)
        for layout in layouts(data):
            laid = layout.apply(data)
            if laid is None or "targets" in layout.name:
                continue
            slope = RNG.normal(size=laid.outputs[0].shape)
            (back,) = layout.back((slope,), data)
            step = RNG.normal(size=SCORES.shape)
            ends = [
                layout.apply(Data((data.outputs[0] + e * step,), targets)).outputs[0]
                for e in (1e-6, -1e-6)
            ]
            numeric = float((slope * (ends[0] - ends[1])).sum()) / 2e-6
            assert numeric == pytest.approx(float((back * step).sum()), rel=1e-6), layout.name
            checked += 1
    assert checked >= 12


def test_weights_and_their_denominator():
    """By hand: torch divides by 1 + 2 + 5 + 1 + 2 + 2 = 13, Keras without weights by 6."""
    theirs = PRESETS.keras.SparseCategoricalCrossentropy(from_logits=True)
    ours = nn.CrossEntropyLoss(weight=torch.tensor(WEIGHT).double())
    found = ll.compare(ours, theirs, torch.from_numpy(SCORES), LABELS)
    assert not found.equal
    assert found.difference.stage == "weights"
    assert "Σ = 13" in found.difference.of_a
    assert found.difference.of_b == "no weights"
    assert found.constant == "changes with the data"
    assert "mean_with_sample_weight" in found.change.text
    assert "sample_weight=weight[labels]" in found.change.text
    assert found.change.deviation <= 1e-12
    assert found.change.number == pytest.approx(found.number_a)


@pytest.mark.parametrize(
    ("first", "second", "stage", "factor", "constant", "change"),
    [
        ("torch.MSELoss()", "torch.MSELoss(reduction='sum')", "denominator", 18,
         "proportional to the batch size", "replace the second by torch.MSELoss()"),
        ("torch.MSELoss(reduction='sum')", "torch.MSELoss()", "denominator", 1 / 18,
         "inverse to the batch size", "replace the second by torch.MSELoss(reduction='sum')"),
        ("torch.MSELoss()", "optax.l2_loss(reduction='mean')", "values", 0.5, "constant",
         "multiply the second by 2"),
        ("torch.KLDivLoss()", "torch.KLDivLoss(reduction='batchmean')", "denominator", 3,
         "constant", "replace the second by torch.KLDivLoss()"),
        ("keras.MeanSquaredError(reduction='sum')", "torch.MSELoss(reduction='sum')", "inner", 3,
         "constant", "multiply the second by 1 / the length of axis 1"),
    ],
)  # fmt: skip
def test_where_they_part(first, second, stage, factor, constant, change):
    """The stage, the factor of number and gradient, its law, and the change, verified."""
    outputs = SCORES - np.log(np.exp(SCORES).sum(1, keepdims=True))
    targets = np.abs(SCORES[::-1])
    found = ll.compare(parsed(first), parsed(second), outputs, targets)
    assert found.difference.stage == stage
    assert found.factor == pytest.approx(factor)
    assert found.gradient_factor == pytest.approx(factor)
    assert found.constant == constant
    assert found.change.text == change
    assert found.change.number == pytest.approx(found.number_a)
    assert found.change.slope <= 1e-12
    print(f"{first} and {second}: deviate by {found.change.deviation:.1e} after the change")


def test_versions_of_keras():
    """By hand: Keras 2.3 divides by all 6 values, Keras 3 by the 4 that the mask keeps."""
    now = PRESETS.keras.MeanSquaredError()
    then = PRESETS.keras.MeanSquaredError(convention="keras2.3")
    found = ll.compare(now, then, SCORES, YES, mask=np.array([1, 1, 0, 1, 1, 0]))
    assert found.difference.stage == "denominator"
    assert found.difference.of_a.endswith("= 4")
    assert found.difference.of_b.endswith("= 6")
    assert found.factor == pytest.approx(4 / 6)
    assert found.constant == "changes with the data"


def test_parts_of_sums():
    """Parts are paired by what they are, in whatever order: the Dice of both part first."""
    one = PRESETS.monai.DiceCELoss(softmax=True, to_onehot_y=True)
    two = PRESETS.nnunet.DC_and_CE_loss({"smooth": 1e-5, "do_bg": True}, {})
    found = ll.compare(one, two, IMAGE, PLANE)
    assert found.difference.of_a.startswith("dice: ")
    assert found.difference.of_b.startswith("dice: ")
    assert "then -1 is added" in found.difference.of_b
    assert found.change.text == "add 1 to the second, which changes no gradient"
    assert found.change.slope <= 1e-9
    assert "Their gradients are equal." in str(found)
    alone = ll.compare(one, PRESETS.monai.DiceLoss(softmax=True, to_onehot_y=True), IMAGE, PLANE)
    assert alone.difference.stage == "parts"
    assert alone.difference.of_a == "2 part(s): dice, cross_entropy"


def test_smoothing():
    """Two smoothings part at the smoothing, not at an unnamed value."""
    one = PRESETS.torch.CrossEntropyLoss(label_smoothing=0.1)
    found = ll.compare(one, PRESETS.torch.CrossEntropyLoss(), SCORES, LABELS)
    assert found.difference.stage == "smoothing"
    assert found.gradient_factor is None
    assert "no multiple" in str(found)
    settings = {"softmax": True, "to_onehot_y": True}
    one, two = (PRESETS.monai.DiceLoss(smooth_nr=s, **settings) for s in (1e-5, 1.0))
    assert ll.compare(one, two, IMAGE, PLANE).difference.stage == "smoothing"


def test_black_boxes():
    """Functions that nobody knows part where measurements differ, and a factor is found."""
    found = ll.compare(
        lambda o, t: ((o - t).abs() ** 1.5).sum() / len(o),
        lambda o, t: ((o - t).abs() ** 1.5).mean(),
        torch.from_numpy(SCORES),
        torch.from_numpy(YES),
    )
    assert found.difference.stage == "inner"
    assert "a sum" in found.difference.of_a
    assert "a mean" in found.difference.of_b
    assert found.factor == pytest.approx(1 / 3)
    assert found.constant == "constant"
    assert found.change is not None
    assert found.change.text == "multiply the second by the length of axis 1"
    assert any("not recognized" in u for u in found.undecided)


def test_black_box_and_preset():
    """A user's function and torch's module: the same number and gradient, found so."""
    found = ll.compare(
        lambda o, t: functional.mse_loss(o, t), nn.MSELoss(), torch.from_numpy(SCORES),
        torch.from_numpy(YES),
    )  # fmt: skip
    assert found.equal


def test_near_miss_is_not_equal():
    """Broken twin: one part in a million is a difference, in number or in gradient alone."""
    x, y = torch.from_numpy(SCORES), torch.from_numpy(YES)
    found = ll.compare(nn.MSELoss(), lambda o, t: functional.mse_loss(o, t) * (1 + 1e-6), x, y)
    assert not found.equal
    value = functional.mse_loss(x, y)
    found = ll.compare(nn.MSELoss(), lambda o, t: value + 0 * o.sum(), x, y)
    assert found.deviation <= 1e-12
    assert not found.equal
    assert found.change is None


def test_change_holds_on_a_part():
    """Broken twin: a sum that happens to equal on this batch is not the change of a mean."""
    one = ll.Term("y", ll.losses.SquaredError(), "batch unit", loss_weight=18.0)
    mean = ll.compare(ll.Objective(one), PRESETS.torch.MSELoss(), SCORES, YES)
    assert mean.change.text == "multiply the second by 18"
    assert mean.constant == "constant"


def test_objective_and_criterion():
    """An objective is compared by its total and gradient."""
    term = ll.Term("y", ll.losses.SquaredError(), "batch unit", loss_weight=2.0)
    found = ll.compare(ll.Objective(term), PRESETS.torch.MSELoss(), SCORES, YES)
    assert found.difference.stage == "loss_weight"
    assert found.factor == pytest.approx(0.5)
    assert found.change.text == "multiply the second by 2"


def test_pages():
    """An answer is text, JSON and HTML."""
    found = ll.compare(PRESETS.torch.MSELoss(), PRESETS.torch.L1Loss(), SCORES, YES)
    loaded = json.loads(json.dumps(found.to_dict()))
    assert loaded["difference"]["stage"] == "values"
    assert loaded["change"] is None
    assert "First at: values." in str(found)
    assert "<table>" in found._repr_html_()
    assert "torch.L1Loss()" in repr(found)


def test_refusals():
    """What takes the data in no form says what it would take."""
    with pytest.raises(ll.LossLedgerError, match="Found"):
        ll.compare(PRESETS.torch.MSELoss(), PRESETS.torch.TripletMarginLoss(), SCORES, YES)
    with pytest.raises(ll.MatchError, match="callable with outputs"):
        ll.compare(PRESETS.torch.MSELoss(), 3, SCORES, YES)


def test_nothing_is_touched():
    """Data, gradients and random numbers are as before."""
    outputs = torch.from_numpy(SCORES.copy()).requires_grad_()
    before, numbers = explained.states(), outputs.detach().clone()
    ll.compare(nn.MSELoss(), nn.L1Loss(), outputs, torch.from_numpy(YES))
    assert outputs.grad is None
    assert torch.equal(outputs.detach(), numbers)
    assert explained.states() == before


def test_float32_does_not_hide_a_factor():
    """By hand: 1.00015 is a factor. Functions run in float64; what is taken for equal is said."""
    x, y = torch.from_numpy(SCORES).float(), torch.from_numpy(YES).float()
    found = ll.compare(nn.MSELoss(), lambda o, t: 1.00015 * functional.mse_loss(o, t), x, y)
    assert not found.equal
    assert found.factor == pytest.approx(1.00015, rel=1e-9)
    tenth = torch.tensor(0.1)  # rounded to float32: off by 1.5e-8
    rounded = (
        (lambda o, t: tenth * functional.mse_loss(o, t)),
        lambda o, t: ((o - t) ** 2).mean() / 10,
    )
    same = ll.compare(*rounded, x, y)
    assert same.equal
    assert "less than 1e-06 is taken for equal" in same.notes[-1]
    assert ll.compare(*rounded, x.double(), y.double()).notes == ()
    coarse = [lambda o, t, k=k: k * functional.mse_loss(o.float(), t.float()) for k in (1, 1.00015)]
    assert not ll.compare(*coarse, x, y).equal
    assert "less than 2e-05" in ll.compare(coarse[0], nn.MSELoss(), x, y).notes[-1]
