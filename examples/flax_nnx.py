# SPDX-License-Identifier: Apache-2.0
"""How does an objective go into a Flax NNX training step, and what did the loss consist of?"""

import jax
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import lossledger as ll

BATCH = 64
EPOCHS = 5
DECAY = 1e-3

Batch = tuple[jax.Array, jax.Array]


class Network(nnx.Module):
    """Two layers, dropout between them."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draw the first weights."""
        self.hidden = nnx.Linear(64, 48, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(48, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits of the ten digits."""
        logits: jax.Array = self.head(self.dropout(nnx.relu(self.hidden(images))))
        return logits


OBJECTIVE = ll.Objective(
    ll.Term("digit", ll.losses.CrossEntropy(), axes="batch class", classes=10, name="data"),
    ll.L2(DECAY, half=True),
)


def loss(model: Network, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, ll.Ledger]:
    """Return (total, ledger): the form that `has_aux=True` wants."""
    kernels = [model.hidden.kernel[...], model.head.kernel[...]]
    return OBJECTIVE(model(images), labels, parameters=kernels)


@nnx.jit
def step(
    model: Network, optimizer: nnx.Optimizer[Network], images: jax.Array, labels: jax.Array
) -> ll.Ledger:
    """Train on a batch; the ledger comes out beside the gradient."""
    (_, ledger), slopes = nnx.value_and_grad(loss, has_aux=True)(model, images, labels)
    optimizer.update(model, slopes)
    found: ll.Ledger = ledger
    return found


@nnx.jit
def look(model: Network, images: jax.Array, labels: jax.Array) -> ll.Ledger:
    """Return the ledger of a batch."""
    return loss(model, images, labels)[1]


def batches(data: Batch, order: np.ndarray) -> list[Batch]:
    """Return batches in an order; the last holds what is left, and is compiled for itself."""
    starts = range(0, len(order), BATCH)
    return [(data[0][order[i : i + BATCH]], data[1][order[i : i + BATCH]]) for i in starts]


def by_hand(model: Network, data: Batch) -> tuple[float, float]:
    """Return what optax and jax.numpy make of the same data: cross entropy and penalty."""
    each = optax.softmax_cross_entropy_with_integer_labels(model(data[0]), data[1])
    squares = sum((k[...] ** 2).sum() for k in (model.hidden.kernel, model.head.kernel))
    return float(each.mean()), float(DECAY / 2 * squares)


def show_training(model: Network, data: Batch) -> None:
    """Train and print what every epoch's loss consisted of."""
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    print(f"1. {EPOCHS} epochs on {len(data[1])} digits, batch {BATCH}\n")
    print(f"   {'epoch':<8}{'total':>10}{'data':>10}{'L2':>10}{'accuracy':>10}")
    model.train()  # type: ignore[no-untyped-call]
    for epoch in range(EPOCHS):
        steps = [step(model, optimizer, *b) for b in batches(data, rng.permutation(len(data[1])))]
        ledger = sum(steps[1:], steps[0])
        part = {row.term: row.contribution for row in ledger.by("term")}
        right = sum((row.accuracy or 0.0) * (row.support or 0) for row in ledger.rows)
        line = f"{ledger.total:>10.4f}{part['data']:>10.4f}{part['l2']:>10.4f}"
        print(f"   {epoch + 1:<8}{line}{right / len(data[1]):>10.3f}")


def show_evaluation(model: Network, data: Batch) -> float:
    """Print the network's loss in batches, and in one; return how far the two are apart."""
    model.eval()  # type: ignore[no-untyped-call]
    steps = [look(model, *b) for b in batches(data, np.arange(len(data[1])))]
    ledger = sum(steps[1:], steps[0])
    entropy, penalty = by_hand(model, data)
    apart = abs(ledger.pooled - entropy - penalty)
    print("\n2. All digits, no dropout: merged batches, and optax on all at once\n")
    print(f"   merged batches      {ledger.pooled:.12f}")
    print(f"   optax, one batch    {entropy + penalty:.12f}")
    print(f"   deviation           {apart:.1e}")
    print(f"\n{ledger}")
    return apart


def main() -> None:
    """Train, evaluate, and say how."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    bunch = load_digits()
    data = jax.numpy.asarray(bunch.data / 16), jax.numpy.asarray(bunch.target)
    model = Network(nnx.Rngs(0))
    show_training(model, data)
    apart = show_evaluation(model, data)
    print(f"""
Answer
   An objective is a pure function of outputs, targets and parameters that returns (total,
   ledger). `nnx.value_and_grad(..., has_aux=True)` differentiates the total and hands the
   ledger through, a pytree of small arrays, under jit. Ledgers of steps add up: the merged
   one gives the loss of all digits to {apart:.1e}, though the last batch holds 5.""")


if __name__ == "__main__":
    main()
