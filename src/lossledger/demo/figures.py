# SPDX-License-Identifier: Apache-2.0
"""The demo's plots."""

from pathlib import Path

from lossledger._typing import Sequence
from lossledger.demo.experiment import Outcome
from lossledger.demo.scenes import CLASSES, RARE
from lossledger.demo.summary import Comparison, Results
from lossledger.report import plots


def draw(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write every plot as PNG and SVG, and return the paths."""
    last = results.baseline.outcomes[0].epochs[-1]
    rare = CLASSES[RARE]
    names = [f"{row.term}, {row.cls}" for row in last.by_class]
    by_class = [sum(row.contribution for row in last.by_class if row.cls == cls) for cls in CLASSES]
    figures = {
        "waterfall": plots.waterfall_of(
            names,
            [row.contribution for row in last.by_class],
            title="Baseline, last epoch: what the total is made of",
            marked=[name for name in names if name.endswith(rare)],
        ),
        "share": plots.share_against_frequency(
            CLASSES,
            results.pixel_shares,
            [amount / last.total for amount in by_class],
            title="Baseline, last epoch: share of the loss against share of the pixels",
            marked=[rare],
        ),
        "iou-by-class": plots.curves(
            [class_curve(results.baseline.outcomes, place) for place in range(len(CLASSES))],
            ylabel="IoU of the training epoch",
            title="Baseline: IoU by class, mean and range over seeds",
            limits=(0.0, 1.0),
        ),
        "rare-class": plots.curves(
            [rare_curve(comparison) for comparison in results.comparisons],
            ylabel=f"IoU of {rare}, training epoch",
            title=f"What each objective did for {rare}, mean and range over seeds",
        ),
    }
    return tuple(
        path for name, figure in figures.items() for path in plots.save(figure, folder, name)
    )


def class_curve(outcomes: Sequence[Outcome], place: int) -> plots.Curve:
    """Return one class's IoU over the epochs of several runs."""
    return curve_of(CLASSES[place], outcomes, place, marked=place == RARE)


def rare_curve(comparison: Comparison) -> plots.Curve:
    """Return the rare class's IoU over an objective's epochs."""
    name = comparison.recipe.name
    return curve_of(name, comparison.outcomes, RARE, marked=name == "baseline")


def curve_of(name: str, outcomes: Sequence[Outcome], place: int, *, marked: bool) -> plots.Curve:
    """Return mean and range over runs of a class's IoU, epoch by epoch."""
    epochs = zip(*([reading.iou()[place] for reading in o.epochs] for o in outcomes), strict=True)
    columns = [tuple(column) for column in epochs]
    return plots.Curve(
        name,
        middle=[sum(column) / len(column) for column in columns],
        low=[min(column) for column in columns],
        high=[max(column) for column in columns],
        marked=marked,
    )
