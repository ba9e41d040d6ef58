# SPDX-License-Identifier: Apache-2.0
"""The catalogue page is what its script makes of the losses."""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lossledger as ll

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """Load the script as a module."""
    place = ROOT / "docs" / "make_catalogue.py"
    spec = importlib.util.spec_from_file_location("make_catalogue", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_catalogue"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_page_is_current(maker):
    """docs/catalogue.md is what `python docs/make_catalogue.py --write` writes."""
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page()


def test_page_has_every_loss(maker):
    """Every exported loss with a formula of its own has a line, and each cell of it is filled."""
    kinds = (ll.losses.AbstractLoss, ll.losses.AbstractOverlapLoss)
    exported = [getattr(ll.losses, name) for name in ll.losses.__all__]
    found = {
        c.__name__
        for c in exported
        if inspect.isclass(c) and issubclass(c, kinds) and not inspect.isabstract(c)
    }
    entries = maker.entries()
    assert {e.name for e in entries} == found - set(maker.SUPPORT)
    for entry in entries:
        empty = [name for name, cell in vars(entry).items() if not cell.strip()]
        assert not empty, f"{entry.name} says nothing about {', '.join(empty)}"


def test_every_chapter_has_a_place(maker):
    """A module of losses has its place in the order of the page."""
    assert {e.chapter for e in maker.entries()} <= set(maker.ORDER)


@pytest.mark.parametrize(
    ("docstring", "formula", "derivative"),
    [
        ("|e|; ∂/∂output = sign(e), 0 at e = 0.", "|e|", "∂/∂output = sign(e), 0 at e = 0"),
        ("A: b.\n\nReads x. ∂/∂x = 1. More.\n\nArgs:\n    x: ∂.", "A: b", "∂/∂x = 1"),
        ("A.\n\nDerivatives are those of B.", "A", "Derivatives are those of B"),
        ("A.\n\nArgs:\n    x: its ∂/∂x.", "A", ""),
    ],
    ids=["one line", "among others", "in words", "none"],
)
def test_derivative_is_found(maker, docstring, formula, derivative):
    """The derivative is read from the summary or from the sentences that name it."""
    assert maker.derivative_of(maker.paragraphs(docstring)) == (formula, derivative)


def test_markup_is_escaped(maker):
    """What Markdown would read as markup is escaped, but not in code."""
    assert maker.escape("|e| p_c `a_b|c` <x>") == r"\|e\| p\_c `a_b|c` \<x>"


def test_reference_is_complete():
    """Every public name has its entry in the reference."""
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md")]
    entries = {line for page in pages for line in page.splitlines()}
    assert [name for name in ll.__all__ if f"::: lossledger.{name}" not in entries] == []
