# SPDX-License-Identifier: Apache-2.0
"""With two Keras losses on shared layers A, B and heads C, D: which layer learns from which?"""

import keras
import numpy as np
from sklearn.datasets import load_digits

import lossledger as ll

WEIGHTS = {"C": 1.0, "D": 0.3}
LAYERS = ("A", "B", "C", "D")
RATE = 1e-4
"""So small that a step is the gradient times it, to the digits printed."""

Batch = tuple[np.ndarray, dict[str, np.ndarray]]


def use_float64() -> None:
    """Keep weights in float64; `keras.ops.mean` still computes in float32 on some backends."""
    keras.config.set_floatx("float64")
    if keras.config.backend() == "jax":
        import jax  # noqa: PLC0415 - only where it is the backend

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def digits() -> Batch:
    """Return the images, and for each its digit and the center of its ink, in pixels."""
    bunch = load_digits()
    images = bunch.images / 16
    places = np.arange(8) - 3.5
    ink = images.sum((1, 2))
    center = [(images.sum(2) * places).sum(1) / ink, (images.sum(1) * places).sum(1) / ink]
    return images.reshape(-1, 64), {"C": bunch.target, "D": np.stack(center, 1)}


def compiled(weights: dict[str, float]) -> keras.Model:
    """Return the network with the same first weights at every call: A, B, then heads C and D."""
    keras.utils.set_random_seed(0)
    images = keras.Input((64,))
    shared = keras.layers.Dense(32, "relu", name="A")(images)
    shared = keras.layers.Dense(16, "relu", name="B")(shared)
    heads = {
        "C": keras.layers.Dense(10, name="C")(shared),
        "D": keras.layers.Dense(2, name="D")(shared),
    }
    model = keras.Model(images, heads)
    losses = {"C": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "D": "mse"}
    model.compile(keras.optimizers.SGD(RATE), losses, loss_weights=weights)
    return model


def show_parts(batch: Batch) -> None:
    """Print what each loss adds to the total."""
    told = ll.explain(compiled(WEIGHTS), *batch)
    print(f"1. `ll.explain` on all {len(batch[0])} digits\n")
    print(f"   {'output':<10}{'value':>14}{'loss weight':>14}{'contribution':>14}")
    for piece in told.pieces:
        line = f"{piece.value:>14.8f}{piece.loss_weight:>14g}{piece.contribution:>14.8f}"
        print(f"   {piece.output:<10}{line}")
    print(f"   {'total':<10}{told.total:>42.8f}")
    print(f"   {'Keras':<10}{told.number:>42.8f}")
    print(f"   {'deviation':<10}{told.deviation:>42.1e}")


def gradients(weights: dict[str, float], batch: Batch) -> dict[str, np.ndarray]:
    """Return each kernel's gradient: what one step of plain SGD changes, over its rate.

    It works on every backend. A loss weight of 0 switches a loss off.
    """
    model = compiled(weights)
    before = {name: np.array(model.get_layer(name).get_weights()[0]) for name in LAYERS}
    model.train_on_batch(*batch)
    return {n: (before[n] - model.get_layer(n).get_weights()[0]) / RATE for n in LAYERS}


def show_layers(batch: Batch) -> dict[str, tuple[float, float]]:
    """Print each layer's gradient by loss; return the norms."""
    first, second, both = (
        gradients(weights, batch)
        for weights in ({"C": 1.0, "D": 0.0}, {"C": 0.0, "D": 1.0}, WEIGHTS)
    )
    print("\n2. Norm of each kernel's gradient, by loss (weights 1 and 1), and of the total\n")
    print(f"   {'layer':<10}{'loss of C':>14}{'loss of D':>14}{'total':>14}{'deviation':>14}")
    found = {}
    for name in LAYERS:
        one, two, total = (float(np.linalg.norm(g[name])) for g in (first, second, both))
        summed = WEIGHTS["C"] * first[name] + WEIGHTS["D"] * second[name]
        off = float(np.abs(both[name] - summed).max() / np.abs(both[name]).max())
        print(f"   {name:<10}{one:>14.8f}{two:>14.8f}{total:>14.8f}{off:>14.1e}")
        found[name] = one, two
    return found


def main() -> None:
    """Run the two experiments and answer."""
    use_float64()
    batch = digits()
    show_parts(batch)
    reach = show_layers(batch)
    alone = {name: [n for n, g in zip("CD", reach[name], strict=True) if g] for name in LAYERS}
    told = "\n".join(f"   {n} learns from the loss of {' and of '.join(alone[n])}." for n in LAYERS)
    print(f"""
Answer
   The total is 1 · loss of C + 0.3 · loss of D, and a gradient of a sum is the sum of the
   gradients. A layer learns from every loss that its output goes into:
{told}
   So the loss weight of D changes nothing in C's gradient, and scales D's; only A and B
   have to weigh one loss against the other.""")


if __name__ == "__main__":
    main()
