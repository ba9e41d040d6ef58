# SPDX-License-Identifier: Apache-2.0
"""A vocabulary over several ranks gives what one process gives for the whole rows."""

import copy
import os
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from ranks.vocabulary import TWINS, Case, cases, copied, whole
from torch.utils._python_dispatch import TorchDispatchMode

import lossledger as ll
from docs_blocks import blocks
from properties import close, rows_close

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).parent / "ranks" / "vocabulary.py"
PAGE = ROOT / "docs" / "vocabulary_parallel.md"
RANKS = (2, 4)
# Beyond summation rounding: the logits are rounded alike in both, then everything is float32,
# whose unit in the last place is 1.2e-7. A gradient is rounded to its logits' dtype at the end.
VALUE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 3e-6}
SLOPE = VALUE | {torch.bfloat16: 2.0**-8}


def torchrun(ranks: int, script: Path, *arguments: str) -> str:
    """Run a script on several ranks; return what they printed."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"),
            *(str(script), *arguments),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


@cache
def found(ranks: int) -> list[Any]:
    """Return what every rank wrote down; one launch for all tests."""
    with TemporaryDirectory() as folder:
        torchrun(ranks, WORKER, folder)
        files = [Path(folder) / f"{rank}.pickle" for rank in range(ranks)]
        return [pickle.loads(file.read_bytes()) for file in files]  # noqa: S301 - our own


def shard(case: Case, array: Any, rank: int, ranks: int) -> Any:
    """Return one rank's part of an array with the class axis."""
    return case.shard(torch.as_tensor(array), rank, ranks).numpy()


def assert_equals_whole(case: Case, mine: Any, expected: Any, rank: int, ranks: int) -> None:
    """One rank's total, values, gradients and ledger are those of the whole rows."""
    value, slope = VALUE[case.dtype], SLOPE[case.dtype]
    close(mine.total, expected.total, value, f"{case}: total")
    close(mine.values, expected.values, value, f"{case}: values")
    for name, bound in (("gradient", slope), ("closed", value)):
        theirs = shard(case, getattr(expected, name), rank, ranks)
        scale = np.abs(getattr(expected, name)).max()
        error = np.abs(getattr(mine, name) - theirs).max(initial=0.0) / scale
        assert error <= bound, f"{case}: {name} deviates by {error:.3g} > {bound:.3g}"
    rows_close(mine.ledger, expected.ledger, value, str(case))


@pytest.mark.parametrize("ranks", RANKS)
def test_shards_equal_whole_rows(ranks):
    """Total, values, gradient, closed form and ledger, whatever the weights and reduction."""
    for case in cases():
        expected = whole(case)
        for rank, each in enumerate(found(ranks)):
            assert_equals_whole(case, each["cases"][str(case)], expected, rank, ranks)


@pytest.mark.parametrize("ranks", RANKS)
def test_ranks_agree_to_the_last_bit(ranks):
    """Every rank gets one total and one ledger: they add up the same numbers."""
    first, *others = found(ranks)
    for name, mine in first["cases"].items():
        for other in others:
            theirs = other["cases"][name]
            assert theirs.total == mine.total
            assert np.array_equal(theirs.values, mine.values)
            assert theirs.ledger.to_dict() == mine.ledger.to_dict()


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("twin", TWINS)
def test_sum_over_own_classes_is_seen(twin, ranks):
    """A rank that leaves the other shards out of a sum fails the comparison."""
    case, _ = TWINS[twin]
    for rank, each in enumerate(found(ranks)):
        with pytest.raises(AssertionError, match="relative deviation"):
            assert_equals_whole(case, each["twins"][twin], whole(case), rank, ranks)


EVERYWHERE = {
    "label out of range": ("DomainError", "Labels must be class indices"),
    "label out of range on one rank": ("DomainError", "Found other targets on rank"),
    "other targets on one rank": ("DomainError", "must be given the same batch"),
    "fewer samples on one rank": ("DomainError", "Found other numbers of rows and targets"),
    "a shard is missing": ("DomainError", "for 12 classes"),
    "other number of classes on one rank": ("DomainError", "for 11, 12 classes"),
    "whole rows on every rank": ("DomainError", "must add up to the classes"),
    "other dtype on one rank": ("DomainError", "in several dtypes"),
    "one number a class": ("ShapeError", "Pass class indices of shape .4, 5., the same on all"),
    "class weights of the shard": ("ShapeError", "Found shape .5,. and 11 classes"),
    "NumPy": ("DomainError", "Found an array of numpy"),
    "not in the group": ("", "which is not in the group|Found shards of"),
    "from another process": ("MatchError", "in another process"),
    "behind a step": ("MatchError", "stand alone in its term"),
    "sharded along time": ("ShapeError", "sharded along the class axis and nothing else"),
}


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_bad_input_stops_every_rank(name, ranks):
    """What is wrong on one rank is an error on all of them, and no rank waits for another."""
    kind, text = EVERYWHERE[name]
    for each in found(ranks):
        assert set(each["errors"]) == set(EVERYWHERE)
        raised, told = each["errors"][name]
        assert raised == kind or (not kind and raised != "nothing")
        with pytest.raises(ll.LossLedgerError, match=text):
            raise ll.LossLedgerError(told, "", "", "")


@pytest.mark.parametrize("ranks", RANKS)
def test_ranks_go_on_after_an_error(ranks):
    """No message of a refused batch is left over for the next one."""
    for rank, each in enumerate(found(ranks)):
        assert_equals_whole(Case(), each["after"], whole(Case()), rank, ranks)


@pytest.mark.parametrize("ranks", RANKS)
def test_messages(ranks):
    """Three small tensors are gathered on the way forward, and nothing on the way back."""
    for each in found(ranks):
        forward, backward = each["messages"]
        assert forward == {"c10d.allgather_": 3}
        assert backward == {}


@pytest.mark.parametrize("ranks", RANKS)
def test_dtensor(ranks):
    """Logits as a DTensor give the same, and a gradient sharded as they are."""
    expected = whole(Case())
    for each in found(ranks):
        close(each["dtensor"].total, expected.total)
        close(each["dtensor"].gradient, expected.gradient)
        rows_close(each["dtensor"].ledger, expected.ledger)


@pytest.mark.parametrize("ranks", RANKS)
def test_what_torch_refuses(ranks):
    """The page says what torch's own way does; once it does more, the page has to."""
    for each in found(ranks):
        assert each["torch"] == {
            "class weights": "",
            "class weights, an ignored label": "RuntimeError",
            "label smoothing": "RuntimeError",
        }


def test_compiled_without_breaks():
    """torch.compile(fullgraph=True) takes a step of several ranks; what is wrong is told later."""
    case = Case(weighted=True, smoothing=0.1, z_loss=0.01)
    expected = whole(case)
    for rank, each in enumerate(found(2)):
        total, gradient, wrong, (raised, told) = each["compiled"]
        close(total, expected.total)
        close(gradient, shard(case, expected.gradient, rank, 2))
        assert np.isnan(wrong)
        assert (raised, "must be given the same batch" in told) == ("DomainError", True)


def test_mesh_of_data_and_tensor_ranks():
    """Two pairs of ranks with half of the samples each: parts add up to the whole batch."""
    case = Case(weighted=True, smoothing=0.1)
    expected = whole(case)
    by_place = {each["mesh"]["place"]: each["mesh"] for each in found(4)}
    for tensor in range(2):
        parts = [by_place[data, tensor] for data in range(2)]
        close(sum(p["total"] for p in parts), expected.total)
        gradient = np.concatenate([p["gradient"] for p in parts])
        close(gradient, shard(case, expected.gradient, tensor, 2))
        rows = np.sum([p["rows"] for p in parts], axis=0)
        close(rows, [row.contribution for row in expected.ledger.rows])
        assert {p["merged"] for p in parts} == {parts[0]["merged"]}
        close(parts[0]["merged"], expected.total)


@pytest.fixture
def alone():
    """A process group of this process."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class Largest(TorchDispatchMode):
    """How many elements the largest float32 tensor has that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation and look at what it gives."""
        given = func(*args, **(kwargs or {}))
        for each in given if isinstance(given, tuple | list) else (given,):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float32:
                self.elements = max(self.elements, each.numel())
        return given


def step_in_bfloat16(loss: Any) -> int:
    """Return the size of the largest float32 tensor of a step with 256 rows of 512 classes."""
    z = torch.randn(4, 64, 512).bfloat16().requires_grad_()
    labels, mask = torch.randint(0, 512, (4, 64)), torch.rand(4, 64) < 0.5
    objective = ll.Objective(ll.Term("logits", loss, Case.axes, class_weight=[1.0] * 512))
    with Largest() as seen:
        total, _ = objective(z, labels, mask=mask)
        total.backward()
    assert z.grad.dtype == torch.bfloat16
    return seen.elements


@pytest.mark.usefixtures("alone")
def test_low_precision_is_copied_in_blocks(monkeypatch):
    """No float32 copy of a bfloat16 shard exists, forward or backward; CrossEntropy has one."""
    monkeypatch.setattr("lossledger.torch._rows._BLOCK", 8 * 512)
    mine = ll.torch.ShardedCrossEntropy(512, label_smoothing=0.1, z_loss=0.01)
    assert step_in_bfloat16(mine) == 8 * 512
    assert step_in_bfloat16(ll.losses.CrossEntropy()) == 256 * 512


@pytest.mark.usefixtures("alone")
def test_second_derivative_is_refused():
    """The closed form has no graph: a second derivative is an error, never a wrong number."""
    z = torch.randn(3, 5, requires_grad=True)
    objective = ll.Objective(ll.Term("z", ll.torch.ShardedCrossEntropy(5), "batch class"))
    total = objective.loss(z, torch.tensor([0, 1, 4]))
    (slope,) = torch.autograd.grad(total, z, create_graph=True)
    with pytest.raises(ll.ReductionError, match="can be differentiated once"):
        slope.square().sum().backward()


@pytest.mark.usefixtures("alone")
def test_copies_keep_the_group():
    """A copied objective still works here; one that left the process says what it lacks."""
    term = ll.Term("z", ll.torch.ShardedCrossEntropy(5), "batch class")
    z, labels = torch.randn(3, 5), torch.tensor([0, 1, 4])
    total = ll.Objective(term).loss(z, labels)
    assert ll.Objective(copy.deepcopy(term)).loss(z, labels) == total
    sent = copied(term)
    assert sent.loss == term.loss
    with pytest.raises(ll.MatchError, match="the loss came from another process"):
        ll.Objective(sent).loss(z, labels)


def test_no_process_group():
    """Before a process group is set up there are no shards."""
    objective = ll.Objective(ll.Term("z", ll.torch.ShardedCrossEntropy(5), "batch class"))
    with pytest.raises(ll.MatchError, match="Found no process group at all"):
        objective(torch.zeros(3, 5), torch.tensor([0, 1, 4]))


@pytest.mark.parametrize("classes", [0, 2.5, True, ["cat", "dog"]], ids=str)
def test_number_of_classes(classes):
    """`classes` is a positive number; names belong to the term."""
    with pytest.raises(ll.DomainError, match="`classes` must be the number"):
        ll.torch.ShardedCrossEntropy(classes)


def test_without_torch():
    """`ll.torch` says how to install PyTorch."""
    code = "import sys; sys.modules['torch'] = None; import lossledger as ll; ll.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'lossledger[torch]'" in done.stderr


def test_page_prints_the_same_on_two_ranks(tmp_path):
    """The page's example under torchrun prints what the page shows for one rank."""
    script = tmp_path / "vocabulary.py"
    found = list(blocks(PAGE.read_text(encoding="utf-8"), str(PAGE)))
    script.write_text("".join(b.text for b in found if b.language == "python"), encoding="utf-8")
    shown = [line.rstrip() for b in found if b.language == "text" for line in b.text.splitlines()]
    assert shown
    assert [line.rstrip() for line in torchrun(2, script).splitlines()] == shown
