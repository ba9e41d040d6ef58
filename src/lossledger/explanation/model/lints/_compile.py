# SPDX-License-Identifier: Apache-2.0
"""Traps of compile and fit: loss weights, class weights, schedules, forms of Keras 2."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from lossledger._typing import Array, Mapping
from lossledger.explanation._parts import Note
from lossledger.explanation._show import number
from lossledger.explanation.model._reading import Reading
from lossledger.keras._private import given_rate


def frozen_weights(reading: Reading) -> Iterator[Note]:
    """Loss weights in variables that the compiled step of JAX does not see change."""
    if reading.backend != "jax" or not reading.jit or reading.model.run_eagerly:
        return
    known = {id(v) for v in reading.model.variables}
    leaves = keras.tree.flatten(reading.compiled_weights)
    frozen = [v for v in leaves if isinstance(v, keras.Variable) and id(v) not in known]
    if not frozen:
        return
    values = ", ".join(number(float(keras.ops.convert_to_numpy(v))) for v in frozen)
    found = (
        f"{len(frozen)} loss weight(s) are keras.Variable, now {values}. `fit` compiles the step "
        "on JAX, and only the model's own variables are inputs of it: whatever a callback assigns, "
        "the step keeps the values that it was compiled with. PyTorch and TensorFlow follow."
    )
    remedy = (
        "Make them the model's: `model.loss_weight = keras.Variable(1.0, trainable=False)` before "
        "compile, and compile with that variable."
    )
    yield Note("loss-weight-frozen", found, remedy)


def forms_of_keras_2(reading: Reading) -> Iterator[Note]:
    """Losses and weights in forms that Keras 2 took and Keras 3 refuses."""
    names = list(getattr(reading.model, "output_names", None) or ())
    loss, weights = reading.compiled_loss, reading.compiled_weights
    said = _refused(loss, weights, names)
    if said is None:
        return
    found, remedy = said
    yield Note("keras2-form", f"{found} Keras 2 took it; Keras 3 raises at the first step.", remedy)


def class_weight_dense(reading: Reading) -> Iterator[Note]:
    """Class weights for targets of more than one label a sample."""
    if reading.class_weight is None or reading.y is None or keras.tree.is_nested(reading.y):
        return
    y = np.asarray(keras.ops.convert_to_numpy(reading.y))
    if y.ndim < 2:
        return
    kept = y.shape[1:-1]
    table = _table(reading.class_weight)
    if any(n != 1 for n in kept):
        labels = "np.squeeze(y, -1)" if y.shape[-1] == 1 else "y"
        labels = "y.argmax(-1)" if _rows(y) else labels
        found = (
            f"`class_weight` wants one label a sample; targets of shape {y.shape} hold one for "
            "each place. With arrays `fit` raises TypeError."
        )
        remedy = f"Look the weights up and pass them as sample weights: `{table}[{labels}]`."
        yield Note("class-weight-for-maps", found, remedy)
    elif y.shape[-1] > 1 and not _rows(y):
        yield _by_argmax(y, table)


def schedule_runs_ahead(reading: Reading) -> Iterator[Note]:
    """A learning-rate schedule that counts micro-batches, not updates."""
    optimizer = getattr(reading.model, "optimizer", None)
    steps = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    rate = given_rate(optimizer)
    if steps < 2 or not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return
    now = float(keras.ops.convert_to_numpy(rate(steps - 1)))
    meant = float(keras.ops.convert_to_numpy(rate(0)))
    found = (
        f"The optimizer updates every {steps} batches (`gradient_accumulation_steps={steps}`), but "
        f"its {type(rate).__name__} counts batches: it runs {steps} times too fast. The first "
        f"update uses the rate of step {steps - 1}, {number(now)}; that of step 0 is "
        f"{number(meant)}."
    )
    remedy = f"Multiply the schedule's step counts by {steps}."
    yield Note("schedule-runs-ahead", found, remedy)


def decays_twice(reading: Reading) -> Iterator[Note]:
    """Weight decay of the optimizer beside a regularizer of squares."""
    optimizer = getattr(reading.model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "weight_decay", None)
    squares = [e for e in reading.extras if e.kind == "regularizer" and "²" in e.formula]
    if not rate or not squares:
        return
    shown = ", ".join(f"`{e.name}`, {e.formula}" for e in squares[:3])
    more = f" and {len(squares) - 3} more" if len(squares) > 3 else ""
    found = (
        f"{type(optimizer).__name__} has weight_decay={float(rate):g}, and the loss has "
        f"{shown}{more}: both pull the same weights to 0, the one past the loss, the other "
        "through its gradient, which the optimizer may rescale."
    )
    remedy = (
        "Keep one: the regularizer for a penalty that `loss` shows, weight_decay for one that "
        "Adam does not rescale."
    )
    yield Note("weight-decay-twice", found, remedy)


PER_MODEL = (
    frozen_weights,
    forms_of_keras_2,
    class_weight_dense,
    schedule_runs_ahead,
    decays_twice,
)


def _refused(loss: Any, weights: Any, names: list[str]) -> tuple[str, str] | None:
    """Return what is refused and what to write instead; None if nothing is."""
    if isinstance(weights, np.ndarray) and weights.size > 1:
        found = f"`loss_weights` is a NumPy array of {weights.size} numbers."
        return found, f"Write a list: `loss_weights={[float(w) for w in weights.ravel()]}`."
    if isinstance(weights, int) and not isinstance(weights, bool) and weights:
        return f"`loss_weights={weights}` is an int.", f"Write `loss_weights={float(weights)}`."
    return _refused_by_name(loss, weights, names) if len(names) > 1 else None


def _refused_by_name(loss: Any, weights: Any, names: list[str]) -> tuple[str, str] | None:
    """Return the same, of a model of several outputs."""
    one = not isinstance(loss, dict | list | tuple)
    several = isinstance(weights, dict | list | tuple) and len(weights) > 1
    if one and several:
        found = f"One loss for {len(names)} outputs has {len(weights)} loss weights."
        return found, f"Give each output its loss: `loss={dict.fromkeys(names, _told(loss))}`."
    if isinstance(loss, dict) and set(loss) < set(names):
        absent = [n for n in names if n not in loss]
        found = f"`loss` is a dict without {', '.join(absent)}."
        return found, f"Name every output; None for no loss: `{absent[0]!r}: None`."
    if isinstance(loss, dict) and isinstance(weights, dict) and set(weights) < set(names):
        absent = [n for n in names if n not in weights]
        found = f"`loss_weights` is a dict without {', '.join(absent)}."
        return found, f"Name every output; 1.0 for a plain one: `{absent[0]!r}: 1.0`."
    return None


def _told(loss: Any) -> Any:
    return loss if isinstance(loss, str) else getattr(loss, "name", loss)


def _rows(y: Array) -> bool:
    """Whether the last axis holds one-hot or soft rows."""
    values = np.asarray(y, np.float64)
    inside = bool(((values >= 0) & (values <= 1)).all())
    return y.shape[-1] > 1 and inside and bool(np.allclose(values.sum(-1), 1, atol=1e-3))


def _table(class_weight: Mapping[int, float]) -> str:
    """Return code for an array of class weights by label."""
    most = max(class_weight, default=0)
    listed = [float(class_weight.get(c, 1.0)) for c in range(int(most) + 1)]
    return f"np.array({listed})" if len(listed) <= 10 else "np.array([weight of class 0, ...])"


def _by_argmax(y: Array, table: str) -> Note:
    """Return the note on weights that Keras looks up at the place of the largest number."""
    looked = np.asarray(y).argmax(-1).reshape(-1)
    first = f"the weight of class {int(looked[0])} for the first sample"
    values = np.asarray(y, np.float64)
    if bool(np.isin(values, (0, 1)).all()):
        several = int((values.sum(-1) > 1).sum())
        none = int((values.sum(-1) == 0).sum())
        found = (
            f"`class_weight` takes one label a sample from targets of shape {y.shape}, the place "
            f"of the largest: {several:,} samples have several labels and count as their first, "
            f"{none:,} have none and count as class 0; {first}."
        )
        remedy = (
            "Weigh channels instead: a loss of your own with `weight * values` before its mean "
            "over the last axis."
        )
        return Note("class-weight-by-argmax", found, remedy)
    found = (
        f"`class_weight` takes one label a sample from targets of shape {y.shape}: it takes the "
        f"last axis for classes and looks up the place of the largest number, {first}. If these "
        "are labels of steps, the weights mean nothing."
    )
    remedy = f"Look the weights up and pass them as sample weights: `{table}[y]`."
    return Note("class-weight-by-argmax", found, remedy)
