# SPDX-License-Identifier: Apache-2.0
"""Every code block of the README and the documentation does what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs_blocks import PYTHON, PageError, blocks, run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNER = Path(__file__).with_name("docs_blocks.py")
# What a page prints must not depend on who looks at it, and JAX makes programs fast for readers.
READER = {
    "COLUMNS": "100",
    "NO_COLOR": "1",
    "PYTHONIOENCODING": "utf-8",
    "MPLBACKEND": "agg",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
    "XLA_FLAGS": "",
}

# Anything a browser would fetch from elsewhere: scripts, style sheets, images, fonts.
_REMOTE = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'>\s]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon))"""
    r"""[^>]*\bhref=["']?(?:https?:)?//[^"'>\s]+"""
    r"""|(?:@import|url\()\s*["']?(?:https?:)?//[^"')\s]+"""
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_page(page, tmp_path):
    """A page's Python blocks run in order, in a fresh process, and print what it shows."""
    text = page.read_text(encoding="utf-8")
    if not any(block.language in PYTHON for block in blocks(text, str(page))):
        return
    done = subprocess.run(
        [sys.executable, RUNNER, page],
        cwd=tmp_path,
        env=os.environ | READER,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    print(done.stdout)


def test_readme_shows_output():
    """The README's first Python block is followed by its real output."""
    found = list(blocks((ROOT / "README.md").read_text(encoding="utf-8"), "README.md"))
    python = [i for i, block in enumerate(found) if block.language in PYTHON]
    assert python, "no Python block"
    first = found[python[0]]
    told = found[python[0] + 1 :][:1]
    assert ">>> " in first.text or [(b.language, b.follows) for b in told] == [("text", True)]


def test_site_builds_strictly_and_offline(tmp_path):
    """The site builds without a warning, and no page of it loads anything from elsewhere."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    files = [p for p in tmp_path.rglob("*") if p.suffix in {".html", ".css"}]
    assert tmp_path / "index.html" in files
    assert [(p.name, loads) for p in files for loads in remote(p.read_text("utf-8"))] == []


def remote(text: str) -> list[str]:
    """Return what a browser would load from another site to show this page or style sheet."""
    return _REMOTE.findall(text)


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        "@import url(https://fonts.example/css);",
    ],
    ids=["script", "style", "import"],
)
def test_remote_twin(text):
    """A page that loads from elsewhere is found; one that only links elsewhere is not."""
    assert remote(text)
    assert not remote('<a href="https://example.org">a link</a> <script src="x.js"></script>')


def page_of(*fenced: tuple[str, str]) -> str:
    """Return a page of blocks, each given by its language and its text."""
    return "# Page\n\n" + "\n\n".join(f"```{name}\n{text}\n```" for name, text in fenced)


def test_right_page_holds():
    """Names carry over from block to block, whatever the kinds of the blocks."""
    markdown = page_of(
        ("python", "a = 2"),
        ("python", ">>> b = a + 1\n>>> b\n3"),
        ("python", "print('sum', a + b)  \nprint()\nprint(1)"),
        ("text", "sum 5\n\n1   "),
        ("bash", "not python at all"),
        ("python", "assert b == 3"),
    )
    assert run(markdown) == 4


@pytest.mark.parametrize(
    ("markdown", "message"),
    [
        (page_of(("python", "print(1)"), ("text", "2")), r"page:8: prints something else"),
        (page_of(("python", "print(1)\nprint(2)"), ("text", "1")), r"page:9: prints something"),
        (page_of(("python", "a = 1\n\na / 0")), r"page:6: this block fails"),
        (page_of(("python", "a = 1\nb = = 2")), r"page:5: this block fails"),
        (page_of(("python", "raise SystemExit")), r"page:4: this block fails"),
        (page_of(("python", ">>> 1 + 1\n2\n>>> 1 + 2\n4")), r"page:6: this transcript shows"),
        (page_of(("pycon", ">>> 1 / 0\n0")), r"page:4: this transcript shows"),
        (page_of(("python", ">>> 1\n1"), ("text", "1")), r"page:9: a transcript shows its own"),
        ("# Page\n\n```python\na = 1\n", r"page:3: this code block is never closed"),
        ("1. item\n\n    ```python\n    1 / 0\n    ```\n", r"page:4: this block fails"),
        (
            page_of(("python", "import warnings\nwarnings.warn('old', DeprecationWarning)")),
            r"page:5: this block fails",
        ),
    ],
    ids=[
        "wrong output",
        "missing output",
        "raises",
        "syntax",
        "exits",
        "wrong transcript",
        "transcript raises",
        "unread output",
        "unclosed",
        "indented",
        "warns",
    ],
)
def test_broken_page_fails(markdown, message):
    """A page that says something untrue fails, with the line that is untrue."""
    with pytest.raises(PageError, match=message):
        run(markdown)
