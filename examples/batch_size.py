# SPDX-License-Identifier: Apache-2.0
"""Is the loss of a batch summed or averaged, and why is it the same at batch 32 and at 64?"""

from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lossledger as ll

BATCHES = (32, 64)
RATE = 0.1
EPOCHS = 5


def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's 1797 scanned digits as (images, labels), shuffled once."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(bunch.data / 16)[order], torch.tensor(bunch.target)[order]


def network() -> nn.Module:
    """Return a small network, with the same first weights at every call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double()


def cross_entropy(reduction: str) -> ll.Objective:
    """Return the cross entropy of the digits, averaged or summed."""
    term = ll.Term(
        "digit", ll.losses.CrossEntropy(), axes="batch class", classes=10, reduction=reduction
    )
    return ll.Objective(term)


def batches(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch's batches; the last holds what is left."""
    for start in range(0, len(labels), size):
        yield images[start : start + size], labels[start : start + size]


def look(model: nn.Module, data: tuple[Tensor, Tensor], reduction: str, size: int) -> ll.Ledger:
    """Return the epoch's ledger of a network that stays as it is."""
    objective = cross_entropy(reduction)
    with torch.no_grad():
        steps = [objective(model(x), y)[1] for x, y in batches(*data, size)]
    return sum(steps[1:], steps[0])


def train(data: tuple[Tensor, Tensor], reduction: str, size: int, rate: float) -> list[ll.Ledger]:
    """Train a fresh network with plain SGD; return the ledger of each epoch."""
    model, objective = network(), cross_entropy(reduction)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    order = torch.Generator().manual_seed(1)
    epochs = []
    for _ in range(EPOCHS):
        shuffled = torch.randperm(len(data[1]), generator=order)
        steps = []
        for x, y in batches(data[0][shuffled], data[1][shuffled], size):
            total, ledger = objective(model(x), y)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            steps.append(ledger)
        epochs.append(sum(steps[1:], steps[0]))
    return epochs


def show_one_pass(data: tuple[Tensor, Tensor]) -> dict[tuple[str, int], ll.Ledger]:
    """Print what one and the same network costs, by reduction and batch size."""
    print(f"1. One pass over {len(data[1])} digits with one network, no step taken\n")
    print(f"   {'reduction':<12}{'batch':>6}{'steps':>7}{'step_mean':>16}{'pooled':>16}")
    model, found = network(), {}
    for reduction in ("mean", "sum"):
        for size in BATCHES:
            ledger = found[reduction, size] = look(model, data, reduction, size)
            steps = -(-len(data[1]) // size)
            line = f"   {reduction:<12}{size:>6}{steps:>7}"
            print(f"{line}{ledger.step_mean:>16.8f}{ledger.pooled:>16.8f}")
    apart = abs(found["mean", 32].pooled - found["mean", 64].pooled)
    print(f"\n   pooled mean, 32 against 64, deviation: {apart:.1e}")
    return found


def show_last_batch(data: tuple[Tensor, Tensor]) -> float:
    """Print how much a short last batch moves the mean over steps; return by how much."""
    model = network()
    with torch.no_grad():
        values = cross_entropy("mean").values(model(data[0]), data[1])["cross_entropy"]
    by_value = values.argsort()
    print("\n2. The last batch holds 5 digits; the 5 that cost most are put there\n")
    print(f"   {'batch':<10}{'step_mean':>16}{'pooled':>16}{'difference':>16}")
    moved = 0.0
    for size in BATCHES:
        ledger = look(model, (data[0][by_value], data[1][by_value]), "mean", size)
        moved = ledger.step_mean - ledger.pooled
        print(f"   {size:<10}{ledger.step_mean:>16.8f}{ledger.pooled:>16.8f}{moved:>16.8f}")
    return moved


def show_training(data: tuple[Tensor, Tensor]) -> dict[str, list[ll.Ledger]]:
    """Print the epoch losses of trainings side by side."""
    runs = {
        f"mean 32, rate {RATE}": train(data, "mean", 32, RATE),
        f"mean 64, rate {RATE}": train(data, "mean", 64, RATE),
        f"mean 64, rate {2 * RATE}": train(data, "mean", 64, 2 * RATE),
        f"sum 32, rate {RATE}/32": train(data, "sum", 32, RATE / 32),
        f"sum 64, rate {RATE}/64": train(data, "sum", 64, RATE / 64),
        f"sum 32, rate {RATE}": train(data, "sum", 32, RATE),
        f"sum 64, rate {RATE}": train(data, "sum", 64, RATE),
    }
    heads = "".join(f"{f'epoch {i + 1}':>11}" for i in range(EPOCHS))
    print("\n3. Training: mean over steps of what was minimised\n")
    print(f"   {'run':<22}{heads}{'accuracy':>11}")
    for name, epochs in runs.items():
        accuracy = right(epochs[-1]) / len(data[1])
        print(f"   {name:<22}" + "".join(f"{e.step_mean:>11.4f}" for e in epochs), end="")
        print(f"{accuracy:>11.3f}")
    return runs


def right(ledger: ll.Ledger) -> float:
    """Return how many digits were classified correctly, from the same pass."""
    return sum(((row.accuracy or 0.0) * (row.support or 0) for row in ledger.rows), 0.0)


def show_denominators(data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Print one batch's loss under each denominator, with the number it divided by."""
    x, y = data[0][:32], data[1][:32]
    mask = torch.arange(32) < 24
    weight = torch.ones(32, dtype=torch.float64)
    weight[:4], weight[4:12] = 0.0, 3.0
    # Ten yes/no answers a digit: 32 samples have 320 elements. Divisors by hand, with the
    # mask alone and with the weights: (Σw, Σw), (N, N), …
    rules = (
        ("weights", ll.Mean(), 240, 360, "torch, weighted cross entropy"),
        ("elements", ll.Mean(denominator="elements"), 320, 320, "Keras 3, sample weights"),
        ("nonzero", ll.Mean(denominator="nonzero"), 240, 200, "tf.losses, the default"),
        ("mask", ll.Mean(denominator="mask"), 240, 240, "Keras 3, masks"),
        ("samples", ll.Mean(denominator="samples"), 32, 32, "torch, 'batchmean'"),
        ("1000.0", ll.Mean(denominator=1000.0), 1000, 1000, "a constant"),
    )
    with torch.no_grad():
        outputs = network()(x)
    hot = nn.functional.one_hot(y, 10).double()
    print("\n4. One batch of 32: 8 digits masked, 4 of weight 0, 8 of weight 3, 12 of weight 1\n")
    print(f"   {'':<12}{'mask alone':>20}{'mask and weights':>22}")
    heads = "".join(f"{name:>11}" for name in ("divided by", "loss") * 2)
    print(f"   {'denominator':<12}{heads}{'deviation':>11}   as in")
    found = {}
    for name, reduction, masked, weighted, source in rules:
        loss = ll.losses.BinaryCrossEntropy()
        objective = ll.Objective(ll.Term("digit", loss, axes="batch class", reduction=reduction))
        alone = objective(outputs, hot, mask=mask)[1]
        both = objective(outputs, hot, mask=mask, sample_weight=weight)[1]
        apart = max(by_hand(alone, masked), by_hand(both, weighted))
        line = f"{masked:>11}{alone.total:>11.5f}{weighted:>11}{both.total:>11.5f}{apart:>11.1e}"
        print(f"   {name:<12}{line}   {source}")
        found[name] = both.total
    return found


def by_hand(ledger: ll.Ledger, divisor: float) -> float:
    """Return how far a total is from its rows' numerators over a divisor."""
    return abs(ledger.total - sum(row.numerator or 0.0 for row in ledger.rows) / divisor)


def main() -> None:
    """Run the four experiments and answer."""
    torch.set_num_threads(1)  # arrays this small are faster on one
    data = digits()
    one_pass = show_one_pass(data)
    moved = show_last_batch(data)
    runs = show_training(data)
    losses = show_denominators(data)
    same, small = one_pass["mean", 32].pooled, one_pass["sum", 32].step_mean
    large = one_pass["sum", 64].step_mean
    last = {name: epochs[-1].step_mean for name, epochs in runs.items()}
    first, slow, fast = (last[n] for n in list(runs)[:3])
    lost = right(runs[f"sum 32, rate {RATE}"][-1])
    print(f"""
Answer
   The usual loss is averaged: the batch's sum is divided by its number of elements. Twice
   the batch doubles both, so the same network costs {same:.4f} at batch 32 and at 64.
   Summed, a step costs {small:.1f} at 32 and {large:.1f} at 64, {large / small:.3f} times as much
   (57 / 29 steps: not 2, because the last batch is short).
   In training the path differs, not the loss: at the same rate, batch 64 takes half as many
   steps and is behind ({slow:.4f} against {first:.4f} in the last epoch); at twice the rate
   it keeps up ({fast:.4f}). Summed at the same rate, every step is 32 or 64 times as long
   and the network learns nothing ({lost:.0f} of 1797 right); at rate / batch it learns as
   before, but for the last batch, whose 5 digits are divided by 32 or 64.
   A mean over steps gives the 5 digits of the last batch as much say as 64 of another: up
   to {moved:+.4f} here. Added ledgers keep sums and divide once, so `pooled` is exact.
   Under a mask and weights "mean" says nothing by itself: the same batch costs from
   {min(losses.values()):.4f} to {max(losses.values()):.4f}, depending on the denominator.""")


if __name__ == "__main__":
    main()
