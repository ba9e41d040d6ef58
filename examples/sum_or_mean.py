# SPDX-License-Identifier: Apache-2.0
"""Should a loss be summed, averaged, or be the worst sample's, and what else must change then?"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lossledger as ll

BATCH = 48
EPOCHS = 3
DECAY = 0.01
SEEDS = (0, 1, 2)

Data = tuple[Tensor, Tensor]
MakeOptimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


def digits() -> tuple[Data, Data]:
    """Return 1200 digits to train on (25 batches of 48) and 597 to test on."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    images, labels = torch.tensor(bunch.data / 16)[order], torch.tensor(bunch.target)[order]
    return (images[:1200], labels[:1200]), (images[1200:], labels[1200:])


def network(seed: int = 0) -> nn.Module:
    """Return a small network in float64, with first weights that depend on the seed alone."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double()


def term(reduction: ll.Mean | ll.Sum | ll.Max | ll.TopMean | ll.LogMeanExp) -> ll.Term:
    """Return the digits' cross entropy under a reduction."""
    loss = ll.losses.CrossEntropy()
    return ll.Term("digit", loss, axes="batch class", classes=10, reduction=reduction, name="data")


def train(
    model: nn.Module,
    objective: ll.Objective,
    data: Data,
    make: MakeOptimizer,
    epochs: int = EPOCHS,
    batch: int = BATCH,
) -> ll.Ledger:
    """Train on full batches, in the same order for everyone; return the last epoch's ledger."""
    optimizer = make(model.parameters())
    order = torch.Generator().manual_seed(1)
    steps: list[ll.Ledger] = []
    for _ in range(epochs):
        steps = []
        shuffled = torch.randperm(len(data[1]), generator=order)
        for start in range(0, len(shuffled), batch):
            part = shuffled[start : start + batch]
            total, ledger = objective(model(data[0][part]), data[1][part])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            steps.append(ledger)
    return sum(steps[1:], steps[0])


def gradients(reduction: ll.Mean | ll.Sum, data: Data) -> list[Tensor]:
    """Return one batch's gradient for every parameter."""
    model = network()
    total = ll.Objective(term(reduction)).loss(model(data[0][:BATCH]), data[1][:BATCH])
    return list(torch.autograd.grad(total, list(model.parameters())))


def apart(a: nn.Module, b: nn.Module) -> float:
    """Return the largest difference between two networks' parameters."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def show_gradients(data: Data) -> None:
    """Print the ratio of the two gradients."""
    print(f"1. Gradients of one batch of {BATCH}: sum over mean\n")
    print(f"   {'parameter':<12}{'norm, mean':>14}{'norm, sum':>14}{'ratio':>18}{'deviation':>12}")
    names = [name for name, _ in network().named_parameters()]
    pairs = zip(names, gradients(ll.Mean(), data), gradients(ll.Sum(), data), strict=True)
    for name, mean, total in pairs:
        ratio = float(total.norm() / mean.norm())
        off = float((total - BATCH * mean).abs().max() / total.abs().max())
        norms = f"{float(mean.norm()):>14.8f}{float(total.norm()):>14.8f}"
        print(f"   {name:<12}{norms}{ratio:>18.12f}{off:>12.1e}")


def show_trajectories(data: Data) -> dict[str, float]:
    """Print how far a summed training ends from the averaged one."""
    sgd = torch.optim.SGD
    heavy = partial(sgd, momentum=0.9)
    adam = partial(torch.optim.Adam, lr=0.01)
    runs = (
        ("SGD, same rate", partial(sgd, lr=0.1), partial(sgd, lr=0.1)),
        ("SGD, rate / B", partial(sgd, lr=0.1), partial(sgd, lr=0.1 / BATCH)),
        ("momentum, rate / B", partial(heavy, lr=0.02), partial(heavy, lr=0.02 / BATCH)),
        ("Adam, same rate", adam, adam),
        ("Adam, same rate, eps * B", adam, partial(adam, eps=1e-8 * BATCH)),
    )
    print(f"\n2. Training {EPOCHS} epochs by the sum, held against training by the mean\n")
    print(f"   {'optimizer of the sum':<28}{'largest difference of a parameter':>36}")
    found = {}
    for name, for_mean, for_sum in runs:
        one, other = network(), network()
        train(one, ll.Objective(term(ll.Mean())), data, for_mean)
        train(other, ll.Objective(term(ll.Sum())), data, for_sum)
        found[name] = apart(one, other)
        print(f"   {name:<28}{found[name]:>36.1e}")
    return found


def show_decay(data: Data) -> list[tuple[float, float, float]]:
    """Print the L2 penalty's size beside the data's part, and where training ends."""
    print(f"\n3. With L2 = {DECAY}/2 * sum of squares, counted once a step\n")
    heads = f"{'first step':>14}{'last epoch:':>14}{'data':>10}{'L2':>10}{'difference':>14}"
    print(f"   {'':<26}{'L2 / data in':>14}{'L2 / data in':>14}")
    print(f"   {'objective':<26}{heads}")
    runs = (
        ("mean, rate, decay", ll.Mean(), 0.1, DECAY),
        ("sum, rate / B, decay", ll.Sum(), 0.1 / BATCH, DECAY),
        ("sum, rate / B, decay * B", ll.Sum(), 0.1 / BATCH, DECAY * BATCH),
    )
    found, models = [], []
    for name, reduction, rate, decay in runs:
        model = network()
        penalty = ll.L2(decay, parameters=model.parameters, half=True)
        objective = ll.Objective(term(reduction), penalty)
        first, _, _ = parts(objective(model(data[0][:BATCH]), data[1][:BATCH])[1])
        ledger = train(model, objective, data, partial(torch.optim.SGD, lr=rate))
        models.append(model)
        last, data_part, penalty_part = parts(ledger)
        off = apart(models[0], model)
        line = f"{first:>14.8f}{last:>14.8f}{data_part:>10.4f}{penalty_part:>10.4f}{off:>14.1e}"
        print(f"   {name:<26}{line}")
        found.append((first, last, off))
    return found


def parts(ledger: ll.Ledger) -> tuple[float, float, float]:
    """Return L2 / data, the data's part and the penalty's part of a ledger."""
    part = {row.term: row.contribution for row in ledger.by("term")}
    return part["l2"] / part["data"], part["data"], part["l2"]


def show_worst(data: Data, test: Data) -> dict[str, tuple[float, float]]:
    """Print what objectives between the mean and the maximum leave of the worst sample."""
    print(f"\n4. Training 12 epochs, batch 60, rate 0.1; all training digits, {len(SEEDS)} seeds\n")
    heads = f"{'mean':>9}{'worst 10 %':>12}{'worst':>9}{'wrong':>9}{'test wrong':>12}"
    print(f"   {'minimised':<24}{heads}   worst, by seed")
    sgd = partial(torch.optim.SGD, lr=0.1)
    found: dict[str, tuple[float, float]] = {}
    for reduction in (ll.Mean(), ll.LogMeanExp(1.0), ll.TopMean(0.1), ll.Max()):
        measured = []
        for seed in SEEDS:
            model = network(seed)
            objective = ll.Objective(term(reduction))
            train(model, objective, data, sgd, epochs=12, batch=60)
            measured.append(measure(model, data, test))
        mean, tenth, worst, wrong, unseen = (fmean(c) for c in zip(*measured, strict=True))
        found[str(reduction)] = mean, worst
        shares = f"{wrong / len(data[1]):>9.1%}{unseen / len(test[1]):>12.1%}"
        each = " ".join(f"{m[2]:.2f}" for m in measured)
        print(f"   {reduction!s:<24}{mean:>9.4f}{tenth:>12.4f}{worst:>9.4f}{shares}   {each}")
    return found


def measure(model: nn.Module, data: Data, test: Data) -> tuple[float, ...]:
    """Return the mean, the worst tenth's mean, the worst, and how many digits are wrong."""
    with torch.no_grad():
        outputs, unseen = model(data[0]), model(test[0])
    losses = [
        ll.Objective(term(reduction))(outputs, data[1])[1].total
        for reduction in (ll.Mean(), ll.TopMean(0.1), ll.Max())
    ]
    wrong = [float((o.argmax(1) != y).sum()) for o, y in ((outputs, data[1]), (unseen, test[1]))]
    return (*losses, *wrong)


def main() -> None:
    """Run the four experiments and answer."""
    torch.set_num_threads(1)  # arrays this small are faster on one
    data, test = digits()
    show_gradients(data)
    ends = show_trajectories(data)
    decay = show_decay(data)
    worst = show_worst(data, test)
    (kept, _, _), (left, _, drift), (_, _, off) = decay
    (mean, mean_worst), (tilted, tilted_worst), _, (top, top_worst) = worst.values()
    sgd, same, adam = (ends[n] for n in ("SGD, rate / B", "SGD, same rate", "Adam, same rate"))
    print(f"""
Answer
   Either will do: the sum's gradient is the mean's, times B = {BATCH}. With plain SGD, or with
   momentum, rate / B gives the same network but for rounding ({sgd:.1e}); the same rate does
   not ({same:.1e}). Adam divides by the gradient's size, so its rate stays; what is left
   ({adam:.1e}) comes from its eps, which must be multiplied by B.
   A penalty is counted once a step, whatever the batch. Summing the data alone makes it
   {kept / left:.6f} times smaller beside the data ({kept:.6f} to {left:.6f} in the first step),
   and the network ends elsewhere ({drift:.1e}). With decay * B it is the same ({off:.1e}).
   All this holds for batches of one size: a mean divides a short batch by its own number.
   The maximum is another objective. It lowered the worst training digit from {mean_worst:.2f} to
   {top_worst:.2f} and raised the mean from {mean:.2f} to {top:.2f}: a step follows one digit in 60.
   The tilted mean lowered it to {tilted_worst:.2f} and left the mean at {tilted:.2f}.""")


if __name__ == "__main__":
    main()
