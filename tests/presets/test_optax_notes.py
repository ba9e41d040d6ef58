# SPDX-License-Identifier: Apache-2.0
"""What the notes of optax's presets say of optax is so in the installed version."""

import jax
import numpy as np
import optax.losses as theirs
import pytest

from lossledger.presets import optax as presets

RNG = np.random.default_rng(4)
Z = jax.numpy.asarray(RNG.normal(size=(3, 4)))
HOT = jax.numpy.eye(4)[:3]


def test_labels_out_of_range() -> None:
    """−1 is the last class of a cross entropy, 4 is NaN; for the hinge neither is a label."""
    cross = theirs.softmax_cross_entropy_with_integer_labels
    np.testing.assert_allclose(cross(Z, np.full(3, -1)), cross(Z, np.full(3, 3)))
    assert np.isnan(cross(Z, np.full(3, 4))).all()
    np.testing.assert_allclose(theirs.multiclass_hinge_loss(Z, np.full(3, 4)), Z.max(1) + 1)
    np.testing.assert_allclose(theirs.multiclass_perceptron_loss(Z, np.full(3, -1)), Z.max(1))


def test_labels_of_other_codes() -> None:
    """A hinge of a label 0 is 1; a sparsemax loss of any label but 0 is that of 1."""
    np.testing.assert_allclose(theirs.hinge_loss(Z, Z * 0), 1)
    for y in (-1.0, 0.3):
        same = theirs.sparsemax_loss(Z, Z * 0 + y), theirs.sparsemax_loss(Z, Z * 0 + 1)
        np.testing.assert_allclose(*same)


def test_infinite_logits() -> None:
    """A logit of −∞ with the label 0 makes a number NaN, and the safe one's finite."""
    far = jax.numpy.where(HOT == 0, Z, -jax.numpy.inf)
    y = jax.numpy.roll(HOT, 1, axis=1)
    assert np.isnan(theirs.softmax_cross_entropy(far, y)).all()
    assert np.isfinite(theirs.safe_softmax_cross_entropy(far, y)).all()
    ours = presets.softmax_cross_entropy()(np.asarray(far), np.asarray(y))
    np.testing.assert_allclose(ours, theirs.safe_softmax_cross_entropy(far, y), rtol=1e-5)


def test_nothing_to_compare() -> None:
    """A zero vector, a batch without pairs and empty masks without smoothing are NaN, ours 0."""
    assert np.isnan(theirs.cosine_similarity(Z * 0, Z)).all()
    assert (presets.cosine_similarity()(np.zeros((3, 4)), np.asarray(Z)) == 0).all()
    assert np.isnan(theirs.ntxent(Z, np.arange(3)))
    assert presets.ntxent()(np.asarray(Z), np.arange(3)) == 0
    single = np.ones((2, 3, 1))
    p = jax.numpy.stack([jax.numpy.zeros((2, 3)), jax.numpy.ones((2, 3))], -1)
    options = {"smooth": 0.0, "apply_softmax": False, "reduction": "none"}
    assert np.isnan(theirs.dice_loss(p, p, **options)[:, 0]).all()
    ours = presets.dice_loss(**options)(np.asarray(p), np.asarray(p))
    np.testing.assert_allclose(ours, 0)
    with pytest.raises(ValueError, match="sum to 1"):
        theirs.dice_loss(single * 0.5, single, apply_softmax=False)


def test_three_axes_of_sparsemax() -> None:
    """Scores with one axis more give a matrix for a square sample, not one number a row."""
    z, y = RNG.normal(size=(2, 3, 3)), np.zeros((2, 3), int)
    assert theirs.multiclass_sparsemax_loss(z, y).shape == (2, 3, 3)


def test_odd_powers() -> None:
    """Differences add up with their signs under norm_degree=1, and broken powers are NaN."""
    a = jax.numpy.asarray([[1.0, -1.0]])
    loss = theirs.triplet_margin_loss(a, a * 0, a * 0, norm_degree=1, margin=0.0)
    np.testing.assert_allclose(loss, 0, atol=1e-5)
    assert np.isnan(theirs.triplet_margin_loss(a, a * 0, a * 0, norm_degree=1.5)).all()


def test_absent_class_gets_the_weight() -> None:
    """A class that is nowhere outweighs the others under the weights by frequency."""
    z, y = RNG.normal(size=(2, 9, 3)), np.zeros((2, 9, 3))
    y[:, :5, 0], y[:, 5:, 1] = 1, 1
    only = theirs.dice_loss(z, y, reduction="none")[:, 2].mean()
    np.testing.assert_allclose(theirs.multiclass_generalized_dice_loss(z, y), only, rtol=1e-3)
