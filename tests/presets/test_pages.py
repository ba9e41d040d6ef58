# SPDX-License-Identifier: Apache-2.0
"""The pages that are made from the presets are what their scripts make."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lossledger.presets._registry import LIBRARIES, presets_of

DOCS = Path(__file__).parents[2] / "docs"


def script(name: str) -> ModuleType:
    """Load a script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_libraries_page_is_current() -> None:
    """docs/presets/libraries.md is what `python docs/make_presets.py --write` writes."""
    maker = script("make_presets")
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page()


def test_migration_page_is_current() -> None:
    """docs/presets/migration.md is what `python docs/make_migration.py --write` writes."""
    maker = script("make_migration")
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_preset_is_measured(library: str) -> None:
    """Every preset has a row in the conformance table."""
    page = (DOCS / "presets" / "conformance.md").read_text(encoding="utf-8")
    names = [k.__name__ for k in presets_of(library)]
    # tf.losses share their table with the older Keras, and say whose they are.
    missing = [n for n in names if f"| `{n}`" not in page and f"| `{library} {n}`" not in page]
    assert missing == []
