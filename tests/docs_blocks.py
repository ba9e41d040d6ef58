# SPDX-License-Identifier: Apache-2.0
"""Run the Python code blocks of a Markdown page and compare what they print.

Blocks run in the order of the page, in one namespace:

- a block with prompts (`>>> `) is a transcript, checked as a doctest (`...` in its output
  matches anything, runs of white space count as one);
- a block followed by a `text` block is a script, and what it prints is that text, but for
  white space at the ends of lines;
- any other block is a script that must only run.

As a command: `python tests/docs_blocks.py PAGE.md`; it fails with the page and the line.
"""

import contextlib
import difflib
import doctest
import io
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PYTHON = frozenset({"python", "python3", "py", "pycon"})
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})[ {.]*(?P<language>[\w+-]*)")
_PROMPT = re.compile(r"^ *>>> ", re.MULTILINE)


class PageError(AssertionError):
    """A block of a page does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text and the line of its first line of text."""

    language: str
    text: str
    line: int
    follows: bool
    """Whether only blank lines lie between the block before it and this one."""


def blocks(markdown: str, page: str = "page") -> Iterator[Block]:
    """Yield the fenced blocks of a page.

    Raises:
        PageError: If a fence is never closed.
    """
    lines = markdown.splitlines()
    at, follows = 0, False
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            follows = follows and not lines[at].strip()
            at += 1
            continue
        end = _closing(lines, at, opening["fence"])
        if end is None:
            raise PageError(f"{page}:{at + 1}: this code block is never closed")
        text = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
        yield Block(opening["language"].lower(), text, at + 2, follows)
        at, follows = end + 1, True


def _closing(lines: list[str], opening: int, fence: str) -> int | None:
    for at in range(opening + 1, len(lines)):
        text = lines[at].strip()
        if len(text) >= len(fence) and set(text) == {fence[0]}:
            return at
    return None


def run(markdown: str, page: str = "page") -> int:
    """Run the Python blocks of a page; return how many there were.

    Raises:
        PageError: At the first block that fails or prints something else.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    found = list(blocks(markdown, page))
    with warnings.catch_warnings():
        # A page must not teach what warns; frameworks may warn among themselves.
        for module in ("__main__", "lossledger"):
            warnings.filterwarnings("error", module=module)
        for block, after in zip(found, [*found[1:], None][: len(found)], strict=True):
            if block.language not in PYTHON:
                continue
            told = after if after and after.follows and after.language == "text" else None
            if _PROMPT.search(block.text):
                _run_transcript(block, told, namespace, page)
            else:
                _run_script(block, told, namespace, page)
    return sum(block.language in PYTHON for block in found)


def _run_script(block: Block, told: Block | None, namespace: dict[str, object], page: str) -> None:
    printed = io.StringIO()
    try:
        # Blank lines before it give the block the page's own line numbers.
        code = compile("\n" * (block.line - 1) + block.text, page, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)  # noqa: S102 - running the page is the purpose
    except (Exception, SystemExit) as error:
        line = _line_of(error, page) or block.line
        shown = "".join(traceback.format_exception(error))
        raise PageError(f"{page}:{line}: this block fails\n{shown}") from error
    if told is not None and _trimmed(printed.getvalue()) != _trimmed(told.text):
        difference = difflib.unified_diff(
            _trimmed(told.text), _trimmed(printed.getvalue()), "page", "printed", lineterm=""
        )
        raise PageError(f"{page}:{told.line}: prints something else\n" + "\n".join(difference))


def _run_transcript(
    block: Block, told: Block | None, namespace: dict[str, object], page: str
) -> None:
    if told is not None:
        raise PageError(
            f"{page}:{told.line}: a transcript shows its own output; nothing reads this"
        )
    parser = doctest.DocTestParser()
    transcript = parser.get_doctest(block.text, namespace, page, page, block.line - 1)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=flags | doctest.FAIL_FAST)
    if runner.run(transcript, out=report.write, clear_globs=False).failed:
        line = re.search(r", line (\d+), in ", report.getvalue())
        where = line[1] if line else block.line
        raise PageError(
            f"{page}:{where}: this transcript shows something else\n{report.getvalue()}"
        )
    namespace.update(transcript.globs)


def _line_of(error: BaseException, page: str) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == page:
        return error.lineno
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == page]
    return lines[-1] if lines else None


def _trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def main(arguments: list[str]) -> int:
    """Run the pages named on the command line; each in the namespace of its own process."""
    (page,) = arguments
    try:
        count = run(Path(page).read_text(encoding="utf-8"), page)
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{page}: {count} Python blocks hold")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
