# SPDX-License-Identifier: Apache-2.0
"""What the demo prints."""

from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lossledger._typing import Sequence
from lossledger.demo.experiment import Data, Outcome, Reading
from lossledger.demo.objectives import Recipe
from lossledger.demo.scenes import CLASSES, RARE
from lossledger.demo.summary import MARGIN, BatchRun, Results, Spread, verdict
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


def class_table(reading: Reading, epoch: int) -> Table:
    """Return an epoch in one line a class: each term's own mean and share, and the IoU."""
    title = f"Baseline, seed 0, epoch {epoch}: total {reading.total:.4f}, and means by class"
    terms = reading.terms()
    headings = [heading for term in terms for heading in (f"{term} mean", f"{term} share")]
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
    """Return sentences that name what the average hides, worst first, as the ledger found it."""
    classes = [row.cls for row in reading.overlooked if row.cls is not None]
    worst, *rest = list(dict.fromkeys(classes)) or [""]
    if not worst:
        return ["ledger.overlooked() names no class: the average hides none."]
    lines = [hidden_class(reading, worst, pixel_shares[CLASSES.index(worst)])]
    return [*lines, "Listed behind it: " + ", ".join(rest) + "."] if rest else lines


def hidden_class(reading: Reading, name: str, pixel_share: float) -> str:
    """Return what the ledger knows of a class and the total does not tell."""
    own = reading.of_positives("bce", name)
    every = reading.own_mean("bce")
    times = (own.own_mean or 0.0) / every if every else 0.0
    share = sum(row.share or 0.0 for row in reading.by_class if row.cls == name)
    return (
        f"The average hides class {name} (ledger.overlooked()): {100 * pixel_share:.2f} % of the "
        f"pixels, IoU {own.iou or 0.0:.3f} where the best class has {max(reading.iou()):.3f}. "
        f"Over its own pixels the cross entropy is {number(own.own_mean)}, {times:.0f} times the "
        f"{number(every)} that the term reports. All its rows make {percent(share)} of the total "
        f"{reading.total:.4f}, and the total does not show it."
    )


def run_line(outcome: Outcome) -> str:
    """Return one line about a finished run."""
    job = outcome.job
    iou = " ".join(f"{value:.2f}" for value in outcome.test.iou())
    return (
        f"{job.recipe.name}, batch {job.batch}, seed {job.seed}: "
        f"unseen {number(outcome.test.total)}, IoU {iou}, {outcome.seconds:.0f} s"
    )


def comparison_table(results: Results) -> Table:
    """Return the objectives side by side, measured on the unseen scenes."""
    table = headed(
        f"Unseen scenes, {len(results.baseline.outcomes)} seed(s): mean, and lowest..highest",
        ("objective", "own total", "by baseline", f"{NAME} own mean", "of its pixels"),
    )
    for each in results.comparisons:
        spreads = (each.total, each.ruler, each.rare_mean, each.rare_pixels)
        table.add_row(each.recipe.name, *(stacked(one) for one in spreads))
    return table


def iou_table(results: Results) -> Table:
    """Return the IoU by class of the objectives, measured on the unseen scenes."""
    table = headed("The same, IoU by class", ("objective", *CLASSES))
    for each in results.comparisons:
        table.add_row(each.recipe.name, *(stacked(one, 2) for one in each.class_iou))
    return table


def verdicts(results: Results) -> list[str]:
    """Return, for every change, what it is and what it did."""
    base = results.baseline
    lines = [
        f"* {each.recipe.name}: {each.recipe.change}. {NAME}: "
        f"{against(each.rare_iou, base.rare_iou)}; others: "
        f"{against(each.other_iou, base.other_iou)}."
        for each in results.changed
    ]
    return [
        *lines,
        (
            "(better, worse: every seed beats, or is beaten by, every seed of the baseline by more "
            f"than {MARGIN} IoU. Own totals belong to different objectives; the other columns "
            "measure all networks alike, by the baseline.)"
        ),
        macro_words(results),
    ]


def against(changed: Spread, base: Spread) -> str:
    """Return a verdict with the difference of the means."""
    return f"{verdict(changed, base)} ({changed.mean - base.mean:+.3f})"


def macro_words(results: Results) -> str:
    """Return why the macro mean over classes changes nothing here, with its numbers."""
    macro = next(each for each in results.changed if each.recipe.name == "macro")
    alike = max(abs(o.test.total - o.ruler.total) for o in macro.outcomes)
    pairs = zip(macro.outcomes, results.baseline.outcomes, strict=True)
    apart = max(abs(one.ruler.total - other.ruler.total) for one, other in pairs)
    return (
        "Macro is the baseline itself: every class has a channel of the same number of pixels, "
        "so the mean over classes of their means is the mean over all. On the same outputs the "
        f"two totals differ by {gap(alike)}; trained apart, the networks' totals end "
        f"{gap(apart)} apart. Only by class and label are a class's few pixels set apart from "
        "its many others."
    )


def gap(difference: float) -> str:
    """Write a difference that is rounding, or none."""
    return f"{difference:.0e}" if difference else "0"


def batch_table(runs: Sequence[BatchRun]) -> Table:
    """Return the epoch losses of mean and sum at two batch sizes, side by side."""
    table = headed(
        "Batch size and reduction, plain cross entropy: what each epoch reports",
        ("", *(f"{run.name} {run.batch}" for run in runs)),
    )
    table.add_row("first step", *(number(run.first_step) for run in runs))
    for epoch in range(len(runs[0].totals)):
        table.add_row(f"epoch {epoch + 1}", *(number(run.totals[epoch]) for run in runs))
    table.add_section()
    for epoch in range(len(runs[0].totals)):
        cells = (number(run.per_element[epoch]) for run in runs)
        table.add_row(f"epoch {epoch + 1}, per element", *cells)
    table.add_row("unseen, per element", *(number(run.test) for run in runs))
    return table


def batch_words(runs: Sequence[BatchRun]) -> str:
    """Return what the comparison of batch sizes shows, with its numbers."""
    small, large = sorted({run.batch for run in runs})
    first = {(run.name, run.batch): run.first_step for run in runs}
    mean, added = (first[name, large] / first[name, small] for name in ("mean", "sum"))
    return (
        f"First step, same weights, batch {large} over batch {small}: the mean reports {mean:.3f} "
        f"times as much, the sum {added:.3f} times. A mean does not know the batch size, a sum "
        "grows with it. Later epochs differ for another reason: the larger batch takes half as "
        "many steps an epoch, so it has learned less. Adam divides a gradient by its size, so "
        "here the sum trains much like the mean; plain SGD would need the sum's learning rate "
        "divided by the elements of a step."
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
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1e3 else f"{value:.4f}"


def percent(share: float | None) -> str:
    """Write a share in percent, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"
