# SPDX-License-Identifier: Apache-2.0
"""What Keras keeps private is named in one file of the package, and nowhere else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/lossledger"
ADAPTER = SOURCE / "keras/_private.py"
ELSEWHERE = {
    "explanation/model/_guard.py": {"_context", "_rng"},  # of TensorFlow
}
"""Names that other modules read, with the reason."""

_NAME = re.compile(r"_(?!lossledger|fields$)[a-z]\w*[a-z0-9]")
"""But for names that we give to attributes of models, and the public one of named tuples."""


def private_names(source: str) -> Iterator[str]:
    """Yield the names with a leading underscore that code reads of what is not its own.

    They are attributes of anything but `self` and `cls`, and whole strings, such as those of
    getattr; docstrings are not code. So are the modules of `keras.src`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _NAME.fullmatch(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _NAME.fullmatch(node.value) or node.value.startswith("keras.src"):
                yield node.value
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("keras.src"):
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("keras.src"))


def about_keras() -> list[Path]:
    """Return the modules that import Keras, and those of the packages about it."""
    files = sorted(SOURCE.rglob("*.py"))
    folders = (SOURCE / "keras", SOURCE / "explanation/model")
    imports = re.compile(r"^\s*(import keras|from keras)|import_module\(\"keras", re.MULTILINE)
    return [
        file
        for file in files
        if file != ADAPTER
        and (file.parent in folders or imports.search(file.read_text(encoding="utf-8")))
    ]


@pytest.fixture(scope="module")
def own() -> frozenset[str]:
    """Return the names with a leading underscore that the package itself defines."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    names = re.findall(r"(?:def|class|import|as)\s+(_\w+)|^\s*(_\w+)\s*[:=]", text, re.MULTILINE)
    return frozenset(one or two for one, two in names)


@pytest.mark.parametrize("file", about_keras(), ids=lambda f: str(f.relative_to(SOURCE)))
def test_private_names_are_in_one_file(file: Path, own: frozenset[str]) -> None:
    """A module about Keras reads private names through `lossledger.keras._private` alone."""
    found = set(private_names(file.read_text(encoding="utf-8")))
    allowed = ELSEWHERE.get(str(file.relative_to(SOURCE)), set())
    assert found - own - allowed == set()


def test_names_of_the_adapter_are_nowhere_else() -> None:
    """The same for every module there is, of the names that the adapter knows."""
    known = set(private_names(ADAPTER.read_text(encoding="utf-8")))
    assert {"_compile_loss", "_keras_mask", "_flat_losses", "_user_loss"} <= known
    names = "|".join(sorted(known - {"keras.src"}))
    code = re.compile(rf"\.({names})\b|[\"']({names})[\"']|keras\.src")
    imports = re.compile(r"^\s*from lossledger\S*", re.MULTILINE)
    found = set()
    for file in SOURCE.rglob("*.py"):
        text = imports.sub("", file.read_text(encoding="utf-8"))
        if file != ADAPTER and code.search(text):
            found.add(str(file.relative_to(SOURCE)))
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "model._compile_loss",
        'getattr(model, "_compile_loss", None)',
        "from keras.src.backend import get_keras_mask",
        'import_module("keras.src.backend")',
        "import keras.src",
    ],
)
def test_private_names_twin(code: str) -> None:
    """The broken twin: each way to read what is private is found; what is one's own is not."""
    assert len(list(private_names(code))) == 1
    assert list(private_names("self._held + cls._kept + keras.losses.Loss")) == []
