# SPDX-License-Identifier: Apache-2.0
"""Laws of the package as a whole: what an import loads, how long its pieces are."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("torch", "jax", "keras", "tensorflow", "matplotlib", "pandas", "sklearn")
FOLDERS = ("src", "tests", "examples", "benchmarks")
LONGEST_FILE = 400
LONGEST_FUNCTION = 50


def loaded_by(statement: str) -> set[str]:
    """Return the frameworks that a statement loads in a fresh process."""
    code = f"import sys\n{statement}\nprint(*(set({FRAMEWORKS}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_no_framework():
    """`import lossledger` loads no framework and nothing that draws."""
    assert loaded_by("import lossledger") == set()


def test_import_twin():
    """An import that does load one is seen."""
    assert loaded_by("import matplotlib") == {"matplotlib"}


def test_import_time_is_printed(capsys):
    """How long the import takes is shown, not promised: machines differ."""

    def seconds(statement: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - start

    ours, numpy, bare = (
        min(seconds(f"import {name}") for _ in range(3)) for name in ("lossledger", "numpy", "sys")
    )
    with capsys.disabled():
        print(f"\nimport lossledger: {1e3 * (ours - bare):.0f} ms, ", end="")
        print(f"of which numpy {1e3 * (numpy - bare):.0f} ms")


def sources() -> list[Path]:
    """Return every Python file of the repository."""
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def too_long(source: str) -> list[str]:
    """Return what exceeds the limits: the file, or functions without their docstrings."""
    found = []
    if (lines := len(source.splitlines())) > LONGEST_FILE:
        found.append(f"file: {lines} lines")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            length -= docstring.end_lineno - docstring.lineno + 1
        if length > LONGEST_FUNCTION:
            found.append(f"{node.name}: {length} lines")
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pieces_are_short(path):
    """A file has at most 400 lines; a function at most 50 without its docstring."""
    assert too_long(path.read_text(encoding="utf-8")) == []


def test_short_pieces_twin():
    """A long file and a long function are found; a long docstring is free."""
    body = "    x = 1\n" * (LONGEST_FUNCTION - 1)
    docstring = '    """Says much.\n' + "\n" * 40 + '    """\n'
    assert too_long("def f():\n" + docstring + body) == []
    assert too_long("def f():\n" + docstring + body + "    x = 2\n") == ["f: 51 lines"]
    assert too_long("class A:\n    async def g(self):\n" + "        x = 1\n" * 50) == [
        "g: 51 lines"
    ]
    assert too_long("x = 1\n" * 401) == ["file: 401 lines"]


def test_layout_is_complete():
    """The folders that these laws read are there, so that none of them passes on nothing."""
    assert {path.relative_to(ROOT).parts[0] for path in sources()} == set(FOLDERS)
