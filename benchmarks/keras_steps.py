# SPDX-License-Identifier: Apache-2.0
"""W7: what a step of Keras' `fit` costs with a ledger, on each backend in a process of its own.

`python benchmarks/keras_steps.py` prints a table; `--backend jax` alone, `--quick` a short run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BACKENDS = ("jax", "torch", "tensorflow")
PLAIN, COMPILED, BESIDE = "Keras' loss", "ll.keras.compile", "LedgerCallback"
GOALS = {"conv": 1.03, "mlp": 1.15}
CLASSES = 10


def main() -> None:
    """Start a process for every backend, or measure in this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        for name in GOALS:
            report(options.backend, name, 2 if options.quick else options.rounds)
        return
    print("| backend | model | with | ms a step | ratio | goal |")
    print("| :--- | :--- | :--- | ---: | ---: | ---: |", flush=True)
    for backend in [options.backend] if options.backend else BACKENDS:
        own = ["--here", "--backend", backend, "--rounds", str(options.rounds)]
        quick = ["--quick"] if options.quick else []
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
        subprocess.run([sys.executable, __file__, *own, *quick], env=environment, check=True)


def report(backend: str, name: str, rounds: int) -> None:
    """Measure everyone in turns, and print the medians."""
    epochs = {who: epoch(who, name) for who in (PLAIN, COMPILED, BESIDE)}
    for run in epochs.values():
        run()
    seconds: dict[str, list[float]] = {who: [] for who in epochs}
    for i in range(rounds):
        for who in list(epochs)[:: 1 if i % 2 else -1]:
            seconds[who].append(epochs[who]())
    for who, found in seconds.items():
        ratio = statistics.median(
            mine / plain for mine, plain in zip(found, seconds[PLAIN], strict=True)
        )
        goal = "" if who == PLAIN else f"{GOALS[name]:.2f}"
        milliseconds = statistics.median(found) * 1e3
        print(f"| {backend} | {name} | {who} | {milliseconds:.3f} | {ratio:.3f} | {goal} |")
    sys.stdout.flush()


def epoch(who: str, name: str) -> Callable[[], float]:
    """Return a function that trains for one epoch, and gives the seconds of a step."""
    import keras  # noqa: PLC0415 - its backend is chosen by the process
    import numpy as np  # noqa: PLC0415 - beside it

    import lossledger as ll  # noqa: PLC0415 - beside it

    model, shape, steps, batch = built(keras, name)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * batch, *shape)).astype("float32")
    labels = (steps * batch, *(shape[:-1] if name == "conv" else ()))
    y = rng.integers(0, CLASSES, labels)
    axes = "batch height width class" if name == "conv" else "batch class"
    term = ll.Term("y", ll.losses.CrossEntropy(), axes, classes=CLASSES)
    optimizer = keras.optimizers.SGD(0.01)
    callbacks = []
    if who == COMPILED:
        ll.keras.compile(model, ll.Objective(term), optimizer)
    else:
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callbacks = [ll.keras.LedgerCallback(term)] if who == BESIDE else []
    return timed(keras, model, (x, y), batch, callbacks)


def timed(
    keras: Any, model: Any, data: tuple[Any, Any], batch: int, callbacks: list[Any]
) -> Callable[[], float]:
    """Return a function that trains and gives the mean seconds of the steps after the first."""

    class Steps(keras.callbacks.Callback):  # type: ignore[misc]
        """Notes when steps end."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            """Start anew."""
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            """Note the time."""
            self.ends.append(time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Wait for what still runs."""
            float(logs["loss"])
            self.ends.append(time.perf_counter())

    def run() -> float:
        steps = Steps()
        given = {"batch_size": batch, "verbose": 0, "shuffle": False, "epochs": 2}
        model.fit(*data, **given, callbacks=[*callbacks, steps])
        return (steps.ends[-1] - steps.ends[0]) / (len(steps.ends) - 2)

    return run


def built(keras: Any, name: str) -> tuple[Any, tuple[int, ...], int, int]:
    """Return a model, the shape of a sample, the steps of an epoch and the batch size."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    if name == "mlp":
        stack = [layers.Dense(32, activation="relu"), layers.Dense(CLASSES, name="y")]
        return keras.Sequential([keras.Input((16,)), *stack]), (16,), 100, 64
    stack = [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(CLASSES, 1, name="y"),
    ]
    return keras.Sequential([keras.Input((32, 32, 3)), *stack]), (32, 32, 3), 6, 16


if __name__ == "__main__":
    main()
