# SPDX-License-Identifier: Apache-2.0
"""Explaining a model changes nothing: not the model, not its states, not the caller's arrays."""

import random
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_models import Case, draw, segmentation, sequential, subclassed, two_outputs

import lossledger as ll
from lossledger.explanation.model import explain_model
from lossledger.explanation.model._private import Private

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Drawing(layers.Layer):
    """A layer that draws from every random state there is."""

    def call(self, x: Any) -> Any:
        """Add numbers drawn by Python, NumPy, Keras and the framework."""
        plain = random.random() + np.random.rand()  # noqa: NPY002 - the global state is meant
        return x + 0.01 * plain + 0.01 * framework_draw()

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the shape of the inputs."""
        return shape


def framework_draw() -> Any:
    """Return a number of the framework's own global state; 0 on JAX, which has none."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.rand(()) + keras.random.normal(())
    if backend == "tensorflow":
        import tensorflow as tf

        generator = tf.random.get_global_generator()
        return generator.uniform(()) + tf.random.uniform(()) + keras.random.normal(())
    return 0.0


def drawing() -> Case:
    """A model with a layer that draws; on PyTorch, with modules of torch."""
    r = draw()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        seeded = tf.random.Generator.from_seed(7)
        tf.random.set_global_generator(seeded)
    x = keras.Input((5,))
    h = Drawing()(layers.Dropout(0.5)(x))
    if keras.backend.backend() == "torch":
        import torch

        norm = torch.nn.Sequential(torch.nn.BatchNorm1d(5), torch.nn.Dropout(0.5))
        h = layers.TorchModuleWrapper(norm, output_shape=(None, 5))(h)
    model = keras.Model(x, layers.Dense(2)(h), name="drawing")
    model.compile("adam", loss="mse", metrics=["mae"])
    return Case(model, r.normal(size=(8, 5)), r.normal(size=(8, 2)))


BUILDERS = {
    "sequential": sequential,
    "two outputs": two_outputs,
    "subclassed": subclassed,
    "segmentation": segmentation,
    "drawing": drawing,
}


def states(case: Case) -> dict[str, Any]:
    """Return everything that explaining must leave alone."""
    model = case.model
    found: dict[str, Any] = {}
    variables = [*model.variables, *model.optimizer.variables]
    for metric in model.metrics:
        variables += metric.variables
    for i, v in enumerate(variables):
        found[f"variable {i} {v.path}"] = keras.ops.convert_to_numpy(v.value).tolist()
    found["global seeds"] = keras.ops.convert_to_numpy(seeds().state.value).tolist()
    found["python"], found["numpy"] = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    compiled = model._compile_loss
    found["compiled loss"] = (compiled.built, repr(compiled._flat_losses), len(compiled._metrics))
    found["same compiled loss"] = id(compiled)
    found["names"] = [m.name for m in model.metrics]
    found["functions"] = (model.train_function, model.test_function, model.compiled)
    flat = model._flatten_layers()
    found["layers"] = [(x.name, x.trainable, x.built) for x in flat]
    found["added losses"] = [(len(x._losses), set(x._loss_ids)) for x in flat]
    found["data"] = repr([np.array(a) for a in keras.tree.flatten([case.x, case.y, case.options])])
    return found | framework_states(model)


def seeds() -> Any:
    """Return Keras' global seed generator."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator()


def framework_states(model: Any) -> dict[str, Any]:
    """Return what the framework keeps: global random states, torch buffers and modes."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        buffers = {n: b.tolist() for n, b in model.named_buffers()}
        modes = [m.training for m in model.modules()]
        grads = [p.grad is None for p in model.parameters()]
        return {
            "torch": torch.get_rng_state().tolist(), "buffers": buffers, "modes": modes,
            "grads": grads,
        }  # fmt: skip
    if backend == "tensorflow":
        import tensorflow as tf
        from tensorflow.python.eager import context

        state = tf.random.get_global_generator().state.numpy().tolist()
        return {"generator": state, "seeds": repr(context.context()._rng.getstate())}
    return {}


def changed(case: Case, act: Any) -> list[str]:
    """Return the names of the states that an action changes."""
    before = states(case)
    act()
    after = states(case)
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


@pytest.mark.parametrize("allowed", [True, False], ids=["private", "public alone"])
@pytest.mark.parametrize("name", BUILDERS)
def test_nothing_changes_before_the_first_fit(name, allowed):
    """Weights, statistics, seeds, metrics, optimizer, compiled loss and data stay as they were.

    What layers added in their last call, which every call begins anew, is put back by a
    private name alone.
    """
    case = BUILDERS[name]()
    private = Private(allowed)
    given = (case.model, case.x, case.y)
    found = changed(case, lambda: explain_model(*given, **case.options, private=private))
    assert set(found) <= (set() if allowed else {"added losses"})


@pytest.mark.parametrize("name", ["two outputs", "drawing"])
def test_nothing_changes_after_a_step(name):
    """The same between two steps, when metrics hold numbers and the optimizer has moments."""
    case = BUILDERS[name]()
    case.model.train_on_batch(case.x, case.y, **case.options)
    assert changed(case, lambda: ll.explain(case.model, case.x, case.y, **case.options)) == []


@pytest.mark.parametrize(
    ("name", "some"),
    [("segmentation", "moving_mean"), ("drawing", "numpy"), ("two outputs", "seed")],
)
def test_forward_pass_twin(name, some):
    """The broken twin: a bare forward pass in training mode is found out by the same comparison."""
    case = BUILDERS[name]()
    found = changed(case, lambda: case.model(case.x, training=True))
    assert any(some in each for each in found), found


def test_compute_loss_twin():
    """The broken twin: Keras' compute_loss outside of the scope builds the compiled loss."""
    case = subclassed()
    outputs = case.model(case.x)
    targets = {name: keras.ops.convert_to_tensor(y) for name, y in case.y.items()}
    found = changed(case, lambda: case.model.compute_loss(y=targets, y_pred=outputs))
    assert "compiled loss" in found


def test_training_goes_on_as_if_nothing_had_been():
    """Two runs from the same seed, one with explanations between: the same losses.

    Up to float32 rounding, which PyTorch does not repeat from run to run.
    """
    losses = []
    for explains in (False, True):
        case = drawing()
        run = []
        for _ in range(2):
            if explains:
                ll.explain(case.model, case.x, case.y)
            run.append(case.model.train_on_batch(case.x, case.y, return_dict=True)["loss"])
        losses.append(run)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
