# SPDX-License-Identifier: Apache-2.0
"""W7: what a step of Keras' `fit` costs with a ledger; a process for each backend.

`make bench ARGS="--only W7"` starts it with KERAS_BACKEND set.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PLAIN, COMPILED, BESIDE = "Keras' loss", "ll.keras.compile", "ll.keras.LedgerCallback"
GOALS = {"conv": 1.03, "mlp": 1.15}
CLASSES = 10
AGREE = 1e-5
"""Largest deviation of the losses that `fit` reports: float32, summed in another order."""


class Fitted(NamedTuple):
    """What two epochs gave: seconds of a step of the second, and the loss of the last."""

    seconds: float
    loss: float


def main() -> None:
    """Measure both models on this process's backend, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # JAX and TensorFlow ask the system
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    clock = time.process_time if options.cpu_time else time.perf_counter
    rounds = 2 if options.quick else options.rounds
    rows = [row for model in GOALS for row in measure(model, rounds, clock, options.quick)]
    backend = os.environ["KERAS_BACKEND"]
    title = f"steps of Keras' `fit` on {backend}"
    head = f"{'Processor times' if options.cpu_time else 'Times'} in ms; {rounds} rounds."
    found = {"name": options.name, "title": title, "rows": rows, "text": f"{head}\n\n{table(rows)}"}
    options.out.write_text(json.dumps(found), encoding="utf-8")


def measure(
    model: str, rounds: int, clock: Callable[[], float], quick: bool
) -> list[dict[str, Any]]:
    """Let everyone train in turns; return a row for each.

    Raises:
        SystemExit: If one of them minimises something else.
    """
    epochs = {who: epoch(who, model, clock, quick) for who in (PLAIN, COMPILED, BESIDE)}
    compare({who: run().loss for who, run in epochs.items()})
    seconds: dict[str, list[float]] = {who: [] for who in epochs}
    for i in range(rounds):
        for who in list(epochs)[:: 1 if i % 2 else -1]:
            seconds[who].append(epochs[who]().seconds)
    rows = []
    for who, found in seconds.items():
        ratios = [mine / plain for mine, plain in zip(found, seconds[PLAIN], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4, method="inclusive")
        goal = None if who == PLAIN else GOALS[model]
        median = statistics.median(found)
        rows.append(
            {"name": f"{model}, {who}", "median_seconds": median, "ratio": quartiles, "goal": goal}
        )
    return rows


def compare(losses: dict[str, float]) -> None:
    """Compare the losses that `fit` reports.

    Raises:
        SystemExit: If they differ.
    """
    for who, loss in losses.items():
        if abs(loss - losses[PLAIN]) > AGREE * abs(losses[PLAIN]):
            raise SystemExit(f"{who} is no competitor: its loss is {loss}, not {losses[PLAIN]}")


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| model, loss | a step | / Keras' loss | quartiles | goal |",
        "| :--- | ---: | ---: | :---: | ---: |",
    ]
    for row in rows:
        low, middle, high = row["ratio"]
        goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
        step = f"{row['median_seconds'] * 1e3:.3f}"
        lines.append(f"| {row['name']} | {step} | {middle:.3f} | {low:.3f} – {high:.3f} | {goal} |")
    return "\n".join(lines)


def epoch(who: str, name: str, clock: Callable[[], float], quick: bool) -> Callable[[], Fitted]:
    """Return a function that trains for two epochs."""
    import keras  # noqa: PLC0415 - its backend is chosen by the process
    import numpy as np  # noqa: PLC0415 - beside it

    import lossledger as ll  # noqa: PLC0415 - beside it

    model, shape, steps, batch = built(keras, name, quick)
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
    return timed(keras, model, (x, y), {"batch_size": batch, "callbacks": callbacks}, clock)


def timed(
    keras: Any,
    model: Any,
    data: tuple[Any, Any],
    settings: dict[str, Any],
    clock: Callable[[], float],
) -> Callable[[], Fitted]:
    """Return a function that trains, and gives the mean seconds of the steps after the first."""

    class Steps(keras.callbacks.Callback):  # type: ignore[misc]
        """Notes when steps end."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            """Start anew."""
            self.ends: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            """Note the time."""
            self.ends.append(clock())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Wait for what still runs."""
            self.loss = float(logs["loss"])
            self.ends.append(clock())

    def run() -> Fitted:
        steps = Steps()
        given = settings | {"callbacks": [*settings["callbacks"], steps]}
        model.fit(*data, **given, verbose=0, shuffle=False, epochs=2)
        return Fitted((steps.ends[-1] - steps.ends[0]) / (len(steps.ends) - 2), steps.loss)

    return run


def built(keras: Any, name: str, quick: bool) -> tuple[Any, tuple[int, ...], int, int]:
    """Return a model, the shape of a sample, the steps of an epoch and the batch size."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    if name == "mlp":
        stack = [layers.Dense(32, activation="relu"), layers.Dense(CLASSES, name="y")]
        return keras.Sequential([keras.Input((16,)), *stack]), (16,), 4 if quick else 100, 64
    stack = [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(CLASSES, 1, name="y"),
    ]
    side, steps, batch = (8, 3, 4) if quick else (32, 6, 16)
    shape = (side, side, 3)
    return keras.Sequential([keras.Input(shape), *stack]), shape, steps, batch


if __name__ == "__main__":
    main()
