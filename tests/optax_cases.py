# SPDX-License-Identifier: Apache-2.0
"""Cases of presets of optax, which returns arrays: what its user does with one is in turn."""

import functools
import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import optax.losses
from conformance import Case, jax_call

from lossledger.presets import optax as presets

TURNS: Any = defaultdict(itertools.count)
REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda x: x.mean(),
    "none": lambda x: x,
    "sum": lambda x: x.sum(),
}


def case_of(name: str, outputs: Any, targets: Any = None, ours: Any = None, **options: Any) -> Case:
    """One case, with the reductions in turn; a loss's first is run in JAX too."""
    turn = next(TURNS[name])
    cls = getattr(presets, name)
    reduction, last = list(REDUCTIONS.items())[turn % 3]
    own = {"reduction": reduction} if "reduction" in cls.__dataclass_fields__ else {}
    function = functools.partial(getattr(optax.losses, name), **options)

    def call(*arrays: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            value = function(*arrays)
        return last(value) if own else value

    if ours is None:
        ours = ("numpy", "jax") if turn == 0 else ("numpy", "torch") if turn % 3 else ("numpy",)
    given = outputs if isinstance(outputs, tuple) else (outputs,)
    return Case(name, cls(**options, **own), jax_call(call), given, targets, ours=ours)
