# SPDX-License-Identifier: Apache-2.0
"""`lossledger explain` and `lossledger compare`: targets, data, output and exit status."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lossledger.cli import main

OUTPUTS = np.random.default_rng(0).normal(size=(6, 3))
LABELS = np.array([0, 1, 2, 0, 1, 1])

TRAIN = """
import numpy as np
import torch

import lossledger as ll

criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]))
outputs = torch.tensor(np.random.default_rng(0).normal(size=(6, 3)), dtype=torch.float32)
labels = torch.tensor([0, 1, 2, 0, 1, 1])


def step():
    return criterion, outputs, labels


def bare():
    return criterion


def data():
    return outputs, labels


def mine(outputs, targets):
    return (outputs - targets[:, None]).abs().sum()


class settings:
    preset = ll.presets.torch.MSELoss()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in a folder with a script and two files of data."""
    (tmp_path / "train_it.py").write_text(TRAIN, encoding="utf-8")
    np.save(tmp_path / "outputs.npy", OUTPUTS)
    np.save(tmp_path / "targets.npy", LABELS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("train_it", "it", "that", "beside_it", "lies_beside"):
        sys.modules.pop(name, None)


def run(capsys, *arguments):
    """Return (exit status, what was printed)."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out + err


FILES = ("--outputs", "outputs.npy", "--targets", "targets.npy")


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("torch.CrossEntropyLoss(weight=[1, 2, 5])", FILES),
        ("train_it.py:criterion", FILES),
        ("train_it:criterion", FILES),
        ("train_it:bare", ("--data", "train_it:data")),
        ("train_it.py:step", ()),
    ],
)
def test_explain_targets(capsys, target, more):
    """Every form of a target, and of data, leads to the same denominator, 13 by hand."""
    status, text = run(capsys, "explain", target, *more)
    assert "Σ of the class weights of the labels = 13" in " ".join(text.split())
    assert "sample data" not in text
    assert status in (0, 1)
    assert sys.path[0] != str(Path.cwd())


def test_drawn_batch_is_said(capsys):
    """Without data a batch is drawn, said, and nothing of it is a finding."""
    status, text = run(capsys, "explain", "torch.MSELoss()")
    assert status == 0
    assert "[sample data] No data were given: outputs of shape (6, 3) were drawn." in text
    status, text = run(capsys, "explain", "train_it:settings.preset")
    assert status == 0
    status, text = run(capsys, "explain", "torch.nn:TripletMarginLoss")
    assert status == 0
    assert "(6, 3) and (6, 3) and (6, 3)" in text


def test_findings(capsys):
    """An array is a finding: nothing is minimized."""
    status, text = run(capsys, "explain", "torch.CrossEntropyLoss(reduction='none')", *FILES)
    assert status == 1
    assert "[unreduced]" in text


def test_json_and_page(capsys, folder):
    """The same as JSON, and as a page that loads nothing from elsewhere."""
    page = folder / "page.html"
    arguments = ("explain", "torch.CrossEntropyLoss()", *FILES, "--json", "--html", str(page))
    _, text = run(capsys, *arguments)
    found = json.loads(text)
    assert found["total"] == pytest.approx(found["number"])
    assert found["pieces"][0]["denominator"] == 6
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "torch.CrossEntropyLoss()" in html
    assert "http" not in html


def test_compare(capsys):
    """0 where both agree, 1 where they differ, with the change."""
    same = ("compare", "torch.CrossEntropyLoss()", "optax.softmax_cross_entropy(reduction='mean')")
    status, text = run(capsys, *same, *FILES)
    assert status == 0
    assert "Equal on this data (the second on one-hot targets)" in text
    status, text = run(capsys, "compare", "torch.MSELoss()", "torch.MSELoss(reduction='sum')")
    assert status == 1
    assert "Replace the second by torch.MSELoss()." in text
    assert "were drawn" in text
    status, text = run(capsys, "compare", "train_it:step", "keras.CategoricalHinge()", "--json")
    assert status == 1
    assert json.loads(text)["difference"]["stage"] == "values"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "criterion"), "module:name, file.py:name, or a preset"),
        (("explain", "no_such_module:criterion"), "ModuleNotFoundError"),
        (("explain", "nothing.py:criterion"), "FileNotFoundError"),
        (("explain", "train_it:nothing"), "AttributeError"),
        (("explain", "train_it:mine"), "Batches can be drawn for losses that are recognized"),
        (("explain", "torch.NoLoss()"), "torch has the losses"),
        (("explain", "torch.MSELoss()", "--outputs", "none.npy"), "NumPy's format"),
        (("explain", "train_it:bare", "--data", "train_it:step"), "must be \\(outputs, targets\\)"),
        (("explain", "train_it:bare", "--data", "train_it:data", *FILES), "Found both"),
        (("compare", "torch.MSELoss()", "train_it:labels", *FILES), "Found"),
    ],
    ids=range(10),
)
def test_usage(capsys, arguments, message):
    """What cannot be found, or read, is status 2 with a remedy."""
    status, text = run(capsys, *arguments)
    assert status == 2
    assert text.startswith("lossledger: ")
    import re

    assert re.search(message, text), text


def test_missing_argument():
    """A command without a target is usage, as argparse has it."""
    with pytest.raises(SystemExit, match="2"):
        main(["explain"])


def test_unknown_is_measured(capsys):
    """A function of the user's own is measured."""
    status, text = run(capsys, "explain", "train_it:mine", "--data", "train_it:data")
    assert status == 0
    assert "as measured" in text
    assert "doubles: a sum" in text


BROKEN = """
from dataclasses import dataclass
from torch import nn
import beside_it


@dataclass
class Settings:
    rate: "float" = 1.0


class Wants(nn.Module):
    def __init__(self, k):
        super().__init__()


def fails():
    raise ValueError("no data here")


criterion = nn.MSELoss()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "place/it.py:Wants"), "Name an object that is made already"),
        (("explain", "place/it.py:fails"), "ValueError: no data here"),
        (("explain", "place/it.py:criterion", "--data", "place/it.py:fails"), "no data here"),
        (("explain", "place/zero.py:x"), "ZeroDivisionError"),
        (("explain", "place/syntax.py:x"), "SyntaxError"),
        (("explain", "place/it.py:criterion", "--targets", "targets.npy"), "--targets alone"),
        (("explain", "place/it.py:criterion", "--html", "none/x.html"), "can be written"),
        (("compare", "train_it.py:step", "train_it.py:step"), "data with each of them"),
    ],
)
def test_mistakes_are_no_findings(capsys, folder, arguments, message):
    """A user's code that fails is told in a line, with status 2; data are not left unused."""
    place = folder / "place"
    place.mkdir(exist_ok=True)
    (place / "it.py").write_text(BROKEN, encoding="utf-8")
    (place / "beside_it.py").write_text("x = 1\n", encoding="utf-8")
    (place / "zero.py").write_text("1 / 0\n", encoding="utf-8")
    (place / "syntax.py").write_text("def (\n", encoding="utf-8")
    before = list(sys.path)
    status, text = run(capsys, *arguments)
    assert status == 2
    assert message in text
    assert "Traceback" not in text
    assert sys.path == before


def test_file_imports_what_lies_beside_it(capsys, folder):
    """A file runs as `python file.py` would: it sees its neighbors, and has its dataclasses."""
    place = folder / "other"
    place.mkdir(exist_ok=True)
    (place / "that.py").write_text(BROKEN.replace("beside_it", "lies_beside"), encoding="utf-8")
    (place / "lies_beside.py").write_text("x = 1\n", encoding="utf-8")
    status, text = run(capsys, "explain", "other/that.py:criterion")
    assert status == 0
    assert "sample data" in text


def test_data_of_the_second(capsys):
    """Data that come with the second name are those both are compared on."""
    _, text = run(capsys, "compare", "train_it.py:criterion", "train_it.py:step")
    assert "were drawn" not in text
