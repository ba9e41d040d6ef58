# SPDX-License-Identifier: Apache-2.0
"""What a new user tries first, and what should happen."""

import subprocess
import sys

import numpy as np
import pytest

import lossledger as ll

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
LABELS = np.array([0, 1])


def cross_entropy(**settings):
    """Return an objective of one cross entropy."""
    return ll.Objective(ll.Term("z", ll.losses.CrossEntropy(), "batch class", **settings))


@pytest.mark.parametrize(
    ("loss", "found"),
    [(ll.losses.CrossEntropy, "Found the class CrossEntropy"), ("mse", "Found 'mse'")],
    ids=["class", "string"],
)
def test_no_loss(loss, found):
    """A class or a string in place of a loss is an error when the term is built."""
    with pytest.raises(ll.MatchError, match=found):
        ll.Term("z", loss, "batch class")


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda: ll.Mean("time", by="class"), "not both"),
        (lambda: ll.Mean(empty="nan"), "Found 'nan'"),
        (lambda: ll.Mean(by="class").then("mean"), "Found 'mean'"),
    ],
    ids=["over and by", "empty", "string"],
)
def test_no_stage(build, found):
    """A stage that says two things, or nothing known, is an error no later than the term."""
    with pytest.raises(ll.ReductionError, match=found):
        cross_entropy(reduction=build())


def test_class_names_in_one_string():
    """Class names may be written as axes are."""
    _, ledger = cross_entropy(classes="cat dog fox")(LOGITS, LABELS)
    assert [row.cls for row in ledger.rows] == ["cat", "dog", "fox"]


def test_ledger_in_a_shell():
    """A ledger's repr is one line that says how to see more."""
    _, ledger = cross_entropy(name="ce")(LOGITS, LABELS)
    assert repr(ledger) == "<Ledger of ce; print it to see its rows>"


def test_class_has_one_name():
    """Exported rows call the class what the table calls it."""
    _, ledger = cross_entropy()(LOGITS, LABELS)
    assert "class" in ledger.to_dict()["rows"][0]
    assert "class" in ledger.to_dataframe()


def test_names_of_a_key():
    """A key's values may have names, which the rows carry."""
    term = ll.Term(
        "y", ll.losses.SquaredError(), "batch", keys={"site": ["north", "south"]}, rows="site"
    )
    _, ledger = ll.Objective(term)(np.ones(3), np.zeros(3), keys={"site": np.array([0, 1, 1])})
    assert [dict(row.cell)["site"] for row in ledger.rows] == ["north", "south"]
    assert [row.count for row in ledger.rows] == [1, 2]


def test_nan_has_one_row():
    """A NaN total shows in the row it comes from, and makes no row of curvature."""
    total, ledger = cross_entropy()(np.where(LOGITS == 2, np.nan, LOGITS), LABELS)
    assert np.isnan(total)
    assert [np.isnan(row.contribution) for row in ledger.rows] == [True, False, False]


def test_parameters_of_a_torch_module():
    """L2 takes a module, its `parameters`, or the iterator that this gives, at every step."""
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 3)
    y = torch.zeros(4)
    given = (module, module.parameters, module.parameters(), list(module.parameters()))
    for parameters in given:
        term = ll.Term("y", ll.losses.SquaredError(), "batch")
        objective = ll.Objective(term, ll.L2(0.5, parameters, half=False))
        wanted = 0.5 * sum(float((p * p).sum().detach()) for p in module.parameters())
        for _ in range(2):
            assert float(objective.loss(y, y).detach()) == pytest.approx(wanted, rel=1e-6)


COMPILED = """
import numpy as np, torch, lossledger as ll

parameter = torch.nn.Parameter(torch.ones(1))
objective = ll.Objective(
    ll.Term("z", ll.losses.CrossEntropy(), "batch class", class_weight=np.array([1.0, 2.0, 3.0])),
    ll.L2(0.5, [parameter], half=False),
)
step = torch.compile(lambda z, y: objective(z, y), fullgraph=True, backend="aot_eager")
z = torch.randn(8, 3, requires_grad=True)
y = torch.arange(8) % 3
total, ledger = step(z, y)
total.backward()
gradient = z.grad.clone()
z.grad = None
eager, _ = objective(z, y)
eager.backward()
torch.testing.assert_close(total, eager)
torch.testing.assert_close(gradient, z.grad)
assert ledger.deviation < 1e-6
total, ledger = step(z, y + 1)
assert torch.isnan(total)
try:
    ledger.rows
except ll.DomainError as error:
    print(error.rule)
"""


def test_compiled_before_any_eager_step():
    """`torch.compile(fullgraph=True)` takes an objective that was never called before."""
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Labels must be class indices" in done.stdout
