# SPDX-License-Identifier: Apache-2.0
"""Is Keras' loss of a batch summed or averaged, and why is it the same at batch 32 and 64?"""

import keras
import numpy as np
from sklearn.datasets import load_digits

import lossledger as ll

BATCHES = (32, 64)
RATE = 1e-3

Data = tuple[np.ndarray, np.ndarray]


def use_float64() -> None:
    """Keep weights in float64; `keras.ops.mean` still computes in float32 on some backends."""
    keras.config.set_floatx("float64")
    if keras.config.backend() == "jax":
        import jax  # noqa: PLC0415 - only where it is the backend

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def digits() -> Data:
    """Return scikit-learn's 1797 scanned digits as (images, labels), shuffled once."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    return bunch.data[order] / 16, bunch.target[order]


def compiled(loss: keras.losses.Loss) -> keras.Model:
    """Return a small network with the same first weights at every call, and this loss."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(RATE), loss)
    return model


def cross_entropy(
    reduction: str = "sum_over_batch_size", ignore_class: int | None = None
) -> keras.losses.Loss:
    """Return Keras' cross entropy of logits and labels."""
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction, ignore_class=ignore_class
    )


def show_one_pass(data: Data) -> dict[tuple[str, int], float]:
    """Print what `evaluate` says of one network, by reduction and batch size."""
    print(f"1. `evaluate` on {len(data[1])} digits with one network, no step taken\n")
    print(f"   {'reduction':<22}{'batch 32':>16}{'batch 64':>16}{'ratio':>10}")
    found = {}
    for reduction in ("sum_over_batch_size", "sum"):
        model = compiled(cross_entropy(reduction))
        for size in BATCHES:
            found[reduction, size] = model.evaluate(*data, batch_size=size, verbose=0)
        small, large = (found[reduction, size] for size in BATCHES)
        print(f"   {reduction:<22}{small:>16.10f}{large:>16.10f}{large / small:>10.4f}")
    return found


def show_fractions(data: Data) -> None:
    """Print the numerator and the denominator of a batch's loss."""
    print("\n2. `ll.explain` on a batch: loss = numerator / denominator\n")
    heads = ("numerator", "denominator", "loss", "Keras itself", "deviation")
    print(f"   {'batch':<34}" + "".join(f"{h:>14}" for h in heads))
    labels = data[1].copy()
    labels[:8] = -1
    weight = np.ones(32)
    weight[:8] = 0
    weighted = cross_entropy("mean_with_sample_weight")
    for name, loss, size, targets, weights in (
        ("32", cross_entropy(), 32, data[1], None),
        ("64", cross_entropy(), 64, data[1], None),
        ("32, summed", cross_entropy("sum"), 32, data[1], None),
        ("32, 8 of weight 0", cross_entropy(), 32, data[1], weight),
        ("32, 8 of weight 0, divided by Σw", weighted, 32, data[1], weight),
        ("32, 8 ignored by ignore_class", cross_entropy(ignore_class=-1), 32, labels, None),
    ):
        model = compiled(loss)
        found = ll.explain(model, data[0][:size], targets[:size], sample_weight=weights)
        piece = found.pieces[0]
        line = f"{piece.numerator:>14.6f}{piece.denominator:>14g}{piece.value:>14.8f}"
        print(f"   {name:<34}{line}{found.number:>14.8f}{found.deviation:>14.1e}")


def show_steps(data: Data) -> dict[tuple[str, int], float]:
    """Print how long one step of SGD is, by reduction and batch size."""
    print("\n3. Length of one SGD step over the rate: the gradient's norm\n")
    print(f"   {'reduction':<22}{'batch 32':>16}{'batch 64':>16}{'ratio':>10}")
    found = {}
    for reduction in ("sum_over_batch_size", "sum"):
        for size in BATCHES:
            model = compiled(cross_entropy(reduction))
            before = [w.copy() for w in model.get_weights()]
            model.train_on_batch(data[0][:size], data[1][:size])
            pairs = zip(before, model.get_weights(), strict=True)
            moved = sum(float(((old - new) ** 2).sum()) for old, new in pairs)
            found[reduction, size] = moved**0.5 / RATE
        small, large = (found[reduction, size] for size in BATCHES)
        print(f"   {reduction:<22}{small:>16.10f}{large:>16.10f}{large / small:>10.4f}")
    return found


def main() -> None:
    """Run the three experiments and answer."""
    use_float64()
    data = digits()
    one_pass = show_one_pass(data)
    show_fractions(data)
    steps = show_steps(data)
    small, large = (one_pass["sum", size] for size in BATCHES)
    mean = one_pass["sum_over_batch_size", 32]
    longer = steps["sum", 64] / steps["sum", 32]
    print(f"""
Answer
   Averaged, unless you say "sum": Keras' default divides the batch's sum by the number of its
   elements. Twice the batch doubles both, so one network costs {mean:.4f} at 32 and at 64.
   Summed, the same network costs {small:.1f} at 32 and {large:.1f} at 64.
   Weights of 0 leave the numerator and stay in the denominator; `ignore_class` leaves both.
   A step by the sum of 64 is {longer:.2f} times as long as by the sum of 32; by the mean it is half
   of that: not longer because there are more of them.""")


if __name__ == "__main__":
    main()
