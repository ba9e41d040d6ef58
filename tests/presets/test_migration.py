# SPDX-License-Identifier: Apache-2.0
"""From one library to another: what is said to be equal is, on data that the search never saw."""

import json
from dataclasses import fields

import keras
import monai.losses
import numpy as np
import pytest
import torch
from nnunetv2.training.loss import compound_losses

import lossledger as ll
from lossledger.cli import main
from lossledger.presets._compound import AbstractCompound
from lossledger.presets._registry import parse, spell
from lossledger.presets.migration import migrate

RNG = np.random.default_rng(7)


def test_a_factor_is_found() -> None:
    """A mean is a sum over the number of elements."""
    found = migrate("torch.MSELoss()", "torch")
    assert [str(c) for c in found.equal] == ["torch.MSELoss()"]
    assert "torch.MSELoss(reduction='sum'), times 1 / the number of elements" in map(
        str, found.scaled
    )


def test_weighted_cross_entropy_in_keras() -> None:
    """Torch's class weights are Keras' sample weights under one reduction, and it works."""
    found = migrate("torch.CrossEntropyLoss(weight=[1, 2, 5])", "keras")
    best = next(c for c in found.equal if "Sparse" in str(c))
    assert best.call == "sample_weight=weight[labels]"
    assert any(c.call.startswith("one-hot targets") for c in found.equal)
    z, labels = RNG.normal(size=(40, 3)), RNG.integers(0, 3, 40)
    weight = np.array([1.0, 2.0, 5.0])
    theirs = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(weight))
    expected = float(theirs(torch.from_numpy(z), torch.from_numpy(labels)))
    assert float(best.preset(z, labels, weight[labels])) == pytest.approx(expected, rel=1e-12)


def test_what_cannot_be_expressed() -> None:
    """Smoothing with weights has no counterpart in Keras: the nearest is named, and how far."""
    found = migrate("torch.CrossEntropyLoss(weight=[1, 2, 5], label_smoothing=0.1)", "keras")
    assert not found.equal
    assert not found.scaled
    assert "cannot be expressed" in str(found)
    assert "CategoricalCrossentropy" in str(found.nearest)
    assert found.nearest is not None
    assert found.nearest.deviation > 1e-3


def test_a_broken_twin_is_not_equal() -> None:
    """The search does not call different losses equal."""
    found = migrate("torch.L1Loss()", "torch")
    assert {type(c.preset).__name__ for c in (*found.equal, *found.scaled)} == {"L1Loss"}


def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw logits, labels with a class axis of length 1, and one-hot masks of them."""
    z, labels = RNG.normal(size=(5, 4, 6, 3)), RNG.integers(0, 4, (5, 1, 6, 3))
    return z, labels, np.moveaxis(np.eye(4)[labels[:, 0]], -1, 1)


@pytest.mark.parametrize("alpha", [0.3, 0.9])
def test_reversed_options(alpha: float) -> None:
    """Keras' alpha prices what is missed, MONAI's what is wrong: they are exchanged."""
    source = f"keras.Tversky(alpha={alpha}, beta=0.5, axis=(0, 1, 2))"
    found = migrate(source, "monai").equal[0]
    assert (found.preset.alpha, found.preset.beta) == (0.5, alpha)
    z, _, hot = images()
    p = 1 / (1 + np.exp(-z))
    last = [np.moveaxis(a, 1, -1) for a in (hot, p)]
    keras_number = keras.losses.Tversky(alpha=alpha, beta=0.5, axis=(0, 1, 2), dtype="float64")
    options = {f.name: getattr(found.preset, f.name) for f in fields(found.preset)}
    monai_number = monai.losses.TverskyLoss(**options)(*map(torch.from_numpy, (p, hot)))
    assert float(monai_number) == pytest.approx(float(keras_number(*last)), rel=1e-6)
    back = migrate(found.preset, "keras").equal[0]
    assert (back.preset.alpha, back.preset.beta) == (alpha, 0.5)


def test_options_of_one_order() -> None:
    """MONAI and smp price alike, so that nothing is exchanged."""
    options = "alpha=0.3, beta=0.7, batch=True, smooth_nr=0, smooth_dr=0, softmax=True"
    source = f"monai.TverskyLoss({options}, to_onehot_y=True)"
    best = migrate(source, "smp").equal[0]
    assert str(best) == (
        "smp.TverskyLoss(mode='multiclass', alpha=0.3, beta=0.7), called with labels"
    )


def test_a_sum_of_losses() -> None:
    """MONAI's Dice and cross entropy is nnU-Net's plus the weight of the Dice; smp has none."""
    source = "monai.DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=2.0, lambda_ce=0.3)"
    found = migrate(source, "nnunet")
    assert not found.equal
    (best,) = found.scaled
    assert best.plus == pytest.approx(2)
    z, labels, _ = images()
    given = torch.from_numpy(z), torch.from_numpy(labels)
    options = {"softmax": True, "to_onehot_y": True, "lambda_dice": 2.0, "lambda_ce": 0.3}
    theirs = float(monai.losses.DiceCELoss(**options)(*given))
    settings = {f.name: getattr(best.preset, f.name) for f in fields(best.preset)}
    mine = compound_losses.DC_and_CE_loss(
        **{n: v for n, v in settings.items() if n != "dice_class"}
    )
    assert float(mine(*given)) + best.plus == pytest.approx(theirs, rel=1e-5)
    assert "minus 2" in str(migrate(best.preset, "monai"))
    none = migrate(source, "smp")
    assert "cannot be expressed" in str(none)
    assert not any(isinstance(c.preset, AbstractCompound) for c in none.equal)


def test_a_constant_stands_for_no_smoothing() -> None:
    """A deviation of 1e-9 is none that a fitted constant may take away."""
    found = migrate("keras.Tversky(axis=(0, 1, 2))", "monai")
    assert found.equal
    assert all(c.preset.smooth_dr == 1e-7 for c in (*found.equal, *found.scaled))


def test_weights_of_a_part() -> None:
    """The class weights of a nested cross entropy set the number of classes."""
    text = "nnunet.DC_and_CE_loss({}, {'weight': [1, 2, 5]}, weight_dice=0)"
    found = migrate(text, "torch")
    assert str(found.equal[0]).startswith("torch.CrossEntropyLoss(weight=[1, 2, 5])")


def test_text_and_preset() -> None:
    """A preset is written as code from which it can be read."""
    text = "torch.CrossEntropyLoss(weight=[1, 2, 5], label_smoothing=0.1)"
    assert spell(parse(text)) == text
    assert spell(parse("torch.MSELoss")) == "torch.MSELoss()"
    text = "nnunet.DC_and_CE_loss(soft_dice_kwargs={'smooth': 0.1}, ce_kwargs={}, weight_ce=2)"
    assert spell(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("torch.MSELoss(reduction=x)", "Found"),
        ("torch.MeanSquaredError()", "MeanSquaredError"),
        ("torhc.MSELoss()", "torhc"),
        ("torch.MSELoss(weigth=1)", "weigth"),
    ],
)
def test_bad_text(text: str, found: str) -> None:
    """What is misspelled is named."""
    with pytest.raises(ll.MatchError, match=found):
        parse(text)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the same, as text and as JSON; its status says if there is an equal."""
    assert main(["migrate", "torch.MSELoss()", "--to", "torch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] == ["torch.MSELoss()"]
    assert main(["migrate", "torch.MSELoss(x)", "--to", "torch"]) == 2
