# SPDX-License-Identifier: Apache-2.0
"""W6: what it costs to give a window of micro-batches the gradient of one batch.

The model dominates. "Plain accumulation" calls the same objective on every micro-batch and
divides by their number, which minimises something else: only its time is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's manual calls it
from steps import taken
from torch import Tensor, nn
from workload import OURS, REFERENCE, Answer, Competitor, Floor, Gate, Step, Workload

import lossledger as ll
from lossledger.torch import Accumulator

PLAIN = "plain accumulation"
COUNTING = "counting alone"
MICRO_BATCHES = 4
IGNORED, CLASSES = -100, 8
ROUNDS = 11
LIMITS = {OURS: {"one": 1.03, "two": 1.45}, f"{OURS}, cached": {"two": 1.25}}

Window = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Scene:
    """A model with its data.

    Attributes:
        says: What they are, for the title.
        axes: Axes of the outputs.
        model: Maps inputs to logits.
        window: (inputs, labels) of each micro-batch.
    """

    says: str
    axes: str
    model: nn.Module
    window: Window

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What is trained."""
        return tuple(self.model.parameters())


class Block(nn.Module):
    """The position-wise half of a transformer block: x + W₂·gelu(W₁·norm(x))."""

    def __init__(self, width: int) -> None:
        """Make the layers."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return as many numbers as came in."""
        found: Tensor = x + self.down(F.gelu(self.up(self.norm(x))))
        return found


def convolutions(quick: bool, one: bool) -> Scene:
    """Return a network of 3×3 convolutions that labels every pixel."""
    width, side, batch = (8, 16, 2) if quick else (48, 64, 4)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, width), (width, width), (width, width), (width, width)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(width, CLASSES, 1))
    window = [
        (torch.randn(batch, 3, side, side), labels(one, batch, side, side))
        for _ in range(MICRO_BATCHES)
    ]
    says = f"convolutions, ({batch}, 3, {side}, {side})"
    return Scene(says, "batch class height width", model, window)


def perceptrons(quick: bool, one: bool) -> Scene:
    """Return the position-wise blocks of a transformer that label every token."""
    width, time, batch = (16, 16, 2) if quick else (320, 128, 4)
    model = nn.Sequential(*(Block(width) for _ in range(4)), nn.Linear(width, CLASSES), Classes())
    window = [
        (torch.randn(batch, time, width), labels(one, batch, time)) for _ in range(MICRO_BATCHES)
    ]
    says = f"transformer MLPs, ({batch}, {time}, {width})"
    return Scene(says, "batch class time", model, window)


class Classes(nn.Module):
    """Move the class axis to where PyTorch's losses have it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, class, time)."""
        return x.movedim(-1, 1)


def labels(one: bool, *shape: int) -> Tensor:
    """Draw labels; for one pass some are ignored, in each micro-batch another number."""
    found = torch.randint(CLASSES, shape)
    share = float(torch.rand(())) * 0.6 if one else 0.0
    return torch.where(torch.rand(shape) < share, torch.full_like(found, IGNORED), found)


SCENES: dict[str, Callable[[bool, bool], Scene]] = {"conv": convolutions, "mlp": perceptrons}


def workload(name: str, quick: bool) -> Workload:
    """Return a workload by its name: W6-model-passes."""
    _, model, passes = name.split("-")
    torch.manual_seed(0)
    scene = SCENES[model](quick, passes == "one")
    says = {"one": "cross entropy with ignored labels", "two": "cross entropy + Dice of the batch"}
    return Workload(
        f"{MICRO_BATCHES} micro-batches, {scene.says}: {says[passes]}",
        by_counts(scene) if passes == "one" else by_statistics(scene),
        Floor("forward and backward of the model alone, on every micro-batch", alone(scene)),
        rounds=ROUNDS,
        gates=tuple(
            Gate(PLAIN, limits[passes], name) for name, limits in LIMITS.items() if passes in limits
        ),
    )


def alone(scene: Scene) -> Callable[[], Callable[[], object]]:
    """Return what builds a window through the model, with a sum in place of a loss."""

    def step() -> object:
        for inputs, _ in scene.window:
            scene.model(inputs).sum().backward()
        return taken(scene.leaves)

    return lambda: step


def by_counts(scene: Scene) -> tuple[Competitor, ...]:
    """Return everyone who minimises the mean over all labels of a window."""
    objective = ll.Objective(cross_entropy(scene))

    def count() -> Answer:
        counts = [objective.count(labels) for _, labels in scene.window]
        return Answer(sum(counts[1:], counts[0]).samples, ())

    return (
        Competitor(OURS, lambda: accumulated(objective, scene)),
        Competitor(PLAIN, lambda: plainly(objective, scene), alike=False),
        Competitor(COUNTING, lambda: count, alike=False),
        Competitor(REFERENCE, lambda: by_torch(scene, whole=True)),
        Competitor("torch eager, mean of means", lambda: by_torch(scene, whole=False), alike=False),
    )


def by_statistics(scene: Scene) -> tuple[Competitor, ...]:
    """Return everyone who minimises cross entropy and the Dice of a window."""
    over = " ".join(axis for axis in scene.axes.split() if axis != "class")
    dice = ll.Term("y", ll.losses.Dice(over=over, kind="softmax"), axes=scene.axes)
    objective = ll.Objective(cross_entropy(scene), dice)
    return (
        Competitor(OURS, lambda: accumulated(objective, scene)),
        Competitor(f"{OURS}, live=2", lambda: accumulated(objective, scene, live=2)),
        Competitor(f"{OURS}, cached", lambda: accumulated(objective, scene, mode="cached")),
        Competitor(f"{OURS}, retain", lambda: accumulated(objective, scene, mode="retain")),
        Competitor(PLAIN, lambda: plainly(objective, scene), alike=False),
        Competitor(REFERENCE, lambda: at_once(scene)),
        Competitor("torch eager, mean of means", lambda: by_torch(scene, whole=False), alike=False),
    )


def cross_entropy(scene: Scene) -> ll.Term:
    """Return the mean cross entropy of the labels that count."""
    loss = ll.losses.CrossEntropy(ignore_index=IGNORED)
    return ll.Term("y", loss, axes=scene.axes, classes=CLASSES)


def accumulated(objective: ll.Objective, scene: Scene, **settings: Any) -> Step:
    """Return a window through an accumulator."""
    accumulator = Accumulator(objective, scene.model, **settings)

    def step() -> Answer:
        total, _ = accumulator.backward(scene.window)
        return Answer(total, taken(scene.leaves))

    return step


def plainly(objective: ll.Objective, scene: Scene) -> Step:
    """Return the same objective on every micro-batch, divided by their number."""

    def step() -> Answer:
        ledgers = []
        for inputs, targets in scene.window:
            total, ledger = objective(scene.model(inputs), targets)
            (total / MICRO_BATCHES).backward()
            ledgers.append(ledger)
        return Answer(sum(ledgers[1:], ledgers[0]).summed, taken(scene.leaves))

    return step


def by_torch(scene: Scene, *, whole: bool) -> Step:
    """Return cross entropy by hand: over the labels of the window, or the mean of means."""

    def step() -> Answer:
        number = sum((targets != IGNORED).sum() for _, targets in scene.window)
        value = torch.zeros(())
        for inputs, targets in scene.window:
            logits = scene.model(inputs)
            if whole:
                loss = F.cross_entropy(logits, targets, reduction="sum") / number
            else:
                loss = F.cross_entropy(logits, targets) / MICRO_BATCHES
            loss.backward()  # type: ignore[no-untyped-call]
            value += loss.detach()
        return Answer(value, taken(scene.leaves))

    return step


def at_once(scene: Scene) -> Step:
    """Return cross entropy + Dice by hand, on all micro-batches as one batch."""
    inputs, targets = (torch.cat(parts) for parts in zip(*scene.window, strict=True))

    def step() -> Answer:
        logits = scene.model(inputs)
        total = F.cross_entropy(logits, targets) + dice_of(logits, targets)
        total.backward()  # type: ignore[no-untyped-call]
        return Answer(total.detach(), taken(scene.leaves))

    return step


def dice_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over classes of 1 − (2I + 1)/(P + Y + 1), over the batch."""
    p, y = logits.softmax(1), F.one_hot(targets, CLASSES).movedim(-1, 1).to(logits.dtype)
    axes = [i for i in range(logits.ndim) if i != 1]
    both, sizes = (p * y).sum(axes), p.sum(axes) + y.sum(axes)
    found: Tensor = (1 - (2 * both + 1) / (sizes + 1)).mean()
    return found
