# SPDX-License-Identifier: Apache-2.0
"""Results as Markdown, which reads as plain text too."""

import statistics
from typing import Any

from workload import OURS

Row = dict[str, Any]

HEADS = ("", "median", "IQR", "/ lossledger", "/ floor", "first call", "memory", "deviation")


def render(result: Row) -> str:
    """Return the section of one workload."""
    if "text" in result:
        return f"### {result['name']}: {result['title']}\n\n{result['text']}"
    unit = 1e3 if ours(result)["median_seconds"] >= 1e-3 else 1e6
    lines = [f"### {result['name']}: {result['title']}", "", heading(result, unit), ""]
    lines += aligned([HEADS, *(cells(row, result, unit) for row in result["rows"])])
    lines += [f"\nNot installed, not measured: {name}" for name in result["absent"]]
    lines += [f"\n{gate(result, goal)}" for goal in result["gates"]]
    return "\n".join(lines)


def ours(result: Row) -> Row:
    """Return the row of the library itself."""
    return named(result, OURS)


def named(result: Row, name: str) -> Row:
    """Return the row of that name."""
    found: Row = next(row for row in result["rows"] if row["name"] == name)
    return found


def heading(result: Row, unit: float) -> str:
    """Return what a multiple of the floor means, and how often was measured."""
    floor, spelled = result["floor"], "ms" if unit == 1e3 else "µs"
    speed = floor["gigabytes_per_second"]
    measured = "" if speed is None else f" ({speed:.1f} GB/s)"
    others = (
        "" if result["others"] is None else f" Others used {result['others']:.0%} of the cores."
    )
    return (
        f"{result['clock']} in {spelled}; {result['rounds']} interleaved rounds.{others}\n"
        f"Floor: {floor['says']}{measured}: {number(floor['seconds'] * unit)} {spelled}."
    )


def cells(row: Row, result: Row, unit: float) -> tuple[str, ...]:
    """Return one line of the table."""
    median, peak = row["median_seconds"], row["peak_bytes"]
    found = [row[f"{what}_deviation"] for what in ("value", "gradient", "iou")]
    known = [x for x in found if x is not None]
    return (
        row["name"],
        number(median * unit),
        number(row["iqr_seconds"] * unit),
        number(median / ours(result)["median_seconds"]),
        number(median / result["floor"]["seconds"]),
        f"{number(row['first_seconds'])} s",
        "n/a" if peak is None else f"{peak / 1e6:.0f} MB",
        f"{max(known):.0e}" if known else "other",
    )


def gate(result: Row, goal: Row) -> str:
    """Return whether a goal is met, in words; of both, the times of one round are compared."""
    mine, theirs = (named(result, goal[side])["round_seconds"] for side in ("who", "peer"))
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    reached = statistics.median(ratios)
    low, _, high = (
        statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else [reached] * 3
    )
    verdict = "met" if reached <= goal["ratio"] else "missed"
    who = "" if goal["who"] == OURS else f" for {goal['who']}"
    return (
        f"Goal{who}: at most {goal['ratio']:g} times {goal['peer']}. "
        f"Measured: {reached:.2f} times (quartiles {low:.2f} and {high:.2f}); {verdict}."
    )


def number(x: float) -> str:
    """Write with three digits, without an exponent."""
    if x == 0:
        return "0"
    if x >= 100:
        return f"{x:.0f}"
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def aligned(lines: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table, padded to columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    written = []
    for line in lines:
        rest = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        written.append("| " + " | ".join((line[0].ljust(widths[0]), *rest)) + " |")
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [written[0], "| " + " | ".join(rule) + " |", *written[1:]]
