# SPDX-License-Identifier: Apache-2.0
"""From one library to another: what is said to be equal is, on data that the search never saw."""

import json

import numpy as np
import pytest
import torch

import lossledger as ll
from lossledger.cli import main
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


def test_text_and_preset() -> None:
    """A preset is written as code from which it can be read."""
    text = "torch.CrossEntropyLoss(weight=[1, 2, 5], label_smoothing=0.1)"
    assert spell(parse(text)) == text
    assert spell(parse("torch.MSELoss")) == "torch.MSELoss()"


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
