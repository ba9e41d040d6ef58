# SPDX-License-Identifier: Apache-2.0
"""Traps of weights: each is real on the Keras that runs, and found; its twin is neither."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_reader import host, to_tensor
from keras_traps import (
    BACKEND,
    CLASS_WEIGHT,
    ERRORS,
    FIT,
    GOALS,
    LABELS,
    MASK,
    RNG,
    ROWS,
    SQUARES,
    L,
    W,
    X,
    Y,
    compiled,
    dense,
    fitted,
    found,
    near,
    plain,
    says,
    steps,
)

# Keras 3.15 converts PyTorch's tensors in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_weights_by_sample_fall_on_steps() -> None:
    """(batch,) weights on (batch, time) values weigh time steps where the lengths agree."""
    model = steps()
    wrong, right = (SQUARES * W[None]).mean(), (SQUARES * W[:, None]).mean()
    near(fitted(model, X, Y, sample_weight=W), wrong)
    note = found(model, X, Y, W)["sample-weight-per-timestep"]
    says(note, wrong, right)
    assert "reshape(-1, 1)" in note.remedy
    near(fitted(model, X, Y, sample_weight=W.reshape(-1, 1)), right)
    assert "sample-weight-per-timestep" not in found(model, X, Y, W.reshape(-1, 1))


def test_weights_by_sample_of_another_length() -> None:
    """Where the lengths differ Keras raises, and the note says so."""
    model, x, y, w = steps(), X[:3], Y[:3], W[:3]
    with pytest.raises(Exception, match=r".*"):
        fitted(model, x, y, sample_weight=w)
    assert "it raises" in found(model, x, y, w)["sample-weight-per-timestep"].found
    assert "sample-weight-per-timestep" not in found(plain(), ROWS, GOALS, np.ones(6))


def test_weights_by_sample_beside_a_mask() -> None:
    """Beside a mask they weigh time steps too, or raise on PyTorch."""
    model = steps(masked=True)
    note = found(model, X, Y, W)["sample-weight-across-mask"]
    below = MASK.sum()
    wrong, right = (SQUARES * MASK * W).sum() / below, (SQUARES * MASK * W[:, None]).sum() / below
    if BACKEND == "torch":
        with pytest.raises(RuntimeError, match="broadcast"):
            fitted(model, X, Y, sample_weight=W)
        assert "it raises" in note.found
    else:
        near(fitted(model, X, Y, sample_weight=W), wrong)
        says(note, wrong, right)
    full = np.broadcast_to(W.reshape(-1, 1), (4, 4)).copy()
    assert "np.broadcast_to(sample_weight.reshape(-1, 1), (len(sample_weight), 4))" in note.remedy
    near(fitted(model, X, Y, sample_weight=full), right)
    assert not [rule for rule in found(model, X, Y, full) if rule.startswith("sample-weight-")]


def test_narrow_weights_beside_a_mask() -> None:
    """(batch, 1) weights beside a mask raise on PyTorch, and nowhere else."""
    model, w = steps(masked=True), W[:, None]
    right = (SQUARES * MASK * w).sum() / MASK.sum()
    rules = found(model, X, Y, w)
    if BACKEND == "torch":
        with pytest.raises(RuntimeError, match="broadcast"):
            fitted(model, X, Y, sample_weight=w)
        assert "in place" in rules["sample-weight-narrower-than-mask"].found
    else:
        near(fitted(model, X, Y, sample_weight=w), right)
        assert "sample-weight-narrower-than-mask" not in rules
    assert "sample-weight-narrower-than-mask" not in found(steps(), X, Y, w)


def test_narrow_weights_beside_ignored_labels() -> None:
    """The same beside the mask that a loss sets itself."""
    inputs = keras.layers.Input((4, 2))
    model, y = keras.Model(inputs, dense(3)(inputs)), (MASK * 2).astype(int)
    compiled(model, loss=L.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0))
    rules = found(model, X, y, W[:, None])
    if BACKEND == "torch":
        with pytest.raises(RuntimeError, match="broadcast"):
            fitted(model, X, y, sample_weight=W[:, None])
    else:
        right = (W[:, None] * MASK).sum() / MASK.sum() * np.log(3)
        near(fitted(model, X, y, sample_weight=W[:, None]), right)
    assert ("sample-weight-narrower-than-mask" in rules) == (BACKEND == "torch")
    full = np.broadcast_to(W[:, None], (4, 4)).copy()
    assert "sample-weight-narrower-than-mask" not in found(model, X, y, full)


def test_weights_counted_as_passed() -> None:
    """'mean_with_sample_weight' divides by the sum of weights as passed: T times too little."""
    loss = L.MeanSquaredError(reduction="mean_with_sample_weight")
    model, w = steps(loss), W[:, None]
    wrong = (SQUARES * w).sum() / w.sum()
    near(fitted(model, X, Y, sample_weight=w), wrong)
    note = found(model, X, Y, w)["weights-counted-as-passed"]
    says(note, wrong, wrong / 4)
    full = np.broadcast_to(w, (4, 4)).copy()
    near(fitted(model, X, Y, sample_weight=full), wrong / 4)
    assert "weights-counted-as-passed" not in found(model, X, Y, full)


def test_zero_weights_are_counted() -> None:
    """Values of weight 0 stay in the denominator; the remedy divides by Σ w."""
    w = MASK.astype("float32")
    wrong, right = (SQUARES * w).sum() / 16, (SQUARES * w).sum() / w.sum()
    near(fitted(steps(), X, Y, sample_weight=w), wrong)
    note = found(steps(), X, Y, w)["zero-weights-counted"]
    says(note, wrong, right)
    assert "3 of 16 values" in note.found
    assert "mean_with_sample_weight" in note.remedy
    better = steps(L.MeanSquaredError(reduction="mean_with_sample_weight"))
    near(fitted(better, X, Y, sample_weight=w), right)
    assert "zero-weights-counted" not in found(better, X, Y, w)
    assert "zero-weights-counted" not in found(steps(), X, Y, np.ones((4, 4)))


def test_weights_scale_the_loss() -> None:
    """Weights of mean 3 make the loss 3 times as large, not a weighted mean."""
    w = np.array([1, 2, 3, 4, 5, 3], "float32")
    near(fitted(plain(), ROWS, GOALS, sample_weight=w), (w * ERRORS).mean())
    note = found(plain(), ROWS, GOALS, w)["weights-scale-the-loss"]
    says(note, (w * ERRORS).mean(), (w * ERRORS).sum() / w.sum())
    near(fitted(plain(), ROWS, GOALS, sample_weight=w / 3), (w * ERRORS).sum() / w.sum())
    assert "weights-scale-the-loss" not in found(plain(), ROWS, GOALS, w / 3)


def test_class_weights_are_not_divided() -> None:
    """Class weights: Σ w·l / B, where PyTorch's loss has Σ w·l / Σ w."""
    model = plain("sparse_categorical_crossentropy", 3, "softmax")
    p = host(model(to_tensor(ROWS)))
    values = -np.log(p[np.arange(6), LABELS].astype("float64"))
    w = np.array([CLASS_WEIGHT[c] for c in LABELS])
    near(fitted(model, ROWS, LABELS, class_weight=CLASS_WEIGHT), (w * values).mean())
    note = found(model, ROWS, LABELS, None, CLASS_WEIGHT)["class-weight-not-divided"]
    says(note, (w * values).mean(), (w * values).sum() / w.sum())
    even = {c: v * 6 / w.sum() for c, v in CLASS_WEIGHT.items()}
    assert "class-weight-not-divided" not in found(model, ROWS, LABELS, None, even)
    near(fitted(model, ROWS, LABELS, class_weight=even), (w * values).sum() / w.sum())


def whole(y: Any, z: Any) -> Any:
    """Return one number for the batch."""
    return keras.ops.mean(keras.ops.square(y - z))


def test_weights_of_a_scalar_loss() -> None:
    """A loss of one number is multiplied by the weights' mean."""
    w = np.array([1, 2, 3, 0, 0, 6], "float32")
    y = GOALS[:, None]
    near(fitted(plain(whole), ROWS, y, sample_weight=w), ERRORS.mean() * 2)
    note = found(plain(whole), ROWS, y, w)["scalar-loss-weighted"]
    says(note, ERRORS.mean())
    says(note, 2 * ERRORS.mean())
    near(fitted(plain(), ROWS, y, sample_weight=w), (w * ERRORS).mean())
    assert "scalar-loss-weighted" not in found(plain(), ROWS, y, w)
    assert "scalar-loss-weighted" not in found(plain(whole), ROWS, y)


def test_mask_of_a_scalar_loss() -> None:
    """A loss of one number counts masked elements."""
    near(fitted(steps(whole, masked=True), X, Y), SQUARES.mean())
    note = found(steps(whole, masked=True), X, Y)["scalar-loss-masked"]
    says(note, SQUARES.mean())
    assert "scalar-loss-masked" not in found(steps(masked=True), X, Y)


def test_dice_keeps_its_batch() -> None:
    """Dice with weights: the remedy names the axes that keep one value a sample."""
    y = (np.arange(12).reshape(6, 2) % 3 == 0).astype("float32")
    w = np.arange(6).astype("float32")
    note = found(plain(L.Dice(), 2, "sigmoid"), ROWS, y, w)["scalar-loss-weighted"]
    assert "keras.losses.Dice(axis=(1,))" in note.remedy
    assert "scalar-loss-weighted" not in found(plain(L.Dice(axis=(1,)), 2, "sigmoid"), ROWS, y, w)


def test_class_weights_for_maps() -> None:
    """Class weights with a label for each place: TypeError; sample weights from a table do it."""
    inputs = keras.layers.Input((3, 4, 2))
    model = keras.Model(inputs, dense(3)(inputs))
    compiled(model, loss=L.SparseCategoricalCrossentropy(from_logits=True))
    x, y = RNG.normal(size=(2, 3, 4, 2)), RNG.integers(0, 3, (2, 3, 4))
    with pytest.raises(TypeError):
        model.fit(x, y, class_weight=CLASS_WEIGHT, **FIT)
    note = found(model, x, y, None, CLASS_WEIGHT)["class-weight-for-maps"]
    assert "`np.array([1.0, 5.0, 10.0])[y]`" in note.remedy
    w = np.array([1.0, 5.0, 10.0])[y]
    near(fitted(model, x, y, sample_weight=w), (w * np.log(3)).mean())
    assert "class-weight-for-maps" not in found(model, x, y, w)


def test_class_weights_by_argmax() -> None:
    """Class weights with several labels a sample use the first; one-hot rows are what is meant."""
    y = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], "float32")
    model = plain("binary_crossentropy", 3, "sigmoid")
    looked = np.array([1, 5, 1, 1, 5, 10], "float32")
    near(
        fitted(model, ROWS, y, class_weight=CLASS_WEIGHT),
        fitted(model, ROWS, y, sample_weight=looked),
    )
    note = found(model, ROWS, y, None, CLASS_WEIGHT)["class-weight-by-argmax"]
    assert "2 samples have several labels" in note.found
    assert "1 have none" in note.found
    assert "class-weight-by-argmax" not in found(model, ROWS, np.eye(3)[LABELS], None, CLASS_WEIGHT)


def test_every_rule_has_its_row() -> None:
    """The page of traps has a row, and the changelog counts, every rule there is."""
    root = Path(__file__).parents[2]
    code = sorted((root / "src/lossledger/explanation/model").glob("lints/*.py"))
    rules = {r for f in code for r in re.findall(r'Note\(\s*"([\w-]+)"', f.read_text("utf-8"))}
    page = (root / "docs/keras-traps.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == rules
    assert f"finds {len(rules)} traps" in (root / "CHANGELOG.md").read_text("utf-8")
