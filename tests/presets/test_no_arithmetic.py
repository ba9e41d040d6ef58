# SPDX-License-Identifier: Apache-2.0
"""A preset is a configuration: its module does no arithmetic on arrays."""

import ast
from pathlib import Path

import pytest

import lossledger

FOLDER = Path(lossledger.__file__).parent / "presets"
# These compare presets with each other: on NumPy arrays of their own, never on a user's.
COMPARING = {"migration.py", "_samples.py"}
LAYOUT = {
    "reshape", "permute", "expand", "broadcast_to", "astype", "asarray", "dtype", "is_integer",
    "is_float", "is_bool", "readable", "to_numpy", "one_hot", "stack", "concat", "take", "name",
    "arange", "zeros",
}  # fmt: skip
ARRAYS = {"outputs", "targets", "sample_weight", "mask", "element_weight"}
MODULES = sorted(p for p in FOLDER.rglob("*.py") if p.name not in COMPARING)


def offences(source: str) -> list[str]:
    """Return what a module does to arrays besides laying them out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _is_library(node.value) and node.attr not in LAYOUT:
            found.append(f"line {node.lineno}: xp.{node.attr}")
        sides: list[ast.expr] = []
        if isinstance(node, ast.BinOp):
            sides = [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
            sides = [node.operand]
        elif isinstance(node, ast.Compare):
            plain = (ast.Is, ast.IsNot, ast.In, ast.NotIn)
            sides = [] if isinstance(node.ops[0], plain) else [node.left, *node.comparators]
        found += [f"line {node.lineno}: arithmetic on {_name(s)}" for s in sides if _is_array(s)]
    return found


def _is_library(node: ast.expr) -> bool:
    return _name(node).rpartition(".")[2] == "xp"


def _is_array(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_array(node.value)
    return isinstance(node, ast.Name | ast.Attribute) and _name(node).rpartition(".")[2] in ARRAYS


def _name(node: ast.expr) -> str:
    return ast.unparse(node)


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_no_arithmetic_on_elements(module: Path) -> None:
    """Only layout functions of the array library, and no operator on an array."""
    assert offences(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "xp.exp(given.outputs[0])",
        "given.targets * 2 - 1",
        "-outputs[0]",
        "given.mask > 0",
        "given.xp.log(x)",
    ],
)
def test_arithmetic_is_found(line: str) -> None:
    """The check is no formality."""
    assert offences(line)
