# SPDX-License-Identifier: Apache-2.0
"""One training run: an objective, a seed, the same data, steps and network; what came out."""

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from lossledger.demo.network import UNet, build
from lossledger.demo.objectives import OUTPUT, Recipe
from lossledger.demo.scenes import CLASSES, Scenes, SceneSettings, compose, split_digits
from lossledger.ledger import Ledger, Row
from lossledger.objective import Objective


@dataclass(frozen=True)
class Settings:
    """What every run has in common.

    Args:
        scenes: How scenes are composed.
        train_scenes, test_scenes: How many.
        epochs: Passes over the training scenes in the comparison of objectives.
        batch: Scenes a step in that comparison.
        batch_epochs: Passes in the comparison of batch sizes.
        batches: The batch sizes of that comparison.
        width: Channels of the network's finest level.
        learning_rate: Largest rate of Adam; it rises for a fifth of the steps, then falls.
    """

    scenes: SceneSettings = field(default_factory=SceneSettings)
    train_scenes: int = 832
    test_scenes: int = 256
    epochs: int = 6
    batch: int = 16
    batch_epochs: int = 3
    batches: tuple[int, int] = (32, 64)
    width: int = 16
    learning_rate: float = 2e-2


QUICK = Settings(
    train_scenes=128, test_scenes=64, epochs=2, batch_epochs=1, width=4, batches=(32, 64)
)
"""Seconds instead of minutes."""


@dataclass(frozen=True)
class Job:
    """One run to do: picklable, so that it can be sent to another process."""

    recipe: Recipe
    seed: int
    batch: int
    epochs: int
    settings: Settings

    @property
    def steps(self) -> int:
        """Number of optimizer steps; scenes that fill no batch are left out of an epoch."""
        return self.epochs * (self.settings.train_scenes // self.batch)


@dataclass(frozen=True)
class Reading:
    """A ledger's numbers, free of tensors.

    Args:
        total: Mean over steps of what was minimised.
        deviation: |Σ rows − total|.
        rows: One for each term, class and label.
        by_class: One for each term and class.
        overlooked: The rows that the average hides, as the ledger names them.
    """

    total: float
    deviation: float
    rows: tuple[Row, ...]
    by_class: tuple[Row, ...]
    overlooked: tuple[Row, ...]

    def iou(self) -> tuple[float, ...]:
        """Return the IoU of every class."""
        found = {row.cls: row.iou for row in self.rows if row.iou is not None}
        return tuple(found[name] for name in CLASSES)

    def of_class(self, term: str, cls: str) -> Row:
        """Return a class's row in a term."""
        return next(row for row in self.by_class if (row.term, row.cls) == (term, cls))

    def of_positives(self, term: str, cls: str) -> Row:
        """Return the row of a class's own pixels in a term."""
        key = (term, cls, "positive")
        return next(row for row in self.rows if (row.term, row.cls, row.label) == key)

    def own_mean(self, term: str) -> float:
        """Return the mean over all elements of a term: numerators over denominators."""
        rows = [row for row in self.by_class if row.term == term]
        return sum(r.numerator or 0.0 for r in rows) / sum(r.denominator or 0.0 for r in rows)

    def terms(self) -> tuple[str, ...]:
        """Return the names of the terms."""
        return tuple(dict.fromkeys(row.term for row in self.by_class))

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        return {
            "total": self.total,
            "deviation": self.deviation,
            "iou": dict(zip(CLASSES, self.iou(), strict=True)),
            "rows": [row.to_dict() for row in self.rows],
            "overlooked": [row.to_dict() for row in self.overlooked],
        }


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Args:
        job: What was run.
        epochs: Readings of the training epochs, in order.
        test: Reading of the unseen scenes under the objective that was trained.
        ruler: Reading of the same outputs under the baseline, the same for every run.
        first_step: What the very first step minimised, before anything was learned.
        seconds: How long the run took.
    """

    job: Job
    epochs: tuple[Reading, ...]
    test: Reading
    ruler: Reading
    first_step: float
    seconds: float


class Data(NamedTuple):
    """Scenes to train on, and scenes of other digits to measure on."""

    train: Scenes
    test: Scenes


class Batch(NamedTuple):
    """Images and masks as tensors."""

    images: Tensor
    masks: Tensor


@runtime_checkable
class Progress(Protocol):
    """Who is told how far a run has come."""

    def step(self) -> None:
        """Take note of a step."""

    def epoch(self, number: int, reading: Reading) -> None:
        """Take note of a finished epoch, counted from 1."""


def make_data(settings: Settings) -> Data:
    """Return training and test scenes; no scanned digit occurs in both."""
    train, test = split_digits()
    return Data(
        compose(settings.train_scenes, train, seed=1, settings=settings.scenes),
        compose(settings.test_scenes, test, seed=2, settings=settings.scenes),
    )


def train(job: Job, data: Data, ruler: Recipe, progress: Progress) -> Outcome:
    """Train one network and measure it.

    Args:
        job: What to run.
        data: Scenes to train on, and unseen ones.
        ruler: The objective under which every run is measured.
        progress: Told of steps and epochs.
    """
    start = time.perf_counter()
    seen, unseen = as_batch(data.train), as_batch(data.test)
    network = build(len(CLASSES), job.settings.width, job.seed)
    objective = job.recipe.build()
    optimizer = torch.optim.Adam(network.parameters(), lr=job.settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, job.settings.learning_rate, total_steps=job.steps, pct_start=0.2
    )
    order = torch.Generator().manual_seed(job.seed)
    epochs: list[Reading] = []
    first = 0.0
    for number in range(1, job.epochs + 1):
        steps = []
        shuffled = torch.randperm(len(seen.images), generator=order)
        for place in range(0, len(shuffled) - job.batch + 1, job.batch):
            part = shuffled[place : place + job.batch]
            total, ledger = objective(
                {OUTPUT: network(seen.images[part])}, {OUTPUT: seen.masks[part]}
            )
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
            steps.append(ledger)
            progress.step()
        first = first if epochs else steps[0].total
        epochs.append(read(merge(steps)))
        progress.epoch(number, epochs[-1])
    test, measured = measure(network, unseen, objective, ruler.build())
    return Outcome(job, tuple(epochs), test, measured, first, time.perf_counter() - start)


def merge(ledgers: list[Ledger]) -> Ledger:
    """Return an epoch's ledger: the sum of its steps'."""
    epoch = ledgers[0]
    for ledger in ledgers[1:]:
        epoch = epoch + ledger
    return epoch


def measure(
    network: UNet, scenes: Batch, objective: Objective, ruler: Objective
) -> tuple[Reading, Reading]:
    """Read the ledgers of unseen scenes, all in one batch, under two objectives."""
    network.eval()
    with torch.no_grad():
        outputs = {OUTPUT: network(scenes.images)}
    targets = {OUTPUT: scenes.masks}
    return read(objective(outputs, targets)[1]), read(ruler(outputs, targets)[1])


def read(ledger: Ledger) -> Reading:
    """Return a ledger's numbers."""
    return Reading(
        total=ledger.total,
        deviation=ledger.deviation,
        rows=ledger.rows,
        by_class=ledger.by("term", "class"),
        overlooked=ledger.overlooked(),
    )


def as_batch(scenes: Scenes) -> Batch:
    """Return scenes as tensors."""
    return Batch(torch.from_numpy(scenes.images), torch.from_numpy(scenes.masks))
