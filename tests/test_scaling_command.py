# SPDX-License-Identifier: Apache-2.0
"""`lossledger scale`, its settings and their defaults, and what both refuse."""

import inspect
import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from scaling_runs import executed, torch_loss, torch_model, torch_step

import lossledger as ll
from lossledger.cli import main
from lossledger.scaling import Settings, convert
from lossledger.scaling._kinds import KINDS

ADAMW = ["scale", "--from", "sum", "--to", "mean", "--batch", "64", "--optimizer", "adamw"]
THEIRS = {
    "eps": ("eps", "epsilon"),
    "alpha": ("alpha", "decay", "rho"),
    "weight_decay": ("weight_decay",),
    "initial_accumulator": ("initial_accumulator_value",),
}


def signature(library: str, name: str) -> dict[str, object]:
    """Return the defaults of a library's own optimizer."""
    module = {"torch": "torch.optim", "optax": "optax", "keras": "keras.optimizers"}[library]
    made = getattr(pytest.importorskip(module), name)
    return {p.name: p.default for p in inspect.signature(made).parameters.values()}


@pytest.mark.parametrize(
    ("optimizer", "library"), [(o, lib) for o, k in KINDS.items() for lib in k.names]
)
def test_defaults_are_the_library_s(optimizer, library):
    """What is left out has the value that the library gives it."""
    ours = Settings(optimizer, lr=0.1, library=library)
    theirs = signature(library, KINDS[optimizer].names[library])
    for setting in KINDS[optimizer].defaults:
        if setting == "betas":
            pair = theirs.get("betas")
            for one, other in (("b1", "b2"), ("beta_1", "beta_2")):
                pair = pair or (theirs.get(one) and (theirs[one], theirs[other]))
            assert ours.betas == pair
            continue
        found = [theirs[name] for name in THEIRS[setting] if name in theirs]
        # optax has no weight decay but AdamW's and Lion's, and Keras says None for 0.
        assert getattr(ours, setting) == ((found[0] if found else 0.0) or 0.0)


def test_text(capsys):
    """The text names what changes and what stays, with reasons, and ends in code."""
    assert main([*ADAMW, "--lr", "0.1"]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "AdamW (torch): sum over 64 → mean over 64"
    changes, stays = lines.index("changes"), lines.index("stays")
    assert lines[changes + 1].startswith("eps 1e-08 → 1.5625e-10 is added to")
    assert lines[stays + 1] == (
        "lr 0.1 the gradient is divided by its own size, so a factor cancels"
    )
    assert lines[stays + 3].startswith("weight_decay 0.01 is taken from the parameters")
    assert "The same path, up to rounding." in lines
    assert "eps=1.5625e-10" in out.split("import torch")[1]


def test_json(capsys):
    """The same as JSON, and its snippet makes an optimizer that steps."""
    assert main([*ADAMW, "--lr", "0.1", "--clip-norm", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {c["name"]: c["new"] for c in found["changed"]} == {
        "eps": 1e-8 / 64,
        "clip_norm": 1 / 32,
    }
    assert [c["name"] for c in found["kept"]] == ["lr", "betas", "weight_decay"]
    assert found["exact"] is False
    assert found["settings"]["lr"] == 0.1
    model = torch_model()
    names = executed(found["snippet"], model=model)
    torch_step(names, torch_loss(model, 0, "mean", 0.0))
    (group,) = names["optimizer"].param_groups
    assert (group["lr"], group["eps"], group["weight_decay"]) == (0.1, 1e-8 / 64, 0.01)


def test_every_setting_has_an_option(capsys):
    """Each setting can be given on the command line, and arrives."""
    given = {
        "sgd": "--momentum 0.8 --dampening 0.1 --weight-decay 0.2 --decoupled --l2 0.3",
        "rmsprop": "--alpha 0.7 --centered --eps 0.5 --no-decoupled --clip-value 3",
        "adam": "--betas 0.6 0.7 --amsgrad --clip-norm 4",
        "adagrad": "--initial-accumulator 0.4 --library optax",
    }
    seen = {"optimizer", "lr"}
    for optimizer, options in given.items():
        common = f"scale --to sum --batch 2 --lr 0.1 --optimizer {optimizer} --json {options}"
        assert main(common.split()) == 0
        source = json.loads(capsys.readouterr().out)["source"]
        for option in (o for o in options.split() if o.startswith("--")):
            name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
            seen.add(name)
            assert source[name] is not None
    lonely = ["scale", "--to", "sum", "--batch", "2", "--lr", "0.1", "--optimizer", "sgd"]
    assert main([*lonely, "--nesterov"]) == 2
    assert "needs momentum" in capsys.readouterr().err
    assert {f.name for f in fields(Settings)} == seen | {"nesterov"}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("--optimizer adadelta --lr 1", "'adadelta': one eps stands beside"),
        ("--optimizer adamv --lr 1", "Found 'adamv'"),
        ("--optimizer adam --lr -1", "`lr` must be a number > 0. Found -1.0"),
        ("--optimizer adam --lr nan", "`lr` must be a number > 0. Found nan"),
        ("--optimizer adam --lr 1 --momentum 0.9", "Found momentum=0.9"),
        ("--optimizer sgd --lr 1 --momentum 90", "[0, 1)"),
        ("--optimizer sgd --lr 1 --dampening 2", "`dampening` must lie in"),
        ("--optimizer adam --lr 1 --betas 0.9 1", "`betas` must lie in"),
        ("--optimizer adam --lr 1 --eps -1", "`eps` must be a number ≥ 0"),
        ("--optimizer adam --lr 1 --library jax", "Found 'jax'"),
        ("--optimizer sgd --lr 1 --library keras --weight-decay 1 --no-decoupled", "as l2="),
        ("--optimizer sgd --lr 1 --library keras --clip-norm 1 --clip-value 1", "Found both"),
        ("--optimizer sgd --lr 1 --library optax --momentum 0.9 --dampening 0.1", "of torch's"),
        ("--optimizer rprop --lr 1 --weight-decay 1", "Found weight_decay=1.0"),
        ("--optimizer adamw --lr 1 --no-decoupled", "AdamW is Adam"),
        ("--optimizer adam --lr 1 --to mean", "on both sides"),
        ("--optimizer adam --lr 1 --to-batch 640", "Grow the batch by less than 10"),
    ],
)
def test_refusals(arguments, found, capsys):
    """Bad input gives status 2 and the four-part error, and nothing on standard output."""
    to = [] if "--to" in arguments else ["--to", "sum"]
    assert main(["scale", "--batch", "64", *to, *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert found in err
    assert err.startswith("lossledger: ")


def test_missing_option():
    """An option that is needed and missing is argparse's error, with the same status."""
    with pytest.raises(SystemExit, match="2"):
        main(["scale", "--optimizer", "adam"])


def test_library_without_the_optimizer():
    """Where a library lacks the optimizer, the snippet holds the settings alone, and says so."""
    for optimizer, library in (("lion", "torch"), ("sign_sgd", "keras"), ("rprop", "keras")):
        settings = Settings(optimizer, lr=0.1, library=library, l2=0.5)
        code = convert(settings, to="sum", batch=2).snippet()
        assert f"has no {KINDS[optimizer].title}" in code
        assert "penalty is 1.0" in code
        assert 0.1 in executed(code)["settings"].values()


def test_loads_no_framework():
    """`ll.scaling` is loaded on first use, and with NumPy alone."""
    code = (
        "import sys, lossledger as ll; first = 'lossledger.scaling' in sys.modules; "
        "ll.scaling.linear(0.1, 2); "
        "print(first, sorted({'torch', 'jax', 'optax', 'keras', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = "import sys, lossledger; print(sorted({'rich'} & set(sys.modules)))"
    bare = subprocess.run(
        [sys.executable, "-c", before], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"False {bare.stdout.strip()}"


def test_numbers_of_numpy():
    """Settings take NumPy's numbers, and the snippet writes plain ones."""
    settings = Settings("sgd", lr=np.float64(0.1), momentum=np.float32(0.5))
    code = convert(settings, to="sum", batch=2).snippet()
    assert "np." not in code
    assert ll.scaling.linear(np.float64(0.1), 2) == 0.2
