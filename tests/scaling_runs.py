# SPDX-License-Identifier: Apache-2.0
"""Real optimizers on a small network, made by running the snippets that a conversion prints."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from lossledger.scaling import Settings

STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 60, 48, 5, 4, 3
CLOSE = 1e-10
TELLING = 1e-6
"""What a setting that was forgotten must move at least one parameter by."""

# Thresholds that the mean's gradient of this network crosses in some steps and not in others.
EXTRAS = {
    "plain": {},
    "l2": {"l2": 0.02},
    "clip norm": {"clip_norm": 0.2},
    "clip value": {"clip_value": 0.06},
}
_SGD = {"lr": 0.2}
_ADAM = {"lr": 0.02, "eps": 1e-3}
_OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd", _SGD),
    "momentum": ("sgd", _SGD | {"momentum": 0.9}),
    "dampening": ("sgd", _SGD | {"momentum": 0.9, "dampening": 0.5}),
    "nesterov": ("sgd", _SGD | {"momentum": 0.9, "nesterov": True}),
    "sgd, coupled": ("sgd", _SGD | {"momentum": 0.9, "weight_decay": 0.05}),
    "sgd, decoupled": ("sgd", _SGD | {"momentum": 0.9, "weight_decay": 0.05, "decoupled": True}),
    "adam": ("adam", _ADAM),
    "adam, coupled": ("adam", _ADAM | {"weight_decay": 0.05}),
    "adam, decoupled": ("adam", _ADAM | {"weight_decay": 0.05, "decoupled": True}),
    "amsgrad": ("adam", _ADAM | {"amsgrad": True}),
    "adamw": ("adamw", _ADAM | {"weight_decay": 0.1}),
    "nadam": ("nadam", _ADAM | {"weight_decay": 0.05}),
    "adamax": ("adamax", _ADAM | {"weight_decay": 0.05}),
    "rmsprop": ("rmsprop", _ADAM),
    "rmsprop, coupled": ("rmsprop", _ADAM | {"weight_decay": 0.05}),
    "rmsprop, decoupled": ("rmsprop", _ADAM | {"weight_decay": 0.05, "decoupled": True}),
    "rmsprop, momentum": ("rmsprop", {"lr": 0.004, "eps": 1e-3, "momentum": 0.9}),
    "rmsprop, centered": ("rmsprop", _ADAM | {"centered": True}),
    "adagrad": ("adagrad", {"lr": 0.05, "eps": 1e-3, "initial_accumulator": 0.01}),
    "adagrad, coupled": ("adagrad", {"lr": 0.05, "eps": 1e-3, "weight_decay": 0.05}),
    "adagrad, decoupled": (
        "adagrad",
        {"lr": 0.05, "eps": 1e-3, "weight_decay": 0.05, "decoupled": True},
    ),
    "lion": ("lion", {"lr": 0.004, "weight_decay": 0.1}),
    "lion, coupled": ("lion", {"lr": 0.004, "weight_decay": 0.05, "decoupled": False}),
    "sign": ("sign_sgd", {"lr": 0.004}),
    "sign, coupled": ("sign_sgd", {"lr": 0.004, "weight_decay": 0.05}),
    "rprop": ("rprop", {"lr": 0.004}),
}


def cases(library: str) -> dict[str, Settings]:
    """Return every optimizer of a library, with each extra, as settings for a mean."""
    found = {}
    for name, (optimizer, settings) in _OPTIMIZERS.items():
        if "dampening" in settings and library != "torch":
            continue
        if library == "keras" and "coupled" in name.split():
            continue
        for extra, options in EXTRAS.items():
            one = Settings(optimizer, library=library, **(settings | options))
            if library in one.kind.names:
                found[f"{name}, {extra}"] = one
    return found


@dataclass(frozen=True)
class Data:
    """A batch for each step, (step, batch, inputs) and (step, batch), and first parameters."""

    inputs: np.ndarray
    labels: np.ndarray
    start: list[np.ndarray] = field(default_factory=list)


@lru_cache
def data() -> Data:
    """Return the same data for everyone."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(STEPS, BATCH, INPUTS))
    truth = rng.normal(size=(INPUTS, CLASSES))
    labels = (inputs @ truth + rng.gumbel(size=(STEPS, BATCH, CLASSES))).argmax(-1)
    shapes = ((HIDDEN, INPUTS), (CLASSES, HIDDEN))
    return Data(inputs, labels, [rng.normal(size=shape) for shape in shapes])


def run_torch(settings: Settings, code: str, reduction: str, steps: int = STEPS) -> np.ndarray:
    """Train in float64 with a snippet; return all parameters after every step."""
    model = torch_model()
    names, path = executed(code, model=model), []
    for step in range(steps):
        torch_step(names, torch_loss(model, step, reduction, settings.l2))
        path.append(torch_parameters(model))
    return np.stack(path)


def executed(code: str, **names: Any) -> dict[str, Any]:
    """Return the names that a snippet leaves, given those that it uses."""
    exec(code, names)  # noqa: S102 - running what is printed is the purpose
    return names


def torch_step(names: dict[str, Any], loss: Any) -> None:
    """Take a step with what a snippet left: its own function, or its optimizer."""
    if "step" in names:
        names["step"](loss)
        return
    names["optimizer"].zero_grad()
    loss.backward()
    names["optimizer"].step()


def torch_model() -> Any:
    """Return the network with its first parameters."""
    import torch

    layers = [
        torch.nn.Linear(INPUTS, HIDDEN, bias=False),
        torch.nn.Tanh(),
        torch.nn.Linear(HIDDEN, CLASSES, bias=False),
    ]
    model = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), data().start, strict=True):
            parameter.copy_(torch.from_numpy(value))
    return model


def torch_loss(model: Any, step: int, reduction: str, l2: float) -> Any:
    """Return the loss of one step's batch, with the penalty that no batch divides."""
    import torch

    inputs, labels = (torch.from_numpy(a[step]) for a in (data().inputs, data().labels))
    value = torch.nn.functional.cross_entropy(model(inputs), labels, reduction=reduction)
    return value + l2 * sum(p.square().sum() for p in model.parameters())


def torch_parameters(model: Any) -> np.ndarray:
    """Return all parameters as one vector."""
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


@lru_cache
def jax_gradient() -> Any:
    """Return the gradient of the same loss, compiled once for all; `over` is its divisor."""
    import jax
    import jax.numpy as jnp

    def loss(params: Any, inputs: Any, labels: Any, over: float, l2: float) -> Any:
        logits = jnp.tanh(inputs @ params[0].T) @ params[1].T
        rows = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -rows.sum() / over + l2 * sum((p * p).sum() for p in params)

    return jax.jit(jax.grad(loss))


def run_optax(settings: Settings, code: str, reduction: str, steps: int = STEPS) -> np.ndarray:
    """Do the same in JAX; op by op, because compiling each optimizer takes longer."""
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        import optax

        params, path = [jnp.asarray(p) for p in data().start], []
        names = executed(code, params=params)
        over = BATCH if reduction == "mean" else 1
        state = names["state"]
        for batch in zip(data().inputs[:steps], data().labels[:steps], strict=True):
            slopes = jax_gradient()(params, *batch, float(over), settings.l2)
            updates, state = names["optimizer"].update(slopes, state, params)
            params = optax.apply_updates(params, updates)
            path.append(np.concatenate([np.asarray(p).ravel() for p in params]))
        assert path[-1].dtype == np.float64
        return np.stack(path)


def of_keras(variable: Any) -> np.ndarray:
    """Return a Keras variable's array, whatever the backend."""
    import keras

    return np.asarray(keras.ops.stop_gradient(variable.value)).copy()


def run_keras(settings: Settings, code: str, reduction: str, steps: int = STEPS) -> np.ndarray:
    """Do the same in Keras, whose hyperparameters are of its default dtype."""
    import jax
    import keras

    before, path = keras.config.floatx(), []
    keras.config.set_floatx("float64")
    try:
        with jax.enable_x64(True):
            optimizer = executed(code)["optimizer"]
            variables = [keras.Variable(p, dtype="float64") for p in data().start]
            over = BATCH if reduction == "mean" else 1
            for batch in zip(data().inputs[:steps], data().labels[:steps], strict=True):
                params = [of_keras(v) for v in variables]
                slopes = jax_gradient()(params, *batch, float(over), settings.l2)
                optimizer.apply(
                    [keras.ops.convert_to_tensor(np.array(g)) for g in slopes], variables
                )
                path.append(np.concatenate([of_keras(v).ravel() for v in variables]))
    finally:
        keras.config.set_floatx(before)
    return np.stack(path)


RUNS = {"torch": run_torch, "optax": run_optax, "keras": run_keras}


def run(settings: Settings, code: str, reduction: str, steps: int = STEPS) -> np.ndarray:
    """Train with the snippet of settings, in their own library."""
    return RUNS[settings.library](settings, code, reduction, steps)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of any parameter after any step."""
    return float(abs(one - other).max())
