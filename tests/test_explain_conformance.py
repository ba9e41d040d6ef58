# SPDX-License-Identifier: Apache-2.0
"""Criteria explained against their own numbers and gradients: rows of the table in the docs."""

from collections.abc import Iterator
from typing import Any

import explained
import numpy as np
import pytest
import torch
from conformance import QUICK, TIGHT, deviation
from conformance import by_torch as preset_by_torch
from explained_table import Outcome, check_table, compared
from oracles_overlap import smp_losses

import lossledger as ll
from lossledger.explanation.criterion._host import data_of
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._recognize import recognize

SINGLE = 1e-5
"""Largest deviation: the criteria compute in float32, the explanation in float64."""
LIBRARIES: dict[str, Any] = {
    "torch.nn": explained.torch_modules,
    "torch.nn.functional": explained.torch_functions,
    "optax": explained.optax_losses,
    "MONAI": explained.monai_losses,
    "segmentation-models-pytorch": lambda: explained.smp_losses(smp_losses()),
    "nnU-Net": explained.nnunet_losses,
}


def name_of(criterion: Any) -> str:
    """Return the name of a criterion's class or function."""
    bare = getattr(criterion, "func", criterion)
    return str(getattr(bare, "__name__", type(bare).__name__))


def by_torch(known: Known, outputs: Any, targets: Any) -> tuple[Any, list[Any]]:
    """Return the sum of what a criterion of torch gives, and autograd's slopes."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    leaves = tuple(o.detach().clone().requires_grad_() for o in several)
    total = known.call(leaves, targets, None, None).sum()
    slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return total.item(), [s.numpy() for s in slopes]


def by_jax(known: Known, outputs: Any, targets: Any) -> tuple[Any, list[Any]]:
    """Return the sum of what a function of JAX gives, and its slopes."""
    import jax

    several = outputs if isinstance(outputs, tuple) else (outputs,)

    def total(leaves: Any) -> Any:
        return known.call(leaves, targets, None, None).sum()

    value, slopes = jax.jit(jax.value_and_grad(total), compiler_options=QUICK)(several)
    return float(value), [np.asarray(s) for s in slopes]


def by_explain(criterion: Any, known: Known, outputs: Any, targets: Any) -> tuple[Any, list[Any]]:
    """Return the explained total, and the slopes of the preset that its ledger is made by."""
    found = ll.explain(criterion, outputs, targets)
    assert not any(p.measured for p in found.pieces), "it is not recognized"
    data = data_of(outputs, targets, None, None).on_host()
    value, slopes = preset_by_torch(known.preset, data.outputs, data.targets, None, None)
    assert deviation(value.sum(), found.total) <= TIGHT
    return found.total, slopes


def of_library(library: str) -> Iterator[Outcome]:
    """Yield the outcome of every criterion of a library."""
    for criterion, outputs, targets in LIBRARIES[library]():
        known = recognize(criterion)
        assert isinstance(known, Known), criterion
        own = by_jax if library == "optax" else by_torch
        yield compared(
            name_of(criterion),
            known.spelled,
            lambda: own(known, outputs, targets),  # noqa: B023 - called at once
            lambda: by_explain(criterion, known, outputs, targets),  # noqa: B023
        )


@pytest.mark.filterwarnings("ignore")  # what the libraries say of their own losses
@pytest.mark.parametrize("library", LIBRARIES)
def test_criteria(library: str) -> None:
    """The explained total and the gradient of its terms are the criterion's own."""
    check_table(library, of_library(library), SINGLE)


def test_a_twin_is_caught() -> None:
    """Broken twins: a total that is off, a slope that is off, and a refusal of one side."""
    right = lambda: (1.0, [np.ones(3)])  # noqa: E731
    wrong = lambda: (1.001, [np.ones(3)])  # noqa: E731
    slope = lambda: (1.0, [np.full(3, 1.001)])  # noqa: E731

    def refuses() -> Any:
        raise ValueError

    def refused() -> Any:
        raise ll.MatchError("rule", "found", "cause", "remedy")

    for twin in (wrong, slope):
        with pytest.raises(AssertionError, match="Outcome"):
            check_table("torch.nn", [compared("MSELoss", "twin", right, twin)], SINGLE)
    with pytest.raises(AssertionError, match="explained, and theirs raises"):
        compared("MSELoss", "twin", refuses, right)
    with pytest.raises(ll.MatchError):
        compared("MSELoss", "twin", right, refused)
    assert compared("MSELoss", "twin", refuses, refused).value is None
    with pytest.raises(AssertionError, match="UPDATE_DOCS"):  # a case is left out
        check_table("torch.nn", [compared("MSELoss", "twin", right, right)], SINGLE)
