# SPDX-License-Identifier: Apache-2.0
"""What the demo prints."""

from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lossledger._typing import Sequence
from lossledger.demo.experiment import Data, Outcome, Reading
from lossledger.demo.objectives import Recipe
from lossledger.demo.scenes import CLASSES, RARE
from lossledger.demo.summary import BatchRun, Comparison, Results, Spread, verdict
from lossledger.report.text import ledger_table

NAME = CLASSES[RARE]


def data_table(data: Data) -> Table:
    """Return how often each class occurs."""
    table = headed(
        f"{len(data.train)} scenes to train on, {len(data.test)} of other digits to test",
        ("class", "of the pixels", "of the scenes", "of the unseen pixels"),
    )
    columns = (data.train.pixel_shares(), data.train.scene_shares(), data.test.pixel_shares())
    for name, *shares in zip(CLASSES, *columns, strict=True):
        table.add_row(name, *(f"{100 * share:.2f} %" for share in shares))
    return table


def class_table(reading: Reading, title: str) -> Table:
    """Return an epoch in one line a class: each term's own mean and share, and the IoU."""
    terms = reading.terms()
    headings = [heading for term in terms for heading in (f"{term} own mean", f"{term} share")]
    table = headed(title, ("class", "pixels", *headings, "IoU"))
    for name, iou in zip(CLASSES, reading.iou(), strict=True):
        rows = [reading.of_class(term, name) for term in terms]
        numbers = [text for row in rows for text in (number(row.own_mean), percent(row.share))]
        support = reading.of_positives(terms[0], name).support
        table.add_row(name, f"{support or 0:,}", *numbers, f"{iou:.3f}")
    return table


def full_table(reading: Reading, recipe: Recipe, title: str) -> Table:
    """Return a ledger by term and class; its rows add up to the total."""
    rows = [replace(row, output="") for row in reading.by_class]
    caption = f"{recipe.change}; the rows add up to the total within {reading.deviation:.0e}"
    return ledger_table(rows, reading.total, title, caption)


def hidden(reading: Reading, pixel_shares: Sequence[float]) -> list[str]:
    """Return sentences that name what the average hides, as the ledger found it."""
    classes = [row.cls for row in reading.overlooked if row.cls is not None]
    names = list(dict.fromkeys(classes))
    if not names:
        return ["ledger.overlooked() names no class: the average hides none."]
    lines = []
    for name in names:
        own = reading.of_positives("bce", name)
        every = reading.own_mean("bce")
        times = (own.own_mean or 0.0) / every if every else 0.0
        best = max(reading.iou())
        share = 100 * pixel_shares[CLASSES.index(name)]
        lines.append(
            f"The average hides class {name}: {share:.2f} % of the pixels. The cross entropy "
            f"reports {every:.4f} a pixel; the pixels of {name} are at {number(own.own_mean)}, "
            f"{times:.0f} times that, and make {percent(own.share)} of the total. "
            f"IoU {own.iou or 0.0:.3f}, where the best class has {best:.3f}."
        )
    return lines


def run_line(outcome: Outcome) -> str:
    """Return one line about a finished run."""
    job = outcome.job
    iou = "  ".join(
        f"{name} {value:.2f}" for name, value in zip(CLASSES, outcome.test.iou(), strict=True)
    )
    return (
        f"{job.recipe.name}, batch {job.batch}, seed {job.seed}: unseen total "
        f"{number(outcome.test.total)}, IoU {iou}  ({outcome.seconds:.0f} s)"
    )


def comparison_table(results: Results) -> Table:
    """Return the objectives side by side, measured on the unseen scenes."""
    table = headed(
        f"Unseen scenes, {len(results.baseline.outcomes)} seeds: mean (lowest..highest)",
        ("objective", "own total", "baseline's total", f"{NAME} own mean", "of its pixels"),
    )
    for each in results.comparisons:
        spreads = (each.total, each.ruler, each.rare_mean, each.rare_pixels)
        table.add_row(each.recipe.name, *(stacked(one) for one in spreads))
    return table


def iou_table(results: Results) -> Table:
    """Return IoU by class of the objectives, and what each did to the rare class."""
    table = headed(
        "Unseen scenes, IoU by class: mean (lowest..highest)",
        ("objective", *CLASSES, f"{NAME} against baseline", "others"),
    )
    base = results.baseline
    for each in results.comparisons:
        words = ("", "")
        if each is not base:
            words = (
                verdict(each.rare_iou, base.rare_iou),
                verdict(each.other_iou, base.other_iou),
            )
        table.add_row(each.recipe.name, *(stacked(one, 2) for one in each.class_iou), *words)
    return table


def notes(results: Results) -> list[str]:
    """Return what to know to read the comparison, with the numbers that show it."""
    lines = [f"{each.recipe.name}: {each.recipe.change}." for each in results.comparisons]
    macro = next(each for each in results.changed if each.recipe.name == "macro over class")
    gap = max(abs(o.test.total - o.ruler.total) for o in macro.outcomes)
    lines += [
        (
            "Own totals belong to different objectives and cannot be compared; the baseline's total "
            f"and the own means of {NAME} (baseline's cross entropy) are the same measure for all."
        ),
        (
            f"Macro over class is the baseline itself: on the same outputs the two differ by {gap:.1e}."
            " Every class has a channel of the same number of pixels, so the mean over classes of "
            "their means is the mean over all. What the two rows differ by is what rounding alone "
            "does to a training. Only class × label sets a class's few pixels apart."
        ),
        (
            "better, worse: every seed beats, or is beaten by, every seed of the baseline by more "
            "than 0.02 IoU."
        ),
    ]
    return lines


def best_words(results: Results) -> str:
    """Return which changes helped the rare class, and at what price."""
    base = results.baseline
    helped = [c for c in results.changed if verdict(c.rare_iou, base.rare_iou) == "better"]
    if not helped:
        return f"No change helped {NAME} in every seed."
    said = ", ".join(f"{each.recipe.name} (others: {price(each, base)})" for each in helped)
    return f"In every seed {NAME} is better off with: {said}."


def price(changed: Comparison, base: Comparison) -> str:
    """Return the mean change of the other classes' IoU."""
    return f"{changed.other_iou.mean - base.other_iou.mean:+.3f} IoU"


def batch_table(runs: Sequence[BatchRun]) -> Table:
    """Return the epoch losses of mean and sum at two batch sizes, side by side."""
    table = headed(
        "Batch size and reduction, plain cross entropy: what each epoch reports",
        ("", *(f"{run.name}, batch {run.batch}" for run in runs)),
    )
    for epoch in range(len(runs[0].totals)):
        table.add_row(f"epoch {epoch + 1}", *(number(run.totals[epoch]) for run in runs))
    table.add_section()
    for epoch in range(len(runs[0].totals)):
        cells = (number(run.per_element[epoch]) for run in runs)
        table.add_row(f"epoch {epoch + 1}, a pixel and class", *cells)
    table.add_row("unseen, a pixel and class", *(number(run.test) for run in runs))
    return table


def batch_words(runs: Sequence[BatchRun]) -> str:
    """Return what the comparison of batch sizes shows, with its numbers."""
    first = {(run.name, run.batch): run.totals[0] for run in runs}
    small, large = sorted({run.batch for run in runs})
    means = first["mean", large] / first["mean", small]
    sums = first["sum", large] / first["sum", small]
    return (
        f"First epoch, batch {large} over batch {small}: the mean reports {means:.2f} times as "
        f"much, the sum {sums:.2f} times. A mean does not know the batch size; a sum grows with "
        "it. The larger batch takes half as many steps an epoch, so after the same epochs it has "
        "learned less. Adam divides a gradient by its size, so here the sum trains like the mean; "
        "under plain SGD the sum's learning rate would have to be divided by the pixels of a step."
    )


def headed(title: str, headings: Sequence[str]) -> Table:
    """Return an empty table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def stacked(numbers: Spread, digits: int = 3) -> str:
    """Write a mean, with the range below it."""
    mean, low, high = (f"{x:.{digits}f}" for x in (numbers.mean, numbers.low, numbers.high))
    return f"{mean}\n[dim]{low}..{high}[/dim]"


def number(value: float | None) -> str:
    """Write a number with four digits, or a dash."""
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def percent(share: float | None) -> str:
    """Write a share in percent, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"
