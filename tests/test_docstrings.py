# SPDX-License-Identifier: Apache-2.0
"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import lossledger

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(lossledger.__path__, "lossledger.")
    # TensorFlow's needs a process of its own; the others run without its example.
    if not m.name.endswith("_tensorflow")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    """No example of the module fails."""
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_there_are_examples() -> None:
    """At least the two entry points have one."""
    finder = doctest.DocTestFinder()
    for thing in (lossledger.Objective, lossledger.losses.CrossEntropy):
        assert any(test.examples for test in finder.find(thing))


def test_a_wrong_example_fails() -> None:
    """The runner sees a wrong output."""
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda _: None).failed == 1
