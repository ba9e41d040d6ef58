# SPDX-License-Identifier: Apache-2.0
"""With two losses on shared layers A, B and heads C, D: which parameter learns from which loss?"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lossledger as ll

WEIGHTS = (1.0, 0.3)
STEPS = 400
LAYERS = ("A", "B", "C", "D")

Batch = tuple[Tensor, dict[str, Tensor]]


class TwoHeads(nn.Module):
    """Layers A and B, then head C names the digit and head D measures where its ink lies."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Linear(64, 32)
        self.B = nn.Linear(32, 16)
        self.C = nn.Linear(16, 10)
        self.D = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits of the digit, and the ink's height and width position."""
        shared = torch.relu(self.B(torch.relu(self.A(images))))
        return {"digit": self.C(shared), "place": self.D(shared)}


def network() -> TwoHeads:
    """Return a network in float64, with the same first weights at every call."""
    torch.manual_seed(0)
    return TwoHeads().double()


def digits() -> Batch:
    """Return the images, and for each its digit and the center of its ink, in pixels."""
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16)
    places = torch.arange(8, dtype=torch.float64) - 3.5
    ink = images.sum((1, 2))
    center = [(images.sum(2) * places).sum(1) / ink, (images.sum(1) * places).sum(1) / ink]
    targets = {"digit": torch.tensor(bunch.target), "place": torch.stack(center, 1)}
    return images.reshape(-1, 64), targets


def terms(digit: float, place: float) -> tuple[ll.Term, ll.Term]:
    """Return the two losses with their loss weights."""
    return (
        ll.Term("digit", ll.losses.CrossEntropy(), axes="batch class", loss_weight=digit),
        ll.Term("place", ll.losses.SquaredError(), axes="batch side", loss_weight=place),
    )


def gradients(objective: ll.Objective, model: TwoHeads, batch: Batch) -> dict[str, Tensor]:
    """Return the gradient of each layer's weights; a layer that gets none is left out."""
    names = {name for term in objective.terms for name in term.outputs}
    outputs = {n: o for n, o in model(batch[0]).items() if n in names}
    targets = {n: t for n, t in batch[1].items() if n in names}
    weights = [getattr(model, layer).weight for layer in LAYERS]
    found = torch.autograd.grad(objective.loss(outputs, targets), weights, allow_unused=True)
    reached = dict(zip(LAYERS, found, strict=True))
    return {layer: reached[layer] for layer in LAYERS if isinstance(reached[layer], Tensor)}


def norm(gradient: Tensor | None) -> str:
    """Write a gradient's norm, or that there is none."""
    return "none" if gradient is None else f"{float(gradient.norm()):.6f}"


def show_ledger(model: TwoHeads, batch: Batch) -> None:
    """Print one batch's ledger."""
    ledger = ll.Objective(*terms(*WEIGHTS))(model(batch[0]), batch[1])[1]
    print(f"1. The ledger of one batch of {len(batch[0])}, loss weights w1, w2 = {WEIGHTS}\n")
    print(f"   {'output':<10}{'term':<16}{'own mean':>12}{'contribution':>14}{'share':>9}")
    for row in ledger.by("output", "term"):
        numbers = f"{row.own_mean or 0:>12.6f}{row.contribution:>14.6f}{row.share or 0:>9.1%}"
        print(f"   {row.output:<10}{row.term:<16}{numbers}")
    print(f"   {'total':<38}{ledger.total:>14.6f}")


def show_reach(model: TwoHeads, batch: Batch) -> dict[str, float]:
    """Print which layer gets a gradient from which loss, and that the total's is their sum."""
    digit, place = terms(1.0, 1.0)
    first = gradients(ll.Objective(digit), model, batch)
    second = gradients(ll.Objective(place), model, batch)
    total = gradients(ll.Objective(*terms(*WEIGHTS)), model, batch)
    print("\n2. Norms of the gradients; L1 is the digit's loss, L2 the place's\n")
    print(f"   {'layer':<8}{'dL1':>12}{'dL2':>12}{'dTotal':>12}{'deviation':>12}   the total's is")
    found = {}
    for layer in LAYERS:
        parts = {
            f"w{i + 1} dL{i + 1}": WEIGHTS[i] * gradient[layer]
            for i, gradient in enumerate((first, second))
            if layer in gradient
        }
        off = found[layer] = float((total[layer] - sum(parts.values())).abs().max())
        norms = "".join(f"{norm(g.get(layer)):>12}" for g in (first, second, total))
        print(f"   {layer:<8}{norms}{off:>12.1e}   {' + '.join(parts)}")
    return found


def show_other_weight(model: TwoHeads, batch: Batch) -> dict[str, float]:
    """Print what ten times the weight of the place's loss changes in one step."""
    once = gradients(ll.Objective(*terms(1.0, 0.3)), model, batch)
    tenfold = gradients(ll.Objective(*terms(1.0, 3.0)), model, batch)
    print("\n3. w2 from 0.3 to 3.0, same network: how the total's gradient changes\n")
    print(f"   {'layer':<8}{'w2 = 0.3':>12}{'w2 = 3.0':>12}{'ratio':>10}{'largest change':>17}")
    found = {}
    for layer in LAYERS:
        a, b = once[layer], tenfold[layer]
        change = found[layer] = float((a - b).abs().max())
        norms = f"{norm(a):>12}{norm(b):>12}{float(b.norm() / a.norm()):>10.4f}"
        print(f"   {layer:<8}{norms}{change:>17.1e}")
    return found


def train(batch: Batch, weights: tuple[float, float], steps: int) -> tuple[TwoHeads, ll.Ledger]:
    """Train on all digits with plain SGD; return the network and its ledger."""
    model, objective = network(), ll.Objective(*terms(*weights))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.loss(model(batch[0]), batch[1]).backward()
        optimizer.step()
    return model, objective(model(batch[0]), batch[1])[1]


def show_training(batch: Batch) -> dict[tuple[int, float], list[float]]:
    """Print how training changes with the other head's loss weight, through A and B."""
    print("\n4. Training with w1 = 1: C's weights against those trained with w2 = 0.3\n")
    print(f"   {'steps':<8}{'w2':>6}{'digit loss':>14}{'place loss':>14}{'C differs by':>16}")
    found = {}
    for steps in (1, 2, STEPS):
        runs = {w2: train(batch, (1.0, w2), steps) for w2 in (0.3, 3.0)}
        for w2, (model, ledger) in runs.items():
            off = float((model.C.weight - runs[0.3][0].C.weight).detach().abs().max())
            own = [row.own_mean or 0.0 for row in ledger.by("output")]
            found[steps, w2] = [*own, off]
            print(f"   {steps:<8}{w2:>6}{own[0]:>14.6f}{own[1]:>14.6f}{off:>16.1e}")
    return found


def main() -> None:
    """Run the four experiments and answer."""
    torch.set_num_threads(1)  # arrays this small are faster on one
    data = digits()
    batch = data[0][:64], {name: target[:64] for name, target in data[1].items()}
    model = network()
    show_ledger(model, batch)
    off = show_reach(model, batch)
    change = show_other_weight(model, batch)
    runs = show_training(data)
    light, heavy = runs[STEPS, 0.3], runs[STEPS, 3.0]
    after = [runs[steps, 3.0][2] for steps in (1, 2, STEPS)]
    print(f"""
Answer
   A layer learns from the losses that its output goes into. C gets w1 dL1/dC and nothing of
   L2 (deviation {off["C"]:.1e}), D gets w2 dL2/dD ({off["D"]:.1e}); the shared layers get both,
   w1 dL1 + w2 dL2 (A {off["A"]:.1e}, B {off["B"]:.1e}).
   So w2 does not change C's gradient in a step ({change["C"]:.1e}), while D's becomes ten times
   as long. It does change what C is given from the second step on, since A and B have
   moved: C differs by {after[0]:.1e} after one step, {after[1]:.1e} after two and {after[2]:.1e}
   after {STEPS}. By then the digit's loss is {light[0]:.3f} with w2 = 0.3 and {heavy[0]:.3f} with
   w2 = 3.0, the place's {light[1]:.4f} and {heavy[1]:.4f}: A and B serve the heavier one.""")


if __name__ == "__main__":
    main()
