# SPDX-License-Identifier: Apache-2.0
"""Run by test_wheel.py in an environment that holds the wheel and its dependencies only."""

import importlib.util
import math
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import lossledger as ll

FRAMEWORKS = ("torch", "jax", "keras", "tensorflow", "matplotlib", "pandas", "sklearn")

folder = Path(ll.__file__).parent
assert folder.is_relative_to(sys.prefix), f"imported from {folder}, outside {sys.prefix}"
assert (folder / "py.typed").is_file()
assert not [name for name in FRAMEWORKS if importlib.util.find_spec(name)]

# Equal logits over 4 classes: log 4 for each sample, whatever its label.
objective = ll.Objective(ll.Term("digit", ll.losses.CrossEntropy(), axes="batch class"))
total, ledger = objective({"digit": np.zeros((3, 4))}, {"digit": np.array([0, 1, 3])})
assert math.isclose(float(total), math.log(4), rel_tol=1e-12)
print(ledger)
print(*(f"{name} {version(name)}" for name in ("lossledger", "numpy", "rich", "jaxtyping")))
