# SPDX-License-Identifier: Apache-2.0
"""The total of a Keras model with several outputs, and class weights, against Keras itself."""

import keras
import numpy as np
import pytest
import torch
from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

import lossledger as ll
from lossledger.presets import keras as presets

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype(np.float32)
TARGETS = {"a": RNG.normal(size=(6, 2)), "b": np.eye(3)[RNG.integers(0, 3, 6)]}
WEIGHTS = {"a": RNG.uniform(0.2, 2, 6), "b": RNG.uniform(0.2, 2, 6)}


def model(losses):
    """Return a compiled model of two outputs with regularizers, and what it gives for X."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    a = keras.layers.Dense(2, name="a", kernel_regularizer=keras.regularizers.L2(0.1))(x)
    b = keras.layers.Dense(3, name="b", kernel_regularizer=keras.regularizers.L1(0.2))(x)
    made = keras.Model(x, {"a": a, "b": keras.ops.softmax(b)})
    made.compile(loss=losses, loss_weights={"a": 2.0, "b": 0.25})
    return made, made(X)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size"])
def test_total_is_the_models(reduction, weight) -> None:
    """Σ loss weight · loss + Σ regularizer, with the gradient for each output."""
    kinds = {"a": "MeanSquaredError", "b": "CategoricalCrossentropy"}
    theirs = {n: getattr(keras.losses, k)(reduction=reduction) for n, k in kinds.items()}
    made, given = model(theirs)
    expected = made.compute_loss(X, TARGETS, given, weight)
    slopes = torch.autograd.grad(expected, list(given.values()), retain_graph=True)
    outputs = {name: value.detach().numpy() for name, value in given.items()}
    kernels = [made.get_layer(name).kernel.value.detach().numpy() for name in ("a", "b")]
    total = presets.total(
        {n: getattr(presets, k)(reduction=reduction) for n, k in kinds.items()},
        {"a": 2.0, "b": 0.25},
        (ll.L2(0.1, [kernels[0]], half=False), ll.L1(0.2, [kernels[1]])),
    )
    number, ledger = total(outputs, TARGETS, weight)
    assert float(number) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(ledger.total) == pytest.approx(float(number), rel=1e-6)
    assert total.loss(outputs, TARGETS, weight) == number
    _, mine = total.value_and_grad(outputs, TARGETS, weight)
    for name, slope in zip(given, slopes, strict=True):
        np.testing.assert_allclose(mine[name], slope.numpy(), atol=1e-5)


@pytest.mark.parametrize("convention", ["keras2.11", "keras2.3", "keras1"])
def test_total_of_older_conventions(convention) -> None:
    """A weight left out is 1, and masks count as the convention has it."""
    z, t = RNG.normal(size=(4, 3, 2)), RNG.normal(size=(4, 3, 2))
    mask = RNG.random((4, 3)) < 0.5
    mask[0] = True
    one = presets.MeanSquaredError(convention=convention)
    total = presets.total({"a": one, "b": one}, {"b": 3.0})
    both = lambda x: {"a": x, "b": x}  # noqa: E731
    number, _ = total(both(z), both(t), None, both(mask))
    squares = ((z - t) ** 2).mean(-1) * mask
    by = mask.size if convention == "keras2.3" else mask.sum()
    assert float(number) == pytest.approx(4 * squares.sum() / by, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ({"a": 1.0}, {}),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, {}),
        (None, {"convention": "keras2.11"}),
        (None, {"reduction": None}),
    ],
)
def test_totals_that_do_not_fit(weights, options) -> None:
    """Names, conventions and reductions must match."""
    losses = {"a": presets.MeanSquaredError(), "b": presets.MeanAbsoluteError(**options)}
    with pytest.raises(ll.LossLedgerError):
        presets.total(losses, weights)


@pytest.mark.parametrize("form", ["labels", "column", "rows", "floats"])
def test_class_weights(form) -> None:
    """The sample weights are those that `fit` makes."""
    y = np.array([0, 2, 1, 2, 4])
    targets = {"labels": y, "column": y[:, None], "rows": np.eye(5)[y], "floats": y * 1.0}[form]
    given = {0: 2.0, 2: 0.5}
    np.testing.assert_allclose(
        presets.class_weights(targets, given), class_weight_to_sample_weights(targets, given)
    )


def test_class_weights_of_label_maps() -> None:
    """What Keras takes for rows, and is none, is an error."""
    with pytest.raises(ll.LossLedgerError, match="largest"):
        presets.class_weights(np.array([[0, 2], [1, 2]]), {0: 2.0})
    with pytest.raises(ll.LossLedgerError, match="label"):
        presets.class_weights(np.zeros((2, 3, 3), int), {0: 2.0})
