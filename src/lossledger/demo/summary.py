# SPDX-License-Identifier: Apache-2.0
"""What several runs say together: means with their spread, and verdicts made by rule."""

from dataclasses import asdict, dataclass
from typing import Any

from lossledger._typing import Callable, Sequence
from lossledger.demo.experiment import Outcome, Settings
from lossledger.demo.objectives import Recipe
from lossledger.demo.scenes import CLASSES, RARE

MARGIN = 0.02
"""Differences in IoU below this are called none."""


@dataclass(frozen=True)
class Spread:
    """The mean over seeds, and the lowest and the highest seed."""

    mean: float
    low: float
    high: float


def spread(numbers: Sequence[float]) -> Spread:
    """Return mean, lowest and highest of one number a seed."""
    return Spread(sum(numbers) / len(numbers), min(numbers), max(numbers))


@dataclass(frozen=True)
class Comparison:
    """One objective's seeds on the unseen scenes.

    Args:
        recipe: The objective.
        outcomes: One a seed.
        total: Under the objective itself: not comparable between objectives.
        ruler: Under the baseline: comparable.
        rare_mean: Own mean of the rare class in the baseline's cross entropy, all pixels.
        rare_pixels: The same over the rare class's own pixels.
        rare_iou: IoU of the rare class.
        other_iou: Mean IoU of the four others.
        class_iou: IoU of each class.
    """

    recipe: Recipe
    outcomes: tuple[Outcome, ...]
    total: Spread
    ruler: Spread
    rare_mean: Spread
    rare_pixels: Spread
    rare_iou: Spread
    other_iou: Spread
    class_iou: tuple[Spread, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers of all seeds, ready for JSON."""
        spreads = ("total", "ruler", "rare_mean", "rare_pixels", "rare_iou", "other_iou")
        return {
            "name": self.recipe.name,
            "change": self.recipe.change,
            "class_weight": self.recipe.class_weight,
            "pos_weight": self.recipe.pos_weight,
            "summary": {name: asdict(getattr(self, name)) for name in spreads}
            | {"iou": {c: asdict(s) for c, s in zip(CLASSES, self.class_iou, strict=True)}},
            "runs": [run_dict(outcome) for outcome in self.outcomes],
        }


def compare(recipe: Recipe, outcomes: Sequence[Outcome]) -> Comparison:
    """Sum up one objective's seeds."""
    own = [outcome for outcome in outcomes if outcome.job.recipe == recipe]
    own.sort(key=lambda outcome: outcome.job.seed)
    rare = CLASSES[RARE]

    def over_seeds(number: Callable[[Outcome], float | None]) -> Spread:
        return spread([number(outcome) or 0.0 for outcome in own])

    return Comparison(
        recipe,
        tuple(own),
        total=over_seeds(lambda o: o.test.total),
        ruler=over_seeds(lambda o: o.ruler.total),
        rare_mean=over_seeds(lambda o: o.ruler.of_class("bce", rare).own_mean),
        rare_pixels=over_seeds(lambda o: o.ruler.of_positives("bce", rare).own_mean),
        rare_iou=over_seeds(lambda o: o.ruler.iou()[RARE]),
        other_iou=over_seeds(lambda o: other_iou(o.ruler.iou())),
        class_iou=tuple(spread([o.ruler.iou()[k] for o in own]) for k in range(len(CLASSES))),
    )


def other_iou(iou: Sequence[float]) -> float:
    """Return the mean IoU of the classes that are not rare."""
    others = [value for place, value in enumerate(iou) if place != RARE]
    return sum(others) / len(others)


def verdict(changed: Spread, base: Spread) -> str:
    """Say whether every seed is better than every seed of the baseline, or worse, or neither."""
    if changed.low > base.high + MARGIN:
        return "better"
    if changed.high < base.low - MARGIN:
        return "worse"
    return "no clear difference"


def run_dict(outcome: Outcome) -> dict[str, Any]:
    """Return one run's numbers, ready for JSON."""
    return {
        "seed": outcome.job.seed,
        "batch": outcome.job.batch,
        "steps": outcome.job.steps,
        "first_step": outcome.first_step,
        "seconds": outcome.seconds,
        "epochs": [reading.to_dict() for reading in outcome.epochs],
        "test": outcome.test.to_dict(),
        "test_under_baseline": outcome.ruler.to_dict(),
    }


@dataclass(frozen=True)
class BatchRun:
    """One run of the comparison of batch sizes.

    Args:
        name: "mean" or "sum".
        batch: Scenes a step.
        first_step: What the first step reports: all runs start from the same weights.
        totals: What each epoch would report: the mean over steps of the loss.
        per_element: The same epochs' loss of one pixel and class.
        test: Loss of one pixel and class of the unseen scenes.
    """

    name: str
    batch: int
    first_step: float
    totals: tuple[float, ...]
    per_element: tuple[float, ...]
    test: float


def batch_run(outcome: Outcome) -> BatchRun:
    """Sum up a run with another batch size."""
    return BatchRun(
        outcome.job.recipe.name,
        outcome.job.batch,
        outcome.first_step,
        tuple(reading.total for reading in outcome.epochs),
        tuple(reading.own_mean("bce") for reading in outcome.epochs),
        outcome.test.own_mean("bce"),
    )


@dataclass(frozen=True)
class Results:
    """Everything the demo found.

    Args:
        settings: What the runs had in common.
        baseline: The objective as its user wrote it.
        changed: The others.
        batches: Mean and sum at two batch sizes.
        pixel_shares: Share of the training pixels by class.
        scene_shares: Share of the training scenes in which a class occurs.
        test_pixel_shares: Share of the unseen pixels by class.
        seconds: Wall time of all runs.
    """

    settings: Settings
    baseline: Comparison
    changed: tuple[Comparison, ...]
    batches: tuple[BatchRun, ...]
    pixel_shares: tuple[float, ...]
    scene_shares: tuple[float, ...]
    test_pixel_shares: tuple[float, ...]
    seconds: float

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The baseline and the others."""
        return (self.baseline, *self.changed)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""

        def by_class(shares: Sequence[float]) -> dict[str, float]:
            return dict(zip(CLASSES, shares, strict=True))

        return {
            "classes": list(CLASSES),
            "rare_class": CLASSES[RARE],
            "settings": asdict(self.settings),
            "pixel_shares": by_class(self.pixel_shares),
            "scene_shares": by_class(self.scene_shares),
            "test_pixel_shares": by_class(self.test_pixel_shares),
            "objectives": [comparison.to_dict() for comparison in self.comparisons],
            "batch_sizes": [asdict(run) for run in self.batches],
            "seconds": self.seconds,
        }
