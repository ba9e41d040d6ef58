# SPDX-License-Identifier: Apache-2.0
"""The demo from start to end: data, trainings, tables, plots, numbers."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lossledger._typing import Sequence
from lossledger.demo import Options, tables
from lossledger.demo.experiment import QUICK, Data, Job, Outcome, Settings, make_data
from lossledger.demo.figures import draw
from lossledger.demo.objectives import Recipe, baseline, batch_recipes, changes
from lossledger.demo.summary import Results, batch_run, compare
from lossledger.demo.workers import Advanced, EpochDone, events, workers_for


@dataclass(frozen=True)
class Plan:
    """Which runs to do.

    Args:
        settings: What all have in common.
        baseline: The objective as its user wrote it.
        changed: The others.
        jobs: Every run, those of the baseline first.
    """

    settings: Settings
    baseline: Recipe
    changed: tuple[Recipe, ...]
    jobs: tuple[Job, ...]


def run(options: Options) -> int:
    """Train, print, plot; return the exit status 0."""
    console = Console(stderr=options.json == "-", highlight=False)
    settings = QUICK if options.quick else Settings()
    data = make_data(settings)
    plan = make_plan(settings, data, options.seeds)
    introduce(console, plan, data, options)
    start = time.perf_counter()
    outcomes = train_all(console, plan, data, 1 if options.quick else workers_for(len(plan.jobs)))
    results = gather(plan, data, outcomes, time.perf_counter() - start)
    conclude(console, results)
    files = draw(results, options.out)
    console.print("Plots: " + ", ".join(str(path) for path in files), soft_wrap=True)
    write_json(results, files, options.json)
    return 0


def make_plan(settings: Settings, data: Data, seeds: int) -> Plan:
    """Return all runs: every objective with every seed, then the batch sizes."""
    base = baseline()
    changed = changes(data.train.pixel_shares())
    compared = [
        Job(recipe, seed, settings.batch, settings.epochs, settings)
        for recipe in (base, *changed)
        for seed in range(seeds)
    ]
    batches = [
        Job(recipe, 0, batch, settings.batch_epochs, settings)
        for recipe in batch_recipes()
        for batch in settings.batches
    ]
    return Plan(settings, base, changed, (*compared, *batches))


def introduce(console: Console, plan: Plan, data: Data, options: Options) -> None:
    """Print what will be done."""
    console.rule("lossledger demo")
    console.print(
        "A small U-Net finds scanned digits in scenes and marks their pixels: five classes, "
        "each with its own logit, one of them rare."
    )
    console.print(tables.data_table(data))
    console.print(
        f"Baseline: {plan.baseline.change}. Batch {plan.settings.batch}, "
        f"{plan.settings.epochs} epochs, Adam. {len(plan.jobs)} trainings: "
        f"{1 + len(plan.changed)} objectives with {options.seeds} seed(s) each, same scenes, "
        "same steps; then two batch sizes as mean and as sum."
    )
    if options.quick:
        console.print("Quick: too short to learn anything; it shows that all works.")


def train_all(console: Console, plan: Plan, data: Data, workers: int) -> list[Outcome]:
    """Do every run under a progress bar, printing what is known as it becomes known."""
    shown = plan.jobs[0]
    outcomes: list[Outcome] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=sum(job.steps for job in plan.jobs))
        for event in events(plan.jobs, data, plan.baseline, workers):
            if isinstance(event, Advanced):
                bar.advance(task, event.steps)
            elif isinstance(event, EpochDone) and event.job == shown:
                bar.console.print(tables.class_table(event.reading, event.epoch))
            elif isinstance(event, Outcome):
                outcomes.append(event)
                done = f"training ({len(outcomes)} of {len(plan.jobs)} runs done)"
                bar.update(task, description=done)
                bar.console.print(tables.run_line(event), soft_wrap=True)
    return outcomes


def gather(plan: Plan, data: Data, outcomes: Sequence[Outcome], seconds: float) -> Results:
    """Sum up all runs."""
    batch_names = [recipe.name for recipe in batch_recipes()]
    order = {job: place for place, job in enumerate(plan.jobs)}
    in_order = sorted(outcomes, key=lambda outcome: order[outcome.job])
    return Results(
        settings=plan.settings,
        baseline=compare(plan.baseline, in_order),
        changed=tuple(compare(recipe, in_order) for recipe in plan.changed),
        batches=tuple(batch_run(o) for o in in_order if o.job.recipe.name in batch_names),
        pixel_shares=data.train.pixel_shares(),
        scene_shares=data.train.scene_shares(),
        test_pixel_shares=data.test.pixel_shares(),
        seconds=seconds,
    )


def conclude(console: Console, results: Results) -> None:
    """Print what was found."""
    base = results.baseline
    last = base.outcomes[0].epochs[-1]
    console.rule("Where the baseline's loss came from")
    title = f"Baseline, seed 0, epoch {len(base.outcomes[0].epochs)}: ledger by term and class"
    console.print(tables.full_table(last, base.recipe, title))
    for line in tables.hidden(last, results.pixel_shares):
        console.print(line)
    console.rule("What a changed objective does")
    console.print(tables.comparison_table(results))
    console.print(tables.iou_table(results))
    for line in tables.verdicts(results):
        console.print(line)
    console.rule("Batch 32 or 64, mean or sum")
    console.print(tables.batch_table(results.batches))
    console.print(tables.batch_words(results.batches))
    console.print(f"All trainings together: {results.seconds:.0f} s.")


def write_json(results: Results, files: Sequence[Path], target: str | None) -> None:
    """Write all numbers to a file, or to standard output for "-"."""
    if target is None:
        return
    numbers = results.to_dict() | {"files": [str(path) for path in files]}
    text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")
