# SPDX-License-Identifier: Apache-2.0
"""Bad input: each kind gives an error in four parts that names the axis, key or argument."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lossledger as ll

CE, BCE, MSE = ll.losses.CrossEntropy, ll.losses.BinaryCrossEntropy, ll.losses.SquaredError
RNG = np.random.default_rng(0)


def _term(loss, axes="batch class", **settings):
    return ll.Term("y", loss, axes=axes, **settings)


def _call(term, outputs, targets, **weights):
    return lambda: ll.Objective(term)(outputs, targets, **weights)


def _two():
    return ll.Objective(_term(CE(), name="a"), ll.Term("z", MSE(), axes="batch", name="b"))


LOGITS, LABELS = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 0])
VECTOR, IMAGE = RNG.normal(size=4), RNG.normal(size=(2, 3, 4, 5))
MASKS = (RNG.random((2, 3, 4, 5)) < 0.5).astype(float)
PIXELS = "batch height width class"

# id -> (call, error, what the message must name)
SHAPES = {
    "column-targets": (_call(_term(MSE(), "batch"), VECTOR, VECTOR[:, None]), "target", "batch 4"),
    "column-outputs": (_call(_term(MSE(), "batch"), VECTOR[:, None], VECTOR), "`y`", "batch"),
    "column-labels": (_call(_term(CE()), LOGITS, LABELS[:, None]), "class indices", "class"),
    "short-targets": (_call(_term(CE()), LOGITS, LABELS[:3]), "(3,)", "batch 4"),
    "mask-transposed": (
        _call(_term(BCE(), PIXELS), IMAGE, MASKS, mask=np.ones((3, 2, 4, 5))),
        "`mask`",
        "batch 2",
    ),
    "mask-would-broadcast": (
        _call(_term(BCE(), PIXELS), IMAGE, MASKS, mask=np.ones((2, 3, 1, 1))),
        "`mask`",
        "width 4",
    ),
    "weight-of-time-for-batch": (
        _call(_term(MSE(), "batch time"), LOGITS, LOGITS, sample_weight=np.ones(3)),
        "`sample_weight`",
        "batch 4",
    ),
    "mask-on-removed-axis": (_call(_term(CE()), LOGITS, LABELS, mask=np.ones((4, 3))), "mask", "("),
    "axes-too-few": (_call(_term(BCE(), "batch class"), IMAGE, MASKS), "2 axes", "batch class"),
    "class-names": (_call(_term(CE(), classes=["a", "b"]), LOGITS, LABELS), "2 class", "length 3"),
    "class-weights": (_call(_term(CE(), class_weight=[1, 2]), LOGITS, LABELS), "class_weight", "3"),
    "unknown-key": (
        _call(_term(MSE(), "batch", reduction=ll.Macro("site")), VECTOR, VECTOR),
        "axis or key",
        "site",
    ),
    "empty-batch": (_call(_term(CE()), LOGITS[:0], LABELS[:0]), "batch", "empty"),
    "callable-reduces": (
        _call(_term(lambda o, t: ((o - t) ** 2).mean()), LOGITS, LOGITS),
        "()",
        "batch 4",
    ),
}
NUMBERS = {
    "label-too-large": (_call(_term(CE()), LOGITS, LABELS + 1), "from 1 to 3", "3 classes"),
    "label-negative": (_call(_term(CE()), LOGITS, LABELS - 1), "from -1 to 1", "`y`"),
    "float-labels": (_call(_term(CE()), LOGITS, LABELS.astype(float)), "integers", "float64"),
    "integer-outputs": (_call(_term(CE()), LOGITS.astype(int), LABELS), "floating", "int64"),
    "bool-outputs": (_call(_term(BCE(), "batch"), VECTOR > 0, VECTOR > 0), "floating", "bool"),
    "targets-of-bce": (_call(_term(BCE(), "batch"), VECTOR, VECTOR * 9), "domain", "`y`"),
    "nan-targets": (_call(_term(MSE(), "batch"), VECTOR, VECTOR * np.nan), "domain", "`y`"),
    "softmax-as-logits": (
        _call(_term(CE()), np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True), LABELS),
        "from_logits=True",
        "`y`",
    ),
    "sigmoid-as-logits": (
        _call(_term(BCE(), "batch class"), RNG.uniform(0.01, 0.99, (500, 4)), np.zeros((500, 4))),
        "from_logits=True",
        "`y`",
    ),
    "logits-as-probabilities": (
        _call(_term(CE(from_logits=False)), LOGITS, LABELS),
        "from_logits=False",
        "`y`",
    ),
    "negative-weight": (
        _call(_term(CE()), LOGITS, LABELS, sample_weight=np.array([1.0, -1, 1, 1])),
        "not negative",
        "sample_weight",
    ),
    "infinite-weight": (
        _call(_term(CE()), LOGITS, LABELS, element_weight=np.array([1.0, np.inf, 1, 1])),
        "finite",
        "element_weight",
    ),
    "nan-mask": (_call(_term(CE()), LOGITS, LABELS, mask=np.full(4, np.nan)), "0 and 1", "mask"),
    "negative-class-weight": (
        _call(_term(CE(), class_weight=[1, -1, 1]), LOGITS, LABELS),
        "not negative",
        "class_weight",
    ),
    "two-frameworks": (
        _call(_term(CE()), torch.tensor(LOGITS), jnp.asarray(LABELS)),
        "one array library",
        "torch and jax",
    ),
    "key-out-of-range": (
        _call(_term(MSE(), "batch", keys={"site": 2}), VECTOR, VECTOR, keys={"site": LABELS}),
        "`site`",
        "0 … 1",
    ),
    "smoothing": (lambda: CE(label_smoothing=10), "label_smoothing", "10"),
}
NAMES = {
    "missing-output": (lambda: _two()({"y": LOGITS}, {"y": LABELS, "z": VECTOR}), "missing", "z"),
    "extra-output": (
        lambda: _two()({"y": LOGITS, "z": VECTOR, "q": VECTOR}, {"y": LABELS, "z": VECTOR}),
        "no term",
        "q",
    ),
    "missing-target": (lambda: _two()({"y": LOGITS, "z": VECTOR}, {"y": LABELS}), "targets", "z"),
    "one-array-for-two": (lambda: _two()(LOGITS, {"y": LABELS, "z": VECTOR}), "outputs", "y, z"),
    "three-for-two": (lambda: _two()([LOGITS] * 3, [LABELS, VECTOR]), "in order", "3 arrays"),
    "mask-of-nobody": (
        lambda: _two()([LOGITS, VECTOR], [LABELS, VECTOR], mask={"w": VECTOR}),
        "mask",
        "w",
    ),
    "class-weight-names": (
        lambda: _term(CE(), classes=["a", "b"], class_weight={"a": 1, "c": 2}),
        "class_weight",
        "a, c",
    ),
    "axis-twice": (lambda: _term(CE(), "batch batch class"), "axes", "batch repeats"),
    "no-class-axis": (_call(_term(CE(), "batch time"), LOGITS, LABELS), "class", "batch time"),
    "same-name-twice": (lambda: ll.Objective(_term(CE()), _term(CE())), "name", "cross_entropy"),
    "loss-without-term": (lambda: ll.Objective(CE()), "terms", "CrossEntropy"),
    "keras-weights": (
        lambda: ll.Objective.from_keras([CE(), MSE()], [1.0], axes="batch class"),
        "one to one",
        "2",
    ),
    "l2-without-parameters": (
        lambda: ll.Objective(_term(CE()), ll.L2(1e-3, half=True))(LOGITS, LABELS),
        "parameters",
        "l2",
    ),
}
REDUCTIONS = {
    "unknown-string": (lambda: _term(CE(), reduction="batchmean"), "reduction", "batchmean"),
    "unknown-axis": (_call(_term(CE(), reduction=ll.Mean("time")), LOGITS, LABELS), "axes", "time"),
    "axis-left-over": (
        _call(_term(BCE(), PIXELS, reduction=ll.Mean("height width")), IMAGE, MASKS),
        "one number",
        "batch 2, class 5",
    ),
    "all-masked": (
        _call(_term(CE(), reduction=ll.Mean(empty="raise")), LOGITS, LABELS, mask=np.zeros(4)),
        "empty='raise'",
        "nothing to average",
    ),
    "class-absent": (
        _call(
            _term(ll.losses.Dice(over="batch height width", empty="raise"), PIXELS),
            IMAGE,
            MASKS * [0, 1, 1, 1, 1],
        ),
        "empty='raise'",
        "dice",
    ),
    "unknown-denominator": (lambda: ll.Mean(denominator="pixels"), "denominator", "pixels"),
    "percent": (lambda: ll.TopMean(10), "fraction", "10"),
    "no-tilt": (lambda: ll.LogMeanExp(0.0), "tilt", "0"),
}
CASES = [
    (error, *case, name)
    for error, table in (
        (ll.ShapeError, SHAPES),
        (ll.DomainError, NUMBERS),
        (ll.MatchError, NAMES),
        (ll.ReductionError, REDUCTIONS),
    )
    for name, case in table.items()
]


@pytest.mark.parametrize(
    ("error", "call", "rule", "name"), [c[:4] for c in CASES], ids=[c[4] for c in CASES]
)
def test_bad_input_is_explained(error, call, rule, name) -> None:
    """The error has four parts and names what is wrong."""
    with pytest.raises(ll.LossLedgerError) as raised:
        call()
    found = raised.value
    assert all(part.strip() for part in (found.rule, found.found, found.cause, found.remedy))
    assert rule in str(found), f"{rule!r} is not in: {found}"
    assert name in str(found), f"{name!r} is not in: {found}"
    assert isinstance(found, error), type(found).__name__


def test_good_input_is_not_refused() -> None:
    """The same calls with the mistake mended pass: no check fires on good input."""
    ll.Objective(_term(CE()))(LOGITS, LABELS, mask=np.array([1, 0, 1, 1]))
    ll.Objective(_term(BCE(), PIXELS))(IMAGE, MASKS, sample_weight=np.array([0.0, 2.0]))
    _two()({"y": LOGITS, "z": VECTOR}, {"y": LABELS, "z": VECTOR})
    ll.Objective(_term(CE()))(np.zeros((4, 3)), LABELS)
