# SPDX-License-Identifier: Apache-2.0
"""What an explanation must not say: claims that the data do not bear out."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lossledger as ll
from lossledger._errors import DomainError
from lossledger.explanation.criterion._notes import NEEDS, NEVER
from lossledger.presets._registry import LIBRARIES, presets_of

LABELS = torch.tensor([0, -100, 2, -100, 1, 0])


def drawn(*shape, seed=0):
    """Return normal numbers, always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def texts(found):
    """Return the steps of the one piece."""
    return " | ".join(s.text for s in found.pieces[0].steps)


def test_random_numbers_are_noticed():
    """A loss that draws is not measured: a longer batch draws other numbers."""

    def noisy(o, t):
        return functional.mse_loss(functional.dropout(o, 0.5), t)

    state = torch.random.get_rng_state()
    found = ll.explain(noisy, drawn(6, 4), drawn(6, 4, seed=1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert [n.rule for n in found.notes] == ["random"]
    assert "repeated" not in texts(found)
    assert any("how it is reduced" in x for x in found.undecided)
    with pytest.raises(DomainError, match="draw no random numbers"):
        ll.compare(noisy, noisy, drawn(6, 4), drawn(6, 4, seed=1))


def test_numbers_that_change_are_an_error():
    """A loss that counts its calls, or owns a generator, gives nothing to explain."""
    calls = []

    def counting(o, t):
        calls.append(0)
        return functional.mse_loss(o, t) * len(calls)

    own = torch.Generator().manual_seed(1)
    with pytest.raises(DomainError, match="the same number twice"):
        ll.explain(counting, drawn(6, 4), drawn(6, 4, seed=1))
    with pytest.raises(DomainError, match="the same number twice"):
        ll.compare(
            nn.MSELoss(),
            lambda o, t: functional.mse_loss(o + torch.randn(o.shape, generator=own), t),
            drawn(6, 4),
            drawn(6, 4, seed=1),
        )


class Late:
    """A squared error that grows after some calls, or in all but the first and the last ones."""

    def __init__(self, after, until=10**9):
        """Count nothing yet."""
        self.calls, self.after, self.until = 0, after, until

    def __call__(self, o, t):
        """Count, and multiply in between."""
        self.calls += 1
        return functional.mse_loss(o, t) * (1.1 if self.after < self.calls <= self.until else 1)


def test_numbers_that_change_later_are_an_error():
    """What counts its calls is called once more at the end, and its pieces must add up."""
    batch = drawn(6, 4).double(), drawn(6, 4, seed=1).double()
    for after in (3, 5):
        with pytest.raises(DomainError, match="the same number twice"):
            ll.explain(Late(after), *batch)
    steady = Late(10**9)
    assert ll.explain(steady, *batch).pieces[0].loss == "torch.MSELoss()"
    with pytest.raises(DomainError, match="the same number twice"):
        ll.explain(Late(3, steady.calls - 1), *batch)
    array = Late(3)
    with pytest.raises(DomainError, match="the same number twice"):
        ll.explain(lambda o, t: array(o, t) + 0 * o, *batch)


def said(criterion, *batch):
    """Return the note on what was measured, and what is open, of what equals nothing."""
    found = ll.explain(criterion, *batch)
    assert "<lambda>" in found.pieces[0].loss
    return found.notes[0].found, " | ".join(found.undecided)


def test_what_was_not_tried_is_not_denied():
    """NumPy has no gradients: sums and factors are not tried, and it says so."""
    o, t = drawn(6, 4).double().numpy(), drawn(6, 4, seed=1).double().numpy()
    note, open_ = said(lambda o, t: 1.01 * ((o - t) ** 2).mean(), o, t)
    assert "no preset equals it on this data at its defaults or under numbers" in note
    assert "sum of two" not in note
    assert "a factor in front, several options at once, and sums of two losses: there is" in open_
    note, open_ = said(lambda o, t: 1.01 * ((o - t) ** 4).mean(), *map(torch.tensor, (o, t)))
    assert "nor does the sum of two" in note  # twin: with gradients they are
    assert "a factor in front" not in open_


def test_flat_and_zero_losses():
    """A constant has no gradient to search on; of a loss that is 0 nothing was compared."""
    batch = drawn(6, 4), drawn(6, 4, seed=1)
    note, open_ = said(lambda o, t: (o * 0).sum() + 3.0, *batch)
    assert "at its defaults" in note
    assert "searched" not in note
    assert "numeric options, and sums of two losses: the gradient is 0 everywhere" in open_
    note, open_ = said(lambda o, t: (o * 0).sum(), *batch)
    assert "no preset equals it" not in note
    assert "what it equals: it gives 0 on this data" in open_


def test_zero_on_another_batch():
    """0 on the reversed outputs is no 0 on the data, and whatever is equal must be 0 there too."""
    x = drawn(6, 4).double()
    found = ll.explain(lambda o, t: ((o - t) ** 2).mean(), x, x.flip(0))
    assert found.pieces[0].loss == "torch.MSELoss()"

    def dead(o, t):
        return ((o - t) ** 2).mean() * (not torch.equal(o, x.flip(0)))

    assert ll.explain(dead, x, drawn(6, 4, seed=1).double()).pieces[0].loss == "dead"
    labels = np.array([0, 1, 1, 2])
    _, open_ = said(lambda o, t: ((o - t) ** 4).mean(), labels, labels[::-1].copy())
    assert "it gives 0" not in open_


def test_one_number_and_one_slope():
    """(o - t)²/t² on one element is a multiple of everything quadratic: no factor is claimed."""
    _, open_ = said(lambda o, t: (((o - t) / t) ** 2).mean(), *torch.tensor([[[0.3]], [[0.7]]]))
    assert "a factor in front: one number and one slope are too few to tell" in open_
    three = torch.tensor([[0.3, 0.1, 2.0]]), torch.tensor([[0.7, 0.4, 0.2]])
    found = ll.explain(lambda o, t: 2 * ((o - t) ** 2).mean(), *three)
    assert found.pieces[0].loss_weight == pytest.approx(2)


def test_factors_of_arrays_are_not_tried():
    """Three times an array is not matched, and it says that factors were not tried."""
    found = ll.explain(lambda o, t: 3 * (o - t).abs() ** 1.5, drawn(6, 4), drawn(6, 4, seed=1))
    assert any(u.startswith("a factor in front, and sums of two") for u in found.undecided)


def masked(o, t):
    """Return a mean over labels that count, of a value that no library has."""
    each = functional.cross_entropy(o, t, reduction="none") ** 1.5
    return (each * (t != -100)).sum() / (t != -100).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_hides_no_mask(dtype):
    """A masked mean is no mean by samples, however coarse the numbers it is given are."""
    found = ll.explain(masked, drawn(6, 4).to(dtype), LABELS)
    assert "the parts count 0.25 and 0.75" in texts(found)
    assert found.number == float(masked(drawn(6, 4).to(dtype), LABELS))


def test_half_precision_is_compared_in_float64():
    """The same loss is equal, and one a tenth off is not, in half precision too."""
    batch = drawn(6, 4).bfloat16(), drawn(6, 4, seed=1).bfloat16()
    same = ll.compare(nn.MSELoss(), lambda o, t: ((o - t) ** 2).mean(), *batch)
    assert same.equal
    assert "Arrays of half precision were compared as float64." in same.notes
    off = ll.compare(lambda o, t: ((o - t) ** 2).mean() * 1.1, nn.MSELoss(), *batch)
    assert not off.equal
    assert off.factor == pytest.approx(1 / 1.1, rel=1e-5)


def test_flat_is_not_ignored():
    """A label whose elements are all beyond the margin has no gradient, and is not ignored."""
    outputs = torch.tensor([[3.0, 0, 0], [2, 0, 0], [0, 0.1, 0], [0, 0.3, 0]])
    labels = torch.tensor([0, 0, 1, 1])

    def hinge(o, t):
        return functional.multi_margin_loss(o, t, margin=0.5) ** 1.5

    assert "label 0 has no gradient" in texts(ll.explain(hinge, outputs, labels))
    assert "it is not ignored" in texts(ll.explain(hinge, outputs, labels))
    assert "label -100 has no gradient in any of its 2 elements: ignored" in texts(
        ll.explain(masked, drawn(6, 4), LABELS)
    )


def test_no_gradient_is_no_evidence():
    """A number without a gradient is tested by numbers alone."""
    batch = drawn(6, 4), drawn(6, 4, seed=1)
    mean = ll.explain(lambda o, t: ((o - t) ** 2).mean().item(), *batch)
    assert mean.pieces[0].loss == "torch.MSELoss()"
    quartic = ll.explain(lambda o, t: ((o - t) ** 4).mean().item(), *batch)
    assert "weighted by samples, is the whole" in texts(quartic)
    root = ll.explain(lambda o, t: ((o - t) ** 4).mean().sqrt().item(), *batch)
    assert "gradient agrees" not in texts(root)


def test_offset_is_no_interaction():
    """1 beside a sum: twice the batch is not twice the number, and nothing more is said."""
    found = ll.explain(lambda o, t: ((o - t) ** 4).sum() + 1, drawn(6, 4), drawn(6, 4, seed=1))
    assert "neither mean nor sum over it" in texts(found)
    assert "act on each other" not in texts(found)


def test_scripted_modules():
    """A scripted loss is explained, and is as it was."""
    scripted = torch.jit.script(nn.MSELoss())
    found = ll.explain(scripted, drawn(6, 4), drawn(6, 4, seed=1))
    assert found.pieces[0].loss == "torch.MSELoss()"


def test_weights_of_absent_labels_are_open():
    """Class 3 does not occur: its weight of 9 cannot be known."""
    weight = torch.tensor([1.0, 2, 3, 9])
    found = ll.explain(
        lambda o, t: functional.cross_entropy(o, t, weight=weight),
        drawn(6, 4),
        torch.tensor([0, 1, 2, 1, 1, 0]),
    )
    assert any(x.startswith("the weight of 3: no label here") for x in found.undecided)


def test_infinite_losses_are_an_error():
    """No page on a loss of infinity, and no JSON that no reader takes."""
    with pytest.raises(DomainError, match="Found inf"):
        ll.explain(lambda o, t: (t / o).sum(), torch.zeros(3, 1), torch.ones(3, 1))
    fine = ll.explain(lambda o, t: (t / o).sum(), torch.ones(3, 1), torch.ones(3, 1))
    json.dumps(fine.to_dict(), allow_nan=False)


def test_both_zero_says_nothing():
    """At the targets the mean and the sum are 0 with slopes of 0: equal, and not tested."""
    x = drawn(6, 4)
    found = ll.compare(nn.MSELoss(), nn.MSELoss(reduction="sum"), x, x)
    assert found.equal
    assert any("both are 0 here" in u for u in found.undecided)


@pytest.mark.parametrize(("samples", "classes"), [(6, 4), (5, 3), (3, 7)])
def test_change_of_another_batch(samples, classes):
    """The words of a factor hold on a batch of another size: a mean over half a sum."""
    first = nn.MSELoss()

    def second(o, t):
        return 0.5 * ((o - t) ** 2).sum()

    found = ll.compare(first, second, drawn(samples, classes), drawn(samples, classes, seed=1))
    share, rest = found.change.text.removeprefix("multiply the second by ").split(" / ")
    assert (float(share), rest) == (2.0, "the number of elements")
    o, t = drawn(samples + 4, classes + 1), drawn(samples + 4, classes + 1, seed=1)
    there = float(second(o, t)) * float(share) / o.numel()
    assert there == pytest.approx(float(first(o, t)), rel=1e-5)


def test_labels_of_jax_for_torch():
    """JAX has labels of 32 bits and torch wants 64: they are the same labels."""
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    z, y = jax.numpy.asarray(drawn(6, 4).numpy()), jax.numpy.asarray([0, 1, 2, 3, 1, 0])
    found = ll.compare(
        lambda o, t: optax.softmax_cross_entropy_with_integer_labels(o, t).mean(),
        nn.CrossEntropyLoss(),
        z,
        y,
    )
    assert found.equal


def test_notes_that_cannot_matter_are_left_out():
    """Without class weights and label smoothing, nothing is said of them; no empty remedy."""
    batch = drawn(6, 4), torch.tensor([0, 1, 2, 1, 1, 0])
    plain = str(ll.explain(nn.CrossEntropyLoss(), *batch))
    assert "Smoothing weighs" not in plain
    assert "Remedy" not in plain
    weighted = nn.CrossEntropyLoss(weight=torch.ones(4) * 2, label_smoothing=0.1)
    assert "Smoothing weighs" in str(ll.explain(weighted, *batch))


def test_listed_notes_exist():
    """Every rule on notes is of a note that a preset has, and of a setting of that preset."""
    kinds = [kind for library in LIBRARIES for kind in presets_of(library)]
    for start in (*NEEDS, *NEVER):
        owners = [k for k in kinds if any(n.startswith(start) for n in k.notes)]
        assert owners, start
        if start in NEEDS:
            assert all(
                hasattr(k, NEEDS[start][0]) or NEEDS[start][0] in k.__annotations__ for k in owners
            )


def test_sums_are_not_called_means():
    """A sum over classes first, and then over the batch: two sums."""
    monai = pytest.importorskip("monai")
    seg, lab = drawn(2, 3, 4, 4), torch.tensor(np.arange(32).reshape(2, 1, 4, 4) % 3)
    loss = monai.losses.DiceLoss(
        to_onehot_y=True, softmax=True, weight=[1.0, 0, 2], reduction="sum"
    )
    assert "Σ of the 2 sums over class" in texts(ll.explain(loss, seg, lab))


def test_background_is_not_counted():
    """Two of three classes count: the sum is of two cells, as the denominator says."""
    monai = pytest.importorskip("monai")
    seg, lab = drawn(2, 3, 4, 4), torch.tensor(np.arange(32).reshape(2, 1, 4, 4) % 3)
    loss = monai.losses.DiceLoss(
        to_onehot_y=True, softmax=True, include_background=False, batch=True
    )
    found = ll.explain(loss, seg, lab)
    assert "2 of 3 cells count: the background is left out" in texts(found)
    assert "Σ of the 2 cells" in texts(found)
    assert found.pieces[0].denominator == 2
    every = monai.losses.DiceLoss(to_onehot_y=True, softmax=True, batch=True)
    assert "cells count" not in texts(ll.explain(every, seg, lab))


@pytest.mark.parametrize("given", [False, True])
def test_gradients_that_a_loss_makes_are_taken_back(given):
    """A loss that calls backward itself leaves `.grad` of what it holds as it was."""
    layer = nn.Linear(4, 4)
    layer.weight.grad = torch.ones(4, 4) if given else None
    before = layer.weight.grad

    def backward(o, t):
        value = functional.mse_loss(layer(o), t)
        value.backward()
        return value

    ll.explain(backward, drawn(6, 4), drawn(6, 4, seed=1))
    assert layer.weight.grad is before
    assert before is None or bool((before == 1).all())
    assert layer.bias.grad is None
