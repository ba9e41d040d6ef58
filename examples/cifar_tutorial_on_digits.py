# SPDX-License-Identifier: Apache-2.0
"""What did the TensorFlow CIFAR-10 tutorial minimise, and what is its "Loss/avg"?

Its objective, on scanned digits: the cross entropy averaged over the batch plus, for
chosen layers, a collected weight-decay term wd * sum(w ** 2) / 2 (`tf.nn.l2_loss`); the
total is the sum of the collection (`tf.add_n`). What it reports beside each of them is
`tf.train.ExponentialMovingAverage(0.9)` of its value, which starts at 0.
"""

from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import lossledger as ll

DECAYS = {"local3": 0.004, "local4": 0.004}
"""The layers whose weights decay, and by how much, as in the tutorial."""
BATCH = 128
STEPS = 150
RATE = 0.1
MEMORY = 0.9

Data = tuple[Tensor, Tensor]


class Network(nn.Module):
    """The tutorial's layers at the size of an 8 x 8 image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.local3 = nn.Linear(64, 64)
        self.local4 = nn.Linear(64, 32)
        self.softmax_linear = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of ten digits."""
        x = functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.local4(torch.relu(self.local3(x.flatten(1)))))
        logits: Tensor = self.softmax_linear(x)
        return logits


def network() -> Network:
    """Return a network in float64, with the same first weights at every call."""
    torch.manual_seed(0)
    model = Network().double()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        else:
            nn.init.zeros_(parameter)
    return model


def digits() -> Data:
    """Return scikit-learn's 1797 scanned digits as (images, labels)."""
    bunch = load_digits()
    return torch.tensor(bunch.images / 16)[:, None], torch.tensor(bunch.target)


def batches(data: Data) -> Iterator[Data]:
    """Yield the training's batches, the same at every call."""
    order = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        part = torch.randint(len(data[1]), (BATCH,), generator=order)
        yield data[0][part], data[1][part]


def cross_entropy() -> ll.Term:
    """Return the mean cross entropy of the batch."""
    loss = ll.losses.CrossEntropy()
    return ll.Term("logits", loss, axes="batch class", classes=10, name="cross_entropy")


def tutorial(model: Network) -> ll.Objective:
    """Return the tutorial's objective: the cross entropy and one decay term a layer."""
    decays = [
        ll.L2(wd, parameters=[getattr(model, layer).weight], half=True, name=f"{layer}/weight_loss")
        for layer, wd in DECAYS.items()
    ]
    return ll.Objective(cross_entropy(), *decays)


def by_hand(model: Network, x: Tensor, y: Tensor) -> float:
    """Return the tutorial's total from PyTorch alone."""
    with torch.no_grad():
        total = functional.cross_entropy(model(x), y)
        for layer, wd in DECAYS.items():
            total = total + wd * (getattr(model, layer).weight ** 2).sum() / 2
    return float(total)


class Averages:
    """Running averages by name: 0.9 of the old and 0.1 of the new, from 0."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def update(self, parts: dict[str, float]) -> None:
        """Take one step's values in."""
        for name, value in parts.items():
            self.values[name] = MEMORY * self.values.get(name, 0.0) + (1 - MEMORY) * value


def parts_of(ledger: ll.Ledger) -> dict[str, float]:
    """Return what every term and regularizer put into the total, and the total."""
    return {row.term: row.contribution for row in ledger.by("term")} | {"total": ledger.total}


def in_words(parts: dict[str, float]) -> str:
    """Write a step's total as data plus decay."""
    decay = sum(value for name, value in parts.items() if name.endswith("weight_loss"))
    total = parts["total"]
    return f"{parts['cross_entropy']:.4f} + {decay:.4f} = {total:.4f}, {decay / total:.1%} decay"


def train(data: Data) -> tuple[Network, list[ll.Ledger], dict[str, float]]:
    """Train with the tutorial's objective and print as it goes; return largest deviations."""
    model = network()
    objective, averages = tutorial(model), Averages()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    names = ["cross_entropy", *(f"{layer}/weight_loss" for layer in DECAYS), "total"]
    off = {"rows": 0.0, "by hand": 0.0, "averages": 0.0}
    steps = []
    print(f"1. {STEPS} steps of batch {BATCH}: this step's value, and its Loss/avg\n")
    print("   step" + "".join(f"{name:>24}" for name in names))
    print("       " + f"{'raw':>13}{'avg':>11}" * len(names))
    for step, (x, y) in enumerate(batches(data), start=1):
        total, ledger = objective(model(x), y)
        parts = parts_of(ledger)
        averages.update(parts)
        now = averages.values
        summed = sum(now[name] for name in names[:-1])
        off["rows"] = max(off["rows"], ledger.deviation)
        off["by hand"] = max(off["by hand"], abs(ledger.total - by_hand(model, x, y)))
        off["averages"] = max(off["averages"], abs(now["total"] - summed))
        if step in (1, 2, 10, 30, 100, STEPS):
            shown = "".join(f"{parts[name]:>13.5f}{now[name]:>11.5f}" for name in names)
            print(f"   {step:>4}{shown}")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        steps.append(ledger)
    return model, steps, off


def train_by_optimizer(data: Data) -> Network:
    """Train on the cross entropy alone; the optimizer lets the same layers decay."""
    model, objective = network(), ll.Objective(cross_entropy())
    rates = {f"{layer}.weight": wd for layer, wd in DECAYS.items()}
    groups = [
        {"params": [parameter], "weight_decay": rates.get(name, 0.0)}
        for name, parameter in model.named_parameters()
    ]
    optimizer = torch.optim.SGD(groups, lr=RATE)
    for x, y in batches(data):
        optimizer.zero_grad()
        objective.loss(model(x), y).backward()
        optimizer.step()
    return model


def main() -> None:
    """Train, check and answer."""
    torch.set_num_threads(1)  # arrays this small are faster on one
    data = digits()
    model, steps, off = train(data)
    ledger = sum(steps[1:], steps[0])
    other = train_by_optimizer(data)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    apart = max(float((p - q).detach().abs().max()) for p, q in pairs)
    print(f"\n2. The mean of all {STEPS} steps\n")
    print(f"   {'term':<24}{'contribution':>14}{'share':>9}")
    for row in ledger.by("term"):
        print(f"   {row.term:<24}{row.contribution:>14.6f}{row.share or 0:>9.2%}")
    print(f"   {'total':<24}{ledger.total:>14.6f}")
    checks = {
        "total - sum of its parts": off["rows"],
        "total - the same in plain PyTorch": off["by hand"],
        "average of total - sum of averages": off["averages"],
        "L2 in the loss - SGD(weight_decay=0.004)": apart,
    }
    print("\n3. Largest deviations over all steps (the last: of a parameter, at the end)\n")
    for name, value in checks.items():
        print(f"   {name:<44}{value:>10.1e}")
    with torch.no_grad():
        right = float((model(data[0]).argmax(1) == data[1]).double().mean())
    first, last = parts_of(steps[0]), parts_of(steps[-1])
    starts, ends = in_words(first), in_words(last)
    one, shown = first["total"], (1 - MEMORY) * first["total"]
    print(f"""
Answer
   The total is the batch's mean cross entropy plus one number a layer, wd * sum(w ** 2) / 2,
   which no batch divides. Parts and total agree ({off["rows"]:.0e}).
      first step   {starts}
      last step    {ends}
   The cross entropy falls and the decay hardly does, with {right:.1%} of the digits right. A
   total that stays where it is need not mean that nothing more is learned.
   Loss/avg is 0.9 of the old and 0.1 of the new value, from 0: after one step it shows
   {shown:.4f} for {one:.4f}, and later mostly the last ten steps. It is no mean over an epoch;
   for that, add the steps' ledgers ({ledger.total:.4f} a step).
   With its half, tf.nn.l2_loss is PyTorch's weight_decay: the same network ({apart:.0e}).""")


if __name__ == "__main__":
    main()
