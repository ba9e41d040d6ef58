# SPDX-License-Identifier: Apache-2.0
"""Live losses of Keras as presets: on every backend."""

import functools
from typing import Any

import keras
import numpy as np
import pytest

from lossledger.explanation.model._presets import PRESETS, preset_of

L = keras.losses
RNG = np.random.default_rng(0)
P = RNG.dirichlet([1.0, 1.0, 1.0], (4, 2)).astype("float32")
HOT = np.eye(3, dtype="float32")[RNG.integers(0, 3, (4, 2))]
W = RNG.uniform(0.5, 2, (4, 2)).astype("float32")


class Doubled(L.MeanSquaredError):
    """A loss of a user's own."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return twice the squared error."""
        return 2 * super().call(y_true, y_pred)


class Renamed(L.MeanSquaredError):
    """A loss that computes what Keras does."""


SAME: dict[str, Any] = {
    "string": "mse",
    "class": L.MeanAbsoluteError,
    "function": L.huber,
    "partial": functools.partial(L.binary_crossentropy, label_smoothing=0.3),
    "delta": L.Huber(delta=0.2),
    "axis of a vector": L.CosineSimilarity(axis=1),
    "smoothing": L.CategoricalCrossentropy(label_smoothing=0.3),
    "logits": L.BinaryCrossentropy(from_logits=True),
    "sum": L.MeanSquaredError(reduction="sum"),
    "alpha": L.CategoricalFocalCrossentropy(alpha=[0.1, 0.5, 2.0], gamma=1.0),
    "axis as a list": L.Dice(axis=[1, 2]),
    "prices": L.Tversky(alpha=0.2, beta=0.9, axis=(1, 2)),
    "subclass": Renamed(),
    "configuration": {"class_name": "Huber", "config": {"reduction": "sum"}},
}


@pytest.mark.parametrize("loss", SAME.values(), ids=SAME)
def test_same_number(loss: Any) -> None:
    """The preset gives the live loss's number, also with options that no configuration holds."""
    preset = preset_of(loss)
    assert preset is not None
    live = L.get(loss)
    live = live if isinstance(live, L.Loss) else wrapped(live)
    weight = None if "axis" in preset.__dataclass_fields__ and preset.axis != -1 else W
    theirs = float(live(HOT, keras.ops.convert_to_tensor(P), weight))
    assert float(preset(P, HOT, weight)) == pytest.approx(theirs, rel=1e-5)


def wrapped(function: Any) -> Any:
    """Return the object that `compile` makes of a function."""
    model = keras.Sequential([keras.layers.Input((2, 3))])
    model.compile(loss=function)
    model.compute_loss(y=keras.ops.convert_to_tensor(HOT), y_pred=keras.ops.convert_to_tensor(P))
    return model._compile_loss._flat_losses[0].loss


NONE: dict[str, Any] = {
    "by shape": "crossentropy",
    "own function": lambda y, p: p - y,
    "own call": Doubled(),
    "CTC": L.CTC(),
    "half": L.MeanSquaredError(dtype="float16"),
    "positional": functools.partial(L.huber, HOT),
    "without q": L.CategoricalGeneralizedCrossEntropy(q=0.7).fn,
}


@pytest.mark.parametrize("loss", NONE.values(), ids=NONE)
def test_no_preset(loss: Any) -> None:
    """What a preset would not compute alike has none."""
    assert preset_of(loss) is None


def test_every_loss() -> None:
    """Every loss of `keras.losses` but CTC has its preset, of the same name."""
    names = {n for n in dir(L) if n[0].isupper()} - {"CTC", "Loss"}
    assert {type(preset_of(getattr(L, n)())).__name__ for n in names} == names
    assert len(PRESETS) == len(names)


def test_unknown_string() -> None:
    """Keras itself refuses a string that it does not know."""
    with pytest.raises(ValueError, match="Could not interpret"):
        preset_of("mean_sqared_error")
