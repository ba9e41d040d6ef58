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
    yield from zip(images.split(size), labels.split(size), strict=True)


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
    return sum((row.accuracy or 0.0) * (row.support or 0) for row in ledger.rows)


def show_denominators(data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Print one batch's loss under each denominator, with the number it divided by."""
    x, y = data[0][:32], data[1][:32]
    mask = torch.arange(32) < 24
    weight = torch.ones(32, dtype=torch.float64)
    weight[:4], weight[4:12] = 0.0, 3.0
    mass = mask * weight
    # Ten yes/no answers a digit: 320 elements of 32 samples.
    divisors: dict[str | float, float] = {
        "weights": 10 * float(mass.sum()),
        "elements": 320.0,
        "nonzero": 10 * float((mass != 0).sum()),
        "mask": 10 * float(mask.sum()),
        "samples": 32.0,
        1000.0: 1000.0,
    }
    with torch.no_grad():
        outputs = network()(x)
    hot = nn.functional.one_hot(y, 10).double()
    print("\n4. One batch of 32: 8 digits masked, 4 of weight 0, 8 of weight 3, 12 of weight 1\n")
    print(f"   {'denominator':<14}{'numerator':>14}{'divided by':>14}{'loss':>14}{'deviation':>12}")
    found = {}
    for name, divisor in divisors.items():
        term = ll.Term(
            "digit",
            ll.losses.BinaryCrossEntropy(),
            axes="batch class",
            reduction=ll.Mean(denominator=name),  # type: ignore[arg-type]
        )
        ledger = ll.Objective(term)(outputs, hot, mask=mask, sample_weight=weight)[1]
        numerator = sum(row.numerator or 0.0 for row in ledger.rows)
        apart = abs(ledger.total - numerator / divisor)
        line = f"   {name!s:<14}{numerator:>14.6f}{divisor:>14.0f}{ledger.total:>14.6f}"
        print(f"{line}{apart:>12.1e}")
        found[str(name)] = ledger.total
    return found


def main() -> None:
    """Run the four experiments and answer."""
    data = digits()
    one_pass = show_one_pass(data)
    moved = show_last_batch(data)
    runs = show_training(data)
    losses = show_denominators(data)
    mean, total = one_pass["mean", 32], {b: one_pass["sum", b].step_mean for b in BATCHES}
    last = {name: epochs[-1].step_mean for name, epochs in runs.items()}
    print(f"""
Answer
   The usual loss is averaged: the batch's sum is divided by its number of elements. Twice
   the batch doubles both, so the same network costs {mean.pooled:.4f} at batch 32 and at 64.
   Summed, a step costs {total[32]:.1f} at 32 and {total[64]:.1f} at 64: {total[64] / total[32]:.3f} \
times as much
   (not 2, because of the short last batch: 57 and 29 steps).
   In training the numbers differ a little, not by the loss but by the path: at the same
   rate, 64 takes half as many steps ({last["mean 32, rate 0.1"]:.4f} against \
{last["mean 64, rate 0.1"]:.4f} in the last epoch); at twice
   the rate it follows more closely ({last["mean 64, rate 0.2"]:.4f}).
   A mean over steps gives 5 digits in the last batch as much say as 64 in another: up to
   {moved:+.4f} here. Adding ledgers keeps sums and divides once, so `pooled` is exact.
   With masks and weights, "mean" alone says nothing: the same batch costs from
   {min(losses.values()):.4f} to {max(losses.values()):.4f}, depending on the denominator.""")


if __name__ == "__main__":
    main()
