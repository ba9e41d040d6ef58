# SPDX-License-Identifier: Apache-2.0
"""Settings and weights that mean nothing, or two things: four parts, and what is wrong by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossledger as ll

CE, MSE, BCE = ll.losses.CrossEntropy, ll.losses.SquaredError, ll.losses.BinaryCrossEntropy
RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 0])
SQUARE, VECTOR = RNG.normal(size=(4, 3, 3)), RNG.normal(size=4)


def call(loss: Any, axes: str, outputs: Any, targets: Any, **options: Any) -> Callable[[], Any]:
    """Return a call of an objective of one term; options of the term by their names."""
    names = ("reduction", "keys_of", "rows", "loss_weight", "class_weight")
    given = {n: options.pop(n) for n in names if n in options}
    keys = given.pop("keys_of", None)
    return lambda: ll.Objective(ll.Term("y", loss, axes=axes, keys=keys, **given))(
        outputs, targets, **options
    )


def labeled(**options: Any) -> Callable[[], Any]:
    """Return a call of a cross entropy."""
    return call(CE(), "batch class", LOGITS, LABELS, **options)


# name -> (call, error, what the message must name)
SETTINGS: dict[str, tuple[Callable[[], Any], type[ll.LossLedgerError], str]] = {
    "over-and-by": (lambda: ll.Mean("batch", by="class"), ll.ReductionError, "over='batch'"),
    "empty-misspelled": (lambda: ll.Max(empty="skp"), ll.ReductionError, "'skp'"),
    "denominator-infinite": (lambda: ll.Mean(denominator=np.inf), ll.ReductionError, "inf"),
    "denominator-true": (lambda: ll.Mean(denominator=True), ll.ReductionError, "True"),
    "count-in-parts": (lambda: ll.TopMean(count=2.5), ll.ReductionError, "2.5"),
    "fraction-and-count": (lambda: ll.TopMean(0.1, count=2), ll.ReductionError, "count=2"),
    "no-size": (lambda: ll.TopMean(), ll.ReductionError, "fraction=None"),
    "chain-of-a-name": (lambda: ll.Mean("time").then("mean"), ll.ReductionError, "'mean'"),
    "chain-of-a-class": (lambda: ll.Mean("time").then(ll.Max), ll.ReductionError, "Max"),
    "loss-weight-nan": (labeled(loss_weight=np.nan), ll.DomainError, "nan"),
    "loss-weight-text": (labeled(loss_weight="1"), ll.DomainError, "'1'"),
    "loss-weight-of-several": (labeled(loss_weight=np.ones(2)), ll.ShapeError, "(2,)"),
    "rows-by-label": (labeled(rows="class label"), ll.MatchError, "class label"),
    "rows-unknown": (labeled(rows="site"), ll.ShapeError, "site"),
    "by-unknown": (labeled(reduction=ll.Mean(by="site")), ll.ShapeError, "site"),
}
WEIGHTS = {
    "two-readings": (
        call(BCE(), "batch class time", SQUARE, SQUARE * 0, mask=np.ones((4, 3))),
        ll.ShapeError,
        "(batch 4, time 3) or (batch 4, class 3)",
    ),
    "complex": (labeled(sample_weight=np.ones(4, complex)), ll.DomainError, "complex128"),
    "text": (labeled(sample_weight=np.array(list("abcd"))), ll.DomainError, "sample_weight"),
    "one-number": (labeled(sample_weight=2.0), ll.ShapeError, "shape ()"),
    "axis-misspelled": (
        labeled(mask=ll.NamedArray(np.ones(4), ("bacth",))),
        ll.ShapeError,
        "bacth",
    ),
    "named-of-other-length": (
        labeled(mask=ll.NamedArray(np.ones(3), ("batch",))),
        ll.ShapeError,
        "(3,)",
    ),
    "key-missing": (
        call(MSE(), "batch", VECTOR, VECTOR, reduction=ll.Macro("site"), keys_of={"site": 2}),
        ll.ShapeError,
        "`site`",
    ),
    "key-undeclared": (
        call(MSE(), "batch", VECTOR, VECTOR, keys={"site": LABELS}),
        ll.MatchError,
        "site",
    ),
    "key-too-large": (
        call(MSE(), "batch", VECTOR, VECTOR, keys_of={"site": 2}, keys={"site": LABELS}),
        ll.DomainError,
        "`site`",
    ),
    "key-of-floats": (
        call(MSE(), "batch", VECTOR, VECTOR, keys_of={"site": 2}, keys={"site": VECTOR}),
        ll.ShapeError,
        "float64",
    ),
}


@pytest.mark.parametrize("case", [*SETTINGS.values(), *WEIGHTS.values()], ids=[*SETTINGS, *WEIGHTS])
def test_explained(case: tuple[Callable[[], Any], type[ll.LossLedgerError], str]) -> None:
    """The error has four parts and names what is wrong."""
    make, kind, name = case
    with pytest.raises(ll.LossLedgerError) as raised:
        make()
    found = raised.value
    assert isinstance(found, kind), type(found).__name__
    assert all(part.strip() for part in (found.rule, found.found, found.cause, found.remedy))
    assert name in str(found), f"{name!r} is not in: {found}"


def test_the_mistakes_mended() -> None:
    """The same settings without the mistake are taken."""
    mask = ll.NamedArray(np.ones((4, 3)), ("batch", "time"))
    call(BCE(), "batch class time", SQUARE, SQUARE * 0, mask=mask)()
    call(MSE(), "batch", VECTOR, VECTOR, keys_of={"site": 3}, keys={"site": LABELS})()
    labeled(sample_weight=[1, 2, 3, 4], loss_weight=-1.0, rows="class batch")()
    labeled(reduction=ll.TopMean(count=np.int64(2)))()
    call(BCE(), "batch class", LOGITS, LOGITS * 0, rows="class label")()
    square = LOGITS[:3]
    call(BCE(), "batch class", square, square * 0, sample_weight=np.ones(3))()
