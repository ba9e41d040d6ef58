# SPDX-License-Identifier: Apache-2.0
"""Does a batch of 32 lines give the same gradient in 4 x 8, in 8 x 4 and on two processes?"""

import codecs
import io
import os
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

import lossledger as ll
from lossledger.torch import Accumulator, MicroBatch

PADDING = -100
EXPERTS, WIDTH, LINES = 3, 16, 32
STEPS = 30
KINDS = ("vowel", "consonant", "space", "mark")
EVEN = tuple(range(0, 33, 8))
UNEVEN = (0, 1, 8, 9, 15, 17, 22, 28, 32)
RANKS = ((0, 6, 12, 20), (20, 25, 29, 32))  # 20 short lines and 12 long ones


def poem() -> list[str]:
    """Return 32 lines of the Zen of Python, the short ones first."""
    with redirect_stdout(io.StringIO()):
        import this  # noqa: PLC0415 - it prints itself when it is imported
    text = codecs.decode(vars(this)["s"], "rot13")
    lines = [piece for line in text.splitlines() for piece in textwrap.wrap(line, 34)]
    return sorted(lines[:LINES], key=len)


def batch() -> MicroBatch:
    """Return all lines as one batch: from each character the next, and what kind that is."""
    lines = poem()
    letters = sorted(set("".join(lines)))
    shape = (len(lines), max(map(len, lines)) - 1)
    inputs = torch.zeros(shape, dtype=torch.int64)
    targets = torch.full(shape, PADDING)
    kinds = torch.zeros(shape, dtype=torch.int64)
    for i, line in enumerate(lines):
        codes = torch.tensor([letters.index(c) for c in line])
        inputs[i, : len(line) - 1], targets[i, : len(line) - 1] = codes[:-1], codes[1:]
        kinds[i, : len(line) - 1] = torch.tensor([kind(c) for c in line[1:]])
    mask = {n: ll.NamedArray(targets != PADDING, ("batch", "time")) for n in ("letter", "router")}
    return MicroBatch(inputs, {"letter": targets}, mask=mask, keys={"kind": kinds})


def kind(letter: str) -> int:
    """Say what kind of character it is, by place in KINDS."""
    if letter.isalpha():
        return 0 if letter.lower() in "aeiou" else 1
    return 2 if letter == " " else 3


def cut(whole: MicroBatch, edges: tuple[int, ...]) -> list[MicroBatch]:
    """Cut a batch into micro-batches, each as wide as its longest line."""
    parts = []
    for a, b in pairwise(edges):
        targets = whole.targets["letter"][a:b]
        wide = int((targets != PADDING).sum(1).max())
        masks = {n: ll.NamedArray(m.array[a:b, :wide], m.axes) for n, m in whole.mask.items()}
        keys = {"kind": whole.keys["kind"][a:b, :wide]}
        inputs = whole.inputs[a:b, :wide]
        parts.append(MicroBatch(inputs, {"letter": targets[:, :wide]}, mask=masks, keys=keys))
    return parts


class Model(nn.Module):
    """Reads the two last characters; a router mixes experts that name the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Embedding(128, WIDTH)
        self.earlier = nn.Linear(WIDTH, WIDTH)
        self.router = nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(EXPERTS))
        self.write = nn.Linear(WIDTH, 128)

    def forward(self, codes: Tensor) -> dict[str, Tensor]:
        """Return the logits of the next character and those of the router."""
        x = self.read(codes)
        x = torch.tanh(x + nn.functional.pad(self.earlier(x)[:, :-1], (0, 0, 1, 0)))
        router = self.router(x)
        said = torch.stack([e(x) for e in self.experts], -1)
        mixed = (said * router.softmax(-1)[..., None, :]).sum(-1)
        return {"letter": self.write(mixed), "router": router}


def network() -> Model:
    """Return a network in float64, with the same first weights at every call."""
    torch.manual_seed(0)
    return Model().double()


def objective() -> ll.Objective:
    """Return a mean over characters, and a product of means over characters."""
    return ll.Objective(
        ll.Term(
            "letter", ll.losses.CrossEntropy(ignore_index=PADDING, z_loss=1e-3),
            axes="batch time class", keys={"kind": KINDS}, rows="kind", name="next character",
        ),
        ll.Term(
            "router", ll.losses.LoadBalance(over="batch time", axis="expert"),
            axes="batch time expert", rows="", name="balance", loss_weight=0.1,
        ),
    )  # fmt: skip


def gradient(model: nn.Module) -> Tensor:
    """Return all gradients in one row."""
    return torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None])


def plainly(model: nn.Module, parts: list[MicroBatch]) -> float:
    """Add the gradient of the mean of the parts' means; return that mean."""
    losses = []
    for i, part in enumerate(parts):
        wrapper = model if isinstance(model, DistributedDataParallel) else None
        with nullcontext() if wrapper is None or i == len(parts) - 1 else wrapper.no_sync():
            loss = objective().loss(model(part.inputs), part.targets, **part.arguments())
            (loss / len(parts)).backward()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


def exactly(model: nn.Module, parts: list[MicroBatch]) -> float:
    """Add the gradient of the whole; return its loss."""
    return float(Accumulator(objective(), model).backward(parts)[0])


Way = Callable[[nn.Module, list[MicroBatch]], float]
Found = tuple[float, Tensor]


def alone(way: Way, edges: tuple[int, ...]) -> Found:
    """Run one way on one process."""
    model = network()
    return way(model, cut(batch(), edges)), gradient(model)


def work(rank: int, folder: str) -> None:
    """Run both ways on one of two ranks, as DistributedDataParallel has it."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    parts = cut(batch(), RANKS[rank])
    model = DistributedDataParallel(network())
    mean = torch.tensor(plainly(model, parts), dtype=torch.float64)
    dist.all_reduce(mean)
    plain = float(mean) / 2, gradient(model)
    model = DistributedDataParallel(network())
    accumulator = Accumulator(objective(), model, timeout=60.0)
    total, ledger = accumulator.backward(parts)
    rows = [(r.term, dict(r.cell).get("kind", ""), r.count, r.contribution) for r in ledger.rows]
    found = {"plain": plain, "ours": (float(total), gradient(model)), "rows": rows}
    torch.save(found | {"plan": str(accumulator)}, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def together() -> list[dict[str, Any]]:
    """Run two processes; return what each found."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (folder,), nprocs=2)  # type: ignore[no-untyped-call]
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def show_batch() -> None:
    """Print how many characters count in each micro-batch."""
    print(f"1. {LINES} lines, the short ones first: characters that count, by micro-batch\n")
    ways = {"1 x 32": (0, 32), "4 x 8": EVEN, "8 x 4, uneven": UNEVEN}
    ways |= {f"2 ranks, rank {rank}": edges for rank, edges in enumerate(RANKS)}
    for name, edges in ways.items():
        counts = [int((p.targets["letter"] != PADDING).sum()) for p in cut(batch(), edges)]
        print(f"   {name:<18}" + "".join(f"{n:>6}" for n in counts))


def show_gradients(ranks: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Print the loss and the gradient of every way to split, beside those of one batch."""
    print("\n2. Loss, and |gradient - that of 1 x 32| / |that of 1 x 32|\n")
    print(f"   {'':<18}{'mean of means':>24}{'lossledger':>28}")
    print(f"   {'split':<18}{'loss':>12}{'gradient':>12}{'loss':>16}{'gradient':>12}")
    _, whole = alone(plainly, (0, 32))
    ways: dict[str, tuple[Found, Found]] = {
        name: (alone(plainly, edges), alone(exactly, edges))
        for name, edges in (("1 x 32", (0, 32)), ("4 x 8", EVEN), ("8 x 4, uneven", UNEVEN))
    }
    ways["2 ranks"] = (ranks[0]["plain"], ranks[0]["ours"])
    found = {}
    for name, (plain, ours) in ways.items():
        off = [float((g - whole).norm() / whole.norm()) for _, g in (plain, ours)]
        found[name] = off[0], off[1]
        print(f"   {name:<18}{plain[0]:>12.6f}{off[0]:>12.1e}{ours[0]:>16.6f}{off[1]:>12.1e}")
    return found


def train(way: Way, edges: tuple[int, ...]) -> nn.Module:
    """Train on the same window again and again; return the network."""
    model, parts = network(), cut(batch(), edges)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(STEPS):
        way(model, parts)
        optimizer.step()
        optimizer.zero_grad()
    return model


def show_training() -> dict[str, float]:
    """Print where training in 8 x 4 leads, beside training in one batch."""
    print(f"\n3. {STEPS} steps of SGD: the loss of all lines, and the largest change of a weight\n")
    print(f"   {'split and way':<32}{'loss':>12}{'weights':>12}")
    one = train(plainly, (0, 32))
    found = {}
    for name, model in (
        ("1 x 32", one),
        ("8 x 4, mean of means", train(plainly, UNEVEN)),
        ("8 x 4, lossledger", train(exactly, UNEVEN)),
    ):
        pairs = zip(model.parameters(), one.parameters(), strict=True)
        found[name] = max(float((a - b).detach().abs().max()) for a, b in pairs)
        whole = batch()
        loss = objective().loss(model(whole.inputs), whole.targets, **whole.arguments())
        print(f"   {name:<32}{float(loss.detach()):>12.6f}{found[name]:>12.1e}")
    return found


def show_ledger(ranks: list[dict[str, Any]]) -> float:
    """Print the ledger of the window as each of the two ranks has it."""
    print("\n4. The ledger of the window, as rank 0 and rank 1 have it\n")
    print(f"   {'':<28}{'rank 0':>20}{'rank 1':>28}")
    print(f"   {'term':<16}{'kind':<12}" + f"{'count':>7}{'contribution':>14}" * 2)
    off = 0.0
    for mine, other in zip(ranks[0]["rows"], ranks[1]["rows"], strict=True):
        numbers = "".join(f"{count:>7}{amount:>14.6f}" for *_, count, amount in (mine, other))
        print(f"   {mine[0]:<16}{mine[1]:<12}{numbers}")
        off = max(off, abs(mine[-1] - other[-1]))
    print(f"\n   largest deviation: {off:.1e}\n\n   how rank 0 ran it:")
    print("\n".join(f"   {line}" for line in ranks[0]["plan"].splitlines()))
    return off


def main() -> None:
    """Run the four experiments and answer."""
    torch.set_num_threads(1)  # arrays this small are faster on one
    show_batch()
    ranks = together()
    off = show_gradients(ranks)
    moved = show_training()
    apart = show_ledger(ranks)
    plain, ours = ({name: errors[i] for name, errors in off.items()} for i in (0, 1))
    print(f"""
Answer
   Averaged over micro-batches, the gradient is off by {plain["4 x 8"]:.1e} in 4 x 8, by
   {plain["8 x 4, uneven"]:.1e} in uneven parts, and by {plain["2 ranks"]:.1e} on two ranks:
   a character in a short micro-batch counts more, and the balance of a part is not that of the
   whole. From the sums of the window it is the gradient of 1 x 32, to {max(ours.values()):.1e}.
   After {STEPS} steps some weight differs by {moved["8 x 4, mean of means"]:.1e},
   or by {moved["8 x 4, lossledger"]:.1e}.
   Both ranks have one ledger: their rows are {apart:.1e} apart.""")


if __name__ == "__main__":
    main()
