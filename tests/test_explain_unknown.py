# SPDX-License-Identifier: Apache-2.0
"""A criterion that nobody knows: what it equals, or what can be measured, and what cannot."""

import functools

import explained
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lossledger as ll


@pytest.fixture(name="b")
def batches():
    """The batches of every test, in float64."""
    found = explained.Batches()
    for name in ("logits", "yes", "shares", "signs"):
        setattr(found, name, getattr(found, name).double())
    return found


def steps(found, stage):
    """Return the texts of a stage."""
    return [s.text for s in found.pieces[0].steps if s.stage == stage]


def test_lambda_of_optax(b):
    """A user's mean of optax's array is found by number and gradient."""
    import jax
    import optax

    z, y = (jax.numpy.asarray(a.float().numpy()) for a in (b.logits, b.yes))
    found = ll.explain(lambda o, t: optax.sigmoid_binary_cross_entropy(o, t).mean(), z, y)
    (piece,) = found.pieces
    assert piece.measured
    assert piece.loss == "optax.sigmoid_binary_cross_entropy(reduction='mean')"
    assert found.deviation < 1e-6
    assert "deviates by" in found.notes[0].found
    assert found.undecided


def test_factor_is_named(b):
    """A sum over classes, averaged over samples: a number, which this length may explain."""
    found = ll.explain(lambda o, t: ((o - t) ** 2).sum(1).mean(), b.logits, b.yes)
    said = "equals 3 (as long as axis 1 here, which was not varied) times torch.MSELoss()"
    assert said in found.notes[0].found
    assert found.pieces[0].loss_weight == pytest.approx(3)
    assert found.deviation < 1e-12
    assert found.ledger is None


@pytest.mark.parametrize(("factor", "said"), [(3, "3"), (1 / 3, "0.333333"), (3.0001, "3.0001")])
def test_factor_is_a_number(factor, said, b):
    """3 written in the source is 3, whatever the shapes: the batch's length alone was varied."""
    found = ll.explain(lambda o, t: factor * functional.mse_loss(o, t), b.logits, b.yes)
    assert f"equals {said} " in found.notes[0].found
    assert ("not varied" in found.notes[0].found) == (said != "3.0001")


def test_near_miss_is_not_equal(b):
    """Broken twin: a loss that differs by one part in a thousand is not called equal."""
    found = ll.explain(lambda o, t: ((o - t) ** 2).mean() + 1e-3 * o.mean(), b.logits, b.yes)
    assert found.pieces[0].loss == "<lambda>"
    assert "no preset equals it" in found.notes[0].found


def test_reversed_outputs_tell(b):
    """Broken twin: what agrees on one batch alone is told apart on its outputs in reverse."""
    first = b.logits.clone()

    def memory(o, t):
        return functional.mse_loss(o, t) if torch.equal(o, first) else functional.l1_loss(o, t)

    assert ll.explain(memory, b.logits, b.yes).pieces[0].loss == "memory"


def test_class_weights_are_read_off(b):
    """The gradient of each label's elements tells its weight, up to a factor: 1, 2 and 5."""

    def weighted(o, t):
        each = functional.cross_entropy(o, t, reduction="none", ignore_index=255)
        weight = 3 * explained.WEIGHT.double()[t.where(t < 3, 0)] * (t < 3)
        return (weight * each).sum() / weight.sum()

    labels = b.labels.where(b.labels >= 0, 255)
    found = ll.explain(weighted, b.logits, labels)
    (piece,) = found.pieces
    assert piece.loss == "torch.CrossEntropyLoss(weight=[1.0, 2.0, 5.0], ignore_index=255)"
    assert piece.denominator == 11
    assert found.deviation <= 1e-12
    assert "reduction='sum'" not in found.notes[0].found


def test_class_weights_twin(b):
    """Broken twin: weights of samples, which differ within a label, are not taken for classes'."""

    def weighted(o, t):
        weight = torch.arange(1.0, 1 + len(o), dtype=torch.float64)
        each = functional.cross_entropy(o, t, reduction="none")
        return (weight * each).sum() / weight.sum()

    assert ll.explain(weighted, b.logits, b.inside).pieces[0].loss == "weighted"


def test_sum_and_mean_are_told_apart(b):
    """A sum over a fixed 18 equals a mean on one batch, and not on a part of it."""
    found = ll.explain(lambda o, t: ((o - t) ** 2).sum() / 18, b.logits, b.yes)
    assert found.pieces[0].loss == "torch.MSELoss(reduction='sum')"
    found = ll.explain(lambda o, t: ((o - t) ** 2).sum() / o.numel(), b.logits, b.yes)
    assert found.pieces[0].loss == "torch.MSELoss()"


def test_weighted_mean_is_no_mean_of_samples(b):
    """By hand: labels 0, 1 weigh 1 + 2 of 11, so two of six samples count 3/11."""

    def squared(o, t):
        rows = functional.cross_entropy(o, t, reduction="none")
        weight = explained.WEIGHT.double()[t.clamp(min=0)] * (t >= 0)
        return (weight * rows**2).sum() / weight.sum()

    found = ll.explain(squared, b.logits, b.labels)
    mean, parts = steps(found, "denominator")
    assert "does not change: a mean" in mean
    assert f"count {3 / 11:.4g} and {8 / 11:.4g}" in parts
    ignored = [s for s in found.pieces[0].steps if "ignored" in s.settings]
    assert [(s.settings["ignored"], s.amount) for s in ignored] == [(-100, 1)]
    assert any("softmax" in t for t in steps(found, "values"))
    assert found.number == pytest.approx(float(squared(b.logits, b.labels)))


@pytest.mark.parametrize(
    ("criterion", "batch", "parts"),
    [
        (lambda o, t: ((o - t).abs() ** 1.5).sum(), "doubles: a sum", "add up"),
        (lambda o, t: ((o - t).abs() ** 1.5).mean(), "a mean", "weighted by samples, is the whole"),
        (
            lambda o, t: 1 - (o.sigmoid() * t).sum() / (o.sigmoid() ** 2 + t).sum(),
            "a mean",
            "not a sum over samples",
        ),
    ],
    ids=["sum", "mean", "overlap"],
)
def test_batch_axis(criterion, batch, parts, b):
    """Repeating the batch tells sum from mean, splitting it tells whether parts add up."""
    repeated, split = steps(ll.explain(criterion, b.logits, b.yes), "denominator")
    assert batch in repeated
    assert parts in split


def test_other_axes(b):
    """A sum over axis 1 inside a mean over the batch; a maximum is a mean of no axis."""
    found = ll.explain(lambda o, t: ((o - t).abs() ** 1.5).sum(1).mean(), b.logits, b.yes)
    assert steps(found, "inner") == ["axis 1 repeated twice: the number doubles: a sum"]
    found = ll.explain(lambda o, t: ((o - t) ** 3).abs().mean(), b.logits, b.yes)
    assert steps(found, "values") == ["outputs and targets times s: the number times s^3"]


def test_what_cannot_be_decided(b):
    """A NumPy function has no gradient, a batch of one size cannot be repeated: both are said."""

    def fixed(o, t):
        assert o.shape == (6, 3)
        return float(np.abs(o - t).max() ** 1.5)

    found = ll.explain(fixed, b.logits.numpy(), b.yes.numpy())
    assert any("refuses a batch of twice the size" in u for u in found.undecided)
    assert any("no gradient" in u for u in found.undecided)


def test_array(b):
    """An array is explained as one: nothing is minimized until it is reduced."""
    found = ll.explain(lambda o, t: (o - t).abs() ** 1.5, b.logits, b.yes)
    assert found.number is None
    assert [n.rule for n in found.notes] == ["unreduced"]
    assert "(6, 3)" in found.notes[0].found
    known = ll.explain(lambda o, t: (o - t).abs(), b.logits, b.yes)
    assert known.number is None
    assert [n.rule for n in known.notes] == ["unreduced", "measured"]
    assert known.pieces[0].loss == "torch.L1Loss(reduction='sum')"
    assert known.total == pytest.approx(float((b.logits - b.yes).abs().sum()))


def test_option_without_a_preset(b):
    """A weight that torch's own MSELoss does not have is no option of its preset: measured."""
    weight = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    criterion = functools.partial(functional.mse_loss, weight=weight)
    found = ll.explain(criterion, b.logits, b.yes)
    assert found.pieces[0].measured
    assert "no option weight" in found.notes[0].found
    assert found.number == pytest.approx(float(criterion(b.logits, b.yes)))


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (lambda o, t: None, "Found NoneType.*lacks `return`"),
        (lambda o, t: (o.sum(), t.sum()), "several things at once"),
        (lambda o, t: o.sum() * float("nan"), "NaN"),
        (lambda o, t: (o - t[:2]).sum(), "callable on this data"),
        (3.0, "callable with outputs and targets"),
        ("categorical_crossentropy", r"keras\.losses\.get\('categorical_crossentropy'\)"),
        (ll.losses.SquaredError(), r"in its objective.*ll\.Objective"),
    ],
    ids=["none", "tuple", "nan", "shapes", "no criterion", "a name", "a loss alone"],
)
def test_bad_criterion(criterion, message, b):
    """What gives no number is an error with a remedy."""
    with pytest.raises(ll.LossLedgerError, match=message) as caught:
        ll.explain(criterion, b.logits, b.yes)
    assert caught.value.remedy


def test_weights_cannot_be_passed_on(b):
    """Weights for a criterion that nobody knows are refused, not dropped."""
    with pytest.raises(ll.MatchError, match=r"outputs and targets alone.*functools\.partial"):
        ll.explain(lambda o, t: (o - t).sum(), b.logits, b.yes, sample_weight=torch.ones(6))


class Noisy(nn.Module):
    """A criterion that draws numbers, keeps a running mean, and holds parameters."""

    def __init__(self):
        """Make a buffer and a parameter."""
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, outputs, targets):
        """Add noise and count."""
        self.seen += 1
        noise = torch.rand_like(outputs) + explained.drawn()
        return (self.scale * (outputs - targets).abs() ** 1.5 * noise).mean()


def test_nothing_is_touched(b):
    """Random numbers, buffers, flags, gradients and data are as before."""
    criterion = Noisy().eval()
    criterion.scale.grad = torch.full((), 3.0, dtype=torch.float64)
    outputs = b.logits.clone().requires_grad_()
    kept = outputs.detach().clone()
    before = explained.states()
    ll.explain(criterion, outputs, b.yes)
    assert float(criterion.seen) == 0
    assert float(criterion.scale.grad) == 3
    assert not criterion.training
    assert outputs.grad is None
    assert torch.equal(outputs, kept)
    assert explained.states() == before


class Counted(nn.Module):
    """A criterion that makes a buffer where there was none."""

    def __init__(self):
        """Leave the buffer empty."""
        super().__init__()
        self.register_buffer("first", None)

    def forward(self, outputs, targets):
        """Keep the first target."""
        self.first = targets.clone()
        return (outputs - targets).abs().pow(1.5).mean()


@pytest.mark.parametrize("form", ["closure", "partial", "method", "object"])
def test_modules_inside_are_not_touched(form, b):
    """A network that a function holds, in training: its running means stay."""
    norm, counted = nn.BatchNorm1d(3, dtype=torch.float64), Counted()

    def closure(o, t):
        return counted(norm(o), t)

    def bound(o, t, through):
        return counted(through(o), t)

    class Holder:
        network = None

        def __init__(self):
            self.network = norm

        def loss(self, o, t):
            return counted(self.network(o), t)

        __call__ = loss

    forms = {
        "closure": closure,
        "partial": functools.partial(bound, through=norm),
        "method": Holder().loss,
        "object": Holder(),
    }
    before = {n: v.clone() for n, v in norm.state_dict().items()}
    ll.explain(forms[form], b.logits, b.yes)
    assert all(torch.equal(v, before[n]) for n, v in norm.state_dict().items())
    assert norm.training
    assert form != "closure" or counted.first is None
    closure(b.logits, b.yes)  # broken twin: called by hand, both are changed
    assert not torch.equal(norm.running_mean, before["running_mean"])
    assert counted.first is not None


def test_touched_twin(b):
    """Broken twin: the same criterion, called by hand, does change its buffer and the state."""
    criterion, state = Noisy(), torch.random.get_rng_state()
    criterion(b.logits, b.yes)
    assert float(criterion.seen) == 1
    assert not torch.equal(state, torch.random.get_rng_state())
    torch.random.set_rng_state(state)
