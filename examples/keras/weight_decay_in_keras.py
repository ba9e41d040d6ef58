# SPDX-License-Identifier: Apache-2.0
"""What is in the loss of a Keras classifier with weight decay, and what divides what?"""

import keras
import numpy as np
from sklearn.datasets import load_digits

import lossledger as ll

DECAY = 1e-3
BATCHES = (32, 128)
EPOCHS = 3

Data = tuple[np.ndarray, np.ndarray]


def use_float64() -> None:
    """Keep weights in float64; `keras.ops.mean` still computes in float32 on some backends."""
    keras.config.set_floatx("float64")
    if keras.config.backend() == "jax":
        import jax  # noqa: PLC0415 - only where it is the backend

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def digits() -> Data:
    """Return 1792 scanned digits as images of one channel, and their labels, shuffled once."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))[:1792]
    return bunch.images[order][..., None] / 16, bunch.target[order]


def classifier(reduction: str = "sum_over_batch_size") -> keras.Model:
    """Return a convolutional network whose dense layers decay, as in CIFAR-10 tutorials."""
    keras.utils.set_random_seed(0)
    decay = keras.regularizers.L2(DECAY)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv1"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, "relu", kernel_regularizer=decay, name="local3"),
            keras.layers.Dense(10, kernel_regularizer=decay, name="softmax"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    model.compile(keras.optimizers.SGD(0.05), loss)
    return model


def show_parts(data: Data) -> list[tuple[float, float]]:
    """Print the parts of a batch's total, by reduction and batch size."""
    print("1. `ll.explain` on one batch: total = cross entropy + decay, no step taken\n")
    heads = ("cross entropy", "local3", "softmax", "total", "Keras itself", "deviation")
    print(f"   {'loss':<28}" + "".join(f"{h:>15}" for h in heads))
    found = []
    for reduction in ("sum_over_batch_size", "sum"):
        for size in BATCHES:
            told = ll.explain(classifier(reduction), data[0][:size], data[1][:size])
            amounts = [told.pieces[0].contribution, *(e.amount for e in told.extras)]
            line = "".join(f"{amount:>15.8f}" for amount in (*amounts, told.total, told.number))
            print(f"   {f'{reduction} {size}':<28}{line}{told.deviation:>15.1e}")
            found.append((amounts[0], sum(amounts[1:])))
    return found


def show_formula(data: Data) -> None:
    """Print the total in symbols."""
    told = ll.explain(classifier(), data[0][:32], data[1][:32])
    print(f"\n2. The formula\n\n   {told.formula}")


def show_epochs(data: Data) -> None:
    """Print what `fit` reports as one number, taken apart by a ledger beside it."""
    print("\n3. `fit` reports one number; the ledger beside it has its parts\n")
    print(f"   {'epoch':<10}{'loss in History':>18}{'cross entropy':>18}{'rest: decay':>18}")
    model = classifier()
    term = ll.Term("digit", ll.losses.CrossEntropy(), axes="batch class", classes=10, name="data")
    watch = ll.keras.LedgerCallback(ll.Objective(term))
    history = model.fit(*data, batch_size=128, epochs=EPOCHS, verbose=0, callbacks=[watch])
    for epoch in range(EPOCHS):
        total = history.history["loss"][epoch]
        entropy = history.history["data"][epoch]
        print(f"   {epoch + 1:<10}{total:>18.8f}{entropy:>18.8f}{total - entropy:>18.8f}")


def main() -> None:
    """Run the three experiments and answer."""
    use_float64()
    data = digits()
    parts = show_parts(data)
    show_formula(data)
    show_epochs(data)
    (mean, decay), _, (small, _), (large, _) = parts
    beside, less, least = decay / mean, decay / small, decay / large
    print(f"""
Answer
   Keras adds the penalty of every variable, {DECAY:g} times its sum of squares (no half), once a
   batch, and never divides it by the batch. Beside a mean it is {beside:.2%} of the data's part,
   and about as much at any batch size; beside a sum it is {less:.3%} at 32 and {least:.3%} at 128.
   Who sums the data has to multiply the decay by the batch size, or the penalty loses its say.
   `loss` in the progress bar is the total: data and decay in one number, averaged over the
   epoch as the weights change.""")


if __name__ == "__main__":
    main()
