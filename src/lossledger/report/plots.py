# SPDX-License-Identifier: Apache-2.0
"""Plots: how rows add up to a total, share against frequency, curves with their spread.

Every function returns a figure that belongs to no window and no global state, so it works
without a display and beside the caller's own plots. `save` writes it as PNG and SVG.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lossledger._errors import MatchError, MissingExtraError
from lossledger._typing import Mapping, Sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAIN = "#5b8db8"
MARKED = "#d1495b"
NEGATIVE = "#66a182"
TOTAL = "#3a3a3a"
LINES = ("#5b8db8", "#66a182", "#b08ea2", "#8c8c8c", "#c9a227", "#4f6d7a")
MOST_BARS = 30


@dataclass(frozen=True)
class Curve:
    """One line over epochs, with its spread where it was run more than once.

    Args:
        name: What the legend says.
        middle: One number an epoch.
        low, high: The smallest and largest number of each epoch, if there were several runs.
        marked: Whether to draw it in the color that catches the eye.
    """

    name: str
    middle: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    marked: bool = False


@runtime_checkable
class BookedRow(Protocol):
    """What a plot reads of a row."""

    @property
    def term(self) -> str: ...  # noqa: D102
    @property
    def cls(self) -> str | None: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def contribution(self) -> float: ...  # noqa: D102


@runtime_checkable
class Booked(Protocol):
    """What a plot reads of a ledger."""

    def by(self, *names: str) -> Sequence[BookedRow]:
        """Return rows merged by name."""


def waterfall(ledger: Booked, *, title: str = "What the total is made of") -> "Figure":
    """Return the waterfall of a ledger's total, by term and class.

    Of many rows the largest are drawn, and one bar for the others together.
    """
    rows = ledger.by("term", "class", "kind")
    largest = sorted(rows, key=lambda row: -abs(row.contribution))[:MOST_BARS]
    kept = [row for row in rows if any(row is one for one in largest)]
    names = [_spell(row) for row in kept]
    amounts = [row.contribution for row in kept]
    if len(kept) < len(rows):
        names.append(f"{len(rows) - len(kept)} smaller rows")
        amounts.append(sum(row.contribution for row in rows) - sum(amounts))
    return waterfall_of(names, amounts, title=title)


def waterfall_of(
    names: Sequence[str],
    contributions: Sequence[float],
    *,
    title: str = "What the total is made of",
    marked: Sequence[str] = (),
) -> "Figure":
    """Return a waterfall: each row starts where the row above ended, and the last is the total.

    Args:
        names: One name a row.
        contributions: One number a row; they add up to the total.
        title: Written above.
        marked: Names drawn in the color that catches the eye.

    Raises:
        MatchError: If there are not as many names as contributions.
    """
    _check_lengths(names=names, contributions=contributions)
    total = sum(contributions)
    figure, axes = _figure(height=1.4 + 0.32 * (len(names) + 1))
    start = 0.0
    for place, (name, amount) in enumerate(zip(names, contributions, strict=True)):
        color = MARKED if name in marked else PLAIN if amount >= 0 else NEGATIVE
        axes.barh(place, amount, left=start, color=color, height=0.7)
        end = start + amount
        axes.plot([end, end], [place - 0.35, place + 1.35], color=TOTAL, linewidth=0.6)
        _label(axes, max(start, end), place, f"{amount:.4g}  ({_percent(amount, total)})")
        start = end
    axes.barh(len(names), total, color=TOTAL, height=0.7)
    _label(axes, max(total, 0.0), len(names), f"{total:.4g}")
    axes.set_yticks(range(len(names) + 1), [*names, "total"])
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.set_xlabel("contribution to the total")
    axes.set_title(title, loc="left")
    return figure


def share_against_frequency(
    names: Sequence[str],
    frequencies: Sequence[float],
    shares: Sequence[float],
    *,
    title: str = "Share of the loss against share of the pixels",
    marked: Sequence[str] = (),
) -> "Figure":
    """Return a scatter of how much of the total a class makes against how often it occurs.

    On the dashed line a class weighs in the loss as much as it does in the data.

    Args:
        names: One name a class.
        frequencies: Share of the elements that belong to the class, above 0 to 1.
        shares: Share of the total that the class contributes, 0 to 1.
        title: Written above.
        marked: Names drawn in the color that catches the eye.

    Raises:
        MatchError: If the three have different lengths.
    """
    _check_lengths(names=names, frequencies=frequencies, shares=shares)
    figure, axes = _figure(height=4.6)
    order = sorted(range(len(names)), key=lambda place: shares[place])
    for rank, place in enumerate(order):
        point = (100 * frequencies[place], 100 * shares[place])
        color = MARKED if names[place] in marked else PLAIN
        axes.scatter(*point, color=color, s=50, zorder=3)
        offset, side = ((8, 0), "left") if rank % 2 else ((-8, 0), "right")
        axes.annotate(
            names[place], point, xytext=offset, textcoords="offset points", ha=side, va="center"
        )
    seen = [100 * x for x in (*frequencies, *shares) if x > 0]
    if seen:
        ends = (min(seen) * 0.6, min(max(seen) * 1.7, 100))
        axes.plot(ends, ends, color=TOTAL, linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("share of the elements (%)")
    axes.set_ylabel("share of the total (%)")
    axes.set_title(title, loc="left")
    axes.grid(visible=True, which="major", color="#e5e5e5", linewidth=0.6)
    return figure


def curves(
    lines: Sequence[Curve],
    *,
    ylabel: str,
    title: str,
    xlabel: str = "epoch",
    limits: tuple[float, float] | None = None,
) -> "Figure":
    """Return lines over epochs 1, 2, …, with a band from the lowest to the highest run.

    Args:
        lines: What to draw, each with one number an epoch.
        ylabel: What the numbers are.
        title: Written above.
        xlabel: What is counted along the bottom.
        limits: Lowest and highest number shown, or None to fit the lines.
    """
    figure, axes = _figure(height=4.2)
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - drawn only where asked for

    plain = 0
    for line in lines:
        color = MARKED if line.marked else LINES[plain % len(LINES)]
        plain += not line.marked
        epochs = range(1, len(line.middle) + 1)
        width = 2.2 if line.marked else 1.4
        axes.plot(epochs, line.middle, color=color, label=line.name, linewidth=width, marker=".")
        if line.low is not None and line.high is not None:
            axes.fill_between(epochs, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if limits is not None:
        axes.set_ylim(*limits)
    if lines:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def save(figure: "Figure", folder: Path, name: str) -> tuple[Path, ...]:
    """Write a figure as PNG and as SVG, and return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata: Mapping[str, Mapping[str, Any]] = {"png": {}, "svg": {"Date": None}}
    paths = []
    for kind, details in metadata.items():
        path = folder / f"{name}.{kind}"
        figure.savefig(path, metadata=dict(details), dpi=144)
        paths.append(path)
    return tuple(paths)


def _figure(height: float) -> tuple["Figure", "Axes"]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - drawn only where asked for
    except ImportError as error:
        raise MissingExtraError(
            "Plots need matplotlib",
            "It is not installed",
            "lossledger was installed without its `plot` extra",
            "Run: pip install 'lossledger[plot]'",
        ) from error
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label(axes: "Axes", x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)


def _spell(row: BookedRow) -> str:
    name = row.term if row.cls is None else f"{row.term}, {row.cls}"
    return name if row.kind == "values" else f"{name} ({row.kind})"


def _percent(part: float, total: float) -> str:
    return f"{100 * part / total:.1f} %" if total else "-"


def _check_lengths(**columns: Sequence[object]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise MatchError(
            "A plot's columns must have one entry a row: " + ", ".join(f"`{c}`" for c in columns),
            "Found lengths " + ", ".join(f"{n} {k}" for n, k in lengths.items()),
            "The columns come from different ledgers, or one was filtered",
            "Take them all from the same rows",
        )
