# SPDX-License-Identifier: Apache-2.0
"""`Objective.from_keras`: one, a list or a dict of losses, with weights in the same structure."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

import lossledger as ll
from properties import close

L = ll.losses
OUT = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 5.0]), "c": np.array([7.0, 11.0])}
ZERO = {n: np.zeros(2) for n in OUT}
# Mean squares (1 + 4)/2, (9 + 25)/2, (49 + 121)/2 and mean sizes 3/2, 8/2, 18/2.
SQUARE = {"a": 2.5, "b": 17.0, "c": 85.0}
SIZE = {"a": 1.5, "b": 4.0, "c": 9.0}
NAMES = ["a", "b", "c"]
Sq, Ab = L.SquaredError(), L.AbsoluteError()


def total(loss: Any, weights: Any = None, names: Any = NAMES, outputs: Any = None) -> float:
    """Return the total on the three outputs."""
    objective = ll.Objective.from_keras(loss, weights, axes="batch", output_names=names)
    return float(objective.loss(OUT if outputs is None else outputs, ZERO))


FORMS: dict[str, tuple[Any, Any, float]] = {
    "one loss for all": (Sq, None, 2.5 + 17 + 85),
    "list": ([Sq, Ab, Sq], None, 2.5 + 4 + 85),
    "tuple": ((Sq, Ab, Sq), (1.0, 2.0, 3.0), 2.5 + 8 + 255),
    "list with None": ([Sq, None, Ab], [1.0, 9.0, 2.0], 2.5 + 18),
    "dict": ({"c": Sq, "a": Ab}, None, 85 + 1.5),
    "dict of weights": ([Sq, Sq, Sq], {"b": 0.5}, 2.5 + 8.5 + 85),
    "dict of both": ({"b": Sq, "a": Sq}, {"a": 2.0, "b": 0.0}, 5.0),
    "list inside": ([[Sq, Ab], Sq, None], [10.0, 1.0, 1.0], 25 + 15 + 17),
    "weights inside": ({"a": [Sq, Ab], "b": None}, {"a": [2.0, 4.0]}, 5 + 6),
    "None as weight": ([Sq, Sq, Sq], [None, 1.0, 2.0], 2.5 + 17 + 170),
    "array of weights": ([Sq, Sq, Sq], np.array([0.0, 1.0, 0.0]), 17.0),
    "array inside": ({"a": [Sq, Ab]}, {"a": np.array([2.0, 0.0])}, 5.0),
    "callable": ([lambda o, t: (o - t) ** 2, Sq, Sq], None, 2.5 + 17 + 85),
}


@pytest.mark.parametrize(("loss", "weights", "expected"), FORMS.values(), ids=FORMS)
def test_forms(loss: Any, weights: Any, expected: float) -> None:
    """Every form of losses and weights gives Σ weight · mean."""
    assert total(loss, weights) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("loss", "weights", "expected"), FORMS.values(), ids=FORMS)
def test_lists_follow_the_output_names(loss: Any, weights: Any, expected: float) -> None:
    """Lists of outputs and targets are in the model's order, outputs without a loss included."""
    objective = ll.Objective.from_keras(loss, weights, axes="batch", output_names=NAMES)
    found = objective.loss(list(OUT.values()), list(ZERO.values()))
    assert float(found) == pytest.approx(expected, rel=1e-15)


def test_one_output() -> None:
    """One loss with one number as its weight; the output needs no name."""
    objective = ll.Objective.from_keras(Sq, 3.0, axes="batch")
    assert objective.loss(OUT["a"], ZERO["a"]) == 7.5
    assert [t.name for t in objective.terms] == ["output_0_squared_error"]


def test_names_of_terms() -> None:
    """Terms are named by output and loss, and numbered where both repeat."""
    objective = ll.Objective.from_keras({"a": [Sq, Sq, Ab], "b": Sq}, axes={"a": "batch", "b": "x"})
    names = ["a_squared_error", "a_squared_error_2", "a_absolute_error", "b_squared_error"]
    assert [t.name for t in objective.terms] == names
    assert objective.terms[3].axes == ("x",)


@pytest.mark.parametrize("form", ["tensor", "list", "dict"])
def test_gradient_flows_into_loss_weights(form: str) -> None:
    """∂total/∂weight is the term's own value, for a 1-d tensor and for 0-d tensors."""
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    forms = {"tensor": weights, "list": list(weights), "dict": dict(zip(NAMES, weights))}  # noqa: B905
    objective = ll.Objective.from_keras([Sq, Sq, Sq], forms[form], axes="batch", output_names=NAMES)
    outputs = {n: torch.tensor(o) for n, o in OUT.items()}
    found, ledger = objective(outputs, ZERO)
    found.backward()
    close(weights.grad, list(SQUARE.values()), what="gradient of the weights")
    close(ledger.total, 2.5 + 2 * 17 + 3 * 85, what="total")


def test_learned_loss_weight() -> None:
    """Uncertainty weighting: exp(−s)·loss + s, with s learned, through a term's loss_weight."""
    s = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    objective = ll.Objective(ll.Term("a", Sq, axes="batch", loss_weight=torch.exp(-s)))
    value = objective.loss(torch.tensor(OUT["a"]), ZERO["a"]) + s
    value.backward()
    close(s.grad, 1 - np.exp(-0.5) * 2.5, what="∂/∂s")

    def traced(weight: Any) -> Any:
        term = ll.Term("a", Sq, axes="batch", loss_weight=weight)
        return ll.Objective(term).loss(jax.numpy.asarray(OUT["a"]), ZERO["a"])

    assert float(jax.jit(jax.grad(traced))(2.0)) == 2.5


def test_loss_weight_beside_other_arrays() -> None:
    """A NumPy weight serves tensors; one that is changed in place counts from then on."""
    weight = np.array(2.0)
    objective = ll.Objective(ll.Term("a", Sq, axes="batch", loss_weight=weight))
    outputs = torch.tensor(OUT["a"], dtype=torch.float32)
    first = objective.loss(outputs, ZERO["a"])
    assert first == 5.0
    assert first.dtype == torch.float32
    weight[...] = 4.0
    assert objective.loss(outputs, ZERO["a"]) == 10.0
    assert objective.statistics(outputs, ZERO["a"]).total() == 10.0


@pytest.mark.parametrize("weight", [np.ones(1), torch.ones(2), [1.0, 2.0]], ids=["1", "2", "list"])
def test_loss_weight_is_one_number(weight: Any) -> None:
    """A loss weight with an axis is refused: it would broadcast the total."""
    with pytest.raises(ll.ShapeError, match="`loss_weight` must be one number"):
        ll.Term("a", Sq, axes="batch", loss_weight=weight)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "too few losses": ([Sq, Sq], None, "Found 2 for the model where 3"),
    "too many losses": ([Sq] * 4, None, "Found 4 for the model where 3"),
    "unknown output": ({"z": Sq}, None, "`loss` by name.*Found z; outputs: a, b, c"),
    "unknown weight": ([Sq] * 3, {"z": 1.0}, "`loss_weights` by name.*Found z"),
    "too few weights": ([Sq] * 3, [1.0, 2.0], "Found 2 for loss_weights where 3"),
    "short array": ([Sq] * 3, np.ones(2), "Found 2 for loss_weights where 3"),
    "one weight": ([Sq] * 3, 1.0, "Found 1 for loss_weights where 3"),
    "weights inside": ({"a": [Sq, Ab]}, {"a": [1.0, 2.0, 3.0]}, "Found 3 for output `a` where 2"),
    "string": (["mse", Sq, Sq], None, "Found the string 'mse'"),
    "no loss at all": ([None] * 3, None, "at least one term"),
}


@pytest.mark.parametrize(("loss", "weights", "match"), WRONG.values(), ids=WRONG)
def test_structures_match_one_to_one(loss: Any, weights: Any, match: str) -> None:
    """A loss or weight too many, too few or misnamed is an error."""
    with pytest.raises(ll.MatchError, match=match):
        total(loss, weights)
