# SPDX-License-Identifier: Apache-2.0
"""Terms over several outputs, and several terms over one, against the same loss in plain torch."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch.nn import functional

import lossledger as ll
from properties import close

L = ll.losses


@dataclass(frozen=True)
class Scenario:
    """An objective, a batch for it, and the same loss written by hand.

    Attributes:
        id: Name in test ids.
        objective: The objective.
        outputs: Shapes of the outputs, by name.
        targets: (generator) -> targets by name; None if there are none.
        plain: (outputs, targets) -> the terms' weighted values, in torch.
    """

    id: str
    objective: ll.Objective
    outputs: dict[str, tuple[int, ...]]
    targets: Callable[[Any], Any]
    plain: Callable[[Any, Any], dict[str, Any]]

    def batch(self) -> tuple[dict[str, Any], Any]:
        """Draw outputs and targets in float64."""
        rng = np.random.default_rng(4)
        outputs = {name: rng.normal(size=shape) for name, shape in self.outputs.items()}
        return outputs, self.targets(rng)


def _gaussian(o: Any, t: Any) -> dict[str, Any]:
    variance = torch.exp(o["log_variance"])
    return {"gaussian_nll": functional.gaussian_nll_loss(o["mean"], t["height"], variance)}


def _triplet(o: Any, _: Any) -> dict[str, Any]:
    near, far = (torch.linalg.vector_norm(o["anchor"] - o[n], dim=1) for n in ("same", "other"))
    return {"triplet_margin": torch.relu(near - far + 0.5).mean()}


def _clip(o: Any, _: Any) -> dict[str, Any]:
    image, text = functional.normalize(o["image"], dim=1), functional.normalize(o["text"], dim=1)
    scores, place = image @ text.T / 0.1, torch.arange(5)
    both = functional.cross_entropy(scores, place) + functional.cross_entropy(scores.T, place)
    return {"info_nce": 0.5 * both}


def _distillation(o: Any, t: Any) -> dict[str, Any]:
    student, teacher = (torch.log_softmax(x / 4, dim=1) for x in (o["student"], t["teacher"]))
    soft = 16 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return {"hard": 0.3 * functional.cross_entropy(o["student"], t["label"]), "soft": 0.7 * soft}


def _levels(o: Any, t: Any) -> dict[str, Any]:
    weights = {"full": 4 / 7, "half": 2 / 7, "quarter": 1 / 7}
    return {
        n: w * functional.cross_entropy(o[n].permute(0, 3, 1, 2), t[n]) for n, w in weights.items()
    }


def _vae(o: Any, t: Any) -> dict[str, Any]:
    bce = functional.binary_cross_entropy_with_logits(o["image"], t["image"], reduction="none")
    code = torch.distributions.Normal(o["mean"], torch.exp(o["log_variance"] / 2))
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    kl = torch.distributions.kl_divergence(code, prior)
    return {"reconstruction": bce.sum((1, 2)).mean(), "code": 0.5 * kl.sum(1).mean()}


def _mixed(o: Any, t: Any) -> dict[str, Any]:
    p, y = torch.sigmoid(o["road"]), t["road"]
    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    size = (o["size"] - t["size"]).abs()
    return {
        "bce": functional.binary_cross_entropy_with_logits(o["road"], y),
        "dice": 2 * dice,
        "size": 0.1 * size.sum(),
    }


def _hits(rng: Any, shape: tuple[int, ...]) -> Any:
    return (rng.random(shape) < 0.4).astype(float)


LEVELS = {"full": (2, 8, 8), "half": (2, 4, 4), "quarter": (2, 2, 2)}
SCENARIOS = [
    Scenario(
        "gaussian",
        ll.Objective(
            ll.Term(("mean", "log_variance"), L.GaussianNLL("log"), "batch time", target="height")
        ),
        {"mean": (4, 3), "log_variance": (4, 3)},
        lambda rng: {"height": rng.normal(size=(4, 3))},
        _gaussian,
    ),
    Scenario(
        "triplet",
        ll.Objective(
            ll.Term(("anchor", "same", "other"), L.TripletMargin(0.5), axes="batch feature")
        ),
        {"anchor": (6, 4), "same": (6, 4), "other": (6, 4)},
        lambda _: None,
        _triplet,
    ),
    Scenario(
        "clip",
        ll.Objective(ll.Term(("image", "text"), L.InfoNCE(0.1, True), axes="batch feature")),
        {"image": (5, 4), "text": (5, 4)},
        lambda _: None,
        _clip,
    ),
    Scenario(
        "distillation",
        ll.Objective(
            ll.Term("student", L.CrossEntropy(), "batch class", target="label", name="hard",
                    loss_weight=0.3),
            ll.Term("student", L.KLDivergence(4.0, "logits"), "batch class", target="teacher",
                    name="soft", loss_weight=0.7),
        ),
        {"student": (6, 4)},
        lambda rng: {"label": rng.integers(0, 4, 6), "teacher": rng.normal(size=(6, 4)) * 3},
        _distillation,
    ),
    Scenario(
        "deep-supervision",
        ll.Objective(
            *(ll.Term(level, L.CrossEntropy(), "batch height width class", name=level,
                      loss_weight=weight / 7)
              for level, weight in zip(LEVELS, (4, 2, 1), strict=True))
        ),
        {name: (*shape, 3) for name, shape in LEVELS.items()},
        lambda rng: {name: rng.integers(0, 3, shape) for name, shape in LEVELS.items()},
        _levels,
    ),
    Scenario(
        "vae",
        ll.Objective(
            ll.Term("image", L.BinaryCrossEntropy(), "batch height width", name="reconstruction",
                    reduction=ll.Sum("height width").then(ll.Mean())),
            ll.Term(("mean", "log_variance"), L.GaussianKL(), "batch latent", name="code",
                    reduction=ll.Sum("latent").then(ll.Mean()), loss_weight=0.5),
        ),
        {"image": (5, 4, 3), "mean": (5, 2), "log_variance": (5, 2)},
        lambda rng: {"image": rng.random((5, 4, 3))},
        _vae,
    ),
    Scenario(
        "several-losses",
        ll.Objective(
            ll.Term("road", L.BinaryCrossEntropy(), "batch height width", name="bce"),
            ll.Term("road", L.Dice(over="batch height width"), "batch height width",
                    name="dice", loss_weight=2.0),
            ll.Term("size", L.AbsoluteError(), "batch", name="size", reduction="sum",
                    loss_weight=0.1),
            skip=["debug"],
        ),
        {"road": (3, 4, 5), "debug": (3, 2), "size": (3,)},
        lambda rng: {"road": _hits(rng, (3, 4, 5)), "size": rng.normal(size=3)},
        _mixed,
    ),
]  # fmt: skip
each = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.id)


def tensors(arrays: Any, requires_grad: bool = False) -> Any:
    """Return a dict of arrays as tensors."""
    if arrays is None:
        return None
    return {n: torch.tensor(a, requires_grad=requires_grad) for n, a in arrays.items()}


def slopes_of(total: Any, leaves: dict[str, Any]) -> dict[str, Any]:
    """Return the gradient of a total, 0 where it does not depend on a leaf."""
    found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return {n: g.numpy() for n, g in zip(leaves, found, strict=True)}


@each
def test_equals_plain_torch(scenario: Scenario) -> None:
    """Total, terms and gradients are those of the same loss in plain torch."""
    outputs, targets = scenario.batch()
    leaves = tensors(outputs, requires_grad=True)
    expected = scenario.plain(leaves, tensors(targets))
    expected_slopes = slopes_of(sum(expected.values()), leaves)
    total, ledger = scenario.objective(leaves, tensors(targets))
    close(total.detach(), sum(v.item() for v in expected.values()), what="total")
    by_term = {row.term: row.contribution for row in ledger.by("term")}
    assert list(by_term) == list(expected)
    for name, value in expected.items():
        close(by_term[name], value.item(), what=name)
    for name, slope in slopes_of(total, leaves).items():
        close(slope, expected_slopes[name], what=f"gradient of {name}")
    number, _, closed = scenario.objective.value_and_grad(outputs, targets)
    close(number, total.detach(), what="NumPy")
    assert list(closed) == list(outputs)
    for name, slope in closed.items():
        close(slope, expected_slopes[name], what=f"closed form of {name}")


@each
def test_equals_jax(scenario: Scenario) -> None:
    """JAX differentiates the compiled objective to the same gradient."""
    outputs, targets = scenario.batch()
    total, _, slopes = scenario.objective.value_and_grad(outputs, targets)
    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(scenario.objective, has_aux=True))
        (found, ledger), found_slopes = step(jax.tree.map(jax.numpy.asarray, outputs), targets)
        close(found, total, what="total")
        close(sum(row.contribution for row in ledger.rows), total, what="rows")
        for name, slope in slopes.items():
            close(found_slopes[name], slope, what=name)


@each
def test_containers_agree(scenario: Scenario) -> None:
    """A dict, list, tuple or named tuple of outputs and targets give the same, alike."""
    outputs, targets = scenario.batch()
    total, _, slopes = scenario.objective.value_and_grad(outputs, targets)
    read = [n for n in outputs if n not in scenario.objective.skip]
    goals = None if targets is None else list(targets.values())
    values = [outputs[n] for n in read]
    kinds = (list, tuple, lambda v: namedtuple("Outputs", read)(*v))
    for kind in kinds:
        given = kind(values)
        found, _, found_slopes = scenario.objective.value_and_grad(given, goals)
        assert found == total
        assert type(found_slopes) is type(given)
        for name, slope in zip(read, found_slopes, strict=True):
            close(slope, slopes[name], 0.0, name)


@each
def test_rows_add_up(scenario: Scenario) -> None:
    """Rows name the outputs a term reads, and add up to the total with sample weights too."""
    outputs, targets = scenario.batch()
    batch = next(iter(outputs.values())).shape[0]
    weight = np.arange(batch) / 2.0
    for options in ({}, {"sample_weight": weight}, {"mask": weight > 0}):
        total, ledger = scenario.objective(outputs, targets, **options)
        close(sum(row.contribution for row in ledger.rows), float(total), what="rows")
    reads = {t.name: ", ".join(t.outputs) for t in scenario.objective.terms}
    assert {row.term: row.output for row in ledger.rows} == reads


def test_exactness() -> None:
    """Comparing samples needs all of them; sums of ratios two passes; the others one."""
    kinds = {s.id: {n: e.kind for n, e in s.objective.exactness.items()} for s in SCENARIOS}
    assert kinds["clip"] == {"info_nce": "candidates"}
    assert kinds["several-losses"] == {"bce": "one_pass", "dice": "two_pass", "size": "one_pass"}
    one_pass = {kind for s in ("gaussian", "triplet", "vae") for kind in kinds[s].values()}
    assert one_pass == {"one_pass"}


def test_masks_by_name() -> None:
    """Each output has its own mask: a term's, an output's or a target's name finds it."""
    scenario = next(s for s in SCENARIOS if s.id == "deep-supervision")
    outputs, targets = scenario.batch()
    mask = {n: np.random.default_rng(2).random(s) < 0.5 for n, s in LEVELS.items()}
    spoiled = {n: np.where(mask[n], targets[n], -100) for n in LEVELS}
    total = scenario.objective.loss(outputs, spoiled, mask=mask)
    expected = 0.0
    for name, factor in zip(LEVELS, (4, 2, 1), strict=True):
        logits, labels = torch.tensor(outputs[name]), torch.tensor(spoiled[name])
        expected += factor / 7 * functional.cross_entropy(logits.permute(0, 3, 1, 2), labels).item()
    close(total, expected, what="masked levels")
    alone = {n: m for n, m in mask.items() if n != "quarter"}
    assert scenario.objective.loss(outputs, {**spoiled, "quarter": targets["quarter"]}, mask=alone)


# ------------------------------------------------------------------------------------- names

OUT = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 5.0]), "c": np.array([7.0, 11.0])}
ZERO = {n: np.zeros(2) for n in OUT}
SQUARE = {"a": 2.5, "b": 17.0, "c": 85.0}


def squares(*names: str, **settings: Any) -> ll.Objective:
    """Return the mean squares of outputs, one term each."""
    terms = (ll.Term(n, L.SquaredError(), axes="batch", name=f"{n}_loss") for n in names)
    return ll.Objective(*terms, **settings)


def test_outputs_without_a_loss() -> None:
    """Skipped outputs may be there or not, and get a gradient of 0."""
    objective = squares("c", "a", skip=["b"])
    expected = SQUARE["a"] + SQUARE["c"]
    total, ledger, slopes = objective.value_and_grad(OUT, {"a": ZERO["a"], "c": ZERO["c"]})
    assert total == expected
    assert not slopes["b"].any()
    assert {row.output for row in ledger.rows} == {"a", "c"}
    assert objective.loss({n: OUT[n] for n in "ac"}, ZERO) == expected
    assert objective.loss([OUT["c"], OUT["a"]], [ZERO["c"], ZERO["a"]]) == expected


def test_lists_with_skipped_outputs_need_their_order() -> None:
    """A list that holds more than is read is an error, unless its order is given."""
    values = list(OUT.values())
    with pytest.raises(ll.MatchError, match="must be, in order: c, a"):
        squares("c", "a", skip=["b"]).loss(values, [ZERO["c"], ZERO["a"]])
    ordered = squares("c", "a", skip=["b"], output_names=["a", "b", "c"])
    for outputs in (values, [OUT["a"], OUT["c"]]):
        for targets in ([ZERO["a"], None, ZERO["c"]], [ZERO["a"], ZERO["c"]]):
            total, _, slopes = ordered.value_and_grad(outputs, targets)
            assert total == SQUARE["a"] + SQUARE["c"]
            assert len(slopes) == len(outputs)
            close(slopes[0], OUT["a"], what="gradient of a")
            close(slopes[-1], OUT["c"], what="gradient of c")


@pytest.mark.parametrize(
    "names", [["a"], ["a", "b", "c", "d"], ["a", "a", "b", "c"], ["a", "c", "x"]]
)
def test_output_names_are_checked(names: list[str]) -> None:
    """`output_names` are the names read and skipped, once each."""
    with pytest.raises(ll.MatchError, match="`output_names`"):
        squares("a", "c", skip=["b"], output_names=names)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "missing output": ({"a": OUT["a"]}, ZERO, "`outputs` must hold.*missing: b"),
    "misspelled output": ({"a": OUT["a"], "B": OUT["b"]}, ZERO, "missing: b; read by no term: B"),
    "output too many": (OUT, ZERO, "read by no term: c"),
    "missing target": ({n: OUT[n] for n in "ab"}, {"a": ZERO["a"]}, "`targets`.*missing: b"),
    "target too many": ({n: OUT[n] for n in "ab"}, ZERO, "`targets`.*read by no term: c"),
    "no targets": ({n: OUT[n] for n in "ab"}, None, "`targets` was left out"),
    "one array": (OUT["a"], ZERO, "`outputs` must hold 2 arrays: a, b"),
    "one target": ({n: OUT[n] for n in "ab"}, ZERO["a"], "`targets` must hold 2 arrays: a, b"),
    "short list": ([OUT["a"]], ZERO, "in order: a, b. Found 1 arrays"),
    "long list": (list(OUT.values()), ZERO, "in order: a, b. Found 3 arrays"),
    "long targets": ([OUT["a"], OUT["b"]], list(ZERO.values()), "`targets` in a tuple or list"),
    "object": (object(), ZERO, "Found object"),
}


@pytest.mark.parametrize(("outputs", "targets", "match"), WRONG.values(), ids=WRONG)
def test_names_match_one_to_one(outputs: Any, targets: Any, match: str) -> None:
    """A name too many or too few, or a container that cannot be matched, is an error."""
    with pytest.raises(ll.MatchError, match=match):
        squares("a", "b").loss(outputs, targets)


def test_terms_read_what_they_need() -> None:
    """The number of outputs a loss reads, its targets and its names are checked."""
    with pytest.raises(ll.MatchError, match=r"TripletMargin reads 3 output\(s\)"):
        ll.Term(("a", "b"), L.TripletMargin(), axes="batch feature")
    preference = ll.Objective(ll.Term(("a", "b"), L.PairwiseLogistic(), axes="batch"))
    with pytest.raises(ll.MatchError, match="No term of this objective takes targets"):
        preference.loss((OUT["a"], OUT["b"]), ZERO["a"])
    with pytest.raises(ll.ShapeError, match="must have the same shape"):
        preference.loss((OUT["a"], OUT["b"][:1]))
    with pytest.raises(ll.MatchError, match="Every term and regularizer needs its own name"):
        ll.Objective(*(ll.Term("a", L.SquaredError(), axes="batch") for _ in range(2)))
    gaussian = ll.Objective(ll.Term(("a", "b"), L.GaussianNLL("log"), axes="batch", target="t"))
    ones = np.ones(2)
    with pytest.raises(ll.MatchError, match="Only one `mask` may reach"):
        gaussian.loss((OUT["a"], OUT["b"]), ones, mask={"a": ones, "t": ones})
    with pytest.raises(ll.ShapeError, match="`mask` for several outputs must weigh samples"):
        squares("a", "b").loss((OUT["a"], OUT["b"]), (ZERO["a"], ZERO["b"]), mask=np.ones((2, 1)))
