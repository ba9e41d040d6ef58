# SPDX-License-Identifier: Apache-2.0
"""The four questions in Keras, on the backend of this process: what is printed bears them out."""

from pathlib import Path

import keras
import pytest
from printed import Claims, Printed, answer_of, check_claims, near

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "keras").glob("*.py"))
BACKENDS = ("jax", "torch")
"""Where the scripts run. TensorFlow traces every step anew in each of four fresh processes, which
takes minutes; what `explain` and `ll.keras` do there is tested beside this file."""
SINGLE = 1e-6
"""How far apart numbers may be that Keras computes in float32."""
KERAS_OWN = ("__array__ implementation doesn",)
"""Warnings that Keras 3.15 gives rise to itself: its variables do not know NumPy 2's `copy`."""


def batch_size_in_keras(printed: Printed) -> Claims:
    """A mean is the same at 32 and 64; a sum goes with the number of steps."""
    small, large, ratio = printed.row(1, "sum_over_batch_size")
    yield "the mean is the same", near(small, large, SINGLE) and near(ratio, 1, 1e-4)
    total, total_64, _ = printed.row(1, "sum")
    # 1797 = 56 · 32 + 5 = 28 · 64 + 5: `evaluate` weighs each batch's sum with its length.
    yield "a batch's sum is its mean times its length", 31 * small < total < 32 * small
    yield "and of 64 twice that", 1.99 < total_64 / total < 2
    for label, bottom in (
        ("32", 32),
        ("64", 64),
        ("32, 8 of weight 0", 32),
        ("32, 8 of weight 0, divided by Σw", 24),
        ("32, 8 ignored by ignore_class", 24),
    ):
        numerator, denominator, loss, keras, deviation = printed.row(2, label)
        yield f"{label}: divided by {bottom}", near(denominator, bottom)
        yield f"{label}: the loss is that fraction", near(loss, numerator / bottom, SINGLE)
        yield f"{label}: and Keras' number", near(keras, loss, SINGLE)
        yield f"{label}: measured", abs(deviation) < SINGLE
    one = printed.row(2, "32")
    yield "summed, it is the numerator", near(printed.row(2, "32, summed")[2], one[0], SINGLE)
    left = printed.row(2, "32, 8 of weight 0")[0]
    yield "weights of 0 leave the numerator", left < 0.9 * one[0]
    ignored = printed.row(2, "32, 8 ignored by ignore_class")[0]
    yield "and so do ignored labels", near(ignored, left, SINGLE)
    mean, mean_64, _ = printed.row(3, "sum_over_batch_size")
    summed, summed_64, _ = printed.row(3, "sum")
    yield "a sum's step is 32 times as long", near(summed, 32 * mean, 1e-4)
    yield "or 64 times", near(summed_64, 64 * mean_64, 1e-4)


def weight_decay_in_keras(printed: Printed) -> Claims:
    """The total is its parts; the penalty is never divided by the batch."""
    rows = {}
    for name in ("sum_over_batch_size", "sum"):
        for size in (32, 128):
            label = f"{name} {size}"
            *parts, total, keras, deviation = rows[label] = printed.row(1, label)
            yield f"{label}: the parts add up", near(sum(parts), total, SINGLE)
            yield f"{label}: to Keras' number", near(keras, total, SINGLE)
            yield f"{label}: measured", abs(deviation) < SINGLE
    penalties = {tuple(row[1:3]) for row in rows.values()}
    yield "the penalty is the same for all", len(penalties) == 1 and min(*penalties.pop()) > 0
    mean, total = (rows[f"{n} 32"][0] for n in ("sum_over_batch_size", "sum"))
    yield "summing the data multiplies only the data", near(total, 32 * mean, SINGLE)
    for epoch in (1, 2, 3):
        total, data, rest = printed.row(3, str(epoch))
        yield f"epoch {epoch}: the rest is the penalty", near(total - data, rest, 1e-4)
        yield f"epoch {epoch}: of the size that the first batch showed", 0.01 < rest < 0.5


def segmentation_in_keras(printed: Printed) -> Claims:
    """The user's loss is small and a class is missing; averaged by class, it is found."""
    total = printed.row(1, "total")[0]
    yield "the total is small", 0 < total < 0.4
    classes = ("0-1", "2-3", "4-5", "6-7", "8-9")
    iou = {name: printed.row(3, name) for name in classes}
    yield "the others are found", sum(iou[name][0] for name in classes[:-1]) / 4 > 0.4
    yield "the rare class is not", abs(iou["8-9"][0]) < 0.1
    yield "averaged by class, it is", iou["8-9"][1] > 0.05 + iou["8-9"][0]


def two_outputs_in_keras(printed: Printed) -> Claims:
    """A layer's gradient is the weighted sum of those of the losses that it feeds."""
    pieces = [printed.row(1, name) for name in "CD"]
    for value, weight, contribution in pieces:
        yield "a contribution is value times weight", near(value * weight, contribution, SINGLE)
    total = printed.row(1, "total")[0]
    yield "they add up", near(sum(p[2] for p in pieces), total, SINGLE)
    yield "to Keras' number", near(printed.row(1, "Keras")[0], total, SINGLE)
    yield "measured", abs(printed.row(1, "deviation")[0]) < SINGLE
    for layer in "ABCD":
        one, two, both, off = printed.row(2, layer)
        yield f"{layer}: the weighted sum, to float32", abs(off) < 1e-5
        reached = [one > 0, two > 0, both > 0]
        wanted = [layer in "ABC", layer in "ABD", True]
        yield f"{layer}: its losses reach it, and no other", reached == wanted


CLAIMS = {
    f.__name__: f
    for f in (
        *(batch_size_in_keras, segmentation_in_keras),
        *(two_outputs_in_keras, weight_decay_in_keras),
    )
}


def test_there_are_examples():
    """There is a script for each of the four questions, and claims for each script."""
    assert [script.stem for script in EXAMPLES] == sorted(CLAIMS)


def test_they_run_on_every_other_backend():
    """Only TensorFlow is left out, by name."""
    assert {*BACKENDS, "tensorflow"} == {"jax", "tensorflow", "torch"}
    assert keras.backend.backend() in (*BACKENDS, "tensorflow")


@pytest.mark.skipif(
    keras.backend.backend() not in BACKENDS, reason=f"the scripts run on {BACKENDS} alone"
)
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_keras_example(script, tmp_path):
    """Each claim holds of the numbers printed; of negated or mixed-up ones it does not."""
    text = answer_of(script, tmp_path, KERAS_OWN)
    print(text)
    check_claims(Printed(text), CLAIMS[script.stem])
