# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a script beside the page that it makes
"""Print the catalogue page: every loss, read from its own docstring and declarations.

Run `python docs/make_catalogue.py --write` after adding a loss or changing a docstring;
tests/test_catalogue.py compares the page with what this prints.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from cases import LOSSES, Case  # noqa: E402 - found through the line above
from lossledger import losses  # noqa: E402
from lossledger.losses import AbstractLoss, AbstractOverlapLoss, Facts  # noqa: E402
from lossledger.splitting import exactness  # noqa: E402

PAGE = Path(__file__).with_name("catalogue.md")
# One chapter a module, in this order; modules that are not named follow, by name.
ORDER = (
    "classification", "focal", "margin", "distribution", "overlap", "overlap_ratios",
    "overlap_pooled", "overlap_balanced", "boundary", "experts", "regression", "relative",
    "probabilistic", "pairwise", "cosine", "perceptron", "fenchel", "sparse", "subset",
    "log_divergence", "contrast", "likelihood", "clamped", "hinges", "focal_product",
    "focal_soft", "focal_sums", "label_entropy", "overlap_clipped", "overlap_matthews",
    "probabilities", "signed", "differences", "circle",
)  # fmt: skip
# They hold a function or a loss, and have no formula.
SUPPORT = ("Elementwise", "Foreground", "FromSums", "Mapped", "OneHot", "OneHotSums")

INTRODUCTION = """\
# The catalogue

<!-- Made by docs/make_catalogue.py from the docstrings; do not edit. -->

Every loss, with what it computes for one element (or cell), over which numbers it is defined, and
its derivative in closed form. `value_and_grad` uses that derivative, and tests compare it with
finite differences.

- **Outputs** and **targets** say what is allowed. "Index or rows" are class indices, or one
  number for each class.
- **Removes** names the axes that the values no longer have. A loss of sums removes the axes
  that you name in `over`.
- **Split** is what has to be known of a whole batch before a part of it can be
  differentiated, under the default reduction (see
  [reductions](concepts/reductions.md#what-must-be-known-before-a-batch-is-split)). Where two are
  named, the first is for sums over the batch and the second for sums within each sample.
- **Source** is the paper or the function that it equals, with the differences.

A loss that is missing here can be any callable, or a function of sums: see
[a loss of your own](concepts/objective.md#a-loss-of-your-own).
"""

_NUMBERS = {
    "any": "any",
    "logits": "logits",
    "probabilities": "in [0, 1]",
    "distribution": "rows of probabilities",
    "positive": "> 0",
    "nonnegative": "≥ 0",
    "nonzero": "not 0",
    "above_minus_one": "> −1",
    "sign": "−1 or 1",
    "labels": "0 or 1",
    "interior": "in (0, 1]",
}
_SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Example:", "Source:")


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue."""

    name: str
    chapter: str
    formula: str
    derivative: str
    outputs: str
    targets: str
    removes: str
    split: str
    source: str

    def line(self) -> str:
        """Write as a line of a Markdown table."""
        name = f"[`{self.name}`](reference/losses.md#lossledger.losses.{self.name})"
        cells = (self.formula, self.derivative, self.outputs, self.targets, self.removes)
        escaped = [escape(c) for c in (*cells, self.split, self.source)]
        return "| " + " | ".join([name, *escaped]) + " |"


def escape(text: str) -> str:
    """Escape what Markdown would read as markup, outside of code."""
    parts = text.split("`")
    plain = [re.sub(r"([|*_<\[\]])", r"\\\1", part) for part in parts[::2]]
    merged: list[str] = []
    for i, part in enumerate(plain):
        merged.append(part)
        if 2 * i + 1 < len(parts):
            merged.append("`" + parts[2 * i + 1] + "`")
    return "".join(merged)


def paragraphs(docstring: str) -> list[str]:
    """Return the paragraphs in front of the sections, each on one line."""
    heads = "|".join(rf"^{re.escape(s)}" for s in _SECTIONS)
    body = re.split(heads, docstring, flags=re.MULTILINE)[0]
    return [" ".join(p.split()) for p in re.split(r"\n\s*\n", body) if p.strip()]


def source_of(docstring: str) -> str:
    """Return the text after "Source:", on one line."""
    found = re.search(r"^Source:(.*?)(?:\n\s*\n|\Z)", docstring, flags=re.MULTILINE | re.DOTALL)
    return "" if found is None else " ".join(found[1].split()).rstrip(".")


def derivative_of(texts: list[str]) -> tuple[str, str]:
    """Return (formula, derivative) from a docstring's paragraphs."""
    formula, *rest = texts
    head, found, tail = formula.partition("; ∂")
    if found:
        return head, "∂" + tail.rstrip(".")
    for marked in ("∂", "erivative"):
        for text in rest:
            kept = [s for s in sentences(text) if marked in s]
            if kept:
                return formula.rstrip("."), " ".join(kept).rstrip(".")
    return formula.rstrip("."), ""


def sentences(text: str) -> list[str]:
    """Split at full stops before a capital letter or a ∂, and at semicolons before a name."""
    pieces = re.split(r"(?<=\.)\s+(?=[A-Z∂])|;\s+(?=[a-z]\w* is )", text)
    return [p.strip() for p in pieces if p.strip()]


def cases_of(cls: type) -> list[Case]:
    """Return the rows of the table of cases that test a loss."""
    return [case for case in LOSSES if type(case.loss) is cls]


def domains(facts: Facts) -> tuple[str, str]:
    """Return what outputs and targets may be, in words."""
    spelled = [_NUMBERS[d] for d in facts.domains]
    outputs = spelled[0] if len(set(spelled)) == 1 else "; ".join(spelled)
    if facts.reads > 1:
        outputs = f"{facts.reads}: {outputs}"
    if facts.accepts == "none":
        return outputs, "none"
    if facts.accepts == "classes":
        return outputs, "index or rows"
    targets = _NUMBERS[facts.targets]
    return outputs, targets + (f", without {', '.join(facts.lacks)}" if facts.lacks else "")


def entry_of(name: str, cls: type) -> Entry:
    """Read one loss.

    Raises:
        LookupError: If the table of cases has no row for it.
    """
    cases = cases_of(cls)
    if not cases:
        raise LookupError(f"{name} has no row in tests/cases.py")
    docstring = inspect.getdoc(cls) or ""
    formula, derivative = derivative_of(paragraphs(docstring))
    loss = cases[0].loss
    outputs, targets = domains(loss.facts())
    removes = ", ".join(loss.facts().removes)
    if isinstance(loss, AbstractOverlapLoss):
        removes = ", ".join(["`over`", *loss.pools()])
    kinds = sorted({f"`{exactness(case.term()).kind}`" for case in cases}, reverse=True)
    chapter = cls.__module__.rpartition(".")[2]
    return Entry(
        name, chapter, formula, derivative, outputs, targets, removes or "–", ", ".join(kinds),
        source_of(docstring),
    )  # fmt: skip


def entries() -> list[Entry]:
    """Read every loss that is exported."""
    found = []
    for name in sorted(losses.__all__, key=str.lower):
        thing = getattr(losses, name)
        if name in SUPPORT or not inspect.isclass(thing) or inspect.isabstract(thing):
            continue
        if issubclass(thing, AbstractLoss | AbstractOverlapLoss):
            found.append(entry_of(name, thing))
    return found


def chapters(found: Iterable[Entry]) -> Iterator[str]:
    """Yield the page's chapters."""
    by_module: dict[str, list[Entry]] = {}
    for entry in found:
        by_module.setdefault(entry.chapter, []).append(entry)
    later = sorted(set(by_module) - set(ORDER))
    for module in [m for m in ORDER if m in by_module] + later:
        code = importlib.import_module(f"lossledger.losses.{module}")
        texts = [escape(text) + "\n" for text in paragraphs(inspect.getdoc(code) or "")]
        heads = ("loss", "value", "derivative", "outputs", "targets", "removes", "split", "source")
        lines = [f"## {module.replace('_', ', ').capitalize()}", "", *texts]
        lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        yield "\n".join([*lines, *(e.line() for e in by_module[module])])


def page() -> str:
    """Return the whole page."""
    found = entries()
    count = f"There are {len(found)} losses."
    return "\n\n".join([INTRODUCTION.strip(), count, *chapters(found)]) + "\n"


if __name__ == "__main__":
    from make_page import run  # beside this script, and on the path when it is run

    run(page, PAGE)
