# SPDX-License-Identifier: Apache-2.0
"""What an explanation says: plain words, in the order in which things happen."""

import inspect
import re
from dataclasses import replace

import explained
import pytest
from oracles_overlap import smp_losses
from torch import nn

import lossledger as ll
from lossledger.reductions import shares

LIBRARIES = (
    explained.torch_modules,
    explained.torch_functions,
    explained.monai_losses,
    lambda: explained.smp_losses(smp_losses()),
    explained.nnunet_losses,
    explained.optax_losses,
)

PRESETS = (
    ll.presets.keras.MeanSquaredError(convention="keras1"),
    ll.presets.keras.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
    ll.presets.keras.SquaredHinge(),
    ll.presets.optax.l2_loss(reduction="mean"),
    ll.presets.torch.PoissonNLLLoss(),
)

CLASSES = {
    name
    for module in (ll.losses, ll.losses.steps, ll.losses.logit_steps, ll.losses.signed, ll, shares)
    for name, thing in vars(module).items()
    if inspect.isclass(thing)
}
_CALLED = re.compile(rf"\b({'|'.join(sorted(CLASSES))})\(")
_OPEN = re.compile(r"`|\bor [^(]*\bwith\b|\bunless\b|\bhalf=")


def jargon(text):
    """Return what a text says in the words of our own code, or leaves open."""
    return [m.group() for m in (_CALLED.search(text), _OPEN.search(text)) if m]


@pytest.mark.filterwarnings("ignore")
def test_steps_are_plain_words():
    """No step names a class of ours as code, or leaves open which of two formulas it is."""
    b = explained.Batches()
    reductions = ll.Max(), ll.TopMean(0.5), ll.LogMeanExp(2.0), ll.RootMean(), ll.Macro("class")
    cases = [case for library in LIBRARIES for case in library()]
    cases += [(p, b.logits, b.yes) for p in PRESETS]
    found = [ll.explain(*case) for case in cases]
    term = ll.Term("y", ll.losses.SquaredError(half=True), "batch class")
    chains = [r if r is reductions[-1] else ll.Mean("class").then(r) for r in reductions]
    found += [
        ll.explain(ll.Objective(replace(term, reduction=chain)), b.logits.double(), b.yes.double())
        for chain in chains
    ]
    for each in found:
        for piece in each.pieces:
            for text in (piece.formula, *(s.text for s in piece.steps)):
                assert not jargon(text), (piece.loss, text)


def test_jargon_is_noticed():
    """Broken twin: the texts as they were."""
    assert jargon("denominator: as ShareMean(empty='raise') has it")
    assert jargon("one value each: e², or e²/2 with `half=True`")
    assert jargon("outputs through Clip(low=1e-07, high=1.0) first")
    assert not jargon("Focal loss as one product: a·m^γ·BCE(z, y)")


def test_steps_stand_in_the_order_in_which_they_act():
    """Smoothing moves targets first; a weight stands before the reduction that it enters."""
    b = explained.Batches()
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=1)
    (piece,) = ll.explain(smooth, b.logits, b.inside).pieces
    stages = [s.stage for s in piece.steps]
    assert stages == ["smoothing", "values", "weights", "numerator", "denominator"]
    weighted = nn.MultiLabelSoftMarginLoss(weight=explained.WEIGHT)
    (piece,) = ll.explain(weighted, b.logits, b.yes).pieces
    stages = [s.stage for s in piece.steps]
    assert stages == ["values", "weights", "inner", "numerator", "denominator"]
    keras = ll.presets.keras.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)
    (piece,) = ll.explain(keras, b.logits, b.yes).pieces
    assert "targets are moved by 0.2" in piece.steps[0].text
